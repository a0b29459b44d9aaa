"""Load the config file and ``EDGE_AGENT__SECTION__KEY`` environment variables into :class:`Settings`.

Every problem becomes a one-line error that names the file and line, or the environment variable, and for an unknown
key the closest known one.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import os
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edge_agent.domain.errors import ConfigError
from edge_agent.domain.files import read_text
from edge_agent.domain.text import Redactor, did_you_mean
from edge_agent.settings.schema import ENV_PREFIX, Settings
from edge_agent.settings.secrets import known_secrets

ENV_FILE = "EDGE_AGENT_CONFIG"
"""Environment variable that names the config file."""

SYSTEM_FILE = Path("/etc/edge-agent/config.toml")

KeyPath = tuple[str, ...]
"""Keys from the root of the document; an index in a list counts as a key (``"0"``)."""

ECHO_VARIABLES: Mapping[str, KeyPath] = {
    "CAMERA_INDEX": ("camera", "source"),
    "MAX_FPS": ("camera", "fps"),
    "WS_MAX_CONNECTIONS": ("web", "analysis_clients"),
    "WS_HEARTBEAT_INTERVAL": ("web", "heartbeat_s"),
    "EMOTION_WINDOW_SIZE": ("summary", "window_s"),
    "FACE_RECOGNITION_THRESHOLD": ("analyzers", "identity", "threshold"),
}
"""Environment variables of the Echo backend and the options that they set with ``web.echo_environment``."""

_TABLE_ERRORS = ("model_type", "dict_type")
_WANTED = {
    "string": ("text", ' in quotes, as {key} = "…"'),
    "path": ("a path", ' in quotes, as {key} = "/…"'),
    "tuple": ("a list", ', as {key} = ["…"]'),
    "list": ("a list", ', as {key} = ["…"]'),
    "int": ("a whole number", " without quotes, as {key} = 1"),
    "float": ("a number", " without quotes, as {key} = 0.5"),
    "bool": ("true or false", " without quotes, as {key} = true"),
}
"""By the first word of pydantic's error type: the expected type, and how to write it in the file."""
_EXAMPLES = """'["face", "burst"]' or '{"host": "broker"}'"""


def default_path(system: Path = SYSTEM_FILE) -> Path | None:
    """Return the config file to use when none is given: ``$EDGE_AGENT_CONFIG``, else ``system`` when it exists."""
    named = os.environ.get(ENV_FILE)
    if named:
        return Path(named)
    try:
        return system if system.exists() else None
    except PermissionError:  # the folder is not accessible: reading the file reports it
        return system


@dataclass(frozen=True, slots=True)
class ConfigText:
    """The text of a config file, kept so that later errors can name its lines."""

    name: str
    text: str

    def settings(self) -> Settings:
        """Parse the text; see :func:`parse`."""
        return parse(self.text, self.name)

    def describe(self, error: ErrorDetails, model: type[BaseModel], prefix: KeyPath) -> str:
        """Describe a validation error of a plugin's ``model`` whose table is at ``prefix``, in one line."""
        return describe(error, self.text, self.name, model, prefix)


def read(path: Path | None) -> ConfigText:
    """Read the config file (None: no file, all defaults).

    Raises:
        ConfigError: the file cannot be read, or is empty.
    """
    if path is None:
        return ConfigText("defaults", "")
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such config file; 'edge-agent config init {path}' writes one") from None
    if path.is_file() and not text.strip("\0 \t\r\n"):
        # A power cut or an interrupted copy leaves an empty file; all defaults would mean no privacy schedule.
        raise ConfigError(f"{path}: is empty; 'edge-agent config init {path}' writes one with every default")
    return ConfigText(str(path), text)


def load(path: Path | None) -> Settings:
    """Load settings from ``path`` (None: defaults) and the environment.

    Raises:
        ConfigError: unreadable file, bad TOML, unknown key or bad value; one line per problem.
    """
    return read(path).settings()


def parse(text: str, name: str) -> Settings:
    """Parse settings from TOML ``text`` and the environment; errors call the text ``name``.

    Raises:
        ConfigError: as :func:`load`.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not valid TOML: {error}") from error
    refuse_unknown_variables(os.environ)
    errors = [
        ErrorDetails(type="extra_forbidden", loc=(key,), msg="", input=None)
        for key in tables
        if key not in Settings.model_fields
    ]
    known = {key: value for key, value in tables.items() if key in Settings.model_fields}
    try:
        settings = Settings(**known)
        if settings.web.echo_environment and not errors:
            settings = Settings(**echo_tables(known, os.environ))
    except ValidationError as error:
        errors += error.errors()
    except ValueError:  # pydantic-settings' SettingsError, which is imported only where variables are set
        where = _variables(unreadable_variables(os.environ))
        raise ConfigError(f"{where}: lists and tables are given as JSON, like {_EXAMPLES}") from None
    else:
        if not errors:
            return settings
    raise ConfigError("\n".join(describe(error, text, name, Settings) for error in errors))


def echo_tables(tables: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Lay the Echo backend's variables over ``tables``; those of an analyzer only where it is configured.

    Raises:
        ConfigError: a bad value; names the variable.
    """
    merged = dict(tables)
    for variable, (section, *path, key) in ECHO_VARIABLES.items():
        value = environment.get(variable, "").strip()
        model = model_of(Settings.model_fields[section].annotation)
        if not value:
            continue
        if model is None:  # an analyzer's table, which the analyzer itself checks
            table, name = dict(merged.get(section, {})), path[0]
            if name in table:
                merged[section] = table | {name: {**table[name], key: value}}
            continue
        try:
            model.model_validate({key: value})
        except ValidationError as error:
            message = _message(error.errors()[0], (section, key), in_file=False)
            raise ConfigError(f"environment variable {variable}: {section}.{key}: {message}") from None
        merged[section] = {**merged.get(section, {}), key: value}
    return merged


def echo_told(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    """Say which of the Echo backend's variables are obeyed, a line each; none without ``web.echo_environment``."""
    lines = []
    for variable, path in ECHO_VARIABLES.items() if settings.web.echo_environment else ():
        if not environment.get(variable, "").strip():
            continue
        own = setting_variable(path, environment)
        if path[0] == "analyzers" and path[1] not in settings.analyzers:
            lines.append(f"{variable} is not used: there is no [{path[0]}.{path[1]}] in the config")
        else:
            lines.append(f"{variable} is not used: {own} is set" if own else f"{variable} sets {'.'.join(path)}")
    return lines


def describe(error: ErrorDetails, text: str, name: str, model: type[BaseModel], prefix: KeyPath = ()) -> str:
    """Describe a validation error of ``model`` in one line; ``prefix`` is the path of the model's table in the file."""
    location = tuple(str(part) for part in error["loc"])
    path = prefix + location
    where, key = _origin(path, text, name), ".".join(path)
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key {key}{did_you_mean(path[-1], known_keys(model, location[:-1]))}"
    # A plugin's own validator may repeat the value.
    message = Redactor(known_secrets(text, None)).text(_message(error, path, in_file=where.startswith(name)))
    return f"{where}: {key}: {message}" if key else f"{where}: {message}"


def _message(error: ErrorDetails, path: KeyPath, *, in_file: bool) -> str:
    """Say what is wrong and what to write; never the value itself, which may be a secret."""
    if error["type"] in _TABLE_ERRORS:
        return f"must be a table: write [{'.'.join(path)}] and its options below"
    kind, _, problem = error["type"].partition("_")
    if kind in _WANTED and problem in ("type", "parsing", "from_float", "sub_type"):
        key = next((part for part in reversed(path) if not part.isdecimal()), "key")
        what, written = _WANTED[kind]
        return f"must be {what}{written.format(key=key) if in_file else ''}"
    return error["msg"].removeprefix("Value error, ")


def _origin(path: KeyPath, text: str, name: str) -> str:
    """Name the environment variable that sets the value at ``path``, else its line in the file."""
    variable = setting_variable(path, os.environ)
    if variable is not None:
        return _variables([variable])
    line = find_line(text, path)
    if line is not None:
        return f"{name}, line {line}"
    inside = variables_inside(path, os.environ)
    return _variables(inside) if inside else name


def _variables(names: Sequence[str]) -> str:
    return f"environment variable {' and '.join(names)}" if names else "environment"


def known_keys(model: type[BaseModel], location: KeyPath) -> list[str]:
    """List the keys accepted in the table of ``model`` at ``location``."""
    for part in location:
        if part.isdecimal():  # an entry of a list of tables
            continue
        field = model.model_fields.get(part)
        inner = model_of(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model in the annotation of an option that is a table or a list of tables; None for others."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) is tuple:
        return model_of(typing.get_args(annotation)[0])
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return next((m for m in map(model_of, typing.get_args(annotation)) if m), None)
    return None


def find_line(text: str, path: KeyPath) -> int | None:
    """Find the line (from 1) of the deepest part of ``path`` that is in TOML ``text``; None when no part is.

    ``tomllib`` reports no positions, but a key begins right after the longest beginning of the text that parses
    without it.
    """
    lines = text.split("\n")
    whole = _longest(lines, len(lines))[1]
    for depth in range(len(path), 0, -1):
        if _contains(whole, path[:depth]):
            numbers = range(len(lines) + 1)
            end = bisect.bisect_left(numbers, 1, key=lambda n: _contains(_longest(lines, n)[1], path[:depth]))
            return _longest(lines, end - 1)[0] + 1
    return None


def _longest(lines: Sequence[str], count: int) -> tuple[int, dict[str, Any]]:
    """Parse the first ``count`` lines, or as many of them as are valid: their number, and the tables in them."""
    for n in range(count, 0, -1):
        for closing in ("", "]", "]]"):  # the end may be inside of a list
            with contextlib.suppress(tomllib.TOMLDecodeError):
                return n, tomllib.loads("\n".join([*lines[:n], closing]))
    return 0, {}


def _contains(value: Any, path: KeyPath) -> bool:
    """Whether the parsed TOML or JSON ``value`` has something at ``path``; the empty path is the value itself."""
    for key in path:
        if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return False
    return True


def refuse_unknown_variables(environment: Iterable[str]) -> None:
    """Refuse ``EDGE_AGENT__`` variables that name no section: nothing else would report the typo.

    Raises:
        ConfigError: names the variable and the closest section.
    """
    for variable in environment:
        if not variable.upper().startswith(ENV_PREFIX):
            continue
        first = variable[len(ENV_PREFIX) :].split("__")[0].lower()
        if first not in Settings.model_fields:
            hint = did_you_mean(first, Settings.model_fields)
            raise ConfigError(f"environment variable {variable}: unknown section {first!r}{hint}")


def setting_variable(path: KeyPath, environment: Mapping[str, str]) -> str | None:
    """Find the variable that sets the value at ``path``, directly or in the JSON of a table around it."""
    variables = {variable.upper(): variable for variable in environment}
    for n in range(len(path), 0, -1):
        variable = variables.get(_variable(path[:n]))
        if variable is not None and (n == len(path) or _contains(_from_json(environment[variable]), path[n:])):
            return variable
    return None


def variables_inside(path: KeyPath, environment: Iterable[str]) -> list[str]:
    """List the variables that set options in the table at ``path``."""
    return sorted(variable for variable in environment if path and variable.upper().startswith(_variable(path) + "__"))


def unreadable_variables(environment: Mapping[str, str]) -> list[str]:
    """List the variables of lists and tables whose value is not JSON."""
    found = []
    for variable, value in sorted(environment.items()):
        if variable.upper().startswith(ENV_PREFIX):
            path = tuple(variable[len(ENV_PREFIX) :].lower().split("__"))
            if _takes_json(Settings, path) and _from_json(value) is _NOT_JSON:
                found.append(variable)
    return found


def _takes_json(model: type[BaseModel], path: KeyPath) -> bool:
    """Whether the option at ``path`` is a list or a table."""
    field = model.model_fields.get(path[0])
    inner = model_of(field.annotation) if field else None
    if inner is not None and len(path) > 1:
        return _takes_json(inner, path[1:])
    return inner is not None or (field is not None and typing.get_origin(field.annotation) in (tuple, dict))


_NOT_JSON = object()


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return _NOT_JSON


def _variable(path: KeyPath) -> str:
    return ENV_PREFIX + "__".join(path).upper()
