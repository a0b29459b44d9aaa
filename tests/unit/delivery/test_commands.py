"""Which commands are obeyed and what is answered, without a broker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.delivery.commands import (
    BURST,
    MOST_BYTES,
    REMEMBERED,
    Bucket,
    Command,
    CommandServer,
    MalformedCommand,
    Outcome,
    parse,
    usable_topic,
)
from edge_agent.delivery.link import InboundMessage
from edge_agent.delivery.topics import Topics
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.errors import EdgeAgentError, RefusedError
from edge_agent.settings import CommandSettings

NAMES = Topics("edge-agent", "kiosk-1")


class Bench:
    """A command server whose performer and responder remember what they were given."""

    def __init__(self, *, clock: ManualClock | None = None, **settings: Any) -> None:
        self.clock = clock or ManualClock()
        self.done: list[Command] = []
        self.answers: list[tuple[str | None, str, dict[str, Any]]] = []
        self.error: Exception | None = None
        options = CommandSettings(enabled=True, **settings)
        known = ("privacy", "profile", "status")
        self.server = CommandServer(options, NAMES, known, self._perform, self, self.clock)

    def _perform(self, command: Command) -> Outcome:
        if self.error is not None:
            raise self.error
        self.done.append(command)
        return Outcome("done", {"state": {}})

    def reply(self, request: InboundMessage, topic: str, payload: Mapping[str, object] | str | bytes) -> None:
        assert isinstance(payload, Mapping)
        self.answers.append((request.response_topic, topic, dict(payload)))

    def send(self, name: str, payload: bytes, **more: Any) -> dict[str, Any]:
        """What was answered to one message."""
        before = len(self.answers)
        received = more.pop("received", self.clock.monotonic())
        retain = more.pop("retain", False)
        self.server.handle(InboundMessage(NAMES.full(f"cmd/{name}"), payload, retain, received, **more))
        assert len(self.answers) == before + 1
        return self.answers[-1][2]


def test_a_command_is_done_answered_and_counted() -> None:
    bench = Bench()
    answer = bench.send("privacy", b'{"id": "a-1", "value": true}')
    assert answer == {"v": 1, "command": "privacy", "id": "a-1", "status": "done", "state": {}}
    assert bench.done == [Command("privacy", "a-1", True)]
    assert bench.answers[0][:2] == (None, "cmd/privacy/response")
    assert bench.server.counts() == {"done": 1, "failed": 0, "refused": 0, "malformed": 0}


@pytest.mark.parametrize(
    ("payload", "value"),
    [(b"ON", "ON"), (b" monitor\n", "monitor"), (b"1.5", 1.5), (b"null", None), (b"{}", None), (b'"x"', "x")],
)
def test_bare_values_are_understood(payload: bytes, value: object) -> None:
    assert parse("privacy", payload) == Command("privacy", value=value)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"  ",
        b"\xff",
        b"{",
        b"two words",
        b'{"value": NaN}',
        b"[" * 2000,
        b'{"id": 1}',
        b'{"id": ""}',
        b'{"id": "a\\nb"}',
        b'{"id": "' + b"a" * 65 + b'"}',
        b'{"other": 1}',
        b'{"sent": "noon"}',
        b'{"sent": "2026-11-20T09:00:00"}',
        b'{"sent": true}',
        b'{"sent": 1' + b"0" * 400 + b"}",
    ],
)
def test_malformed_payloads_are_refused(payload: bytes) -> None:
    with pytest.raises(MalformedCommand):
        parse("privacy", payload)
    bench = Bench()
    assert bench.send("privacy", payload)["status"] == "refused"
    assert (bench.done, bench.server.counts()["malformed"]) == ([], 1)


@given(st.binary(max_size=MOST_BYTES + 10))
def test_any_payload_ends_in_one_answer(payload: bytes) -> None:
    """Row 18: any bytes at all (hypothesis): one answer, nothing raised."""
    assert Bench().send("privacy", payload)["status"] in ("done", "refused")


def test_retained_old_and_repeated_commands_are_refused() -> None:
    bench = Bench(max_age_s=30)
    bench.clock.advance(100)
    assert "retained" in bench.send("privacy", b"ON", retain=True)["reason"]
    assert "stale" in bench.send("privacy", b"ON", received=bench.clock.monotonic() - 31)["reason"]
    now = bench.clock.wall()
    for sent in (now - 31, now + 31):
        assert "stale" in bench.send("privacy", json.dumps({"value": "ON", "sent": sent}).encode())["reason"]
    assert bench.send("privacy", json.dumps({"id": "one", "sent": now - 29}).encode())["status"] == "done"
    assert "repeated" in bench.send("privacy", b'{"id": "one"}')["reason"]
    assert len(bench.done) == 1


def test_a_time_that_cannot_be_judged_is_refused() -> None:
    bench = Bench(clock=ManualClock(synced=False))
    assert "does not know the time" in bench.send("privacy", b'{"sent": 1}')["reason"]


def test_the_memory_of_ids_is_bounded() -> None:
    bench = Bench(per_minute=6000)
    for number in range(REMEMBERED + 1):
        bench.clock.advance(1)
        bench.send("status", json.dumps({"id": str(number)}).encode())
    bench.clock.advance(1)
    assert bench.send("status", b'{"id": "1"}')["status"] == "refused"
    assert bench.send("status", b'{"id": "0"}')["status"] == "done"


def test_unknown_and_disallowed_commands_are_refused() -> None:
    bench = Bench(allow=("status",))
    assert "no such command" in bench.send("explode", b"{}")["reason"]
    assert "commands.allow" in bench.send("privacy", b"ON")["reason"]
    bench.send("Ä" * 500, b"{}")
    assert bench.answers[-1][1] == "cmd/unknown/response"


def test_a_flood_is_refused_and_answered() -> None:
    """Row 18: more commands than are allowed a minute: the rest is refused and answered."""
    bench = Bench(per_minute=60)
    statuses = [bench.send("status", b"{}")["status"] for _ in range(BURST + 5)]
    assert statuses == ["done"] * BURST + ["refused"] * 5
    bench.clock.advance(2.0)
    assert [bench.send("status", b"{}")["status"] for _ in range(3)] == ["done", "done", "refused"]


def test_huge_payloads_are_refused_unread() -> None:
    assert "larger than" in Bench().send("privacy", b'"' + b"a" * MOST_BYTES + b'"')["reason"]


def test_failures_are_answered_with_their_reason_and_bugs_without_details() -> None:
    bench = Bench()
    bench.error = EdgeAgentError("the camera is locked")
    assert bench.send("privacy", b"ON")["reason"] == "the camera is locked"
    bench.error = KeyError("secret")
    answer = bench.send("privacy", b"ON")
    assert answer["status"] == "failed"
    assert "secret" not in answer["reason"]
    assert bench.server.counts()["failed"] == 2


@pytest.mark.parametrize("topic", ["", "a/#", "a/+/b", "$SYS/x", "a\0b", "a" * 257])
def test_an_unusable_response_topic_is_not_used(topic: str) -> None:
    assert usable_topic(topic) is None
    bench = Bench()
    bench.send("status", b"{}", response_topic=topic)
    assert bench.answers[0][0] is None


def test_a_usable_response_topic_is() -> None:
    bench = Bench()
    bench.send("status", b"{}", response_topic="dash/answers")
    assert bench.answers[0][0] == "dash/answers"


def test_a_bucket_does_not_overflow_and_forgives_a_clock_that_stands() -> None:
    bucket = Bucket(2, 1.0, 0.0)
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]
    assert not bucket.take(999.0)
    assert bucket.take(1000.0)


def test_a_command_not_tried_is_refused_and_one_that_raised_has_failed() -> None:
    """C6: the same words as in the table of docs/mqtt.md."""
    bench = Bench()
    bench.error = RefusedError("not during a pause")
    answer = bench.send("privacy", b"ON")
    assert (answer["status"], answer["reason"]) == ("refused", "not during a pause")
    bench.error = EdgeAgentError("broken")
    assert bench.send("privacy", b"ON")["status"] == "failed"
    assert bench.server.counts() == {"done": 0, "failed": 1, "refused": 1, "malformed": 0}


def test_the_last_command_is_published_with_its_reason() -> None:
    bench = Bench(clock=ManualClock(wall=0.0))
    assert bench.server.last is None
    bench.send("privacy", b"ON")
    bench.send("status", b"{}")
    at = "1970-01-01T00:00:00.000Z"
    assert bench.server.last == {"command": "privacy", "status": "done", "reason": None, "at": at}
    bench.send("privacy", b"ON", retain=True)
    assert bench.server.last["status"] == "refused"
    assert "retain" in str(bench.server.last["reason"])
