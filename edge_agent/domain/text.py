"""Sanitize text for output: escape control characters, mask addresses and known secrets; suggest corrections.

The strict parser :func:`parse_address` decides which parts of a network address are shown; an address that it cannot
parse is masked as a whole. All text output of the program (log, health, findings, tables) passes through here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

MASK = "***"

SHORTEST = 4
"""Values shorter than this are masked under their key only: replacing every "a" would make text unreadable."""

LONG = 10
"""A part of a path or query of this length may be a token, whatever its name."""

_PART = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
_ADDRESS = re.compile(
    rf"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    rf"(?:(?P<login>{_PART}*(?::(?:{_PART}|:)*)?)@)?"
    rf"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]+)"
    rf"(?::(?P<port>[0-9]{{1,5}}))?"
    rf"(?P<path>/(?:{_PART}|[:/])*)?"
    rf"(?:\?(?P<query>(?:{_PART}|[:/?])*))?"
)
_BRACKETED = re.compile(r"(?:^|(?<=@))\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]")
_UNFIT = re.compile(rf"(?!{_PART}|[:/?@]|\w).", re.DOTALL)
# An address in a sentence ends at a space, unless an @ follows: then the space may be part of a password.
_IN_TEXT = re.compile(
    r"(?<![A-Za-z0-9+.-])(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,31})://(?:(?:(?!://)[^\n])*@)?[^\s\"'<>`]*"
)
_CLOSING = ".,;:!?)]}"

_KEY = r"[\w.-]*(?:pass(?:word|phrase|wd|code)?|pwd|secret|token|api_?key|credential|private_?key|auth)[\w.-]*"
_SECRET_KEY = re.compile(_KEY, re.IGNORECASE)
_POINTER_KEY = re.compile(r"_(?:file|path|dir)$", re.IGNORECASE)

_HARMFUL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, *, lines: bool = True) -> str:
    r"""Escape characters of ``text`` that control a terminal or cannot be encoded, as ``\x1b``.

    Bytes of a file name that are not UTF-8 appear as ``\xe9``. ``lines=False`` escapes line breaks and tabs, too.
    """
    text = _HARMFUL.sub(lambda match: _spelled(match.group()), text)
    return text if lines else text.replace("\n", "\\n").replace("\t", "\\t")


def _spelled(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: a byte that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "known here: {}") -> str:
    """Suggest a correction for the unknown ``word``, to be appended to an error.

    ``; did you mean 'x'?`` for the closest of ``known``; else ``otherwise`` with the list of them in place of ``{}``.
    """
    import difflib

    options = sorted(known)
    close = difflib.get_close_matches(word.lower(), options, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; {otherwise.format(', '.join(options))}" if options or "{}" not in otherwise else ""


@dataclass(frozen=True, slots=True)
class Address:
    """Parsed network address. ``str`` gives the part that may be shown; ``whole`` is the address to connect to."""

    scheme: str
    host: str
    port: int | None
    whole: str = field(repr=False)
    login: str = field(default="", repr=False)
    path: str = field(default="", repr=False)
    query: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Scheme, host and port; paths and queries of cameras and webhooks may contain passwords."""
        login = f"{MASK}@" if self.login else ""
        port = "" if self.port is None else f":{self.port}"
        rest = f"/{MASK}" if self.path.strip("/") or self.query else self.path
        return f"{self.scheme}://{login}{self.host}{port}{rest}"

    def secrets(self) -> Iterator[str]:
        """Yield the parts to mask: login, password, path, query and their long values."""
        if self.login:
            yield self.login
            yield self.login.partition(":")[2]
        if self.path.strip("/") or self.query:
            yield self.whole.partition("://")[2].removeprefix(f"{self.login}@")
        for name, value in re.findall(r"([^/?&;=_]*)=([^/&;_]*)", f"{self.path}?{self.query}"):
            if is_secret_key(name) or len(value) >= LONG:
                yield value
        yield from (part for part in re.split(r"[/?&;=]", f"{self.path}?{self.query}") if len(part) >= LONG)


def parse_address(text: str) -> Address:
    """Parse the address ``text``, in which special characters must be percent-encoded.

    Raises:
        ValueError: invalid or ambiguous; the message has the remedy and no part of the address.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise ValueError(_complaint(text))
    return Address(
        match["scheme"],
        match["host"],
        int(match["port"]) if match["port"] else None,
        text,
        match["login"] or "",
        match["path"] or "",
        match["query"] or "",
    )


def _complaint(text: str) -> str:
    """Reason for which :func:`parse_address` refuses ``text``."""
    rest = _BRACKETED.sub("", text.partition("://")[2])
    unfit = _UNFIT.search(rest)
    host = re.split(r"[/?]", rest, maxsplit=1)[0]
    if unfit is not None:
        return _write_as(unfit.group())
    if rest.count("@") > 1:
        return _write_as("@", " (the one before the host name stays)")
    if "@" in rest and "@" not in host:
        return _write_as(rest[len(host)], " in a user name or password, an @ after the host name %40")
    if not host.rpartition("@")[2].partition(":")[0] and rest == text.partition("://")[2]:
        return "the address lacks a host name"
    if not rest.isascii():
        return _write_as(next(character for character in rest if not character.isascii()))
    return "what follows the host name and a colon must be a port from 1 to 65535"


def _write_as(character: str, more: str = "") -> str:
    name = {" ": "a space", "%": "a % without two hexadecimal digits"}.get(character, printable(character, lines=False))
    code = quote(character, safe="", errors="surrogateescape")
    return f"in the address {name} is written {code}{more}"


def mask_addresses(text: str) -> str:
    """Mask the addresses in ``text`` that have a login or a query, or that cannot be parsed."""
    return _IN_TEXT.sub(_masked, text)


def _masked(match: re.Match[str]) -> str:
    whole = match.group()
    if whole.partition("://")[2] in ("", *_CLOSING):  # only a scheme, as in "use rtsp:// or http://"
        return whole
    found = whole.rstrip(_CLOSING)
    try:
        address = parse_address(found)
    except ValueError:
        return f"{match['scheme']}://{MASK}"
    return f"{address}{whole[len(found) :]}" if address.login or address.query else whole


def is_secret_key(key: str) -> bool:
    """Whether the value of a key of this name is a secret; ``password_file`` is only the path of one."""
    return bool(_SECRET_KEY.fullmatch(key)) and not _POINTER_KEY.search(key)


class Redactor:
    """Mask ``secrets``, in every form in which they may be written, and addresses."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= SHORTEST}
        # The longest first: one secret may be part of another.
        known = [re.escape(form) for form in sorted(forms, key=len, reverse=True)]
        self._known = re.compile("|".join(known), re.IGNORECASE) if known else None

    def text(self, text: str) -> str:
        """Mask known secrets and addresses in ``text``."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return mask_addresses(text)

    def texts(self, value: Any) -> Any:
        """Apply :meth:`text` to every text in a JSON-like ``value``."""
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.texts(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.texts(item) for item in value]
        return value if value is None or isinstance(value, bool | int | float) else self.text(str(value))


def _forms(secret: str) -> set[str]:
    """Forms of ``secret`` in addresses, in JSON and in messages of Python, encoded and decoded."""
    plain = {secret, unquote(secret)}
    encoded = {quote(form, safe=safe, errors="surrogateescape") for form in plain for safe in ("", "/", "!$&'()*+,;=:")}
    written = {json.dumps(form, ensure_ascii=ascii)[1:-1] for form in plain for ascii in (True, False)}  # noqa: A001
    return plain | encoded | written | {repr(form)[1:-1] for form in plain} | {printable(form) for form in plain}
