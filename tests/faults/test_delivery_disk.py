"""Faults of the disk and of the process: rows 1 to 11 of the fault table, as far as delivery is concerned."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_agent.domain.clock import ManualClock
from edge_agent.domain.database import NewerSchemaError
from edge_agent.domain.errors import AlreadyRunningError
from tests.support.fixtures import MakeBroker, MakeDelivery
from tests.support.outboxes import MQTT, assert_balanced, make_outbox, query
from tests.support.payloads import key, validated
from tests.support.powercut import PowerCut
from tests.support.reliability import run_and_cut
from tests.support.subscriber import Subscriber
from tests.support.torture import undelivered
from tests.support.windows import a_summary, event_draft, summary_draft

RecordProperty = Callable[[str, object], None]

BASE = "edge-agent/kiosk-1/"


def _python(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _keys(outbox: Any) -> list[tuple[str, int]]:
    outbox.release(MQTT)
    return [(row.boot_id, row.seq) for row in outbox.lease(MQTT, 100_000)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB of its own."""
    mount = tmp_path / "disk"
    mount.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def _fill(disk: Path, leave: int = 0) -> Path:
    """A file that takes all space but ``leave`` bytes."""
    filler = disk / "filler"
    with filler.open("ab") as file:
        try:
            while True:
                file.write(bytes(65_536))
                file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    if leave:
        os.truncate(filler, filler.stat().st_size - leave)
    return filler


# -- rows 1 to 3: the process or the power goes -----------------------------------------------------------------------


def test_a_hundred_kills_lose_no_committed_row(repository: Path, record_property: RecordProperty) -> None:
    """Row 1: SIGKILL at a random moment, 100 times: no committed row is lost, and the next start works at once."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.torture", "--kills", "100"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    outcome = json.loads(done.stdout or "{}")
    record_property("runs", outcome.get("kills"))
    record_property("lost", outcome.get("lost"))
    assert done.returncode == 0, (outcome, done.stderr)
    assert outcome["kills"] == 100
    assert outcome["committed"] > 200, "the children did something before they died"
    assert outcome["slowest_open_s"] < 10


def test_kills_while_delivering_lose_no_message(
    make_broker: MakeBroker, tmp_path: Path, repository: Path, eventually: Any, record_property: RecordProperty
) -> None:
    """Row 1: SIGKILL five times while delivery publishes to a broker: every sequence number is with the subscriber or
    still in the outbox.
    """
    broker = make_broker()
    rng = random.Random(3)
    with Subscriber(broker.port, BASE + "#") as subscriber:
        for number in range(5):
            agent = _python(
                "tests.support.agent_process", "--state", str(tmp_path / "state"), "--port", str(broker.port),
                "--boot", f"k{number}", cwd=repository,
            )  # fmt: skip
            assert agent.stdout
            assert agent.stdout.readline() == "connected\n", agent.stderr.read() if agent.stderr else ""
            time.sleep(rng.uniform(0.0, 0.3))
            agent.kill()
            agent.communicate()

        def received() -> set[tuple[str, int]]:
            documents = [validated(m.payload) for m in list(subscriber.messages) if m.topic.endswith("summary")]
            return {(document["boot_id"], document["seq"]) for document in documents}

        eventually(lambda: not undelivered(tmp_path / "state" / "outbox", received()))
        record_property("runs", 5)
        assert len({boot for boot, _ in received()}) >= 4


def test_a_kill_between_puback_and_delete_repeats_the_same_key(
    make_broker: MakeBroker, make_delivery: MakeDelivery, tmp_path: Path, repository: Path, eventually: Any
) -> None:
    """Row 2: SIGKILL after the broker's acknowledgement and before the row is deleted: a duplicate with
    the same key.
    """
    broker = make_broker()
    with Subscriber(broker.port, BASE + "#") as subscriber:
        agent = _python(
            "tests.support.agent_process", "--state", str(tmp_path / "state"), "--port", str(broker.port),
            "--boot", "k1", "--count", "1", "--die-between-puback-and-delete", cwd=repository,
        )  # fmt: skip
        assert agent.wait(30) == -signal.SIGKILL
        first = subscriber.wait_for(BASE + "summary")
        delivery = make_delivery(broker.port, boot_id="k2")
        again = subscriber.wait_for(BASE + "backfill/summary")
        assert key(validated(first.payload)) == key(validated(again.payload)) == ("kiosk-1", "k1", 1)
        assert validated(again.payload)["replayed"]
        eventually(lambda: delivery.stats().outbox.pending == 0)
        assert delivery.stats().outbox.balanced


@pytest.mark.parametrize("chance", [False, True], ids=["nothing unsynced survives", "random blocks survive"])
def test_a_power_cut_loses_no_committed_row(tmp_path: Path, chance: bool, record_property: RecordProperty) -> None:
    """Row 3: a power cut loses unsynced writes, wholly or block by block; every committed row is kept."""
    if not PowerCut.available():
        pytest.skip("needs a C compiler for the library that forgets unsynced writes")
    folder = tmp_path / "outbox"
    folder.mkdir()
    cut = PowerCut(folder, tmp_path / "workshop")
    rng = random.Random(5)
    owed: set[tuple[str, int]] = set()
    ended: set[tuple[str, int]] = set()
    for number in range(5):
        cut.begin()
        owed_now, ended_now = run_and_cut(cut, folder, f"p{number}", rng.uniform(0.02, 0.2))
        owed |= owed_now
        ended |= ended_now
        if owed_now:  # on a busy machine, the cut may come before the first commit
            assert "outbox.db-wal" in cut.synced(), "the library saw the syncs"
        cut.strike(rng if chance else None)
        outbox = make_outbox(folder, boot_id="check")
        kept = _keys(outbox)
        assert owed - ended <= set(kept)
        assert len(kept) == len(set(kept))
        assert outbox.stats().degraded is None
        assert_balanced(outbox)
        outbox.close()
    assert len(owed) > 10
    record_property("runs", 5)


# -- rows 4, 8, 9: damaged files --------------------------------------------------------------------------------------


def _killed_outbox(folder: Path, rows: int = 300) -> None:
    """An outbox that was never closed: the files as SIGKILL leaves them, the last rows only in the WAL."""
    work = folder.with_name(folder.name + "-live")
    outbox = make_outbox(work)
    for k in range(0, rows, 20):
        outbox.put([summary_draft(10.0 * i) for i in range(k, k + 20)])
    folder.mkdir()
    for name in ("outbox.db", "outbox.db-wal", "mark"):
        shutil.copy(work / name, folder / name)
    outbox.close()


@pytest.mark.parametrize("seed", range(6))
def test_a_torn_write_ahead_log_costs_its_tail_and_is_counted(tmp_path: Path, seed: int) -> None:
    """Row 4: the write-ahead log ends in the middle of a write: earlier rows are kept, the rest is counted
    as dropped.
    """
    folder = tmp_path / "outbox"
    _killed_outbox(folder)
    wal = folder / "outbox.db-wal"
    os.truncate(wal, random.Random(seed).randrange(0, wal.stat().st_size))
    outbox = make_outbox(folder, boot_id="b2")
    kept = [seq for _, seq in _keys(outbox)]
    assert kept == list(range(1, len(kept) + 1))
    stats = outbox.stats()
    assert stats.counters.produced == 300
    assert stats.counters.dropped == 300 - len(kept)
    assert_balanced(outbox)
    outbox.put([summary_draft(0.0)])
    assert _keys(outbox)[-1] == ("b2", 1)


def test_a_torn_last_page_is_salvaged(tmp_path: Path) -> None:
    """Row 4: the database file ends in the middle of a page: its rows are salvaged."""
    make = make_outbox(tmp_path)
    make.put([summary_draft(10.0 * k) for k in range(300)])
    make.close()
    file = tmp_path / "outbox.db"
    os.truncate(file, file.stat().st_size - 5000)
    outbox = make_outbox(tmp_path, boot_id="b2")
    stats = outbox.stats()
    assert stats.pending + stats.counters.dropped == 300
    assert stats.pending > 250
    assert_balanced(outbox, tmp_path)


@pytest.mark.parametrize("what", ["header", "first page", "schema", "middle", "counters", "everything"])
def test_a_damaged_database_is_salvaged_moved_aside_and_the_loss_counted(tmp_path: Path, what: str) -> None:
    """Row 8: overwritten bytes or a zeroed header: readable rows are salvaged, the file is quarantined, the rest is
    counted.
    """
    outbox = make_outbox(tmp_path)
    outbox.put([summary_draft(10.0 * k) for k in range(400)])
    outbox.ack(MQTT, [row.id for row in outbox.lease(MQTT, 100)])
    outbox.close()
    file = tmp_path / "outbox.db"
    data = bytearray(file.read_bytes())
    with closing(sqlite3.connect(file)) as db:
        counters_page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'counters'").fetchone()[0]
    spans = {
        "header": (0, 100),
        "first page": (0, 4096),
        "middle": (len(data) // 2, len(data) // 2 + 20_000),
        "counters": ((counters_page - 1) * 4096, counters_page * 4096),
        "everything": (0, len(data)),
    }
    if what == "schema":
        # SQLite quotes the damaged name in its error message, which is then no UTF-8.
        damaged = bytes(data).replace(b"tableitemsitems", b"table\xbd\xff\xfe\xbd\xbditems")
        assert damaged != bytes(data)
        data = bytearray(damaged.replace(b"CREATE TABLE items", b"CREATE TABLE (tems"))
    else:
        start, end = spans[what]
        data[start:end] = bytes(end - start) if what == "header" else random.Random(1).randbytes(end - start)
    file.write_bytes(data)
    again = make_outbox(tmp_path, boot_id="b2")
    stats = again.stats()
    assert stats.salvages == 1
    assert stats.counters.produced == 400
    assert stats.pending == {"middle": stats.pending, "everything": 0}.get(what, 300)
    assert stats.pending >= 270 or what == "everything"
    assert stats.counters.dropped == 300 - stats.pending
    assert_balanced(again, tmp_path)
    aside = tmp_path / "outbox.damaged-1.db"
    assert aside.stat().st_size >= len(data) - 4096
    if stats.counters.dropped:
        assert any(gap.count == stats.counters.dropped for gap in stats.gaps)
    kept = _keys(again)
    assert set(kept) <= {("b1", seq) for seq in range(101, 401)}
    for row in again.lease(MQTT, 1000):
        validated(row.payload)
    again.put([summary_draft(0.0)])
    assert _keys(again)[-1] == ("b2", 1)


def test_damage_while_running_is_salvaged_too_and_numbers_go_on(tmp_path: Path) -> None:
    """Row 8: the file is overwritten under a running agent, which continues with the next sequence number."""
    outbox = make_outbox(tmp_path)
    outbox.put([summary_draft(10.0 * k) for k in range(200)])
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (tmp_path / "outbox.db").open("r+b") as file:
        file.write(random.Random(2).randbytes(40_000))
    with (tmp_path / "outbox.db-wal").open("r+b") as wal:
        wal.write(b"")
    for k in range(200, 240):
        outbox.put([summary_draft(10.0 * k)])
    kept = [seq for _, seq in _keys(outbox)]
    assert kept[-1] == 240
    assert len(kept) == len(set(kept))
    assert_balanced(outbox)
    assert outbox.stats().salvages == 1 or outbox.stats().degraded
    assert outbox.stats().counters.produced == 240


@pytest.mark.parametrize("gone", [["outbox.db-wal"], ["outbox.db-shm"], ["outbox.db-wal", "outbox.db-shm"]])
def test_a_deleted_wal_or_shm_leaves_a_consistent_outbox_and_the_loss_is_counted(
    tmp_path: Path, gone: list[str]
) -> None:
    """Row 9: the WAL or shm file is deleted while the agent is stopped: the outbox is consistent and the
    loss counted.
    """
    folder = tmp_path / "outbox"
    _killed_outbox(folder, rows=100)
    (folder / "outbox.db-shm").touch()
    for name in gone:
        (folder / name).unlink()
    outbox = make_outbox(folder)
    stats = outbox.stats()
    assert stats.balanced
    assert stats.counters.produced == 100
    lost = 100 - stats.pending
    assert lost == stats.counters.dropped
    assert (lost > 0) == ("outbox.db-wal" in gone)
    if lost:
        assert stats.gaps[-1].reason == "write-ahead log lost"
    outbox.put([summary_draft(0.0)])
    assert _keys(outbox)[-1] == ("b1", 101), "no number is given twice"


# -- rows 5 to 7: no space, no writing --------------------------------------------------------------------------------


def test_a_full_disk_merges_then_drops_the_oldest_and_recovers(small_disk: Path) -> None:
    """Row 5: the disk fills while the agent runs: windows are merged, then the oldest rows dropped and counted."""
    clock = ManualClock()
    folder = small_disk / "outbox"
    outbox = make_outbox(folder, clock=clock)
    outbox.maintain()
    assert outbox.stats().ballast
    for k in range(0, 400, 20):
        outbox.put([summary_draft(10.0 * i) for i in range(k, k + 20)])
    filler = _fill(small_disk)
    for k in range(400, 2000, 4):
        outbox.put([summary_draft(10.0 * i) for i in range(k, k + 4)])
    stats = outbox.stats()
    assert stats.counters.produced == 2000
    assert stats.degraded is None, "the ballast was enough to go on with the file"
    assert not stats.ballast
    assert stats.counters.merged_away > 0
    assert_balanced(outbox, folder)
    for k in range(2000, 6000, 8):
        outbox.put([event_draft(float(i)) for i in range(k, k + 8)])
    stats = outbox.stats()
    assert stats.counters.dropped > 0, "events cannot be merged"
    assert stats.gaps[-1].reason == "no space"
    assert_balanced(outbox, folder)
    assert _keys(outbox)[-1][1] >= 6000, "the newest are kept"
    filler.unlink()
    clock.advance(120)
    outbox.maintain()
    assert outbox.stats().ballast
    outbox.close()
    again = make_outbox(folder)
    assert again.stats().counters == stats.counters
    again.close()


def test_a_cold_start_on_a_full_disk_gives_up_the_ballast_and_works(small_disk: Path) -> None:
    """Row 6: no space is free when the agent starts: the ballast file is deleted and the outbox works."""
    folder = small_disk / "outbox"
    outbox = make_outbox(folder)
    outbox.maintain()
    outbox.put([summary_draft(10.0 * k) for k in range(100)])
    outbox.close()
    _fill(small_disk)
    again = make_outbox(folder, boot_id="b2")
    again.put([summary_draft(0.0)])
    stats = again.stats()
    assert stats.degraded is None
    assert not stats.ballast
    assert _keys(again)[-1] == ("b2", 1)
    assert_balanced(again, folder)
    again.ack(MQTT, [row.id for row in again.lease(MQTT, 1)])
    again.close()


def test_a_full_disk_without_ballast_is_survived_in_memory(small_disk: Path) -> None:
    """Row 6: no space and no ballast file: the outbox works in memory, and on the disk again once there is space."""
    clock = ManualClock()
    filler = _fill(small_disk)
    outbox = make_outbox(small_disk / "outbox", clock=clock)
    outbox.put([summary_draft(0.0)])
    assert "free some space there" in str(outbox.stats().degraded)
    assert _keys(outbox) == [("b1", 1)]
    filler.unlink()
    clock.advance(60)
    outbox.maintain()
    assert outbox.stats().degraded is None
    assert _keys(outbox) == [("b1", 1)]
    outbox.put([summary_draft(10.0)])
    assert_balanced(outbox, small_disk / "outbox")
    outbox.close()


@contextmanager
def _no_write_succeeds() -> Iterator[None]:
    """Every write to a file by this process fails with EFBIG: to SQLite an input/output error like any other."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fails_while_running_means_memory_and_back(tmp_path: Path) -> None:
    """Row 7: writes begin to fail: degraded, in bounded memory, without busy loop; later back to the file without a gap
    in the sequence numbers.
    """
    clock = ManualClock()
    outbox = make_outbox(tmp_path, clock=clock)
    outbox.put([summary_draft(10.0 * k) for k in range(10)])
    outbox.ack(MQTT, [row.id for row in outbox.lease(MQTT, 2)])
    with _no_write_succeeds():
        for k in range(10, 3000, 10):
            outbox.put([summary_draft(10.0 * i) for i in range(k, k + 10)])
        stats = outbox.stats()
        rows = outbox.lease(MQTT, 5)
        outbox.ack(MQTT, [row.id for row in rows])
        before = time.process_time()
        for _ in range(100):
            clock.advance(1.0)
            outbox.maintain()
        spent = time.process_time() - before
    assert "see dmesg" in str(stats.degraded)
    assert stats.balanced
    assert stats.counters.produced == 3000
    assert stats.size <= 2 << 20
    assert spent < 2.0
    clock.advance(700)
    outbox.maintain()
    after = outbox.stats()
    assert after.degraded is None
    assert after.counters.acked == 7
    assert_balanced(outbox, tmp_path)
    keys = _keys(outbox)
    assert len(keys) == len(set(keys))
    assert keys[:8] == [("b1", seq) for seq in range(3, 11)]
    outbox.put([summary_draft(40_000.0)])
    assert _keys(outbox)[-1][1] > 3000
    outbox.close()


def test_a_start_on_a_read_only_file_system_means_memory_and_back(small_disk: Path) -> None:
    """Row 7: the file system is mounted read-only, as that of a failing SD card: the outbox works in memory until it
    recovers.
    """
    folder = small_disk / "outbox"
    first = make_outbox(folder)
    first.put([summary_draft(0.0)])
    first.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    clock = ManualClock()
    outbox = make_outbox(folder, clock=clock, boot_id="b2")
    outbox.put([summary_draft(0.0), summary_draft(10.0)])
    assert "mounted read-only" in str(outbox.stats().degraded)
    outbox.ack(MQTT, [row.id for row in outbox.lease(MQTT, 1)])
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    clock.advance(60)
    outbox.maintain()
    stats = outbox.stats()
    assert stats.degraded is None
    assert (stats.counters.produced, stats.counters.acked) == (3, 1)
    assert _keys(outbox) == [("b1", 1), ("b2", 2)]
    assert_balanced(outbox, folder)
    outbox.close()


def test_a_directory_that_cannot_be_made_means_memory_and_delivery_goes_on(
    make_broker: MakeBroker, make_delivery: MakeDelivery, tmp_path: Path
) -> None:
    """Row 7: the state directory is a file: live messages still reach the broker."""
    (tmp_path / "state").write_text("in the way", encoding="utf-8")
    broker = make_broker()
    with Subscriber(broker.port) as subscriber:
        delivery = make_delivery(broker.port)
        for k in range(5):
            delivery.submit_summary(a_summary(10.0 * k))
        subscriber.wait_for(BASE + "summary", count=5)
        stats = delivery.stats().outbox
        assert stats is not None
        assert f"{tmp_path / 'state'} is not a folder: move it away" in str(stats.degraded)
        assert stats.balanced


def test_a_directory_without_access_means_memory_and_a_remedy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Row 7: the agent's user has no access to the state directory: the outbox works in memory and says what to do."""
    state, user = tmp_path / "state", os.geteuid()
    state.mkdir(mode=0o500)
    if user == 0:  # may write everywhere: be somebody else for a moment
        os.seteuid(65534)
    try:
        outbox = make_outbox(state / "outbox")
        outbox.put([summary_draft(0.0)])
        stats = outbox.stats()
        outbox.close()
    finally:
        os.seteuid(user)
    assert stats.balanced
    remedy = f"make {state} a folder that this user can write to, or set device.state_dir"
    assert str(stats.degraded).endswith(f": Permission denied: {remedy}")
    assert remedy in caplog.text


# -- rows 10 and 11 ---------------------------------------------------------------------------------------------------


def test_a_second_agent_on_the_same_state_is_refused(tmp_path: Path, make_delivery: MakeDelivery) -> None:
    """Row 10: a second instance is refused with its own exit code and a remedy; the first is not disturbed."""
    first = make_delivery(1)
    with pytest.raises(AlreadyRunningError, match="stop it") as refusal:
        make_delivery(1)
    assert refusal.value.exit_code == 7
    first.stop(2.0)
    make_delivery(1)


def test_an_outbox_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Row 11: the database of a newer version is refused and left unchanged."""
    outbox = make_outbox(tmp_path)
    outbox.put([summary_draft(0.0)])
    outbox.close()
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerSchemaError, match="newer edge-agent"):
        make_outbox(tmp_path)
    assert query(tmp_path, "SELECT count(*) FROM items") == [(1,)]
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db:
        db.execute("PRAGMA user_version = 1")
    assert _keys(make_outbox(tmp_path)) == [("b1", 1)], "the lock was given back"
