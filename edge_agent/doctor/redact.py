"""Taking secrets out of what others may see: by the name of the key, by the shape of a URL, and by the value itself.

Three nets, because each has holes: a plugin may call its token anything, and an error text may quote a value.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edge_agent.delivery.credentials import password
from edge_agent.domain.errors import ConfigError
from edge_agent.settings import Settings

MASK = "***"

SHORTEST = 4
"""Values shorter than this are hidden under their key only: replacing every "a" would leave nothing to read."""

_KEY = r"[\w.-]*(?:pass(?:word|phrase|wd)?|pwd|secret|token|api_?key|credential|private_?key|auth)[\w.-]*"
_SECRET_KEY = re.compile(_KEY, re.IGNORECASE)
_POINTER_KEY = re.compile(r"_(?:file|path|dir)$", re.IGNORECASE)
_ASSIGNMENT = re.compile(rf"""(?im)^\s*["']?(?P<key>{_KEY})["']?\s*=\s*(?P<value>"[^"\n]*"|'[^'\n]*'|[^\s#]+)""")
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<user>[^/\s@\"']+@)?(?P<rest>[^?\s\"']*)(?P<query>\?[^\s\"']*)?", re.I
)


class Redactor:
    """Hides ``secrets`` and whatever looks like one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {secret for secret in secrets if len(secret) >= SHORTEST}
        # The longest first: one secret may be part of another.
        self._known = [re.escape(secret) for secret in sorted(known, key=len, reverse=True)]

    def text(self, text: str) -> str:
        """``text`` without known secrets and without user names, passwords and queries in URLs."""
        text = _URL.sub(_bare_url, text)
        return re.sub("|".join(self._known), MASK, text) if self._known else text

    def tree(self, value: Any, key: str = "") -> Any:
        """A JSON-like ``value``, found under ``key``, likewise; what stands under a secret's name is hidden whole."""
        if value is not None and not isinstance(value, bool) and is_secret_key(key):
            return MASK
        if isinstance(value, Mapping):
            return {self.text(str(k)): self.tree(v, str(k)) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(item) for item in value]
        if isinstance(value, bool | int | float) or value is None:
            return value
        return self.text(str(value))


def is_secret_key(key: str) -> bool:
    """Whether a key of this name holds a secret itself; ``password_file`` only says where one is."""
    return bool(_SECRET_KEY.fullmatch(key)) and not _POINTER_KEY.search(key)


def known_secrets(text: str, settings: Settings | None) -> Iterator[str]:
    """Secrets in the config file's ``text`` (also one that does not parse) and in the ``settings`` made from it."""
    for match in _ASSIGNMENT.finditer(text):
        if is_secret_key(match["key"]):
            yield match["value"].strip("\"'")
    if settings is None:
        return
    with contextlib.suppress(ConfigError):  # a password file that cannot be read cannot leak either
        yield password(settings.mqtt) or ""
    yield from _in_urls(settings.camera.source)
    for tables in (settings.analyzers, settings.sources, settings.sinks):
        yield from _in_tree(tables)


def _in_urls(text: str) -> Iterator[str]:
    for match in _URL.finditer(text):
        user = (match["user"] or "").rstrip("@")
        yield user
        yield user.partition(":")[2]
        yield from re.findall(r"=([^&]+)", match["query"] or "")


def _in_tree(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _in_tree(item, str(name) if not is_secret_key(key) else key)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _in_tree(item, key)
    elif is_secret_key(key) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, str):
        yield from _in_urls(value)


def _bare_url(match: re.Match[str]) -> str:
    user = f"{MASK}@" if match["user"] else ""
    query = f"?{MASK}" if match["query"] else ""
    return f"{match['scheme']}{user}{match['rest']}{query}"
