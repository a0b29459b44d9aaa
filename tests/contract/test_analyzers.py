"""Every analyzer that comes with the project, the example to copy included, keeps the contract of plugin authors."""

from __future__ import annotations

import importlib.metadata
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.domain.errors import ModelError
from edge_agent.models import Catalogue, ModelStore
from edge_agent.plugin import AnalyzerContext
from edge_agent.plugin.testing import CHECKS, Subject

ROOT = Path(__file__).resolve().parents[2]

ENTRY_POINTS = [
    pytest.param(file.parent, importlib.metadata.EntryPoint(name, value, "edge_agent"), id=name)
    for file in (ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml")))
    for name, value in tomllib.loads(file.read_text())["project"]["entry-points"]["edge_agent"].items()
]


OTHERS = ("jsonl", "lamp", "webhook")
"""Plugins that register no analyzer."""
EXTRAS = {"speech": "moonshine_voice"}
"""What a plugin needs that not every installation has."""


@pytest.fixture(scope="session")
def context(model_store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> AnalyzerContext:
    """Every model that this machine can have."""
    folder = shutil.copytree(model_store.directory, tmp_path_factory.mktemp("contract") / "models")
    yamnet = ROOT.parent / "shared" / "models" / "yamnet.tflite"
    if yamnet.exists():
        shutil.copy(yamnet, folder)
    return AnalyzerContext(ModelStore(folder, Catalogue.load()))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize(("project", "entry_point"), [p for p in ENTRY_POINTS if p.id not in OTHERS])
def test_contract(
    project: Path,
    entry_point: importlib.metadata.EntryPoint,
    check: Callable[[Subject], None],
    context: AnalyzerContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(project)
    if entry_point.name in EXTRAS:
        pytest.importorskip(EXTRAS[entry_point.name], reason="the extra that it needs is not installed")
    specs = list(entry_point.load().edge_agent_register_analyzers())
    assert specs, f"{entry_point.name} registers no analyzer"
    for spec in specs:
        for model in spec.models(spec.settings()):
            try:
                context.models.locate(model)
            except ModelError as error:
                pytest.skip(str(error))
        check(Subject(entry_point.value, spec, context))


def test_what_this_project_declares_is_what_is_installed() -> None:
    """Otherwise the agent would run without what was tested here."""
    declared = {p.values[1].name for p in ENTRY_POINTS if p.values[0] == ROOT}
    found = {entry_point.name for entry_point in importlib.metadata.entry_points(group="edge_agent")}
    assert declared <= found, "run scripts/setup dev"
