"""The outbox on a working disk: order, leases, counters, merging, dropping, expiry, clock repair."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import reduce
from pathlib import Path

import pytest

from edge_agent.delivery.outbox import Outbox, directory
from edge_agent.delivery.outbox.records import Draft
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.errors import AlreadyRunningError, DeliveryError
from edge_agent.domain.summary import MeasureSums, Summary, Window
from edge_agent.summary.summariser import merge_summaries
from tests.support.outboxes import MQTT, assert_balanced, make_outbox, query
from tests.support.payloads import validated
from tests.support.windows import a_summary, event_draft, summary_draft

DAY = 86_400.0


def seqs(outbox, limit: int = 10_000, **options) -> list[int]:
    return [row.seq for row in outbox.lease(MQTT, limit, **options)]


def test_rows_come_out_in_order_and_valid_with_the_key_in_every_payload(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    outbox.put([summary_draft(0), event_draft(3), summary_draft(10)])
    rows = outbox.lease(MQTT, 10)
    assert [(row.kind, row.seq, row.topic) for row in rows] == [
        ("summary", 1, "summary"),
        ("event", 2, "event/burst"),
        ("summary", 3, "summary"),
    ]
    for row in rows:
        document = validated(row.payload)
        assert (document["device"], document["boot_id"], document["seq"]) == ("kiosk-1", "b1", row.seq)
        assert row.message().replayed
    assert outbox.lease(MQTT, 10) == [], "leased rows are not leased again"
    assert_balanced(outbox, tmp_path)


def test_acked_rows_are_deleted_and_nacked_rows_leased_again_in_order(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    outbox.put([summary_draft(10 * k) for k in range(6)])
    rows = outbox.lease(MQTT, 4)
    outbox.ack(MQTT, [rows[0].id, rows[2].id])
    outbox.nack(MQTT, [rows[3].id, rows[1].id])
    assert seqs(outbox) == [2, 4, 5, 6]
    outbox.release(MQTT)
    assert seqs(outbox, 3) == [2, 4, 5]
    stats = outbox.stats()
    assert (stats.counters.produced, stats.counters.acked, stats.pending) == (6, 2, 4)
    outbox.ack(MQTT, [rows[0].id, 999])
    assert outbox.stats().counters.acked == 2, "acking twice or the unknown counts nothing"
    assert_balanced(outbox, tmp_path)


def test_rows_and_sequence_numbers_survive_reopening(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    outbox.put([summary_draft(0), summary_draft(10)])
    outbox.ack(MQTT, [outbox.lease(MQTT, 1)[0].id])
    before = outbox.stats()
    outbox.close()
    outbox.close()
    again = make_outbox(tmp_path)
    assert again.stats().counters == before.counters
    again.put([summary_draft(20)])
    assert seqs(again) == [2, 3]
    again.close()
    other_boot = make_outbox(tmp_path, boot_id="b2")
    other_boot.put([summary_draft(0)])
    assert [(row.boot_id, row.seq) for row in other_boot.lease(MQTT, 9)] == [("b1", 2), ("b1", 3), ("b2", 1)]
    with pytest.raises(DeliveryError, match="not open"):
        again.put([summary_draft(30)])


def test_live_rows_are_leased_before_the_backlog_and_age_into_it(tmp_path: Path) -> None:
    clock = ManualClock()
    outbox = make_outbox(tmp_path, clock=clock)
    outbox.put([summary_draft(10 * k) for k in range(3)])
    clock.advance(60)
    outbox.put([summary_draft(60), event_draft(61)])
    rows = outbox.lease(MQTT, 4, live_s=15.0)
    assert [(row.seq, row.live) for row in rows] == [(4, True), (5, True), (1, False), (2, False)]
    outbox.nack(MQTT, [4])
    assert [(row.seq, row.live) for row in outbox.lease(MQTT, 9, live_s=15.0)] == [(4, True), (3, False)]
    outbox.nack(MQTT, [4, 5])
    clock.advance(20)
    assert [(row.seq, row.live) for row in outbox.lease(MQTT, 9, live_s=15.0)] == [(4, False), (5, False)]


def test_a_row_stored_long_after_its_window_is_not_live(tmp_path: Path) -> None:
    """As after a disk that blocked for a minute or a stopped process, with the broker connected all the time."""
    clock = ManualClock(monotonic=100.0)
    outbox = make_outbox(tmp_path, clock=clock)
    outbox.put([summary_draft(20), event_draft(98), summary_draft(30), summary_draft(89)])
    found = [(row.seq, row.live) for row in outbox.lease(MQTT, 9, live_s=15.0)]
    assert found == [(2, True), (4, True), (1, False), (3, False)]
    assert outbox.lease(MQTT, 9, live_s=15.0) == []


def test_kinds_can_be_skipped_and_leased_later(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    outbox.put([summary_draft(0), event_draft(1), summary_draft(10), event_draft(11)])
    assert seqs(outbox, skip=["summary"], limit=1) == [2]
    assert seqs(outbox, skip=["summary"]) == [4]
    assert seqs(outbox) == [1, 3]


def test_dead_letters_are_kept_and_counted(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    outbox.put([summary_draft(0), summary_draft(10)])
    outbox.dead_letter(MQTT, [outbox.lease(MQTT, 1)[0].id], "packet too large")
    counters = outbox.stats().counters
    assert (counters.dead_lettered, counters.acked) == (1, 0)
    assert seqs(outbox) == [2]
    assert_balanced(outbox, tmp_path)
    letters = list(directory.export(tmp_path, dead=True))
    assert [(letter["payload"]["seq"], letter["reason"]) for letter in letters] == [(1, "packet too large")]


def test_a_row_is_deleted_when_every_consumer_has_taken_it(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path, consumers=("mqtt", "sink:jsonl"))
    outbox.put([summary_draft(0), summary_draft(10), summary_draft(20)])
    ids = [row.id for row in outbox.lease("mqtt", 9)]
    outbox.ack("mqtt", ids[:2])
    assert outbox.stats().pending == 3
    assert [row.seq for row in outbox.lease("sink:jsonl", 2)] == [1, 2]
    outbox.ack("sink:jsonl", ids[:1])
    outbox.dead_letter("sink:jsonl", ids[1:2], "no")
    counters = outbox.stats().counters
    assert (counters.acked, counters.dead_lettered, outbox.stats().pending) == (1, 1, 1)
    assert_balanced(outbox, tmp_path)
    outbox.close()
    only_mqtt = make_outbox(tmp_path)
    assert seqs(only_mqtt) == [3]
    only_mqtt.ack("mqtt", ids[2:])
    assert only_mqtt.stats().pending == 0
    only_mqtt.close()
    more = make_outbox(tmp_path, consumers=("mqtt", "new"))
    more.put([summary_draft(30)])
    assert [row.seq for row in more.lease("new", 9)] == [4]


def test_rows_of_a_removed_consumer_are_dropped_and_counted(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path, consumers=("mqtt", "gone"))
    outbox.put([summary_draft(0), summary_draft(10)])
    outbox.ack("mqtt", [row.id for row in outbox.lease("mqtt", 1)])
    outbox.close()
    after = make_outbox(tmp_path)
    stats = after.stats()
    assert (stats.counters.dropped, stats.pending) == (1, 1)
    assert [gap.reason for gap in stats.gaps] == ["consumer removed"]
    assert stats.balanced


def test_windows_merge_exactly_oldest_first_before_anything_is_dropped(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path, max_mb=2)
    count = 900
    for k in range(0, count, 30):
        outbox.put([summary_draft(10.0 * i) for i in range(k, k + 30)])
    stats = outbox.stats()
    assert stats.counters.dropped == 0
    assert stats.counters.merged_away > 0
    assert stats.size <= stats.limit
    assert_balanced(outbox, tmp_path)
    tiers = [row[0] for row in query(tmp_path, "SELECT tier FROM items ORDER BY id")]
    assert tiers == sorted(tiers, reverse=True), "the oldest have the coarsest resolution"
    rows = outbox.lease(MQTT, 10_000)
    assert len({(row.boot_id, row.seq) for row in rows}) == len(rows), "keys are unique"
    assert sum(row.merged for row in rows) == count
    assert sum(row.seconds for row in rows) == pytest.approx(10.0 * count)
    starts = [row.start for row in rows]
    assert starts == sorted(starts)
    first = rows[0]
    document = validated(first.payload)
    whole = reduce(merge_summaries, (a_summary(10.0 * k) for k in range(first.merged)))
    assert document["merged"] == first.merged
    assert document["faces"]["person_seconds"] == round(whole.window.faces.person_seconds, 3)
    assert document["faces"]["tracks"] == whole.window.faces.carried + whole.window.faces.arrived
    assert document["emotion"]["readings"] == whole.window.emotion.readings


def test_merged_rows_lie_in_one_bucket_of_one_boot(tmp_path: Path) -> None:
    for boot in ("b1", "b2"):
        outbox = make_outbox(tmp_path, max_mb=2, boot_id=boot)
        outbox.put([summary_draft(30.0 + 10.0 * k) for k in range(300)])
        outbox.close()
    outbox = make_outbox(tmp_path, max_mb=2, boot_id="b3")
    outbox.put([summary_draft(10.0 * k) for k in range(400)])
    outbox.put([summary_draft(4000.0)])
    lengths = {1: 60.0, 2: 600.0, 3: 3600.0}
    merged = query(tmp_path, "SELECT tier, begin, seconds, boot_id FROM items WHERE tier > 0")
    assert {row[3] for row in merged} >= {"b1", "b2"}
    for tier, begin, seconds, _ in merged:
        assert math.floor(begin / lengths[tier]) == math.floor((begin + seconds - 0.001) / lengths[tier])


def test_leased_rows_are_not_merged(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path, max_mb=2)
    outbox.put([summary_draft(10.0 * k) for k in range(100)])
    leased = outbox.lease(MQTT, 20)
    for k in range(100, 700, 50):
        outbox.put([summary_draft(10.0 * i) for i in range(k, k + 50)])
    kept = query(tmp_path, "SELECT seq, merged FROM items ORDER BY id LIMIT 20")
    assert kept == [(row.seq, 1) for row in leased]
    outbox.ack(MQTT, [row.id for row in leased])
    assert outbox.stats().counters.acked == 20
    assert_balanced(outbox, tmp_path)


def test_no_merged_row_spans_delivered_windows(tmp_path: Path) -> None:
    """Acknowledgements come out of order: a merged row must not include the time of a deleted row."""
    outbox = make_outbox(tmp_path, max_mb=2)
    outbox.put([summary_draft(10.0 * k) for k in range(100)])
    leased = outbox.lease(MQTT, 100)
    gone = [row for row in leased if row.seq % 5 == 3]
    outbox.ack(MQTT, [row.id for row in gone])
    outbox.nack(MQTT, [row.id for row in leased if row not in gone])
    for k in range(100, 700, 50):
        outbox.put([summary_draft(10.0 * i) for i in range(k, k + 50)])
    spans = query(tmp_path, "SELECT begin, begin + seconds FROM items WHERE merged > 1")
    assert any(begin < 1_000.0 for begin, _ in spans), "old rows were merged"
    delivered = [10.0 * (row.seq - 1) for row in gone]
    assert not [(begin, at) for begin, end in spans for at in delivered if begin <= at < end]
    assert_balanced(outbox, tmp_path)


def test_when_merging_is_not_enough_the_oldest_are_dropped_and_the_gap_is_recorded(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path, max_mb=2)
    for k in range(0, 3000, 50):
        outbox.put([event_draft(float(i)) for i in range(k, k + 50)])
    stats = outbox.stats()
    assert stats.counters.dropped > 0
    assert stats.size <= stats.limit
    first = outbox.lease(MQTT, 1)[0]
    assert first.seq == stats.counters.dropped + 1
    assert [(g.boot_id, g.first_seq, g.last_seq, g.count, g.reason) for g in stats.gaps] == [
        ("b1", 1, first.seq - 1, stats.counters.dropped, "no space")
    ]
    assert_balanced(outbox, tmp_path)


def test_the_directory_stays_within_its_cap(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path, max_mb=4)
    outbox.maintain()
    largest = 0
    for k in range(0, 4000, 100):
        outbox.put([summary_draft(10.0 * i) for i in range(k, k + 100)])
        largest = max(largest, sum(file.stat().st_size for file in tmp_path.iterdir()))
    assert (tmp_path / "ballast").stat().st_size == 1 << 20
    assert largest <= 4.1e6


def test_old_rows_expire_by_a_steady_clock_only(tmp_path: Path) -> None:
    """Row 28: jumps of ten years forward and back, synced and not: no message is dropped for its age until the clock
    has been steady.
    """
    clock = ManualClock(wall=1_780_000_000.0)
    outbox = make_outbox(tmp_path, clock=clock, max_age_days=2)
    outbox.put([summary_draft(0.0), summary_draft(DAY)])

    def settle() -> None:
        for _ in range(3):
            outbox.maintain()
            clock.advance(400)

    settle()
    assert outbox.stats().pending == 2
    clock.set_wall(clock.wall() + 10 * 365 * DAY)  # a jump of ten years
    outbox.maintain()
    clock.advance(30)
    outbox.maintain()
    assert outbox.stats().pending == 2
    clock.set_wall(1_780_000_000.0 + 2.5 * DAY, synced=False)
    settle()
    assert outbox.stats().pending == 2, "a clock that is not right decides nothing"
    clock.set_wall(1_780_000_000.0 + 2.5 * DAY)
    settle()
    stats = outbox.stats()
    assert (stats.pending, stats.counters.dropped) == (1, 1)
    assert stats.gaps[-1].reason == "too old"
    assert stats.balanced


def test_unsynced_rows_of_this_boot_are_repaired_once_the_clock_is_synced(tmp_path: Path) -> None:
    """Row 28: messages of two boots stored before the time is known: those of this boot get their right start when it
    is, the others stay marked.
    """
    old = make_outbox(tmp_path, boot_id="old", clock=ManualClock(synced=False))
    old.put([summary_draft(5.0, wall=100.0, clock="unsynced")])
    old.close()
    clock = ManualClock(wall=1000.0, monotonic=0.0, synced=False)
    outbox = make_outbox(tmp_path, clock=clock)
    outbox.put([summary_draft(10.0, wall=1000.0, clock="unsynced"), event_draft(12.5, wall=1000.0, clock="unsynced")])
    clock.advance(60)
    outbox.maintain()
    assert {row.clock for row in outbox.lease(MQTT, 9)} == {"unsynced"}
    outbox.release(MQTT)
    clock.set_wall(1_795_165_260.0, synced=True)  # 60 s after monotonic zero
    outbox.maintain()
    rows = outbox.lease(MQTT, 9)
    assert [(row.boot_id, row.clock, row.start) for row in rows] == [
        ("old", "unsynced", 105.0),
        ("b1", "synced", 1_795_165_210.0),
        ("b1", "synced", 1_795_165_212.5),
    ]
    assert validated(rows[1].payload)["start"] == "2026-11-20T09:00:10.000Z"
    assert validated(rows[1].payload)["clock"] == "synced"
    assert "clock" not in validated(rows[2].payload)


def test_a_draft_that_cannot_be_rendered_is_dropped_and_counted(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    bad = Window(0.0, 10.0, measures={"x": MeasureSums(1, math.inf, 0.0, 0.0)})
    outbox.put(
        [
            summary_draft(0.0),
            Draft("summary", "summary", Summary(0.0, "synced", bad), 0, 0, 10, "synced"),
            event_draft(3),
        ]
    )
    assert seqs(outbox) == [1, 3]
    assert outbox.stats().counters.dropped == 1
    outbox.count_lost(7, "disk too slow")
    stats = outbox.stats()
    assert (stats.counters.produced, stats.counters.dropped) == (10, 8)
    assert stats.balanced


def test_a_flipped_bit_in_a_payload_is_detected_and_never_sent(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    outbox.put([summary_draft(0.0), summary_draft(10.0), summary_draft(20.0)])
    outbox.close()
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db:
        db.execute("UPDATE items SET payload = CAST(replace(payload, 'kiosk-1', 'kiosk-2') AS BLOB) WHERE seq = 1")
        db.execute("UPDATE items SET topic = CAST(x'73756dff617279' AS TEXT) WHERE seq = 3")
        db.commit()
    again = make_outbox(tmp_path)
    assert seqs(again) == [2]
    assert again.stats().counters.dead_lettered == 2
    assert_balanced(again)
    assert [letter["reason"] for letter in directory.export(tmp_path, dead=True)] == ["damaged", "damaged"]


def test_inspection_works_beside_a_running_agent_and_purging_does_not(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="no outbox here"):
        directory.figures(tmp_path)
    outbox = make_outbox(tmp_path)
    outbox.put([summary_draft(0.0), event_draft(1.0), event_draft(2.0)])
    outbox.dead_letter(MQTT, [outbox.lease(MQTT, 9)[2].id], "no")
    figures = directory.figures(tmp_path)
    assert (figures["pending"], figures["summaries"], figures["events"], figures["dead_letters"]) == (2, 1, 1, 1)
    assert [record["kind"] for record in directory.export(tmp_path)] == ["summary", "event"]
    with pytest.raises(AlreadyRunningError):
        directory.purge(tmp_path)
    outbox.close()
    assert directory.figures(tmp_path)["pending"] == 2
    assert directory.purge(tmp_path, dead_only=True) == (1, 0)
    assert directory.purge(tmp_path) == (0, 2)
    after = directory.figures(tmp_path)
    assert (after["pending"], after["dropped"], after["dead_letters"]) == (0, 2, 0)
    assert after["gaps"][-1]["reason"] == "purged"
    again = make_outbox(tmp_path)
    again.put([summary_draft(50.0)])
    assert seqs(again) == [4]


def test_an_outbox_needs_a_consumer(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="consumer"):
        make_outbox(tmp_path, consumers=())


def _work(outbox: Outbox, step: Callable[[], object]) -> int:
    """Thousands of SQLite virtual machine steps of ``step``: the cost of a scan, independent of the load."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    connection = outbox._store.tables._db
    connection.set_progress_handler(tick, 1000)
    try:
        step()
    finally:
        connection.set_progress_handler(None, 0)
    return count


def test_maintenance_and_skipped_backlog_do_not_scan_all_rows_again(tmp_path: Path) -> None:
    """B11: 9 to 14 ms a second under the lock with 20 000 rows; figures in benchmarks/outbox.py."""
    clock = ManualClock(wall=1_780_000_000.0)
    outbox = make_outbox(tmp_path, clock=clock)
    for k in range(0, 2000, 500):
        outbox.put([summary_draft(10.0 * i) for i in range(k, k + 500)])
    clock.advance(3600.0)
    steps: tuple[Callable[[], object], ...] = (
        outbox.maintain,
        outbox.stats,
        lambda: outbox.lease(MQTT, 256, 15.0, ["summary"]),
        lambda: outbox.lease(MQTT, 256, 15.0, ["summary", "event"]),
    )
    for step in steps:
        step()
        assert _work(outbox, step) < 3
    outbox.put([event_draft(1.0)])
    assert seqs(outbox, skip=["summary"]) == [2001]
    outbox.nack(MQTT, [2001])
    assert seqs(outbox, skip=["summary"]) == [2001]
    assert seqs(outbox, limit=3) == [1, 2, 3]
    assert_balanced(outbox, tmp_path)


def test_new_unsynced_rows_are_found_after_a_search_without_result(tmp_path: Path) -> None:
    clock = ManualClock(wall=1_780_000_000.0)
    outbox = make_outbox(tmp_path, clock=clock)
    outbox.maintain()
    for _ in range(2):
        outbox.put([summary_draft(10.0 * k, wall=0.0, clock="unsynced") for k in range(250)])
        outbox.maintain()
        outbox.maintain()
        assert query(tmp_path, "SELECT count(*) FROM items WHERE synced = 0") == [(0,)]
