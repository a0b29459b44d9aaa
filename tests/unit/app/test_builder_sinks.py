"""Sinks from plugin to config: enabled by their table only, and checked before anything is made."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from edge_agent.app.builder import PipelineBuilder
from edge_agent.domain.errors import ConfigError
from edge_agent.domain.event import Message
from edge_agent.settings import ConfigText


@pytest.fixture(autouse=True)
def _only_jsonl(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.metadata.EntryPoints([importlib.metadata.EntryPoint("jsonl", "edge_agent_jsonl", "edge_agent")])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: found)


def builder(tmp_path: Path, table: str, allow: str = '"jsonl"') -> PipelineBuilder:
    text = f'[device]\nstate_dir = "{tmp_path}"\n[plugins]\nallow = [{allow}]\n{table}'
    config = ConfigText("test.toml", text)
    return PipelineBuilder(config, config.settings())


def test_a_sink_runs_only_when_enabled(tmp_path: Path) -> None:
    assert builder(tmp_path, "").sinks() == {}
    path = tmp_path / "m.jsonl"
    (made,) = builder(tmp_path, f'[sinks.jsonl]\nenabled = true\npath = "{path}"').sinks().values()
    sink = made()
    sink.write([Message("b1", 1, "summary", "summary", b'{"seq":1}')])
    sink.close()
    assert path.read_text() == '{"seq":1}\n'


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (
            "[sinks.jsonl]\nenabled = true\nmax_mbs = 3",
            "test.toml, line 7: unknown key sinks.jsonl.max_mbs; did you mean",
        ),
        ("[sinks.jsonl]\nkeep = -1", "sinks.jsonl.keep"),
        ("[sinks.kafka]\nenabled = true", "sinks.kafka: no plugin in plugins.allow offers it; known: jsonl"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, table: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        builder(tmp_path, table).sinks()
    assert complaint in str(caught.value)
