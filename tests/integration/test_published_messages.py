"""Every message that a running agent publishes agrees with its model and its JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from edge_agent.domain.event import Event
from edge_agent.domain.observation import EMOTIONS
from edge_agent.payloads.messages import EmotionName, EmotionShares
from edge_agent.payloads.schemas import MESSAGES
from tests.support.cli import Cli
from tests.support.fixtures import MakeBroker, MakeDelivery
from tests.support.mosquitto import Mosquitto
from tests.support.payloads import checked, kind_of
from tests.support.subscriber import Received, Subscriber

BASE = "edge-agent/kiosk-1/"

CONFIG = """
[device]
id = "kiosk-1"
site = "Köln"
publish_config = true
labels = {{floor = "2", kind = "kiosk"}}
state_dir = "{state}"
[camera]
source = "demo"
[microphone]
source = "none"
[summary]
window_s = 1
rollups = [5]
[pacing]
explain = true
[mqtt]
host = "127.0.0.1"
port = {port}
[commands]
enabled = true
"""


def kinds(messages: list[Received]) -> set[str]:
    return {kind for m in messages if (kind := kind_of(m.topic.removeprefix(BASE))) is not None}


def test_every_published_message_agrees_with_its_model(
    cli: Cli, broker: Mosquitto, subscriber: Subscriber, tmp_path: Path
) -> None:
    """Summaries, roll-ups, events, presence, state, health, info, pacing, and answers of all outcomes."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(state=tmp_path / "state", port=broker.port))
    process = cli.start("run", "--config", str(config))
    try:
        subscriber.wait_for(f"{BASE}rollup/5", timeout=90)
        for name, payload in (
            ("privacy", '{"id": "1", "value": "on"}'),
            ("camera", "on"),
            ("max_fps", "1e9"),
            ("nonsense", "{}"),
            ("reset", '{"value": "stream"}'),
        ):
            subscriber.publish(f"{BASE}cmd/{name}", payload)
            subscriber.wait_for(f"{BASE}cmd/{name}/response")
        subscriber.publish(f"{BASE}cmd/privacy", "off")
        wanted = set(MESSAGES) - {"gaps", "update"}  # nothing is lost, and this is no installed package
        subscriber.wait(lambda messages: kinds(messages) >= wanted, 60)
        at = ("--host", "127.0.0.1", "--port", str(broker.port))
        answered = cli("fleet", "command", "floor=2", "status", *at, "--json")
        listed = cli("fleet", "list", *at, "--json")
    finally:
        process.terminate()
        process.communicate(timeout=20)
    own = [m for m in subscriber.messages if m.topic.startswith(BASE) and kind_of(m.topic.removeprefix(BASE))]
    for message in own:
        kind = kind_of(message.topic.removeprefix(BASE))
        assert kind is not None
        document = checked(kind, message.payload)
        assert (document["site"], document["labels"]) == ("Köln", {"floor": "2", "kind": "kiosk"})
    for message in (m for m in subscriber.messages if m.topic.startswith(BASE) and "/cmd/" not in m.topic):
        assert message.about[:3] == (("site", "Köln"), ("label_floor", "2"), ("label_kind", "kiosk")), message.topic
    (answer,), (device,) = json.loads(answered.stdout), json.loads(listed.stdout)
    assert (answered.returncode, answer["outcome"], device["state"], device["site"]) == (0, "done", "online", "Köln")
    assert device["options"]["summary.rollups"] == [5]
    assert device["hardware"]["processors"] >= 1
    outcomes = {json.loads(m.payload)["status"] for m in own if m.topic.endswith("/response")}
    assert outcomes >= {"done", "refused"}


def test_expressions_of_the_models_are_those_of_the_domain() -> None:
    assert get_args(EmotionName) == EMOTIONS == tuple(EmotionShares.model_fields)


@pytest.mark.parametrize("field", ["attention", "merged"])
def test_optional_fields_are_left_out_and_never_null(field: str) -> None:
    summary = {"v": 1, field: None}
    with pytest.raises(ValueError, match=f"{field}: left out when there is nothing to say, never null"):
        MESSAGES["summary"].model_validate(summary)


def test_lost_messages_agree_with_their_model(make_broker: MakeBroker, make_delivery: MakeDelivery) -> None:
    """An event larger than the broker takes is a dead letter, and ``gaps`` says so."""
    broker = make_broker(options=("max_packet_size 2000",))
    delivery = make_delivery(broker.port)
    with Subscriber(broker.port) as subscriber:
        delivery.submit_event(Event("burst", "x" * 3000, 0.5, 0.0, 0.1), 1_780_000_000.0, "synced")
        message = subscriber.wait_for(f"{BASE}gaps", timeout=60)
    document = checked("gaps", message.payload)
    assert document["dead_lettered"] + document["dropped"] == 1
