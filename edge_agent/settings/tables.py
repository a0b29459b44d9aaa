"""Walking the schema: every table with its options, for the sample file and the reference page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Option:
    """One key of a table. ``default`` is TOML, or None when the option has no fixed default."""

    name: str
    default: str | None
    meaning: str


@dataclass(frozen=True, slots=True)
class OptionTable:
    """A table of the config file with its options, sub-tables not included."""

    path: str
    title: str
    options: tuple[Option, ...]


def tables(
    model: type[BaseModel],
    analyzers: Mapping[str, type[BaseModel]],
    others: Mapping[str, type[BaseModel]] | None = None,
) -> Iterator[OptionTable]:
    """All tables of ``model`` in order, then those of the ``analyzers`` by name, and ``others`` by path."""
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is not None:
            yield from _walk(name, section)
    for name, settings in sorted(analyzers.items()):
        yield from _walk(f"analyzers.{name}", settings)
    for path, settings in sorted((others or {}).items()):
        yield from _walk(path, settings)


def _walk(path: str, model: type[BaseModel]) -> Iterator[OptionTable]:
    title = (model.__doc__ or "").strip().splitlines()[0] if model.__doc__ else ""
    options, nested = [], []
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is not None:
            nested.append((f"{path}.{name}", section))
        else:
            options.append(Option(name, _default(field), field.description or ""))
    yield OptionTable(path, "" if title.startswith("`") else title, tuple(options))
    for sub_path, section in nested:
        yield from _walk(sub_path, section)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _default(field: FieldInfo) -> str | None:
    default: Any = field.default
    if field.default_factory is not None or default is None or isinstance(default, SecretStr):
        return None
    if isinstance(default, BaseModel):
        default = default.model_dump(mode="json")
    if isinstance(default, Path):
        default = str(default)
    if isinstance(default, tuple | frozenset | set):
        default = list(default)
    item = tomlkit.item(default)
    if isinstance(default, dict):
        inline = tomlkit.inline_table()
        inline.update(default)
        item = inline
    return str(item.as_string())
