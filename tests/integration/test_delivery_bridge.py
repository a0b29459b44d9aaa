"""Two real mosquittos and the shipped bridge between them: the link is cut and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.domain.event import Event
from tests.support.fixtures import MakeBroker, MakeDelivery
from tests.support.mosquitto import Mosquitto
from tests.support.payloads import key, validated
from tests.support.proxy import FaultProxy
from tests.support.subscriber import Received, Subscriber
from tests.support.windows import a_summary

BASE = "edge-agent/kiosk-1/"
STATE = "edge-agent-bridge/SITE/state"
WAITED_S = 3.0


def bridge_options(repository: Path, central: int) -> tuple[str, ...]:
    """The shipped sample for two brokers of one machine: without TLS, login and the system's folders."""
    lines = (repository / "config/fleet/mosquitto-bridge.conf").read_text(encoding="utf-8").splitlines()
    gone = ("#", "bridge_cafile", "remote_username", "remote_password", "persistence", "autosave_interval")
    kept = [line for line in lines if line and not line.startswith(gone)]
    assert any("central.example:8883" in line for line in kept)
    return tuple(line.replace("central.example:8883", f"127.0.0.1:{central}") for line in kept)


@pytest.fixture
def central(make_broker: MakeBroker) -> Iterator[Subscriber]:
    with Subscriber(make_broker(persistent=True).port) as subscriber:
        yield subscriber


@pytest.fixture
def link(central: Subscriber) -> Iterator[FaultProxy]:
    with FaultProxy(central.port) as proxy:
        yield proxy


@pytest.fixture
def local(make_broker: MakeBroker, repository: Path, link: FaultProxy) -> Mosquitto:
    return make_broker(options=bridge_options(repository, link.port), persistent=True)


def _cut(link: FaultProxy, eventually: Callable[..., Any]) -> None:
    link.away = True
    link.cut()
    eventually(lambda: link.turned_away > 0, timeout=40)


def _summaries(central: Subscriber) -> list[Received]:
    return [m for m in list(central.messages) if m.topic.endswith("summary")]


def _numbers(central: Subscriber) -> list[int]:
    return [key(validated(m.payload))[2] for m in _summaries(central)]


def _whole(numbers: list[int], last: int) -> list[int] | None:
    return numbers if set(numbers) == set(range(1, last + 1)) and numbers[-1] == last else None


def test_nothing_is_lost_over_an_outage_and_late_messages_are_marked(
    central: Subscriber, link: FaultProxy, local: Mosquitto, make_delivery: MakeDelivery, eventually: Any
) -> None:
    """A19: the bridge delivers late what it took in time, on the live topics; its age is in the message expiry."""
    central.wait_for(STATE, b"1", timeout=40)
    delivery = make_delivery(local.port)
    info = central.wait_for(BASE + "info").json
    delivery.submit_summary(a_summary(0.0))
    live = central.wait_for(BASE + "summary")
    assert live.expiry is not None
    assert info["expiry_s"] - live.expiry <= 1

    _cut(link, eventually)
    for k in range(1, 41):
        delivery.submit_summary(a_summary(10.0 * k))
    delivery.submit_event(Event("burst", "cough", 0.9, 3.1, 0.8), 1_780_000_003.1, "synced")
    eventually(lambda: delivery.stats().outbox.pending == 0)  # for the agent all of it is delivered
    time.sleep(WAITED_S)  # what is shown is how long the messages waited
    link.away = False
    central.wait_for(STATE, b"1", count=2, timeout=60)
    # On connecting the bridge repeats what is retained, in between; all are there, and the end is right.
    order = central.wait(lambda _messages: _whole(_numbers(central), 41), timeout=60)
    summaries = _summaries(central)
    first = dict(zip(reversed(order), reversed(summaries), strict=True))
    assert {m.topic for m in summaries} == {BASE + "summary"}  # no broker moves them to backfill/
    for waited in (*(first[seq] for seq in range(2, 42)), central.wait_for(BASE + "event/burst")):
        assert waited.expiry is not None
        assert info["expiry_s"] - waited.expiry >= WAITED_S - 1


def test_the_central_broker_forgets_who_was_online_when_the_link_is_cut(
    central: Subscriber,
    link: FaultProxy,
    local: Mosquitto,
    make_delivery: MakeDelivery,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody says ``offline`` there, and what the local broker hears later dies in the queue of the bridge."""
    monkeypatch.setattr("edge_agent.delivery.service.BEAT_S", 0.3)
    monkeypatch.setattr("edge_agent.delivery.service.BEAT_EXPIRES_S", 2)
    central.wait_for(STATE, b"1", timeout=40)
    delivery = make_delivery(local.port)
    delivery.publish_now("presence", {"count": 1})
    delivery.publish_state("health", {"status": "ok"}, expires=True)
    assert central.wait_for(BASE + "status", count=2).payload == b"online"
    central.wait_for(BASE + "presence")
    central.wait_for(BASE + "health")
    _cut(link, eventually)
    central.wait_for(STATE, b"0", timeout=40)
    last = central.on(BASE + "status")[-1].at
    eventually(lambda: time.monotonic() > last + 2.5)
    with Subscriber(central.port) as late:
        health = late.wait_for(BASE + "health")
        assert not [m for m in late.messages if m.topic in (BASE + "status", BASE + "presence")]
        assert int(dict(health.about)["expiry_s"]) - (health.expiry or 0) >= 2  # how long ago it was heard of
    link.away = False
    central.wait_for(STATE, b"1", count=2, timeout=60)
    with Subscriber(central.port) as again:
        assert again.wait_for(BASE + "status").payload == b"online"


def test_commands_come_through_the_bridge_and_answers_go_back(
    central: Subscriber, local: Mosquitto, make_delivery: MakeDelivery, eventually: Any
) -> None:
    central.wait_for(STATE, b"1", timeout=40)
    delivery = make_delivery(local.port)
    delivery.subscribe(BASE + "cmd/+", lambda message: delivery.reply(message, "cmd/privacy/response", b"done"))
    eventually(lambda: delivery.stats().connected)

    def answers() -> list[Received]:
        central.publish(BASE + "cmd/privacy", b"ON")  # the bridge says that it is there before it has subscribed
        time.sleep(0.2)
        return central.on(BASE + "cmd/privacy/response")

    assert eventually(answers)[0].payload == b"done"
