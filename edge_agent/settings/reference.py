"""Sample config file and option reference, generated from the settings models.

``scripts/docs`` writes both into the repository and checks that they are up to date.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomlkit
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

Models = Mapping[str, type[BaseModel]]
"""Settings models of plugins, by name or by path of their table."""

_SAMPLE_HEAD = """\
# edge-agent configuration. Every option is listed with its default; remove the # in front of one to change it.
# Any option can also be set in the environment: EDGE_AGENT__MQTT__HOST=broker.example
# Check with 'edge-agent config check'; SIGHUP or a restart applies it.
"""

_REFERENCE_HEAD = """\
# Configuration

One TOML file, `/etc/edge-agent/config.toml` unless `--config` or `EDGE_AGENT_CONFIG` names another; every option can
also be set as `EDGE_AGENT__SECTION__KEY` in the environment, which outranks the file. Unknown keys are refused.
`edge-agent config init` writes a commented file, `config check` checks one, `config show` prints what is in effect.
"""


@dataclass(frozen=True, slots=True)
class Option:
    """One key of a table. ``default`` is TOML, or None when the option has no fixed default."""

    name: str
    default: str | None
    meaning: str


@dataclass(frozen=True, slots=True)
class OptionTable:
    """A table of the config file and its options, without sub-tables."""

    path: str
    title: str
    options: tuple[Option, ...]


def sample(
    model: type[BaseModel],
    analyzers: Models,
    others: Models | None = None,
    values: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> str:
    """Return a config file in which every option stands with its default and its description, commented out.

    ``values``, by table and name, are set instead.
    """
    parts = (_sample_lines(table, values.get(table.path, {})) for table in tables(model, analyzers, others))
    return "\n".join([_SAMPLE_HEAD, *("\n".join(part) for part in parts)])


def reference(model: type[BaseModel], analyzers: Models, others: Models | None = None) -> str:
    """Return the option reference in Markdown: one section per table, one row per option."""
    parts = [_REFERENCE_HEAD]
    for table in tables(model, analyzers, others):
        parts.append(f"## `[{table.path}]`\n\n{table.title}\n".replace("\n\n\n", "\n"))
        rows = "\n".join(f"| `{o.name}` | {_code(o.default)} | {_cell(o.meaning)} |" for o in table.options)
        if rows:
            parts.append(f"| option | default | meaning |\n| --- | --- | --- |\n{rows}\n")
    return "\n".join(parts)


def tables(model: type[BaseModel], analyzers: Models, others: Models | None = None) -> Iterator[OptionTable]:
    """Yield the tables of ``model`` in order, then those of ``analyzers`` by name, then ``others`` by path."""
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is not None:
            yield from _walk(name, section)
    for name, settings in sorted(analyzers.items()):
        yield from _walk(f"analyzers.{name}", settings)
    for path, settings in sorted((others or {}).items()):
        yield from _walk(path, settings)


def _sample_lines(table: OptionTable, values: Mapping[str, Any]) -> Iterator[str]:
    if table.title:
        yield f"# {table.title}"
    yield f"[{table.path}]"
    for option in table.options:
        yield from (f"# {line}" for line in textwrap.wrap(option.meaning, 110))
        if option.name in values:
            yield f"{option.name} = {tomlkit.item(values[option.name]).as_string()}"
        else:
            yield f"#{option.name} = {option.default if option.default is not None else '…'}"
    yield ""


def _code(default: str | None) -> str:
    return "" if default is None else f"`{_cell(default)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


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
