"""A real Home Assistant, a real broker and the real daemon: it finds the device, shows it, and tells it what to do.

The tests share one house and run in order: Home Assistant and the agent take seconds to start.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from edge_agent.delivery.home_assistant_sensors import BURST_LABELS
from edge_agent.domain.observation import EMOTIONS
from tests.support.apt import AptMachine
from tests.support.cli import Cli, installed
from tests.support.home_assistant import HomeAssistant, home_assistant_python
from tests.support.mosquitto import Mosquitto
from tests.support.subscriber import Subscriber

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / "config" / "home-assistant"
CORE = os.environ.get("HA_CORE", "2024.3")
"""Version of Home Assistant; the later one is told of the device in one message."""
INSTALL = 1
"""Bit of an update entity's features that offers the installation."""
OWN_WARNING = "WARNING:homeassistant.helpers.frame:Detected code that calls async_forward_entry_setups"
pytestmark = pytest.mark.timeout(600)

CONFIG = """
[device]
id = "kiosk-1"
name = "Hall"
[camera]
source = "demo"
[microphone]
source = "demo"
[summary]
window_s = 2
[pacing]
max_fps = 8
[mqtt]
host = "127.0.0.1"
port = {port}
[commands]
enabled = true
[plugins]
allow = ["face", "emotion", "burst", "attention", "quality", "loudness"]
[home_assistant]
enabled = {enabled}
area = "Entrance"
discovery = "{discovery}"
"""


class House:
    """A broker, a Home Assistant and an agent that can be killed and started again."""

    def __init__(self, cli: Cli, folder: Path, broker: Mosquitto, assistant: HomeAssistant) -> None:
        self._cli = cli
        (folder / "site").mkdir()
        self._path = installed(folder / "site", ROOT / "plugins" / "example_loudness")
        self._folder = folder
        self.apt = AptMachine(folder / "apt", installed="0.9.0+py3.11")
        self.broker = broker
        self.assistant = assistant
        self.agent: subprocess.Popen[str] | None = None

    def start_agent(self, *, enabled: bool = True) -> None:
        config = self._folder / "config.toml"
        config.write_text(
            CONFIG.format(
                port=self.broker.port,
                enabled=str(enabled).lower(),
                discovery="component" if CORE == "2024.3" else "device",
            ),
            encoding="utf-8",
        )
        state = str(self._folder / "state")
        self.agent = self._cli.start(
            "run",
            "--config",
            str(config),
            EDGE_AGENT__DEVICE__STATE_DIR=state,
            PYTHONPATH=self._path,
            **self.apt.environment,
        )

    def end_agent(self, *, kill: bool = False) -> None:
        if self.agent is not None:
            (self.agent.kill if kill else self.agent.terminate)()
            self.agent.communicate(timeout=20)
            self.agent = None

    def errors(self) -> list[str]:
        """What Home Assistant complained about, but for a warning of its own that a later version brought with it."""
        lines = self.assistant.log().splitlines()
        return [line for line in lines if line.startswith(("ERROR", "WARNING")) and not line.startswith(OWN_WARNING)]


@pytest.fixture(scope="module")
def house(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    if not Mosquitto.available():
        pytest.skip("needs the mosquitto broker (Debian: apt install mosquitto)")
    python, folder = home_assistant_python(), tmp_path_factory.mktemp("house")
    shutil.copytree(OURS, folder / "ha" / "blueprints" / "automation" / "edge_agent")
    with Mosquitto(folder / "mosquitto") as broker, HomeAssistant(python, folder / "ha", broker.port) as assistant:
        house = House(cli, folder, broker, assistant)
        house.start_agent()
        yield house
        house.end_agent()


def test_entities_appear_and_take_values(house: House) -> None:
    ha = house.assistant
    ha.wait_state("sensor.kiosk_1_people", "1", within=90)
    ha.wait_state("sensor.kiosk_1_emotion", *EMOTIONS)
    ha.wait_state("binary_sensor.kiosk_1_occupancy", "on")
    shown = ha.attributes("sensor.kiosk_1_emotion")
    assert sum(shown[name] for name in EMOTIONS) == pytest.approx(1.0)
    assert shown["friendly_name"] == "Hall Dominant emotion"
    assert -1 <= float(ha.attributes("sensor.kiosk_1_valence")["state"]) <= 1
    ha.wait_state("sensor.kiosk_1_quality", "ok")
    assert int(ha.attributes("sensor.kiosk_1_backlog")["state"]) >= 0
    assert {ha.state(f"switch.kiosk_1_{name}") for name in ("camera", "microphone")} == {"on"}
    assert ha.state("switch.kiosk_1_privacy") == "off"
    assert ha.state("select.kiosk_1_profile") == "standard"
    most = ha.attributes("number.kiosk_1_max_fps")
    assert (float(most["state"]), most["max"]) == (8.0, 8.0)
    assert ha.state("binary_sensor.kiosk_1_camera_connection") == "on"
    assert ha.state("binary_sensor.kiosk_1_microphone_connection") == "on"
    assert ha.state("sensor.kiosk_1_paused_until") == "unknown"
    registry = ha.ask("registry")
    assert len(registry.values()) == len(set(registry.values()))
    assert {entity for entity in ha.ask("states") if "kiosk_1" in entity} < registry.keys()
    off = registry.keys() - ha.ask("states").keys()  # until somebody switches them on
    assert off == {f"sensor.kiosk_1_emotion_{name}" for name in EMOTIONS} | {
        f"sensor.kiosk_1_count_burst_{label}" for label in BURST_LABELS
    }
    assert house.errors() == []


def test_a_plugin_has_its_entity(house: House) -> None:
    ha = house.assistant
    ha.wait(lambda: ha.state("sensor.kiosk_1_measure_loudness_dbfs") not in (None, "unknown"), "a loudness")
    shown = ha.attributes("sensor.kiosk_1_measure_loudness_dbfs")
    assert -90 <= float(shown["state"]) <= 0
    assert (shown["unit_of_measurement"], shown["state_class"]) == ("dB", "measurement")
    assert shown["friendly_name"] == "Hall Loudness"


def test_a_newer_package_is_told_once_apt_knows_it(house: House) -> None:
    """The agent asks nobody: what apt has fetched decides, and nothing is installed from here."""
    ha, entity = house.assistant, "update.kiosk_1_update"
    ha.wait(lambda: ha.attributes(entity)["installed_version"] == "0.9.0+py3.11", "the version of the package")
    assert (ha.state(entity), ha.attributes(entity)["latest_version"]) == ("unknown", None)
    house.apt.offer("0.9.0+py3.11", "0.10.0+py3.11")
    house.apt.update()
    house.end_agent()
    house.start_agent()
    ha.wait_state(entity, "on", within=90)
    shown = ha.attributes(entity)
    assert shown["latest_version"] == "0.10.0+py3.11"
    assert shown["supported_features"] & INSTALL == 0


def test_bursts_are_counted(house: House) -> None:
    ha = house.assistant
    assert ha.attributes("sensor.kiosk_1_count_burst")["state_class"] == "total_increasing"
    assert float(ha.state("sensor.kiosk_1_count_burst") or "nan") >= 0  # the demo's room is quiet


def test_the_view_shows_what_is_there(house: House) -> None:
    """Every entity of the sample view exists and is enabled."""
    shown = set(re.findall(r"\b\w+\.kiosk_1_\w+", (OURS / "view.yaml").read_text(encoding="utf-8")))
    assert len(shown) > 15
    assert shown <= house.assistant.ask("states").keys()


def test_blueprints_act_once(house: House) -> None:
    """Laughter leads to an action, and so does somebody who waits for a second; neither does it again by itself."""
    ha = house.assistant
    laughter = {"device": "DEVICE", "burst": "laughter", "quiet_s": 0, "actions": [{"event": "they_laugh"}]}
    waiting = {
        "occupancy": "binary_sensor.kiosk_1_occupancy", "seconds": 1, "actions": [{"event": "they_wait"}]
    }  # fmt: skip
    before = [ha.ask("bus", event=event) for event in ("they_laugh", "they_wait")]
    use = [
        {
            "id": "1",
            "alias": "laughter",
            "use_blueprint": {"path": "edge_agent/laughter_scene.yaml", "input": laughter},
        },
        {"id": "2", "alias": "waiting", "use_blueprint": {"path": "edge_agent/waiting_notify.yaml", "input": waiting}},
    ]
    ha.ask("automations", configs=use)
    ha.wait(lambda: ha.state("automation.laughter") == ha.state("automation.waiting") == "on", "two automations")
    ha.call("switch.turn_off", "switch.kiosk_1_microphone")  # so that only what the test sends is heard
    ha.wait_state("switch.kiosk_1_microphone", "off")
    ha.call("switch.turn_off", "switch.kiosk_1_camera")
    ha.wait_state("binary_sensor.kiosk_1_occupancy", "unknown")
    stays = len(ha.ask("occupied"))
    ha.call("switch.turn_on", "switch.kiosk_1_camera")
    ha.wait(lambda: len(ha.ask("occupied")) > stays, "somebody is there")
    ha.wait(lambda: ha.ask("bus", event="they_wait") > before[1], "somebody who waits")
    with Subscriber(house.broker.port, "edge-agent/kiosk-1/event/#") as heard:
        for seq, label in enumerate(("cough", "laughter", "sigh")):
            start = f"2026-11-20T09:00:0{seq}.000Z"
            event = BURST | {"seq": seq, "label": label, "start": start}
            heard.publish("edge-agent/kiosk-1/event/burst", json.dumps(event))
        ha.wait(lambda: ha.ask("bus", event="they_laugh") == before[0] + 1, "laughter")
    # Once for each stay; a busy machine may lose a person for a moment.
    assert ha.ask("bus", event="they_wait") - before[1] <= len(ha.ask("occupied")) - stays
    assert house.errors() == []
    ha.call("automation.turn_off", "automation.laughter")
    ha.call("automation.turn_off", "automation.waiting")
    ha.call("switch.turn_on", "switch.kiosk_1_microphone")
    ha.wait_state("switch.kiosk_1_microphone", "on")


def test_it_obeys_and_confirms(house: House) -> None:
    ha = house.assistant
    ha.call("switch.turn_on", "switch.kiosk_1_privacy")
    ha.wait_state("switch.kiosk_1_privacy", "on")
    assert {ha.state(f"switch.kiosk_1_{name}") for name in ("camera", "microphone")} == {"off"}
    ha.wait_state("binary_sensor.kiosk_1_occupancy", "unknown")
    assert ha.attributes("binary_sensor.kiosk_1_occupancy")["unknown"] == "privacy"
    for entity in ("people", "people_mean", "emotion", "valence"):
        ha.wait_state(f"sensor.kiosk_1_{entity}", "unknown")
        ha.wait(lambda e=entity: ha.attributes(f"sensor.kiosk_1_{e}")["unknown"] == "privacy", f"why no {entity}")
    ha.wait_state("sensor.kiosk_1_quality", "camera: privacy, microphone: privacy")
    assert ha.attributes("switch.kiosk_1_camera")["unknown"] == "privacy"
    ha.call("switch.turn_on", "switch.kiosk_1_camera")
    ha.wait_state("sensor.kiosk_1_last_command", "refused")
    assert "switch privacy off first" in ha.attributes("sensor.kiosk_1_last_command")["reason"]
    ha.call("switch.turn_off", "switch.kiosk_1_privacy")
    ha.wait_state("switch.kiosk_1_camera", "on")
    ha.wait_state("sensor.kiosk_1_people", "1")
    ha.call("select.select_option", "select.kiosk_1_profile", option="monitor")
    ha.wait_state("select.kiosk_1_profile", "monitor")
    ha.call("number.set_value", "number.kiosk_1_max_fps", value=1.5)
    ha.wait_state("number.kiosk_1_max_fps", "1.5")
    ha.call("button.press", "button.kiosk_1_pause_button")
    ha.wait_state("switch.kiosk_1_microphone", "off")
    ha.wait_state("binary_sensor.kiosk_1_paused", "on")
    assert ha.attributes("binary_sensor.kiosk_1_paused")["until"].endswith("Z")
    ha.wait(lambda: (ha.state("sensor.kiosk_1_paused_until") or "").startswith("20"), "when the pause ends")
    ha.wait_state("binary_sensor.kiosk_1_camera_connection", "unknown")
    ha.wait(lambda: ha.attributes("binary_sensor.kiosk_1_occupancy")["unknown"] == "paused", "why nobody is known")
    ha.call("button.press", "button.kiosk_1_resume_button")
    ha.wait_state("switch.kiosk_1_microphone", "on")


def test_an_event_fires_once_and_never_from_a_replay(house: House) -> None:
    ha = house.assistant
    with Subscriber(house.broker.port, "edge-agent/kiosk-1/event/arrival") as heard:
        ha.wait_state("switch.kiosk_1_camera", "on")
        ha.call("switch.turn_off", "switch.kiosk_1_camera")
        ha.wait_state("switch.kiosk_1_camera", "off")
        ha.wait_state("binary_sensor.kiosk_1_occupancy", "unknown")
        before, occupied = len(ha.ask("events")), len(ha.ask("occupied"))
        ha.call("switch.turn_on", "switch.kiosk_1_camera")
        ha.wait(lambda: "event.kiosk_1_arrival" in [e["entity"] for e in ha.ask("events")[before:]], "an arrival")
        sent = heard.wait_for("edge-agent/kiosk-1/event/arrival").json
        arrived = next(event["at"] for event in ha.ask("events")[before:] if event["entity"] == "event.kiosk_1_arrival")
        ha.wait(lambda: len(ha.ask("occupied")) > occupied, "somebody is there")
        late = ha.ask("occupied")[occupied] - datetime.fromisoformat(arrived).timestamp()
        assert late < 1.0  # not with the end of the window
        fired = [event for event in ha.ask("events")[before:] if event["entity"] == "event.kiosk_1_arrival"]
        # There may be more arrivals than one: that of the agent's start, or of a person lost for a moment.
        arrivals = [message.json["start"] for message in heard.messages]
        starts = [event["start"] for event in fired]
        assert {(event["event_type"], event["label"]) for event in fired} == {("arrival", "person")}
        assert len(starts) == len(set(starts)), "one fired twice"
        assert set(starts) <= set(arrivals)
        count = len(ha.ask("events"))
        heard.publish("edge-agent/kiosk-1/backfill/event", json.dumps(sent | {"replayed": True, "seq": 999_999}))
        heard.publish("edge-agent/kiosk-1/event/burst", json.dumps(sent | {"kind": "burst", "label": "cough"}))
        ha.wait(lambda: len(ha.ask("events")) > count, "the cough, which was sent after the replay")
    later = ha.ask("events")[count:]
    assert [(e["entity"], e["event_type"]) for e in later] == [("event.kiosk_1_burst", "cough")]


BURST = {"v": 1, "device": "kiosk-1", "boot_id": "0", "kind": "burst", "score": 0.9, "seconds": 0.4}


def test_a_device_trigger_fires_once_and_never_on_a_return(house: House) -> None:
    """C4: a state trigger on the event entity fires again whenever the agent or Home Assistant comes back."""
    ha = house.assistant
    device = {"platform": "device", "type": "burst"}
    naive = {"platform": "state", "entity_id": "event.kiosk_1_burst"}
    documented = naive | {"not_from": ["unavailable", "unknown"], "not_to": ["unavailable", "unknown"]}
    for name, config in (
        ("cough", device | {"subtype": "cough"}),
        ("any", device | {"subtype": "any"}),
        ("arrival", {"platform": "device", "type": "arrival", "subtype": "person"}),
        ("naive", naive),
        ("documented", documented),
    ):
        ha.ask("trigger", name=name, config=config)
    with Subscriber(house.broker.port, "edge-agent/kiosk-1/event/#") as heard:
        ha.call("switch.turn_off", "switch.kiosk_1_microphone")  # so that only what the test sends is heard
        ha.wait_state("switch.kiosk_1_microphone", "off")
        before = ha.ask("fired")
        for seq, label in enumerate(("cough", "laughter", "cough")):
            start = f"2026-11-20T09:00:0{seq}.000Z"
            heard.publish(
                "edge-agent/kiosk-1/event/burst", json.dumps(BURST | {"seq": seq, "label": label, "start": start})
            )
        ha.wait(lambda: ha.ask("fired")["any"] == before["any"] + 3, "three bursts")
    fired = ha.ask("fired")
    assert fired["cough"] == before["cough"] + 2
    house.end_agent(kill=True)
    ha.wait_state("sensor.kiosk_1_people", "unavailable", within=90)
    house.start_agent()
    ha.wait_state("binary_sensor.kiosk_1_occupancy", "on", within=90)
    later = ha.ask("fired")
    assert {name: later[name] for name in ("cough", "any", "documented")} == {
        name: fired[name] for name in ("cough", "any", "documented")
    }
    assert later["naive"] > fired["naive"]  # what the documentation warns of
    ha.wait(lambda: ha.ask("fired")["arrival"] > 0, "the arrival after the start")
    ha.call("switch.turn_on", "switch.kiosk_1_microphone")
    ha.wait_state("switch.kiosk_1_microphone", "on")


def test_a_killed_agent_is_unavailable_and_comes_back_with_its_choices(house: House) -> None:
    ha = house.assistant
    house.end_agent(kill=True)
    ha.wait_state("sensor.kiosk_1_people", "unavailable", within=90)
    ha.wait_state("switch.kiosk_1_privacy", "unavailable")
    house.start_agent()
    ha.wait_state("sensor.kiosk_1_people", "1", within=90)
    ha.wait_state("select.kiosk_1_profile", "monitor")
    assert ha.state("number.kiosk_1_max_fps") == "1.5"


def test_the_device_is_announced_again_on_the_birth_message(house: House) -> None:
    topic = f"homeassistant/{'sensor/kiosk-1/people' if CORE == '2024.3' else 'device/kiosk-1'}/config"
    with Subscriber(house.broker.port, topic) as heard:
        heard.wait_for(topic, count=1)  # the retained one
        house.assistant.ask("birth")
        heard.wait_for(topic, count=2)


def test_the_device_can_be_taken_away(house: House) -> None:
    ha = house.assistant
    house.end_agent()
    house.start_agent(enabled=False)
    ha.wait(lambda: not [entity for entity in ha.ask("states") if "kiosk_1" in entity], "no entity left", within=90)
    assert house.errors() == []
