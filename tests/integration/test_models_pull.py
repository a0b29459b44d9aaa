"""BlazeFace comes out of the real wheel through the machine's real pip, as on a machine that upstream is closed to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.models import Catalogue, ModelStore, TfliteModel, Transfer

NAMES = ("blazeface-short", "blazeface-full")


@pytest.mark.timeout(600)
def test_blazeface_is_pulled_from_the_wheel_and_runs(tmp_path: Path) -> None:
    entries = [replace(entry, url=None) for entry in Catalogue.load() if entry.name in NAMES]
    store = ModelStore(tmp_path / "store", Catalogue(entries))
    seen: list[Transfer] = []
    pulled = store.pull(progress=seen.append)
    assert [model.origin for model in pulled] == ["package mediapipe==0.10.21"] * 2
    assert {transfer.name for transfer in seen} <= {"blazeface-short"}  # one download serves both
    for name, side in zip(NAMES, (128, 192), strict=True):
        assert TfliteModel(store.locate(name)).inputs[0].shape == (1, side, side, 3)


def test_other_published_export_of_yamnet_is_accepted(tmp_path: Path, shared: Path) -> None:
    store = ModelStore(tmp_path, Catalogue.load())
    assert store.pull(["yamnet"], shared / "models")[0].origin.endswith("yamnet.tflite")
    assert TfliteModel(store.locate("yamnet")).inputs[0].shape == (15_600,)
