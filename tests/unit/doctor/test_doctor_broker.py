"""The way to the broker against real brokers: each fault stops at its own stage, with its own remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.doctor.broker import check_broker
from edge_agent.doctor.result import CheckResult, CheckStatus
from edge_agent.settings import Settings
from tests.support.certificates import Authority
from tests.support.mosquitto import Mosquitto, free_port
from tests.support.scripted import ScriptedBroker

OK, WARN, FAIL = CheckStatus.OK, CheckStatus.WARN, CheckStatus.FAIL
STAGES = ("broker name", "broker connection", "broker encryption", "broker login", "broker publish")


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


def check(port: int, **mqtt: Any) -> list[CheckResult]:
    settings = Settings(device={"id": "kiosk-1"}, mqtt={"host": "127.0.0.1", "port": port, **mqtt})
    return list(check_broker(settings))


def stages(found: list[CheckResult]) -> list[tuple[str, CheckStatus]]:
    return [(result.name, result.status) for result in found]


def test_everything_right(start: Callable[..., Mosquitto]) -> None:
    found = check(start().port)
    assert stages(found) == [(name, OK) for name in STAGES if name != "broker encryption"]
    assert "anonymous" in found[2].detail


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


def test_a_wrong_password_stops_at_the_login_and_is_not_told(start: Callable[..., Mosquitto]) -> None:
    found = check(start(password="right").port, username="agent", password="cAnArY-wrong")
    assert stages(found)[-1] == ("broker login", FAIL)
    assert "cAnArY" not in str(found)


def test_the_password_file_is_used(start: Callable[..., Mosquitto], tmp_path: Path) -> None:
    port = start(password="right").port
    (tmp_path / "password").write_text("right\n")
    found = check(port, username="agent", password_file=str(tmp_path / "password"))
    assert stages(found)[-1] == ("broker publish", OK)
    (tmp_path / "password").unlink()
    found = check(port, username="agent", password_file=str(tmp_path / "password"))
    assert stages(found)[-1] == ("broker login", FAIL)


def test_a_topic_that_may_not_be_written_stops_at_publish(start: Callable[..., Mosquitto], tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic read edge-agent/#\n")
    rules.chmod(0o644)
    found = check(start(options=(f"acl_file {rules}",)).port)
    assert stages(found)[-1] == ("broker publish", FAIL)
    assert "0x87" in found[-1].detail
    assert "edge-agent/kiosk-1/#" in found[-1].remedy


def test_a_broker_that_hangs_up_on_a_publish_stops_there() -> None:
    def hang_up(_publish: object) -> int:
        raise ConnectionAbortedError

    with ScriptedBroker(puback=hang_up) as broker:
        assert stages(check(broker.port))[-1] == ("broker publish", FAIL)


def test_an_old_broker_is_spoken_to_in_its_version() -> None:
    with ScriptedBroker(only_311=True) as broker:
        found = check(broker.port)
        assert stages(found)[-1] == ("broker publish", OK)
        assert "MQTT 3.1.1" in found[-2].detail
        assert not broker.publishes[0].retain
        assert broker.publishes[0].topic == "edge-agent/kiosk-1/doctor"


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


def test_tls_towards_a_plain_port_is_told_apart(start: Callable[..., Mosquitto]) -> None:
    found = check(start().port, tls={"enabled": True})
    assert stages(found)[-1] == ("broker encryption", FAIL)
    assert "mqtt.tls.enabled = false" in found[-1].remedy
