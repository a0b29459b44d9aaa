"""Files of the outbox directory (lock, ballast, mark, quarantine) and buckets of the retention policy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_agent.delivery.outbox.directory import BALLAST_BYTES, BallastFile, DirectoryLock, Mark, MarkFile
from edge_agent.delivery.outbox.records import Counters, MergeCandidate
from edge_agent.delivery.outbox.recovery import KEPT, quarantine
from edge_agent.delivery.outbox.store import buckets, complete
from edge_agent.domain.errors import AlreadyRunningError


def test_the_lock_keeps_others_out_until_it_is_released(tmp_path: Path) -> None:
    first, second = DirectoryLock(tmp_path / "lock"), DirectoryLock(tmp_path / "lock")
    first.acquire()
    first.acquire()
    with pytest.raises(AlreadyRunningError, match=r"device\.state_dir"):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        DirectoryLock(tmp_path / "lock").acquire()
        os._exit(0)
    os.waitpid(child, 0)
    DirectoryLock(tmp_path / "lock").acquire()


def test_the_ballast_file_has_allocated_blocks_and_can_be_deleted_and_restored(tmp_path: Path) -> None:
    ballast = BallastFile(tmp_path / "ballast")
    assert not ballast.present
    assert not ballast.release()
    assert ballast.restore()
    assert ballast.restore()
    status = (tmp_path / "ballast").stat()
    assert status.st_size == BALLAST_BYTES
    assert status.st_blocks * 512 >= BALLAST_BYTES
    assert ballast.release()
    assert not (tmp_path / "ballast").exists()


def test_the_ballast_file_is_not_made_without_space_or_directory(tmp_path: Path) -> None:
    assert not BallastFile(tmp_path / "missing" / "ballast").restore()
    assert not BallastFile(tmp_path / "huge", size=1 << 60).restore()
    assert not (tmp_path / "huge").exists()


def test_the_mark_is_kept_and_a_damaged_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "mark"
    assert MarkFile(path).read() is None
    mark = MarkFile(path)
    value = Mark("b1", 7, Counters(6, 1, 2, 0, 1), True)
    mark.write(Mark("b" * 60, 10**12, Counters(10**12, 10**12, 10**12, 10**12, 10**12), True))
    mark.write(value)
    mark.close()
    assert MarkFile(path).read() == value
    assert path.stat().st_size == 320, "rewritten in place"
    for nonsense in (b"", b"{}", b"[1]", b"\xff\xfe", b'{"boot_id":1,"next_seq":"x","counters":{},"open":1}'):
        path.write_bytes(nonsense)
        assert MarkFile(path).read() is None
    MarkFile(tmp_path / "missing" / "mark").write(value)


def test_quarantine_keeps_a_bounded_number_of_damaged_files(tmp_path: Path) -> None:
    for number in range(1, KEPT + 3):
        (tmp_path / "outbox.db").write_text(str(number))
        (tmp_path / "outbox.db-wal").write_text(str(number))
        assert quarantine(tmp_path / "outbox.db").name == f"outbox.damaged-{number}.db"
    kept = sorted(file.name for file in tmp_path.iterdir())
    assert len(kept) == 2 * KEPT
    assert "outbox.damaged-2.db" not in kept
    assert f"outbox.damaged-{KEPT + 2}.db-wal" in kept


def test_only_neighbours_of_one_boot_clock_state_and_consumers_share_a_bucket() -> None:
    def candidate(
        id_: int, begin: float, end: float, boot: str = "b", clock: int = 1, waiting: int = 1
    ) -> MergeCandidate:
        return MergeCandidate(id_, boot, clock, waiting, begin, end - begin)

    rows = [
        candidate(1, 0.0, 50.0),
        candidate(2, 50.0, 60.0),
        candidate(3, 60.0, 70.0),
        candidate(4, 70.0, 80.0, boot="c"),
        candidate(5, 80.0, 90.0, boot="c"),
        candidate(6, 90.0, 95.0, boot="c", clock=0),
        candidate(7, 95.0, 100.0, boot="c", clock=0, waiting=3),
        candidate(8, 0.0, 10.0, boot="c"),
    ]
    assert buckets(rows, 0) == [(1, 2), (3,), (4, 5), (6,), (7,), (8,)]
    assert buckets(rows, 2) == [(1, 2, 3), (4, 5), (6,), (7,), (8,)]
    assert buckets([], 0) == []
    groups = [(1, 2), (3, 4)]
    assert complete(groups, more=True) == [(1, 2)]
    assert complete(groups, more=False) == groups
    assert complete([(1, 2)], more=True) == [(1, 2)], "one bucket larger than what is looked at: better in parts"


def test_windows_with_a_hole_between_them_are_not_merged() -> None:
    rows = [MergeCandidate(k, "b", 1, 1, 10.0 * k, 10.0) for k in (0, 1, 3, 4)]
    assert buckets(rows, 0) == [(0, 1), (3, 4)]
    nearly = [MergeCandidate(0, "b", 1, 1, 0.0, 10.0), MergeCandidate(1, "b", 1, 1, 10.02, 10.0)]
    assert buckets(nearly, 0) == [(0, 1)], "the pause between two windows is no hole"
