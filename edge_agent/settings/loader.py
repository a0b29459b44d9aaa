"""Reading the config file and the environment into :class:`Settings`, with one-line errors that help.

An error names the file and the line where the offending key or its table stands, and for an unknown key the closest
known one. The environment's unknown ``EDGE_AGENT__`` variables are refused too: a typo there would be silent otherwise.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from edge_agent.domain.errors import ConfigError
from edge_agent.settings.schema import Settings

ENV_FILE = "EDGE_AGENT_CONFIG"
"""Environment variable that names the config file."""

SYSTEM_FILE = Path("/etc/edge-agent/config.toml")


def default_path() -> Path | None:
    """The config file used when none is given: ``$EDGE_AGENT_CONFIG``, else the system's when it exists."""
    named = os.environ.get(ENV_FILE)
    if named:
        return Path(named)
    return SYSTEM_FILE if SYSTEM_FILE.exists() else None


def load(path: Path | None) -> Settings:
    """Settings from ``path`` (None: defaults) and the environment.

    Raises:
        ConfigError: unreadable file, bad TOML, unknown key or bad value; one line per problem.
    """
    if path is None:
        return parse("", "defaults")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such config file; 'edge-agent config init {path}' writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Settings:
    """Settings from TOML ``text`` and the environment; ``name`` stands for the text in errors.

    Raises:
        ConfigError: as :func:`load`.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not valid TOML: {error}") from error
    _refuse_unknown_variables()
    try:
        return Settings(**tables)
    except SettingsError as error:
        raise ConfigError(f"environment: {error}: tables are given as JSON, e.g. EDGE_AGENT__MQTT='{{\"host\": …}}'") from error
    except ValidationError as error:
        raise ConfigError("\n".join(describe(e, text, name, Settings) for e in error.errors())) from error


def describe(error: ErrorDetails, text: str, name: str, model: type[BaseModel], prefix: tuple[str, ...] = ()) -> str:
    """One line for one validation error of ``model``; ``prefix`` is where the model's table stands in the file."""
    location = tuple(str(part) for part in error["loc"])
    path = prefix + location
    where = name
    line = find_line(text, path)
    if line is not None:
        where = f"{name}, line {line}"
    elif _variable(path) in {key.upper() for key in os.environ}:
        where = f"environment variable {_variable(path)}"
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key {key}{did_you_mean(path[-1], _known_keys(model, location[:-1]))}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {key}: {message}" if key else f"{where}: {message}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the closest known word, else the list of known words."""
    options = sorted(known)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(options)}" if options else ""


def find_line(text: str, path: tuple[str, ...]) -> int | None:
    """Line (from 1) of the deepest part of ``path`` that ``text`` spells out as a table header or a key."""
    best: tuple[int, int] | None = None
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?", line)
        key = re.match(r"\s*([A-Za-z0-9_.\"'-]+)\s*=", line)
        if header:
            here = table = _split(header.group(1))
        elif key:
            here = table + _split(key.group(1))
        else:
            continue
        if path[: len(here)] == here and (best is None or len(here) > best[0]):
            best = (len(here), number)
    return best[1] if best else None


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _variable(path: tuple[str, ...]) -> str:
    return "EDGE_AGENT__" + "__".join(path).upper()


def _known_keys(model: type[BaseModel], location: tuple[str, ...]) -> list[str]:
    """Keys accepted in the table of ``model`` at ``location``."""
    for part in location:
        field = model.model_fields.get(part)
        inner = _model_of(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return next((m for m in map(_model_of, typing.get_args(annotation)) if m), None)
    return None


def _refuse_unknown_variables(environment: Mapping[str, str] | None = None) -> None:
    prefix = "EDGE_AGENT__"
    for variable in environment if environment is not None else os.environ:
        if not variable.upper().startswith(prefix):
            continue
        first = variable[len(prefix) :].split("__")[0].lower()
        if first not in Settings.model_fields:
            hint = did_you_mean(first, Settings.model_fields)
            raise ConfigError(f"environment variable {variable}: unknown section {first!r}{hint}")
