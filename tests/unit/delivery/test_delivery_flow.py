"""Flow control: in-flight window, send queue, back-off of topics, meaning of reason codes."""

from __future__ import annotations

import random

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.delivery.flow_control import (
    EVENTS_S,
    SUBMITTED,
    InFlightMessage,
    InFlightWindow,
    Intake,
    SendQueue,
    TopicBackOffs,
)
from edge_agent.delivery.link import Outgoing, Published, Verdict, packet_size, verdict
from edge_agent.delivery.outbox.outbox import PUT_ROWS
from tests.support.windows import event_draft, summary_draft


def test_the_in_flight_window_allows_backlog_in_advance_and_live_messages_on_top() -> None:
    window = InFlightWindow(20)
    window.restart(65_535)
    assert (window.room(live=False), window.room(live=True)) == (60, 80)
    for _ in range(60):
        window.add(InFlightMessage("backlog", None, 0.0))
    assert (window.room(live=False), window.room(live=True)) == (0, 20)
    window.restart(1)
    assert (len(window), window.room(live=False), window.room(live=True)) == (0, 3, 4)
    token = window.add(InFlightMessage("t", None, 3.0))
    assert (window.room(live=False), window.oldest(), window.on("t")) == (2, 3.0, 1)
    assert window.remove(token) == InFlightMessage("t", None, 3.0)
    assert window.remove(token) is None
    assert window.oldest() is None
    window.restart(20, one_by_one=True)
    assert (window.room(live=False), window.room(live=True)) == (1, 1)
    window.widen()
    assert window.room(live=False) == 60


def _out(token: int, topic: str = "backfill/summary", *, urgent: bool = False, seen: int = 0) -> Outgoing:
    return Outgoing(token, topic, b"", False, urgent=urgent, seen=seen)


def _sent(queue: SendQueue, in_flight: int = 0) -> list[int]:
    tokens = []
    while (message := queue.next(in_flight + len(tokens))) is not None:
        tokens.append(message.token)
    return tokens


def test_the_send_queue_keeps_to_the_window_and_sends_live_messages_first() -> None:
    queue = SendQueue(6)
    queue.add(1, [_out(99)])
    queue.start(2, 65_535)
    queue.add(2, [*map(_out, range(10)), _out(20, "summary", urgent=True)])
    assert _sent(queue) == [20, 0, 1, 2], "only of the present connection; two places stay free for live messages"
    queue.add(2, [_out(k, "summary", urgent=True) for k in (21, 22, 23)])
    assert _sent(queue, 4) == [21, 22]
    assert _sent(queue, 4) == [23]
    queue.clear()
    queue.start(3, 1)
    queue.add(3, map(_out, range(3)))
    assert _sent(queue) == [0], "a window of one is not reserved for live messages"


def test_queued_messages_of_a_refused_topic_are_returned_unsent() -> None:
    queue = SendQueue(20)
    queue.start(1, 3)
    first = _out(0)
    queue.add(1, [first, _out(1), _out(2, "event/burst"), _out(3)])
    assert queue.settle([]) is None
    assert queue.settle([(first, 0x10)]) == Published(((0, 0x10),))
    assert queue.settle([(first, 0x90)]) == Published(((0, 0x90),)), "only this message is at fault"
    assert queue.settle([(first, 0x87)]) == Published(((0, 0x87),), (), 1)
    assert _sent(queue) == [2]
    queue.add(1, [_out(4), _out(5, seen=1)])
    assert _sent(queue) == [5], "4 was queued before the sender knew of the refusal, 5 is a new attempt"
    assert queue.settle([]) == Published((), (0, 1, 3, 4), 1)
    assert queue.settle([]) is None
    queue.start(2, 3)
    queue.add(2, [_out(6)])
    assert _sent(queue) == [6], "a new connection may have other permissions"


def test_a_refused_topic_backs_off_and_is_probed_with_one_message() -> None:
    pauses, window = TopicBackOffs(random.Random(1)), InFlightWindow(20)
    assert pauses.may_send("summary", 0.0, window)
    pauses.refused("summary", 0.0)
    pauses.refused("summary", 0.1)  # the rest of the messages in flight: no further step
    assert not pauses.may_send("summary", 0.2, window)
    assert pauses.may_send("event/burst", 0.2, window), "other topics go on"
    assert pauses.may_send("summary", 2.0, window)
    token = window.add(InFlightMessage("summary", None, 2.0))
    assert not pauses.may_send("summary", 2.0, window), "one probe at a time"
    window.remove(token)
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
    assert packet_size(Outgoing(1, "a/b", bytes(length), False)) == header + body


@pytest.mark.parametrize("length", [1, 40, 90, 100, 200, 16_000])
def test_packet_size_counts_properties(length: int) -> None:
    """Against paho's own packing."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.UserProperty = [("site", "x" * length), ("label_floor", "2")]
    properties.MessageExpiryInterval = 60
    properties.CorrelationData = b"abc"
    packed = len(properties.pack())
    message = Outgoing(1, "a/b", b"", False, b"abc", expiry_s=60, about=tuple(properties.UserProperty))
    body = 2 + 3 + 2 + packed
    assert packet_size(message) == body + (2 if body < 128 else 3 if body < 16_384 else 4)


def test_without_a_connection_events_wait_for_their_window() -> None:
    intake = Intake(hasty=False)
    assert not intake.due(0.0, hurry=True)
    intake.add(event_draft(0), 0.0)
    assert not intake.due(0.0, hurry=False)
    assert intake.due(0.0, hurry=True), "a connection came, or the agent stops"
    assert intake.due(EVENTS_S, hurry=False), "but not for ever"
    intake.add(summary_draft(0), 3.0)
    assert intake.due(3.0, hurry=False)
    assert [draft.kind for draft in intake.take()[0]] == ["event", "summary"]
    for number in range(PUT_ROWS):
        assert not intake.due(4.0, hurry=False)
        intake.add(event_draft(number), 4.0)
    assert intake.due(4.0, hurry=False), "nor too many"


def test_a_sink_gets_events_at_once_and_what_is_too_much_is_counted() -> None:
    intake = Intake(hasty=True)
    intake.add(event_draft(0), 0.0)
    assert intake.due(0.0, hurry=False)
    for number in range(SUBMITTED):
        intake.add(event_draft(number), 0.0)
    drafts, lost = intake.take()
    assert (len(drafts), lost) == (SUBMITTED, 1)
    assert intake.take() == ([], 0)
