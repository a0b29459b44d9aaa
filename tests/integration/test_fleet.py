"""``edge-agent fleet`` over real mosquittos and real delivery stacks of several devices."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_agent.cli.main import build
from edge_agent.delivery import DeliveryService
from edge_agent.delivery.commands import Command, CommandServer, Outcome
from edge_agent.domain.commands import REGISTRY
from edge_agent.domain.errors import ConfigError, DeliveryError, RefusedError
from edge_agent.settings import CommandSettings, Settings
from edge_agent.settings.secrets import chosen_options, config_digest
from edge_agent.summary.summariser import merge_summaries
from tests.support.fixtures import MakeBroker
from tests.support.mosquitto import Mosquitto, free_port
from tests.support.subscriber import Subscriber
from tests.support.windows import EarlyClock

AGENTS = {
    "kiosk-1": {"site": "Köln Mitte", "labels": {"floor": "1", "ring": "canary"}},
    "kiosk-2": {"site": "Köln Mitte", "labels": {"floor": "2"}},
    "kiosk-3": {"site": "Bonn", "labels": {"floor": "2"}},
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retained messages come at once over loopback; silence after them is waited for in many tests here."""
    monkeypatch.setattr("edge_agent.fleet.station.FIRST_S", 1.5)
    monkeypatch.setattr("edge_agent.fleet.station.QUIET_S", 0.3)


class Fleet:
    """Delivery stacks that publish as devices do, on one broker."""

    def __init__(self, broker: Mosquitto, folder: Path) -> None:
        self.broker = broker
        self._folder = folder
        self.services: dict[str, DeliveryService] = {}
        self.done: list[tuple[str, str, object]] = []

    def add(self, name: str, *, commands: bool = True, version: str = "0.2.0", **tables: Any) -> DeliveryService:
        about = {"id": name, "state_dir": str(self._folder / name), **AGENTS.get(name, {})}
        where = {"host": "127.0.0.1", "port": self.broker.port, **tables.pop("mqtt", {})}
        settings = Settings(device=about | tables.pop("device", {}), mqtt=where, **tables)
        options = chosen_options(settings)
        info = {"version": version, "name": name, "config": config_digest(options)}
        service = DeliveryService(settings, EarlyClock(), "b0071d00", info, merge_summaries)
        if commands:
            server = CommandServer(
                CommandSettings(allow=("status", "privacy", "pause")),
                service.topics,
                tuple(REGISTRY),
                lambda command: self._perform(name, command),
                service,
                EarlyClock(),
            )
            service.subscribe(server.filter, server.handle)
        service.start()
        health = {"status": "ok", "problems": [], "delivery": {"outbox": {"pending": 0}}}
        service.publish_state("health", health, expires=True)
        if settings.device.publish_config:
            document = {"v": 1, "device": name, "hash": "x", "options": options}
            service.publish_state("config", document)
        self.services[name] = service
        return service

    def _perform(self, device: str, command: Command) -> Outcome:
        if device == "kiosk-3" and command.name == "privacy":
            raise RefusedError("scheduled")
        self.done.append((device, command.name, command.value))
        return Outcome("done", {})

    def ask(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output of ``edge-agent fleet`` in this process; the error's text where there is one."""
        given = ["fleet", *arguments, "--host", "127.0.0.1", "--port", str(self.broker.port)]
        result = CliRunner().invoke(build(given), given, env={"COLUMNS": "140"})
        if isinstance(result.exception, ConfigError | DeliveryError | RefusedError):
            return result.exception.exit_code, str(result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    def listed(self) -> dict[str, dict[str, Any]]:
        return {entry["device"]: entry for entry in json.loads(self.ask("list", "--json")[1])}


@pytest.fixture
def fleet(broker: Mosquitto, tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[Fleet]:
    fleet = Fleet(broker, tmp_path)
    for device, version in zip(AGENTS, ("0.2.0", "0.10.0", "0.10.0"), strict=True):
        fleet.add(device, version=version, summary={"window_s": 10 if device == "kiosk-1" else 5})
    eventually(lambda: all(s.connected and s.stats().in_flight == 0 for s in fleet.services.values()))
    yield fleet
    for service in fleet.services.values():
        service.stop(1.0)


def test_the_list_tells_who_is_where_in_which_version_and_state(fleet: Fleet, eventually: Callable[..., Any]) -> None:
    fleet.services["kiosk-2"].stop(1.0)
    told = fleet.listed()
    assert {device: entry["state"] for device, entry in told.items()} == {
        "kiosk-1": "online",
        "kiosk-2": "offline",
        "kiosk-3": "online",
    }
    assert [entry["behind"] for entry in told.values()] == [True, False, False]
    assert (told["kiosk-3"]["site"], told["kiosk-3"]["labels"], told["kiosk-3"]["backlog"]) == (
        "Bonn",
        {"floor": "2"},
        0,
    )
    assert all(entry["seen_s"] < 30 for entry in told.values())
    code, text = fleet.ask("list", "site=Köln*")
    assert code == 0
    assert "kiosk-1  Köln Mitte  floor=1, ring=canary  0.2.0" in text
    assert "kiosk-3" not in text
    assert "2 devices: 1 online, 0 silent, 1 offline; 1 not on the newest version" in text


def test_who_says_nothing_any_more_is_silent_and_not_online(
    broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    """A device that left without its last will, as behind a cut bridge: the broker forgets that it was online."""
    monkeypatch.setattr("edge_agent.delivery.service.BEAT_EXPIRES_S", 1)
    fleet = Fleet(broker, tmp_path)
    fleet.add("kiosk-1")
    try:
        eventually(lambda: fleet.services["kiosk-1"].connected)
        states = eventually(lambda: {e["state"] for e in fleet.listed().values()} & {"silent"})
        assert states == {"silent"}
        code, text = fleet.ask("command", "all", "status", "--wait", "1")
        assert (code, "it is silent" in text) == (1, True)
    finally:
        fleet.services["kiosk-1"].stop(1.0)


def test_a_command_to_a_group_gathers_what_each_one_answers(fleet: Fleet) -> None:
    code, text = fleet.ask("command", "floor=2,site=Bonn", "status")
    assert (code, "1 of 1 devices did it" in text) == (0, True)
    assert fleet.done == [("kiosk-3", "status", None)]
    fleet.add("kiosk-4", commands=False)
    fleet.services["kiosk-2"].stop(1.0)
    code, text = fleet.ask("command", "all", "privacy", "on", "--json")
    assert code == 1
    answers = {answer["device"]: answer for answer in json.loads(text)}
    assert {device: answer["outcome"] for device, answer in answers.items()} == {
        "kiosk-1": "done",
        "kiosk-2": "not sent",
        "kiosk-3": "refused",
        "kiosk-4": "no answer",
    }
    assert answers["kiosk-3"]["reason"] == "scheduled"
    assert "commands.enabled" in answers["kiosk-4"]["reason"]
    assert fleet.done[1:] == [("kiosk-1", "privacy", "on")]


def test_who_does_not_answer_in_time_is_named(fleet: Fleet) -> None:
    fleet.services["kiosk-1"]._dispatcher.stop(1.0)  # it is connected, and nothing handles what arrives
    started = time.monotonic()
    code, text = fleet.ask("command", "site=Köln Mitte", "pause", "60", "--wait", "1")
    assert (code, "within 1 s" in text, "1 of 2 devices did it" in text) == (1, True, True)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("command", "all", "nonsense"), "is no command; there are: status, privacy"),
        (("command", "all", "privacy"), "privacy needs a value: on, off"),
        (("command", "all", "privacy", "maybe"), "privacy does not take 'maybe': on, off"),
        (("command", "all", "status", "1"), "status takes no value"),
        (("command", "floor=", "status"), "is no group"),
        (("command", "Floor=2", "status"), "is no group"),
        (("list", "a=b=c,"), "is no group"),
        (("retire", "a/b", "--yes"), "is no device id"),
        (("retire", "+", "--yes"), "name those to retire"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    arguments: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    class Nowhere:
        port = free_port()

    code, text = Fleet(Nowhere(), tmp_path).ask(*arguments)  # type: ignore[arg-type]
    assert code == 2
    assert complaint in text


def test_without_a_broker_and_without_devices_it_says_so(broker: Mosquitto, tmp_path: Path) -> None:
    class Nowhere:
        port = free_port()

    code, text = Fleet(Nowhere(), tmp_path).ask("list")  # type: ignore[arg-type]
    assert (code, "Connection refused" in text) == (6, True)
    fleet = Fleet(broker, tmp_path)
    code, text = fleet.ask("list")
    assert (code, "the broker tells of no device" in text) == (0, True)
    code, text = fleet.ask("command", "floor=7", "status")
    assert (code, text) == (2, "no device belongs to 'floor=7': the broker knows none")


def test_a_retired_device_leaves_nothing_behind(fleet: Fleet, eventually: Callable[..., Any]) -> None:
    """Not under its own topics, and not in Home Assistant; the others stay."""
    for topic in ("homeassistant/device/kiosk-2/config", "homeassistant/sensor/kiosk-2/valence/config"):
        fleet.services["kiosk-2"].publish_state(topic, b"{}", absolute=True)
    fleet.services["kiosk-2"].publish_now("presence", {"count": 1})
    eventually(lambda: fleet.services["kiosk-2"].stats().in_flight == 0)
    code, text = fleet.ask("retire", "kiosk-2", "--yes")
    assert (code, "kiosk-2 is online" in text) == (1, True)
    fleet.services["kiosk-2"].stop(1.0)
    code, text = fleet.ask("retire", "kiosk-2", "--yes")
    assert (code, text) == (0, "kiosk-2: 6 topics cleared\n")
    code, text = fleet.ask("retire", "kiosk-2", "--yes")
    assert (code, text) == (0, "kiosk-2: the broker keeps nothing of it\n")
    with Subscriber(fleet.broker.port) as late:
        late.wait_for("edge-agent/kiosk-1/status")
        assert not [m for m in late.messages if "kiosk-2" in m.topic]


def test_retiring_asks_first_and_force_clears_who_is_online(fleet: Fleet) -> None:
    given = ["fleet", "retire", "kiosk-1", "--host", "127.0.0.1", "--port", str(fleet.broker.port)]
    assert CliRunner().invoke(build(given), given, input="n\n").exit_code == 1
    assert fleet.listed().keys() == AGENTS.keys()
    code, _ = fleet.ask("retire", "kiosk-1", "--yes", "--force")
    assert (code, "kiosk-1" in fleet.listed()) == (0, False)


def test_a_broker_that_forbids_it_is_named(make_broker: MakeBroker, tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite #\n")
    broker = make_broker(options=(f"acl_file {rules}",), persistent=True)
    fleet = Fleet(broker, tmp_path)
    fleet.add("kiosk-1").stop(1.0)
    rules.write_text("topic read #\n")
    broker.restart()
    code, text = fleet.ask("retire", "kiosk-1", "--yes", "--force")
    assert (code, "refuses to clear edge-agent/kiosk-1/" in text, "not authorised" in text) == (6, True, True)
    code, text = fleet.ask("command", "kiosk-1", "status")
    assert (code, "it is offline" in text or "it is silent" in text) == (1, True)


def test_the_config_diff_shows_where_devices_differ_and_no_secret(fleet: Fleet, eventually: Callable[..., Any]) -> None:
    code, text = fleet.ask("config", "diff")
    assert (code, "summary" in text, "publish_config" in text) == (1, True, True)
    code, text = fleet.ask("config", "diff", "floor=2")
    assert (code, "2 devices are configured alike" in text) == (0, True)
    for device, password in (("kiosk-5", "hunter1"), ("kiosk-6", "hunter2")):
        fleet.add(
            device,
            device={"publish_config": True},
            mqtt={"username": "u", "password": password, "keepalive_s": 30 + int(device[-1])},
        )
    eventually(lambda: all(s.connected and s.stats().in_flight == 0 for s in fleet.services.values()))
    code, text = fleet.ask("config", "diff", "device=kiosk-[56]", "--json")
    (difference,) = json.loads(text)["differences"]
    assert (code, difference["what"], difference["values"]) == (1, "mqtt.keepalive_s", {"kiosk-5": 35, "kiosk-6": 36})
    assert "hunter" not in text
    code, text = fleet.ask("config", "diff", "device=kiosk-[56]")
    assert "mqtt.keepalive_s  35     kiosk-5" in text
