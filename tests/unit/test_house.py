"""``scripts/house`` counts what it claims to count."""

from __future__ import annotations

from pathlib import Path

from tests.unit.test_docs import house


def test_counts_of_a_small_tree(tmp_path: Path) -> None:
    texts = {
        "edge_agent": '"""Package."""\n\nfrom edge_agent.a import First\n\n__all__ = ["First"]\n',
        "edge_agent.a": "from edge_agent import b\n\nclass First: ...\n" + "\n" * 500,
        "edge_agent.b": "from edge_agent import a\n\nclass First: ...\n",
        "edge_agent.c": "class Agent:\n    def __init__(self):\n        self.one = self.two = 1\n" + "\n" * 50,
    }
    modules = {}
    for name, text in texts.items():
        modules[name] = tmp_path / ("__init__.py" if name == "edge_agent" else f"{name}.py")
        modules[name].write_text(text, encoding="utf-8")
    found = house().counts(modules)
    assert found["modules"] == ["edge_agent.a", "edge_agent.b", "edge_agent.c"]
    assert found["small"] == ["edge_agent.b (3)"]
    assert found["large"] == ["edge_agent.a (503)"]
    assert found["cycles"] == ["edge_agent.a <-> edge_agent.b"]
    assert found["same_names"] == ["First (2)"]
    assert found["agent_attributes"] == ["one", "two"]
