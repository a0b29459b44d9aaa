"""Reading the config file and the environment into :class:`Settings`, with one-line errors that help.

An error names the file and the line where the offending key or its table stands, and for an unknown key the closest
known one. The environment's unknown ``EDGE_AGENT__`` variables are refused too: a typo there would be silent otherwise.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from edge_agent.domain.errors import ConfigError
from edge_agent.domain.text import Redactor
from edge_agent.settings.environment import (
    refuse_unknown_variables,
    setting_variable,
    unreadable_variables,
    variables_inside,
)
from edge_agent.settings.files import read_text
from edge_agent.settings.hints import did_you_mean, known_keys
from edge_agent.settings.lines import find_line
from edge_agent.settings.schema import Settings
from edge_agent.settings.secrets import known_secrets

ENV_FILE = "EDGE_AGENT_CONFIG"
"""Environment variable that names the config file."""

SYSTEM_FILE = Path("/etc/edge-agent/config.toml")

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
"""By the first word of pydantic's error type: what has to be given, and how it is written in the file."""
_EXAMPLES = """'["face", "burst"]' or '{"host": "broker"}'"""


def default_path(system: Path = SYSTEM_FILE) -> Path | None:
    """The config file used when none is given: ``$EDGE_AGENT_CONFIG``, else the system's when it exists."""
    named = os.environ.get(ENV_FILE)
    if named:
        return Path(named)
    try:
        return system if system.exists() else None
    except PermissionError:  # its folder is closed to us: let reading the file say so
        return system


@dataclass(frozen=True, slots=True)
class ConfigText:
    """A config file as read: kept beside the settings so that later errors can name its lines."""

    name: str
    text: str

    def settings(self) -> Settings:
        """The settings it holds, with the environment on top; see :func:`parse`."""
        return parse(self.text, self.name)

    def describe(self, error: ErrorDetails, model: type[BaseModel], prefix: tuple[str, ...]) -> str:
        """One line for a validation error of a plugin's ``model`` whose table stands at ``prefix``."""
        return describe(error, self.text, self.name, model, prefix)


def read(path: Path | None) -> ConfigText:
    """The text of the config file (None: no file, all defaults).

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
        # A power cut or a copy that was cut short leaves such files; all defaults would mean no privacy schedule.
        raise ConfigError(f"{path}: is empty; 'edge-agent config init {path}' writes one with every default")
    return ConfigText(str(path), text)


def load(path: Path | None) -> Settings:
    """Settings from ``path`` (None: defaults) and the environment.

    Raises:
        ConfigError: unreadable file, bad TOML, unknown key or bad value; one line per problem.
    """
    return read(path).settings()


def parse(text: str, name: str) -> Settings:
    """Settings from TOML ``text`` and the environment; ``name`` stands for the text in errors.

    Raises:
        ConfigError: as :func:`load`.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not valid TOML: {error}") from error
    refuse_unknown_variables(os.environ)
    # Kept away from the constructor: pydantic-settings would obey a key such as "_env_file".
    errors = [
        ErrorDetails(type="extra_forbidden", loc=(key,), msg="", input=None)
        for key in tables
        if key not in Settings.model_fields
    ]
    try:
        settings = Settings(**{key: value for key, value in tables.items() if key in Settings.model_fields})
    except SettingsError:
        where = _variables(unreadable_variables(os.environ))
        raise ConfigError(f"{where}: lists and tables are given as JSON, like {_EXAMPLES}") from None
    except ValidationError as error:
        errors += error.errors()
    else:
        if not errors:
            return settings
    raise ConfigError("\n".join(describe(error, text, name, Settings) for error in errors))


def describe(error: ErrorDetails, text: str, name: str, model: type[BaseModel], prefix: tuple[str, ...] = ()) -> str:
    """One line for one validation error of ``model``; ``prefix`` is where the model's table stands in the file."""
    location = tuple(str(part) for part in error["loc"])
    path = prefix + location
    where, key = _origin(path, text, name), ".".join(path)
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key {key}{did_you_mean(path[-1], known_keys(model, location[:-1]))}"
    # A validator of a plugin's own may repeat what it was given.
    message = Redactor(known_secrets(text, None)).text(_message(error, path, in_file=where.startswith(name)))
    return f"{where}: {key}: {message}" if key else f"{where}: {message}"


def _message(error: ErrorDetails, path: tuple[str, ...], *, in_file: bool) -> str:
    """What is wrong and what to write; never the value itself, which may be a secret."""
    if error["type"] in _TABLE_ERRORS:
        return f"must be a table: write [{'.'.join(path)}] and its options below"
    kind, _, problem = error["type"].partition("_")
    if kind in _WANTED and problem in ("type", "parsing", "from_float", "sub_type"):
        key = next((part for part in reversed(path) if not part.isdecimal()), "key")
        what, written = _WANTED[kind]
        return f"must be {what}{written.format(key=key) if in_file else ''}"
    return error["msg"].removeprefix("Value error, ")


def _origin(path: tuple[str, ...], text: str, name: str) -> str:
    """Where the value at ``path`` comes from: the variable that sets it, else the line of the file."""
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
