"""The option reference of the documentation, made from the schema."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from edge_agent.settings.tables import tables

_HEAD = """\
# Configuration

One TOML file, `/etc/edge-agent/config.toml` unless `--config` or `EDGE_AGENT_CONFIG` names another; every option can
also be set as `EDGE_AGENT__SECTION__KEY` in the environment, which outranks the file. Unknown keys are refused.
`edge-agent config init` writes a commented file, `config check` checks one, `config show` prints what is in effect.
"""


def reference(
    model: type[BaseModel],
    analyzers: Mapping[str, type[BaseModel]],
    others: Mapping[str, type[BaseModel]] | None = None,
) -> str:
    """Markdown: one section a table, one row an option."""
    parts = [_HEAD]
    for table in tables(model, analyzers, others):
        parts.append(f"## `[{table.path}]`\n\n{table.title}\n".replace("\n\n\n", "\n"))
        rows = "\n".join(f"| `{o.name}` | {_code(o.default)} | {_cell(o.meaning)} |" for o in table.options)
        if rows:
            parts.append(f"| option | default | meaning |\n| --- | --- | --- |\n{rows}\n")
    return "\n".join(parts)


def _code(default: str | None) -> str:
    return "" if default is None else f"`{_cell(default)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
