"""Mask secrets of the configuration, and find them, so that logs and errors can be redacted.

:func:`shown_settings` is an allow-list: numbers, switches, choices and paths are shown by type, texts only if
:data:`HARMLESS` lists them. A new option is masked until it is listed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, SecretStr

from edge_agent.domain.errors import ConfigError
from edge_agent.domain.files import read_secret
from edge_agent.domain.text import MASK, is_secret_key, mask_addresses, parse_address
from edge_agent.settings.schema import ENV_PREFIX, PLUGIN_TABLES, Settings
from edge_agent.settings.source import parse_camera, parse_microphone
from edge_agent.settings.web import TOKEN_FILE

HARMLESS = frozenset(
    {
        *("device.id", "device.name", "device.site", "device.labels", "device.timezone"),
        *("plugins.allow", "pacing.schedule.times", "privacy.override_reason", "privacy.schedule"),
        "identity.consent",
        *("mqtt.host", "mqtt.hosts", "mqtt.client_id", "mqtt.prefix", "home_assistant.prefix"),
        *("home_assistant.area", "home_assistant.dashboard_url"),
        *("web.host", "web.allowed_hosts", "web.allowed_origins", "batch.private_networks"),
    }
)
"""Options whose text may be shown. Not ``mqtt.username``: some brokers use an access token as user name."""

CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""Environment variable with the folder of the service's systemd credentials."""

_ASSIGNMENT = re.compile(r"""(?m)^\s*["']?(?P<key>[\w.-]+)["']?\s*=\s*(?P<value>"[^"\n]*"|'[^'\n]*'|[^\s#]+)""")
_SOURCES = {"camera": parse_camera, "microphone": parse_microphone}


def shown_settings(settings: Settings, plugins: Mapping[str, Mapping[str, BaseModel]] | None = None) -> dict[str, Any]:
    """Convert ``settings`` to JSON-like tables in which everything not known to be harmless is masked.

    ``plugins``: validated options of plugins by table (``analyzers`` …) and name; they replace those in ``settings``.
    """
    tables = {name: _shown_option(settings, name, name) for name in type(settings).model_fields}
    if settings.mqtt.hosts:
        del tables["mqtt"]["host"]  # the two exclude each other
    for table, source in _SOURCES.items():
        tables[table]["source"] = source(getattr(settings, table).source).shown
    for table, models in (plugins or {}).items():
        tables[table] = tables[table] | {name: _shown(model, name, f"{table}.{name}") for name, model in models.items()}
    return tables


OWN = frozenset(
    {
        *("device.id", "device.name", "device.site", "device.labels", "device.state_dir"),
        *("mqtt.client_id", "home_assistant.area"),
    }
)
"""Options that each device has of its own: they do not make two configurations differ."""


def chosen_options(settings: Settings) -> dict[str, Any]:
    """The options that differ from their defaults, by path as ``mqtt.keepalive_s``; secrets are masked.

    Without those in :data:`OWN`.
    """
    return {path: value for path, value in sorted(_chosen(settings, "")) if path not in OWN}


def config_digest(options: Mapping[str, Any]) -> dict[str, Any]:
    """Hashes of :func:`chosen_options`: of all, and of each table that has any. What is masked does not count."""
    tables: dict[str, dict[str, Any]] = {}
    for path, value in options.items():
        tables.setdefault(path.partition(".")[0], {})[path] = value
    return {"hash": _digest(options, 12), "tables": {name: _digest(part, 8) for name, part in tables.items()}}


def _digest(options: Mapping[str, Any], length: int) -> str:
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:length]


def _chosen(model: BaseModel, above: str) -> Iterator[tuple[str, Any]]:
    for name, field in type(model).model_fields.items():
        value, path = getattr(model, name), f"{above}{name}"
        if isinstance(value, BaseModel):
            yield from _chosen(value, f"{path}.")
        elif path in PLUGIN_TABLES:
            yield from ((f"{path}.{n}.{k}", _shown(v, k, "")) for n, table in value.items() for k, v in table.items())
        elif value != field.get_default(call_default_factory=True):
            yield path, _listed(model, name, path)


def _listed(model: BaseModel, name: str, path: str) -> Any:
    source = _SOURCES.get(path.removesuffix(".source")) if path.endswith(".source") else None
    return source(getattr(model, name)).shown if source else _shown_option(model, name, path)


def _shown_option(model: BaseModel, name: str, path: str) -> Any:
    field = type(model).model_fields[name]
    value = getattr(model, name)
    harmless = path in HARMLESS or _is_choice(field.annotation) or value == field.get_default()
    return _shown(value, name, path, harmless=harmless)


def _shown(value: Any, key: str, path: str, *, harmless: bool = False) -> Any:
    shown: Any = MASK
    if value is None or isinstance(value, bool):
        shown = value
    elif isinstance(value, BaseModel):
        shown = {name: _shown_option(value, name, f"{path}.{name}") for name in type(value).model_fields}
    elif isinstance(value, SecretStr) or is_secret_key(key):
        pass
    elif isinstance(value, Mapping):
        shown = {str(k): _shown(item, str(k), f"{path}.{k}", harmless=harmless) for k, item in value.items()}
    elif isinstance(value, list | tuple | set | frozenset):
        shown = [_shown(item, key, path, harmless=harmless) for item in value]
    elif isinstance(value, int | float):
        shown = value
    elif harmless or isinstance(value, Path | Enum):
        shown = mask_addresses(str(value.value if isinstance(value, Enum) else value))
    return shown


def _is_choice(annotation: Any) -> bool:
    """Whether an option of this type accepts a fixed set of texts only."""
    if typing.get_origin(annotation) is Literal:
        return True
    parts = [part for part in typing.get_args(annotation) if part not in (type(None), ...)]
    return bool(parts) and all(map(_is_choice, parts))


def known_secrets(text: str, settings: Settings | None) -> Iterator[str]:
    """Yield the secrets in the config file's ``text`` (even if it does not parse), the environment and ``settings``."""
    for match in _ASSIGNMENT.finditer(text):
        if is_secret_key(match["key"]):
            yield match["value"].strip("\"'")
    with contextlib.suppress(tomllib.TOMLDecodeError):
        yield from _in_tree(tomllib.loads(text))
    for variable, value in os.environ.items():
        if variable.upper().startswith(ENV_PREFIX):
            yield from _in_tree(_json_or_text(value), variable.lower().rpartition("__")[2])
    if settings is None:
        return
    yield from _in_tree(settings.model_dump(include={"camera", "microphone", *PLUGIN_TABLES}))
    mqtt, web = settings.mqtt, settings.web
    secrets = (mqtt.password, web.token, settings.batch.redis_url)
    yield from (secret.get_secret_value() for secret in secrets if secret is not None)
    if mqtt.username and mqtt.password is None and mqtt.password_file is None:
        yield mqtt.username
    credentials = os.environ.get(CREDENTIALS)
    kept = [*Path(credentials).glob("*")] if credentials else []
    for file in (mqtt.password_file, web.token_file, settings.device.state_dir / TOKEN_FILE, *kept):
        if file is not None:
            with contextlib.suppress(ConfigError):  # a file that cannot be read cannot leak
                yield read_secret(file, "secret")


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _in_tree(value: Any, key: str = "") -> Iterator[str]:
    """Yield values of keys that name a secret, and the secret parts of addresses."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _in_tree(item, str(name) if not is_secret_key(key) else key)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _in_tree(item, key)
    elif is_secret_key(key) and not isinstance(value, bool) and value is not None:
        yield str(value)
    elif isinstance(value, str) and ("://" in value or "@" in value):
        yield from _in_address(value)


def _in_address(text: str) -> Iterator[str]:
    try:
        yield from parse_address(text).secrets()
    except ValueError:  # not an address: treat the text and each of its parts as secret
        yield text
        yield from re.split(r"[/@:?&=#\s]+", text.partition("://")[2])
        login, at, _ = text.partition("://")[2].rpartition("@")
        if at:
            yield login
            yield login.partition(":")[2]
