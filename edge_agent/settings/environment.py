"""Options in the environment, ``EDGE_AGENT__SECTION__KEY``: which variable set a value, and which cannot be right.

Reading them is pydantic-settings' job; this finds the one to blame.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable, Mapping

from pydantic import BaseModel

from edge_agent.domain.errors import ConfigError
from edge_agent.settings.hints import did_you_mean, model_of
from edge_agent.settings.schema import Settings

PREFIX = "EDGE_AGENT__"


def refuse_unknown_variables(environment: Iterable[str]) -> None:
    """A typo in the name of a variable would be silent otherwise.

    Raises:
        ConfigError: a variable with the prefix names no section.
    """
    for variable in environment:
        if not variable.upper().startswith(PREFIX):
            continue
        first = variable[len(PREFIX) :].split("__")[0].lower()
        if first not in Settings.model_fields:
            hint = did_you_mean(first, Settings.model_fields)
            raise ConfigError(f"environment variable {variable}: unknown section {first!r}{hint}")


def setting_variable(path: tuple[str, ...], environment: Mapping[str, str]) -> str | None:
    """The variable that sets the value at ``path``, itself or in the JSON of a table around it."""
    variables = {variable.upper(): variable for variable in environment}
    for n in range(len(path), 0, -1):
        variable = variables.get(_variable(path[:n]))
        if variable is not None and _holds(environment[variable], path[n:]):
            return variable
    return None


def variables_inside(path: tuple[str, ...], environment: Iterable[str]) -> list[str]:
    """Variables that set something within the table at ``path``."""
    return sorted(variable for variable in environment if path and variable.upper().startswith(_variable(path) + "__"))


def unreadable_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables of lists and tables that do not hold JSON, as they should."""
    found = []
    for variable, value in sorted(environment.items()):
        if variable.upper().startswith(PREFIX):
            path = tuple(variable[len(PREFIX) :].lower().split("__"))
            if _takes_json(Settings, path) and not _is_json(value):
                found.append(variable)
    return found


def _takes_json(model: type[BaseModel], path: tuple[str, ...]) -> bool:
    """Whether the option at ``path`` is a list or a table."""
    field = model.model_fields.get(path[0])
    inner = model_of(field.annotation) if field else None
    if inner is not None and len(path) > 1:
        return _takes_json(inner, path[1:])
    return inner is not None or (field is not None and typing.get_origin(field.annotation) in (tuple, dict))


def _holds(value: str, path: tuple[str, ...]) -> bool:
    """Whether the JSON ``value`` has something at ``path``; any value has something at its root."""
    if not path:
        return True
    try:
        inner = json.loads(value)
    except ValueError:
        return False
    for key in path:
        if isinstance(inner, list) and key.isdecimal() and int(key) < len(inner):
            inner = inner[int(key)]
        elif isinstance(inner, dict) and key in inner:
            inner = inner[key]
        else:
            return False
    return True


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def _variable(path: tuple[str, ...]) -> str:
    return PREFIX + "__".join(path).upper()
