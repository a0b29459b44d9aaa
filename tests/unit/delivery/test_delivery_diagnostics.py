"""Diagnostics of refusals, duplicate device ids and TLS errors; back-off of reconnections."""

from __future__ import annotations

import json
import random
from statistics import median

import pytest

from edge_agent.delivery.diagnostics import REASONS, REMEMBERED_S, Namesakes, Refusals, reason, tls_reason
from edge_agent.delivery.flow_control import NEVER_REACHED_S, NEXT_S, REACHED_S, TAKEN_OVER_S, Reconnection
from edge_agent.delivery.link import InboundMessage
from edge_agent.delivery.topics import Topics


def test_a_refusal_is_shown_until_it_ends() -> None:
    refusals = Refusals()
    refusals.publish("a/b", 0x87)
    refusals.subscription("a/cmd/+", 0x87)
    assert refusals.lines(0.0) == (
        "the broker refuses a/b: not authorised (0x87)",
        "the broker refuses the subscription to a/cmd/+: not authorised (0x87)",
    )
    refusals.accepted("a/b")
    refusals.subscription("a/cmd/+", 1)
    assert refusals.lines(0.0) == ()


def test_a_refusal_that_nothing_ends_is_shown_once_and_for_a_limited_time() -> None:
    refusals = Refusals()
    for second in range(3):
        refusals.connection("quota exceeded (0x97)", float(second))
        refusals.message("a/summary", reason(0x95), float(second))
    assert len(refusals.lines(REMEMBERED_S + 1)) == 2
    assert refusals.lines(REMEMBERED_S + 2.5) == ()
    for number in range(1000):
        refusals.message(f"a/{number}", "no", 0.0)
    assert len(refusals.lines(0.0)) < 100


@pytest.mark.parametrize("code", range(0x80, 0x100))
def test_every_reason_code_has_a_meaning(code: int) -> None:
    assert f"0x{code:02x}" in reason(code)
    assert REASONS.get(code, "refused") in reason(code)


def _said(topic: str, payload: bytes, *, retain: bool = False, at: float = 100.0) -> InboundMessage:
    return InboundMessage(f"edge-agent/kiosk-1/{topic}", payload, retain, at)


def test_only_live_messages_of_another_boot_reveal_a_duplicate_device_id() -> None:
    overwritten: list[str] = []
    namesakes = Namesakes(Topics("edge-agent", "kiosk-1"), "mine", 60.0, lambda: overwritten.append("status"))
    theirs, ours = (json.dumps({"boot_id": boot_id}).encode() for boot_id in ("theirs", "mine"))
    for harmless in (
        _said("summary", ours),
        _said("summary", theirs, retain=True),
        _said("summary", b"not JSON"),
        _said("summary", b"[" * 100_000),
        _said("summary", b'{"boot_id": 5}'),
        _said("info", b"[]"),
        _said("status", b"online"),
        _said("status", b"offline", retain=True),
    ):
        namesakes.handle(harmless)
    assert (namesakes.lines(100.0), overwritten) == ((), [])
    namesakes.handle(_said("summary", theirs))
    assert "'theirs'" in namesakes.lines(159.0)[0]
    assert "device.id" in namesakes.lines(159.0)[0]
    assert namesakes.lines(161.0) == ()
    namesakes.handle(_said("status", b"offline"))
    assert overwritten == ["status"]


def test_a_fleet_reconnects_within_30_s_of_an_outage_spread_by_jitter() -> None:
    """Fifty agents with injected time: an outage of 90 s in which the first attempt fails."""
    back = []
    for seed in range(50):
        policy = Reconnection(random.Random(seed))
        now = policy.delay(3600.0)
        while now < 90.0:
            now += policy.delay(None)
        back.append(now - 90.0)
    assert max(back) <= REACHED_S
    assert median(back) < REACHED_S / 2 + 5
    assert len({round(moment) for moment in back}) > 10


def test_the_back_off_is_longer_for_a_broker_never_reached_and_after_a_takeover() -> None:
    policy = Reconnection(random.Random(1))
    waits = [policy.delay(None) for _ in range(200)]
    assert REACHED_S < max(waits) <= NEVER_REACHED_S
    policy = Reconnection(random.Random(1))
    assert all(TAKEN_OVER_S <= policy.delay(2.0, taken_over=True) <= TAKEN_OVER_S + REACHED_S for _ in range(200))
    assert policy.flapping
    policy.delay(3600.0)
    assert not policy.flapping


def test_each_of_several_brokers_has_its_turn_before_the_back_off() -> None:
    policy = Reconnection(random.Random(1), brokers=3)
    waits = []
    for _ in range(30):
        waits.append((policy.broker, policy.delay(None)))
    assert [broker for broker, _ in waits] == [0, 1, 2] * 10
    assert all(wait <= NEXT_S for broker, wait in waits if broker < 2)
    assert max(wait for broker, wait in waits if broker == 2) > 10 * NEXT_S


def test_brokers_that_accept_and_hang_up_are_not_stormed() -> None:
    policy = Reconnection(random.Random(1), brokers=2)
    assert sum(policy.delay(0.1) for _ in range(40)) > 100.0
    assert policy.flapping


def test_who_is_taken_over_stays_with_its_broker() -> None:
    policy = Reconnection(random.Random(1), brokers=2)
    assert policy.delay(100.0, taken_over=True) >= TAKEN_OVER_S
    assert policy.broker == 0


def test_the_first_broker_is_tried_again_later_each_time_that_it_did_not_last() -> None:
    policy = Reconnection(random.Random(1), brokers=2, return_s=100.0)
    assert policy.return_in() is None
    policy.delay(1000.0)
    waits = []
    for _ in range(3):
        waits.append(policy.return_in())
        assert policy.prefer_first() == 0.0
        assert policy.return_in() is None
        policy.delay(1.0)
    assert [75 <= w / 2**k <= 125 for k, w in enumerate(w for w in waits if w is not None)] == [True] * 3
    policy.prefer_first()
    policy.delay(3600.0)  # this time it lasted
    assert 75 <= (policy.return_in() or 0.0) <= 125


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:2580)", "cert_file"),
        ("TLSV1_ALERT_UNKNOWN_CA", "does not accept our client certificate"),
        ("WRONG_VERSION_NUMBER", "no TLS on this port"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "expired"),
    ],
)
def test_tls_errors_are_explained(said: str, meaning: str) -> None:
    assert meaning in (tls_reason(said) or "")


def test_unknown_tls_errors_are_not_explained() -> None:
    assert tls_reason("") is None
    assert tls_reason("failed to receive on socket: [Errno 104] Connection reset by peer") is None
