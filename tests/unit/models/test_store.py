"""The store: what it installs and locates, and that nothing bad ever replaces something good."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from edge_agent.domain.errors import ModelError
from edge_agent.models import Catalogue, ModelEntry, ModelFile, ModelState, ModelStore, cache_dir, default_dir

OLD, NEW = b"the old model" * 100, b"the new model" * 100
FILES = tuple(ModelFile(hashlib.sha256(content).hexdigest(), len(content)) for content in (OLD, NEW))
ENTRY = ModelEntry("net", "a network", "Apache-2.0", FILES)
BUNDLED = ModelEntry("own", "our own", "Apache-2.0", FILES, bundled="bundle_for_test:own.tflite")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "deep" / "store", Catalogue([ENTRY]))


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def flip_bit(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


def test_added_file_is_located(store: ModelStore, tmp_path: Path) -> None:
    path = store.add("net", put(tmp_path / "download (1).bin", OLD))
    assert store.locate("net") == path
    assert path.read_bytes() == OLD
    assert path.stat().st_mode & 0o777 == 0o644
    assert store.installed("net")
    assert store.digest("net") == FILES[0].sha256


def test_missing_model_says_how_to_get_it(store: ModelStore) -> None:
    with pytest.raises(
        ModelError, match=r"net is not installed: run 'edge-agent models pull net' \(or with --from DIR"
    ):
        store.locate("net")
    assert not store.installed("net")
    assert store.digest("net") is None


def test_unknown_model_is_refused_everywhere(store: ModelStore, tmp_path: Path) -> None:
    calls = (
        lambda: store.locate("nett"),
        lambda: store.add("nett", tmp_path),
        lambda: store.pull(["nett"]),
        lambda: store.verify(["nett"]),
        lambda: store.installed("nett"),
    )
    for call in calls:
        with pytest.raises(ModelError, match="no model called 'nett'; did you mean 'net'"):
            call()


@pytest.mark.parametrize(
    "damage", [flip_bit, lambda content: content[:-7], lambda content: content + b"x", lambda _: b""]
)
def test_bad_file_is_not_added_and_the_good_one_stays(store: ModelStore, tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    """Row 27: a model with a flipped bit, cut off, too long or empty is not taken; the good one stays."""
    store.add("net", put(tmp_path / "good", OLD))
    with pytest.raises(ModelError, match="bad is not net: it"):
        store.add("net", put(tmp_path / "bad", damage(NEW)))
    assert store.locate("net").read_bytes() == OLD
    assert os.listdir(store.directory) == ["net.tflite"]


@pytest.mark.parametrize("damage", [flip_bit, lambda content: content[:-7], lambda _: b""])
def test_file_damaged_in_the_store_is_refused_and_can_be_replaced(store: ModelStore, tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    """Row 27: a stored model that gets a flipped bit, or is cut off or emptied: refused before it is loaded, with the
    command that mends it.
    """
    good = put(tmp_path / "files" / "good", OLD)
    path = store.add("net", good)
    path.write_bytes(damage(OLD))
    with pytest.raises(ModelError, match=r"net is refused .*: it.*; run 'edge-agent models pull net'"):
        store.locate("net")
    assert store.status()[0].state is ModelState.DAMAGED
    assert store.pull(["net"], good.parent)[0].origin == str(good)
    assert store.locate("net").read_bytes() == OLD


def test_failing_disk_leaves_the_good_file(store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add("net", put(tmp_path / "old", OLD))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError, match=r"net cannot be stored in .*: No space left on device; set models.dir"):
        store.add("net", put(tmp_path / "new", NEW))
    assert store.locate("net").read_bytes() == OLD
    assert os.listdir(store.directory) == ["net.tflite"]


def test_what_was_written_is_read_back_before_it_counts(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 27: a disk that stores something else than what was written: noticed, the good one stays."""
    store.add("net", put(tmp_path / "old", OLD))
    monkeypatch.setattr(os, "fsync", lambda descriptor: os.pwrite(descriptor, b"\xff", 5))  # a lying disk
    with pytest.raises(ModelError, match=r"was not stored rightly .* check the disk"):
        store.add("net", put(tmp_path / "new", NEW))
    assert store.locate("net").read_bytes() == OLD
    assert os.listdir(store.directory) == ["net.tflite"]


def test_unwritable_store_is_named(tmp_path: Path) -> None:
    store = ModelStore(put(tmp_path / "file", b"") / "models", Catalogue([ENTRY]))
    with pytest.raises(ModelError, match=r"net cannot be stored in .*file/models: Not a directory; set models.dir"):
        store.add("net", put(tmp_path / "net", OLD))


def test_unreadable_files_are_named(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere cannot be read: No such file or directory"):
        store.add("net", tmp_path / "nowhere")
    (store.directory / "net.tflite").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"net is refused .*: it cannot be read: Is a directory"):
        store.locate("net")


def test_verify_covers_what_is_there_or_named(store: ModelStore, tmp_path: Path) -> None:
    assert store.verify() == ()
    assert [status.state for status in store.verify(["net"])] == [ModelState.MISSING]
    store.add("net", put(tmp_path / "net", OLD))
    assert [(status.state, status.problem) for status in store.verify()] == [(ModelState.INSTALLED, None)]


class TestBundled:
    """Models that come with a package."""

    @pytest.fixture
    def bundle(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        put(
            tmp_path / "bundle_for_test" / "__init__.py",
            b"raise RuntimeError('a plugin must not run to find its model')",
        )
        monkeypatch.syspath_prepend(tmp_path)
        return put(tmp_path / "bundle_for_test" / "own.tflite", OLD)

    @pytest.fixture
    def store(self, tmp_path: Path) -> ModelStore:
        return ModelStore(tmp_path / "store", Catalogue([BUNDLED]))

    def test_is_located_in_its_package_without_importing_it(self, store: ModelStore, bundle: Path) -> None:
        assert store.locate("own") == bundle
        assert store.status()[0].state is ModelState.BUNDLED
        assert store.pull()[0].origin == "already bundled"

    def test_damage_is_refused(self, store: ModelStore, bundle: Path) -> None:
        """Row 27: a flipped bit in a model that comes with the package: refused."""
        bundle.write_bytes(flip_bit(OLD))
        for call in (lambda: store.locate("own"), lambda: store.pull(["own"])):
            with pytest.raises(ModelError, match=r"own is refused .*; reinstall the program"):
                call()

    def test_is_not_added_by_hand(self, store: ModelStore, bundle: Path) -> None:
        with pytest.raises(ModelError, match="comes with the package bundle_for_test"):
            store.add("own", bundle)

    def test_absent_package_is_named(self, store: ModelStore) -> None:
        with pytest.raises(ModelError, match="package bundle_for_test, which is not installed"):
            store.locate("own")

    def test_absent_file_is_named(self, store: ModelStore, bundle: Path) -> None:
        bundle.unlink()
        with pytest.raises(ModelError, match="own is not installed: reinstall the program"):
            store.locate("own")


class TestFolder:
    """Where the store is by default."""

    def test_configured_one_wins(self, tmp_path: Path) -> None:
        assert default_dir(tmp_path / "mine", tmp_path) == tmp_path / "mine"

    def test_state_folder_when_it_can_be_written(self, tmp_path: Path) -> None:
        assert default_dir(None, tmp_path / "not" / "yet") == tmp_path / "not" / "yet" / "models"

    def test_cache_otherwise(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert default_dir(None, put(tmp_path / "file", b"")) == tmp_path / "edge-agent" / "models"

    def test_cache_in_the_home_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache_dir() == tmp_path / ".cache" / "edge-agent" / "models"
