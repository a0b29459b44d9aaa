"""A commented config file made from the schema, so that it can never lag behind it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from edge_agent.settings.tables import OptionTable, tables

_HEAD = """\
# edge-agent configuration. Every option is listed with its default; remove the # in front of one to change it.
# Any option can also be set in the environment: EDGE_AGENT__MQTT__HOST=broker.example
# Check with 'edge-agent config check'; SIGHUP or a restart applies it.
"""


def sample(
    model: type[BaseModel],
    analyzers: Mapping[str, type[BaseModel]],
    others: Mapping[str, type[BaseModel]] | None = None,
) -> str:
    """The text of a config file with all options of ``model``, of the ``analyzers`` and of ``others`` commented out."""
    return "\n".join([_HEAD, *("\n".join(_lines(table)) for table in tables(model, analyzers, others))])


def _lines(table: OptionTable) -> Iterator[str]:
    if table.title:
        yield f"# {table.title}"
    yield f"[{table.path}]"
    for option in table.options:
        yield from (f"# {line}" for line in textwrap.wrap(option.meaning, 110))
        yield f"#{option.name} = {option.default if option.default is not None else '…'}"
    yield ""
