"""Store of custom models: versions, deletion, and files that are damaged or of another format."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_agent.custom.store import KEPT, About, CustomModel, CustomStore, Scores
from edge_agent.domain.errors import ConfigError, ModelError

ROOT = Path(__file__).parents[3]


def made(name: str = "mood") -> CustomModel:
    scores = Scores("balanced_accuracy", 0.9, 0.5, 0.8, True, "", 5, 40, {"accuracy": 0.9})
    about = About(name, "words", "classification", "words-1", ("a", "b"), scores, "2026-01-01T00:00:00+00:00")
    weights = np.array([[0, 1], [0, 2], [0, 3]], np.float32)
    return CustomModel(about, np.zeros(3, np.float32), np.ones(3, np.float32), weights, np.zeros(2, np.float32))


def test_what_is_stored_is_what_is_loaded(tmp_path: Path) -> None:
    store = CustomStore(tmp_path)
    stored = store.add(made())
    loaded = store.load("mood")
    assert loaded.about == stored.about
    x = np.array([[0.1, 0.2, 0.3], [1, 0, -1]], np.float32)
    assert loaded.predict(x) == made().predict(x)
    assert sum(loaded.predict(x).values()) == pytest.approx(1)


def test_versions_are_numbered_and_the_oldest_deleted(tmp_path: Path) -> None:
    store = CustomStore(tmp_path)
    for _ in range(KEPT + 2):
        store.add(made())
    assert store.versions("mood") == tuple(range(3, KEPT + 3))
    assert store.load("mood").about.version == KEPT + 2
    with pytest.raises(ConfigError, match="no version 1"):
        store.load("mood", 1)
    assert {path.suffix for path in (tmp_path / "mood").iterdir()} == {".npz"}


def test_delete_and_unknown_names(tmp_path: Path) -> None:
    store = CustomStore(tmp_path)
    store.add(made())
    with pytest.raises(ConfigError, match="did you mean 'mood'"):
        store.delete("mod")
    store.delete("mood")
    assert store.names() == ()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="no custom model 'mood'"):
        store.load("mood")


@pytest.mark.parametrize("name", ["", "Mood", "../up", "a" * 33, "1st", "a.b"])
def test_names_that_cannot_be_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name"):
        CustomStore(tmp_path).add(made(name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"x" * 100, lambda b: b[10:]])
def test_a_damaged_file_is_one_line(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    store = CustomStore(tmp_path)
    store.add(made())
    path = tmp_path / "mood" / "0001.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match="damaged"):
        store.load("mood")


def test_numbers_that_do_not_fit_and_formats_of_the_future(tmp_path: Path) -> None:
    wrong = replace(made(), bias=np.zeros(3, np.float32)).to_bytes()
    with pytest.raises(ModelError, match="do not fit together"):
        CustomModel.from_bytes(wrong, "file")
    with np.load(io.BytesIO(made().to_bytes())) as kept:
        arrays = dict(kept)
    told = json.loads(arrays["about"].tobytes()) | {"format": 99}
    buffer = io.BytesIO()
    np.savez(buffer, **{**arrays, "about": np.frombuffer(json.dumps(told).encode(), np.uint8)})
    with pytest.raises(ModelError, match="format 99"):
        CustomModel.from_bytes(buffer.getvalue(), "file")


def test_vectors_of_another_length_are_refused() -> None:
    with pytest.raises(ModelError, match="train it again"):
        made().predict(np.zeros((1, 4), np.float32))


def test_trainings_at_the_same_time_take_different_versions(tmp_path: Path) -> None:
    store = CustomStore(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(lambda _: store.add(made()).about.version, range(4)))
    assert sorted(added) == [1, 2, 3, 4]
    assert store.versions("mood") == (1, 2, 3, 4)


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from tests.unit.custom.test_store import CustomStore, made
random.seed(0)
for _ in range(20):
    told, tell = os.pipe()
    child = os.fork()
    while not child:
        os.write(tell, b"%d " % CustomStore(Path(sys.argv[1])).add(made()).about.version)
    os.close(tell)
    first = os.read(told, 99)  # it is at work
    time.sleep(random.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    loaded = CustomStore(Path(sys.argv[1])).load("mood").about.version
    print(max(map(int, (first + os.read(told, 9999)).split())), loaded)
    os.close(told)
"""


def test_a_training_that_is_killed_leaves_the_old_or_the_new_version(tmp_path: Path) -> None:
    store = CustomStore(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(seen) == 20
    assert all(told <= loaded <= told + 1 for told, loaded in seen)  # what it said is stored, is
    assert store.load("mood").predict(np.ones((1, 3), np.float32)) == made().predict(np.ones((1, 3), np.float32))
    assert all(store.load("mood", version) for version in store.versions("mood"))
    for path in (tmp_path / "mood").glob(".*"):
        os.utime(path, (0, 0))
    assert store.add(made()).about.version == seen[-1][1] + 1
    assert {path.suffix for path in (tmp_path / "mood").iterdir()} == {".npz"}  # drafts of the killed are gone


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "custom").write_text("a file")
    with pytest.raises(ModelError, match=r"cannot be written: .*device\.state_dir"):
        CustomStore(tmp_path / "custom").add(made())
