"""Plugins as strangers ship them: a module and a dist-info folder with entry points, found by importlib.metadata."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from edge_agent.domain.errors import ModelError
from edge_agent.plugin.manager import PluginManager
from edge_agent.plugin.spec import AnalyzerContext
from edge_agent.settings import ConfigText

PRELUDE = """\
from edge_agent.domain.event import Event
from edge_agent.domain.observation import EMOTION, EMOTIONS, Observation
from edge_agent.plugin import *
from pydantic import Field


class Quiet(SceneAnalyzer):
    def analyze(self, frame):
        return []


def spec(name="lamp", **changes):
    fields = dict(name=name, kind=Kind.SCENE, summary="nothing", factory=lambda settings, context: Quiet())
    return AnalyzerSpec(**{**fields, **changes})

"""


class Site:
    """A folder that Python looks for packages in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def install(self, module: str, code: str, name: str = "lamp", distribution: str = "acme", target: str = "") -> None:
        """Install ``module`` as entry point ``name`` of a ``distribution`` in version 1.2."""
        (self.folder / f"{module}.py").write_text(PRELUDE + textwrap.dedent(code))
        info = self.folder / f"{distribution}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[edge_agent]\n{name} = {module}{target}\n")
        self.modules.append(module)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Only what the test installs is found: this checkout's own plugins are not."""
    site = Site(tmp_path)
    elsewhere = [p for p in sys.path if not list(Path(p or ".").glob("edge_*agent-*.dist-info"))]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *elsewhere])
    yield site
    for module in site.modules:
        sys.modules.pop(module, None)


Discover = Callable[..., PluginManager]


@pytest.fixture
def discover() -> Discover:
    """Discovers what is installed under a config file's text."""

    def discover(allow: Sequence[str] = ("lamp",), config: str = "", **tables: Mapping[str, Any]) -> PluginManager:
        manager = PluginManager(allow, tables, ConfigText("c.toml", config).describe)
        manager.discover()
        return manager

    return discover


class NoModels:
    """A store in which nothing is installed."""

    def locate(self, name: str) -> Path:
        raise ModelError(f"{name} is not installed: run 'edge-agent models pull {name}'")


@pytest.fixture
def context() -> AnalyzerContext:
    return AnalyzerContext(NoModels())
