"""The in-flight window, pauses, back-off and the meaning of reason codes: pure policy."""

from __future__ import annotations

import random

import pytest

from edge_agent.delivery.backoff import Backoff
from edge_agent.delivery.flow import Flight, Pauses, Window
from edge_agent.delivery.link import Verdict, packet_size, verdict


def test_the_window_honours_receive_maximum_and_leaves_room_for_live_messages() -> None:
    window = Window(20)
    window.restart(65_535)
    for _ in range(18):
        window.depart(Flight("backlog", None, 0.0))
    assert window.room(live=False) == 0
    assert window.room(live=True) == 2
    window.restart(1)
    assert (len(window), window.size, window.room(live=False)) == (0, 1, 1)
    token = window.depart(Flight("t", None, 3.0))
    assert (window.room(live=True), window.oldest(), window.on("t")) == (0, 3.0, 1)
    assert window.land(token) == Flight("t", None, 3.0)
    assert window.land(token) is None
    assert window.oldest() is None


def test_backoff_grows_with_full_jitter_up_to_its_ceiling_and_starts_over() -> None:
    backoff = Backoff(1.0, 60.0, random.Random(7))
    delays = [Backoff(1.0, 60.0, random.Random(seed)).next() for seed in range(300)]
    assert min(delays) < 0.1, "full jitter: anything from nothing"
    assert 0.9 < max(delays) <= 1.0, "to the ceiling"
    many = [backoff.next() for _ in range(200)]
    assert max(many[:3]) <= 4.0
    assert 50.0 < max(many) <= 60.0
    assert backoff.next(floor=30.0) >= 30.0
    backoff.reset()
    assert backoff.next() <= 1.0


def test_a_refused_topic_pauses_longer_and_longer_and_is_probed_with_one_message() -> None:
    pauses, window = Pauses(random.Random(1)), Window(20)
    assert pauses.may_send("summary", 0.0, window)
    pauses.refused("summary", 0.0)
    pauses.refused("summary", 0.1)  # the rest of what was on its way: no further step
    assert not pauses.may_send("summary", 0.2, window)
    assert pauses.may_send("event/burst", 0.2, window), "other topics go on"
    assert pauses.may_send("summary", 2.0, window)
    token = window.depart(Flight("summary", None, 2.0))
    assert not pauses.may_send("summary", 2.0, window), "one message to see"
    window.land(token)
    now = 2.0
    waits = []
    for _ in range(30):
        pauses.refused("summary", now)
        start = now
        while not pauses.may_send("summary", now, window):
            now += 0.25
        waits.append(now - start)
    assert max(waits) > 30
    assert max(waits) < 302
    assert pauses.active() == ("summary",)
    pauses.accepted("summary")
    assert pauses.active() == ()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0x00, Verdict.DONE),
        (0x10, Verdict.DONE),
        (0x80, Verdict.RETRY),
        (0x87, Verdict.RETRY),
        (0x97, Verdict.RETRY),
        (0x90, Verdict.REFUSED),
        (0x95, Verdict.REFUSED),
        (0x99, Verdict.REFUSED),
    ],
)
def test_reason_codes(code: int, expected: Verdict) -> None:
    assert verdict(code) is expected


@pytest.mark.parametrize("length", [0, 100, 120, 121, 122, 16_000, 16_370, 16_380, 2_097_100, 2_097_150])
def test_packet_size_is_what_goes_over_the_wire(length: int) -> None:
    body = 2 + 3 + 2 + 1 + length
    header = 2 if body < 128 else 3 if body < 16_384 else 4 if body < 2_097_152 else 5
    assert packet_size("a/b", bytes(length)) == header + body
