"""The way to the broker against real brokers: each fault stops at its own stage, with its own remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_agent.doctor.broker import check_broker
from edge_agent.doctor.result import CheckResult, CheckStatus
from edge_agent.settings import Settings
from tests.support.certificates import Authority
from tests.support.mosquitto import Mosquitto, free_port
from tests.support.scripted import ScriptedBroker
from tests.support.subscriber import Received, Subscriber
from tests.support.websocket import WebSocketFront

OK, WARN, FAIL = CheckStatus.OK, CheckStatus.WARN, CheckStatus.FAIL
STAGES = ("broker name", "broker connection", "broker encryption", "broker login", "broker publish", "broker subscribe")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Echoes over loopback are quick; what does not come is waited for in many tests here."""
    monkeypatch.setattr("edge_agent.doctor.rights.ECHO_S", 1.0)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    if not Mosquitto.available():
        pytest.skip("needs the mosquitto broker (Debian: apt install mosquitto)")
    started: list[Mosquitto] = []

    def make(*, options: tuple[str, ...] = (), **others: Any) -> Mosquitto:
        started.append(Mosquitto(tmp_path / f"broker{len(started)}", options=options, **others))
        return started[-1].start()

    yield make
    for broker in started:
        broker.stop()


def check(port: int, tables: dict[str, Any] | None = None, **mqtt: Any) -> list[CheckResult]:
    settings = Settings(device={"id": "kiosk-1"}, mqtt={"host": "127.0.0.1", "port": port, **mqtt}, **(tables or {}))
    return list(check_broker(settings))


def stages(found: list[CheckResult]) -> list[tuple[str, CheckStatus]]:
    return [(result.name, result.status) for result in found]


def test_everything_right(start: Callable[..., Mosquitto]) -> None:
    found = check(start().port)
    assert stages(found) == [(name, OK) for name in STAGES if name != "broker encryption"]
    assert "anonymous" in found[2].detail


def test_each_of_several_brokers_is_tried(start: Callable[..., Mosquitto]) -> None:
    """One that is down is a warning while another works; none that works is a failure."""
    here, gone = start().port, free_port()
    mqtt = {"hosts": [f"127.0.0.1:{gone}", f"127.0.0.1:{here}"]}
    found = list(check_broker(Settings(device={"id": "kiosk-1"}, mqtt=mqtt)))
    assert [(r.name, r.status) for r in found if r.status is not OK] == [
        (f"broker connection (127.0.0.1:{gone})", WARN)
    ]
    assert (f"broker publish (127.0.0.1:{here})", OK) in stages(found)
    mqtt = {"hosts": [f"127.0.0.1:{gone}", f"127.0.0.1:{free_port()}"]}
    found = list(check_broker(Settings(device={"id": "kiosk-1"}, mqtt=mqtt)))
    assert [r.status for r in found] == [OK, FAIL, OK, FAIL]


def test_mqtt_off() -> None:
    assert [r.status for r in check(1, enabled=False)] == [OK]


def test_a_name_that_does_not_resolve_stops_at_the_name() -> None:
    found = check(1883, host="no-such-host.invalid")
    assert stages(found) == [("broker name", FAIL)]
    assert "getent hosts" in found[0].remedy


def test_nothing_listening_stops_at_the_connection() -> None:
    found = check(free_port())
    assert stages(found)[-1] == ("broker connection", FAIL)
    assert "nothing listens" in found[-1].detail


def test_a_wrong_password_fails_the_login_and_is_not_shown(start: Callable[..., Mosquitto]) -> None:
    found = check(start(password="right").port, username="agent", password="cAnArY-wrong")
    assert stages(found)[-1] == ("broker login", FAIL)
    assert "cAnArY" not in str(found)


def test_the_password_file_is_used(start: Callable[..., Mosquitto], tmp_path: Path) -> None:
    port = start(password="right").port
    (tmp_path / "password").write_text("right\n")
    found = check(port, username="agent", password_file=str(tmp_path / "password"))
    assert stages(found)[-1] == ("broker subscribe", OK)
    (tmp_path / "password").unlink()
    found = check(port, username="agent", password_file=str(tmp_path / "password"))
    assert stages(found)[-1] == ("broker login", FAIL)


def _acl(folder: Path, *rules: str) -> tuple[str, ...]:
    file = folder / "acl"
    file.write_text("".join(f"{rule}\n" for rule in rules))
    file.chmod(0o644)
    return (f"acl_file {file}",)


@pytest.mark.parametrize(
    ("protocol", "said"),
    [("5", "the broker refuses: not authorised (0x87)"), ("3.1.1", "acknowledged but did not deliver")],
)
def test_a_topic_that_may_not_be_written_stops_at_publish(
    start: Callable[..., Mosquitto], tmp_path: Path, protocol: str, said: str
) -> None:
    """A17: over MQTT 3.1.1 the broker acknowledges what an ACL forbids, and the doctor said "accepted"."""
    broker = start(options=_acl(tmp_path, "topic read edge-agent/#"))
    found = check(broker.port, protocol=protocol)
    assert stages(found)[-2] == ("broker publish", FAIL)
    assert said in found[-2].detail
    assert "edge-agent/kiosk-1/#" in found[-2].remedy


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("kind", ["summary", "status", "event/#", "backfill/summary", "cmd/#"])
def test_every_kind_of_topic_is_tried(
    start: Callable[..., Mosquitto], tmp_path: Path, protocol: str, kind: str
) -> None:
    allowed = {"status", "info", "state", "health", "summary", "gaps", "rollup/#", "event/#", "backfill/summary"}
    allowed |= {"backfill/event", "cmd/#"}
    rules = [f"topic readwrite edge-agent/kiosk-1/{topic}" for topic in sorted(allowed - {kind})]
    found = check(start(options=_acl(tmp_path, *rules)).port, {"commands": {"enabled": True}}, protocol=protocol)
    publish = next(result for result in found if result.name == "broker publish")
    assert publish.status is FAIL
    assert f"edge-agent/kiosk-1/{kind.removesuffix('#')}" in publish.detail
    assert "ACL" in publish.detail or "not authorised" in publish.detail


@pytest.mark.parametrize(("protocol", "status"), [("5", WARN), ("3.1.1", FAIL)])
def test_write_only_permission_cannot_be_verified(
    start: Callable[..., Mosquitto], tmp_path: Path, protocol: str, status: CheckStatus
) -> None:
    found = check(start(options=_acl(tmp_path, "topic write edge-agent/#")).port, protocol=protocol)
    assert stages(found)[-2] == ("broker publish", status)
    assert "read" in found[-2].detail


def test_commands_that_cannot_arrive_are_reported(start: Callable[..., Mosquitto], tmp_path: Path) -> None:
    rules = [f"topic readwrite edge-agent/kiosk-1/{kind}" for kind in ("+", "rollup/#", "event/#", "backfill/#")]
    rules += ["topic write edge-agent/kiosk-1/cmd/#", "topic read edge-agent/kiosk-1/cmd/+/response"]
    found = check(start(options=_acl(tmp_path, *rules)).port, {"commands": {"enabled": True}})
    assert stages(found)[-2:] == [("broker publish", OK), ("broker subscribe", WARN)]
    assert "cmd/+" in found[-1].remedy
    rules[-2] = "topic read edge-agent/kiosk-1/cmd/#"
    rules.append("topic write edge-agent/kiosk-1/cmd/+/response")
    found = check(start(options=_acl(tmp_path, *rules)).port, {"commands": {"enabled": True}})
    assert stages(found)[-1] == ("broker subscribe", OK)
    assert "as it should be" in found[-1].detail


def test_a_subscription_that_is_refused_is_named() -> None:
    with ScriptedBroker(suback=lambda wanted, _times: 0x87 if wanted.endswith("/summary") else 1) as broker:
        found = check(broker.port)
    assert stages(found)[-1] == ("broker subscribe", FAIL)
    assert "edge-agent/kiosk-1/summary" in found[-1].detail
    assert "detect_namesakes" in found[-1].remedy


def _again(messages: list[Received], kept: Mapping[str, bytes]) -> list[Received] | None:
    """What was published without being retained, once all of ``kept`` was."""
    said = [message for message in messages if not message.retain]
    return said if kept.keys() <= {message.topic for message in said} else None


def test_nothing_is_left_and_what_is_kept_is_said_again_and_not_replaced(start: Callable[..., Mosquitto]) -> None:
    broker = start()
    with Subscriber(broker.port) as subscriber:
        kept = {"edge-agent/kiosk-1/status": b"online", "homeassistant/device/kiosk-1/config": b'{"dev":{}}'}
        for topic, payload in kept.items():
            subscriber.publish(topic, payload, retain=True)
        found = check(broker.port, {"home_assistant": {"enabled": True}, "commands": {"enabled": True}})
        assert {result.status for result in found} == {OK}
        said = subscriber.wait(lambda messages: _again(messages, kept), 20.0)
        assert {m.topic: m.payload for m in said if m.topic in kept} == kept
        assert all(b"doctor" in m.payload for m in said if m.topic not in kept)
        assert len(said) > 10
    with Subscriber(broker.port) as later:
        later.wait_for("homeassistant/device/kiosk-1/config")
        assert {m.topic: m.payload for m in later.messages} == kept


@pytest.mark.parametrize("client", ["none", "of another CA"])
def test_a_client_certificate_that_is_missing_or_not_trusted_stops_at_the_encryption(
    start: Callable[..., Mosquitto], tmp_path: Path, client: str
) -> None:
    """C8: the advice was to check the user name and the password."""
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "other", "another CA")
    port = start(tls=authority.issue("127.0.0.1"), client_ca=authority.ca.cert).port
    tls = {"enabled": True, "ca_file": str(authority.ca.cert)}
    if client != "none":
        mine = stranger.issue("kiosk-1")
        tls |= {"cert_file": str(mine.cert), "key_file": str(mine.key)}
    found = check(port, tls=tls)
    assert stages(found)[-1] == ("broker encryption", FAIL)
    assert "client certificate" in found[-1].detail
    assert "mqtt.tls.cert_file" in found[-1].remedy


def test_a_port_of_another_protocol_is_recognised(start: Callable[..., Mosquitto], tmp_path: Path) -> None:
    broker = start()
    authority = Authority(tmp_path / "ca")
    encrypted = start(tls=authority.issue("127.0.0.1"))
    with WebSocketFront(broker.port, path="/edge") as front:
        assert 'transport = "websockets"' in check(front.port)[-1].remedy
        assert "websocket_path" in check(front.port, transport="websockets")[-1].remedy
        fine = check(front.port, transport="websockets", websocket_path="/edge")
        assert {result.status for result in fine} == {OK}
    assert 'transport = "tcp"' in check(broker.port, transport="websockets")[-1].remedy
    found = check(encrypted.port)
    assert stages(found)[-1] == ("broker login", FAIL)
    assert "mqtt.tls.enabled = true" in found[-1].remedy
    assert "password" not in found[-1].remedy


def test_a_broker_that_hangs_up_on_a_publish_stops_there() -> None:
    def hang_up(_publish: object) -> int:
        raise ConnectionAbortedError

    with ScriptedBroker(puback=hang_up) as broker:
        assert ("broker publish", FAIL) in stages(check(broker.port))


def test_an_mqtt_3_broker_is_tested_with_its_version_by_echo() -> None:
    with ScriptedBroker(only_311=True) as broker:  # which acknowledges everything and delivers nothing
        found = check(broker.port)
        assert stages(found)[-2] == ("broker publish", FAIL)
        assert "MQTT 3.1.1" in found[-3].detail
        assert "acknowledged but did not deliver" in found[-2].detail
        assert not any(publish.retain for publish in broker.publishes)


def test_a_real_broker_is_fine_over_the_old_version_too(start: Callable[..., Mosquitto]) -> None:
    assert {result.status for result in check(start().port, protocol="3.1.1")} == {OK}


def test_certificates(start: Callable[..., Mosquitto], tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    port = start(tls=authority.issue("127.0.0.1")).port
    trusted = {"enabled": True, "ca_file": str(authority.ca.cert)}
    found = check(port, tls=trusted)
    assert stages(found) == [(name, OK) for name in STAGES]
    assert "valid until" in found[2].detail
    found = check(port, tls={"enabled": True})
    assert stages(found)[-1] == ("broker encryption", FAIL)
    assert "ca_file" in found[-1].remedy
    found = check(port, tls={"enabled": True, "ca_file": str(tmp_path / "missing.pem")})
    assert stages(found)[-1] == ("broker encryption", FAIL)
    assert "missing.pem" in found[-1].detail


@pytest.mark.parametrize(("host", "expired"), [("broker.example", False), ("127.0.0.1", True)])
def test_a_wrong_name_and_an_expired_certificate_stop_at_the_encryption(
    start: Callable[..., Mosquitto], tmp_path: Path, host: str, expired: bool
) -> None:
    authority = Authority(tmp_path / "ca")
    port = start(tls=authority.issue(host, expired=expired)).port
    found = check(port, tls={"enabled": True, "ca_file": str(authority.ca.cert)})
    assert stages(found)[-1] == ("broker encryption", FAIL)
    assert "not accepted" in found[-1].detail


def test_tls_to_a_plain_port_is_recognised(start: Callable[..., Mosquitto]) -> None:
    found = check(start().port, tls={"enabled": True})
    assert stages(found)[-1] == ("broker encryption", FAIL)
    assert "mqtt.tls.enabled = false" in found[-1].remedy
