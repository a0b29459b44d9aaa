"""The in-flight window, pauses, back-off and the meaning of reason codes: pure policy."""

from __future__ import annotations

import random

import pytest

from edge_agent.delivery.flow_control import InFlightMessage, InFlightWindow, SendQueue, TopicBackOffs
from edge_agent.delivery.link import Outgoing, Published, Verdict, packet_size, verdict


def test_the_connection_is_handed_some_backlog_ahead_and_live_messages_on_top() -> None:
    window = InFlightWindow(20)
    window.restart(65_535)
    assert (window.room(live=False), window.room(live=True)) == (60, 80)
    for _ in range(60):
        window.depart(InFlightMessage("backlog", None, 0.0))
    assert (window.room(live=False), window.room(live=True)) == (0, 20)
    window.restart(1)
    assert (len(window), window.room(live=False), window.room(live=True)) == (0, 3, 4)
    token = window.depart(InFlightMessage("t", None, 3.0))
    assert (window.room(live=False), window.oldest(), window.on("t")) == (2, 3.0, 1)
    assert window.land(token) == InFlightMessage("t", None, 3.0)
    assert window.land(token) is None
    assert window.oldest() is None
    window.restart(20, careful=True)
    assert (window.room(live=False), window.room(live=True)) == (1, 1)
    window.widen()
    assert window.room(live=False) == 60


def _out(token: int, topic: str = "backfill/summary", *, urgent: bool = False, seen: int = 0) -> Outgoing:
    return Outgoing(token, topic, b"", False, urgent=urgent, seen=seen)


def _sent(departures: SendQueue, on_their_way: int = 0) -> list[int]:
    tokens = []
    while (message := departures.next(on_their_way + len(tokens))) is not None:
        tokens.append(message.token)
    return tokens


def test_departures_keep_to_the_window_and_let_live_messages_go_first() -> None:
    departures = SendQueue(6)
    departures.add(1, [_out(99)])
    departures.start(2, 65_535)
    departures.add(2, [*map(_out, range(10)), _out(20, "summary", urgent=True)])
    assert _sent(departures) == [20, 0, 1, 2], "of the present connection; two places stay free for what is live"
    departures.add(2, [_out(k, "summary", urgent=True) for k in (21, 22, 23)])
    assert _sent(departures, 4) == [21, 22]
    assert _sent(departures, 4) == [23]
    departures.clear()
    departures.start(3, 1)
    departures.add(3, map(_out, range(3)))
    assert _sent(departures) == [0], "a window of one is not for live messages alone"


def test_what_waits_for_a_topic_that_was_turned_down_comes_back_unsent() -> None:
    departures = SendQueue(20)
    departures.start(1, 3)
    first = _out(0)
    departures.add(1, [first, _out(1), _out(2, "event/burst"), _out(3)])
    assert departures.settle([]) is None
    assert departures.settle([(first, 0x10)]) == Published(((0, 0x10),))
    assert departures.settle([(first, 0x90)]) == Published(((0, 0x90),)), "only this message is at fault"
    assert departures.settle([(first, 0x87)]) == Published(((0, 0x87),), (), 1)
    assert _sent(departures) == [2]
    departures.add(1, [_out(4), _out(5, seen=1)])
    assert _sent(departures) == [5], "4 was handed over before the sender knew, 5 is a new attempt"
    assert departures.settle([]) == Published((), (0, 1, 3, 4), 1)
    assert departures.settle([]) is None
    departures.start(2, 3)
    departures.add(2, [_out(6)])
    assert _sent(departures) == [6], "another connection may have other rights"


def test_a_refused_topic_pauses_longer_and_longer_and_is_probed_with_one_message() -> None:
    pauses, window = TopicBackOffs(random.Random(1)), InFlightWindow(20)
    assert pauses.may_send("summary", 0.0, window)
    pauses.refused("summary", 0.0)
    pauses.refused("summary", 0.1)  # the rest of what was on its way: no further step
    assert not pauses.may_send("summary", 0.2, window)
    assert pauses.may_send("event/burst", 0.2, window), "other topics go on"
    assert pauses.may_send("summary", 2.0, window)
    token = window.depart(InFlightMessage("summary", None, 2.0))
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
