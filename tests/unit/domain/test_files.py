"""Atomic replacement of files, on a real file system."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from edge_agent.domain.files import replace_durably


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.json"
    replace_durably(path, b"1")
    replace_durably(path, b"22")
    assert path.read_bytes() == b"22"
    assert [file.name for file in path.parent.iterdir()] == ["x.json"]


def test_a_file_that_cannot_be_replaced_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    (target / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        replace_durably(target, b"1")
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_permissions_are_set_before_there_is_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(
        os,
        "fchmod",
        lambda descriptor, mode, real=os.fchmod: (sizes.append(os.fstat(descriptor).st_size), real(descriptor, mode)),
    )
    replace_durably(tmp_path / "token", b"secret", mode=0o600)
    assert sizes == [0]
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


def test_content_that_fails_its_check_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x"
    replace_durably(path, b"old")

    def check(written: bytes) -> None:
        assert written == b"new"
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        replace_durably(path, b"new", check=check)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_files_that_share_a_stem_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    replace_durably(tmp_path / "x.json", b"1", check=lambda _: replace_durably(tmp_path / "x.db", b"2"))
    assert ((tmp_path / "x.json").read_bytes(), (tmp_path / "x.db").read_bytes()) == (b"1", b"2")


def test_several_writers_of_a_shared_file_leave_one_whole_file(tmp_path: Path) -> None:
    path, contents = tmp_path / "model", [bytes([k]) * 500_000 for k in range(4)]
    writers = [threading.Thread(target=replace_durably, args=(path, c), kwargs={"shared": True}) for c in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_bytes() in contents
    assert os.listdir(tmp_path) == ["model"]
