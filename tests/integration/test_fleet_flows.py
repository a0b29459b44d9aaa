"""Telegraf's configuration and Node-RED's flow of config/fleet: what they make of real payloads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from edge_agent.delivery.topics import matches
from edge_agent.payloads.rendering import timestamp
from edge_agent.payloads.schemas import schema
from tests.support.fleet_files import DEVICES, FLEET, UNTIL, device_id, documents, health
from tests.support.mosquitto import Mosquitto, free_port
from tests.support.subscriber import Subscriber

TELEGRAF = tomllib.loads((FLEET / "telegraf.conf").read_text(encoding="utf-8"))
INPUTS = TELEGRAF["inputs"]["mqtt_consumer"]
KINDS = {
    "edge_agent_window": "summary",
    "edge_agent_burst": "summary",
    "edge_agent_fused": "summary",
    "edge_agent_event": "event",
    "edge_agent_health": "health",
}
TYPES = {"int": {"integer"}, "float": {"number", "integer"}, "string": {"string"}, "bool": {"boolean"}}

# -- Telegraf: it is not to be had here, so its configuration is read as its parser does -----------------------------


def parser(input_: dict[str, Any]) -> dict[str, Any]:
    """The only json_v2 table of an input: what several find in a message is multiplied with each other."""
    assert len(input_["json_v2"]) == 1
    found: dict[str, Any] = input_["json_v2"][0]
    return found


@pytest.mark.parametrize("input_", INPUTS, ids=lambda i: i["client_id"])
def test_telegraf_asks_for_fields_that_exist_in_their_type(input_: dict[str, Any]) -> None:
    config = parser(input_)
    document = schema(KINDS[config["measurement_name"]])
    for entry in [*config.get("field", ()), *config.get("tag", ())]:
        part, always = _in_schema(document, entry["path"].split("."))
        if "type" in entry:
            assert _types(part) <= TYPES[entry["type"]] | {"null"}, entry
        assert always or entry.get("optional"), f"{entry['path']} is not in every message: Telegraf would drop it"
    names = [entry.get("rename", entry["path"].split(".")[-1]) for entry in [*config.get("field", ()), *config["tag"]]]
    assert len(names) == len(set(names)), "two values of one name"
    for thing in config.get("object", ()):
        part, _ = _in_schema(document, [thing["path"]])
        properties = _resolved(document, part["items"])["properties"]
        assert set(thing["tags"]) | set(thing["fields"]) == set(properties)
        for name, type_ in thing["fields"].items():
            assert _types(properties[name]) <= TYPES[type_]


def _in_schema(document: dict[str, Any], path: list[str]) -> tuple[dict[str, Any], bool]:
    """The schema of a field, and whether every message has it (or null)."""
    part, always = document, True
    for name in path:
        part = _resolved(document, part)
        always &= name in part.get("required", ())
        others = [part.get("additionalProperties"), *part.get("patternProperties", {}).values()]
        part = part["properties"][name] if "properties" in part else next(other for other in others if other)
        always &= "anyOf" not in part or name == path[-1]
    return _resolved(document, part), always


def _resolved(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    part = next((option for option in part.get("anyOf", ()) if option != {"type": "null"}), part)
    while "$ref" in part:
        part = document["$defs"][part["$ref"].rpartition("/")[2]]
    return part


def _types(part: dict[str, Any]) -> set[str]:
    if "const" in part:
        return {{bool: "boolean", int: "integer", str: "string"}[type(part["const"])]}
    if "enum" in part:
        return {"string"}
    types = part.get("type", [])
    return {types} if isinstance(types, str) else set(types)


def points(input_: dict[str, Any], message: dict[str, Any]) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    """Name, tags and fields of what Telegraf makes of a message. Null makes no field; without any there is no point."""
    config = parser(input_)

    def read(entries: list[dict[str, Any]]) -> dict[str, Any]:
        found = {}
        for entry in entries:
            value: Any = message
            for name in entry["path"].split("."):
                value = value.get(name) if isinstance(value, dict) else None
            if value is not None:
                found[entry.get("rename", entry["path"].split(".")[-1])] = value
        return found

    tags, fields = read(config.get("tag", [])), read(config.get("field", []))
    made = []
    for thing in config.get("object", ()):
        for item in message.get(thing["path"], ()):
            labels = {name: item[name] for name in thing["tags"]}
            made.append((config["measurement_name"], tags | labels, fields | {n: item[n] for n in thing["fields"]}))
    if not config.get("object") and fields:
        made.append((config["measurement_name"], tags, fields))
    return made


def test_telegraf_gets_every_window_and_every_burst_by_label() -> None:
    inputs = {parser(i)["measurement_name"]: i for i in INPUTS}
    told = [document for number in DEVICES for document in documents(number)]
    windows = [document for document in told if "faces" in document]
    bursts = [burst for window in windows for burst in window["bursts"]]
    found = [point for window in windows for point in points(inputs["edge_agent_burst"], window)]
    assert [tags["label"] for _, tags, _ in found] == [burst["label"] for burst in bursts]
    assert sum(fields["count"] for _, _, fields in found) == sum(burst["count"] for burst in bursts)
    made = [points(inputs["edge_agent_window"], window) for window in windows]
    assert all(len(of_one) == 1 for of_one in made)
    unseen = [points(inputs["edge_agent_window"], w)[0][2] for w in windows if w["faces"]["mean"] is None]
    assert unseen
    assert all("people_mean" not in fields and "coverage_video" in fields for fields in unseen)
    moments = {(point[0], w["start"], *sorted(point[1].items())) for w in windows for point in made[windows.index(w)]}
    assert len(moments) == len(windows), "two windows would overwrite each other"
    events = [document for document in told if "kind" in document]
    assert all(points(inputs["edge_agent_event"], event)[0][1]["kind"] == event["kind"] for event in events)
    name, tags, fields = points(inputs["edge_agent_health"], health(5))[0]
    assert (name, tags["site"], fields["pending"], fields["dropped"]) == ("edge_agent_health", "site-000", 7, 3)


def test_telegraf_subscribes_to_what_is_published_once_each() -> None:
    assert len({input_["client_id"] for input_ in INPUTS}) == len(INPUTS)
    for input_ in INPUTS:
        kind = KINDS[parser(input_)["measurement_name"]]
        topics = {
            "summary": ["edge-agent/k/summary", "edge-agent/k/backfill/summary"],
            "event": ["edge-agent/k/event/burst", "edge-agent/k/backfill/event"],
            "health": ["edge-agent/k/health"],
        }[kind]
        assert [sum(matches(f, topic) for f in input_["topics"]) for topic in topics] == [1] * len(topics)
        assert (input_["qos"], input_["persistent_session"], input_["data_format"]) == (1, True, "json_v2")
    (parsing,) = INPUTS[-1]["topic_parsing"]
    levels = zip(parsing["tags"].split("/"), ["edge-agent", "kiosk-1", "health"], strict=True)
    assert dict(levels)["device"] == "kiosk-1"


# -- Node-RED ----------------------------------------------------------------------------------------------------------

NODE_RED = os.environ.get("NODE_RED") or shutil.which("node-red")


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subscriber]:
    """A Node-RED without its editor that runs the shipped flow."""
    if NODE_RED is None:
        pytest.skip("needs node-red: npm install -g node-red, or $NODE_RED")
    folder = tmp_path_factory.mktemp("node-red")
    shutil.copy(FLEET / "node-red-flow.json", folder / "flow.json")
    (folder / "settings.js").write_text(
        "module.exports = {httpAdminRoot: false, httpNodeRoot: false}", encoding="utf-8"
    )
    command = [
        NODE_RED,
        "--userDir",
        str(folder),
        "--settings",
        str(folder / "settings.js"),
        "--port",
        str(free_port()),
    ]
    with (
        Mosquitto(folder / "broker") as broker,
        Subscriber(broker.port) as subscriber,
        (folder / "log").open("wb") as log,
    ):
        environment = os.environ | {"MQTT_HOST": broker.host, "MQTT_PORT": str(broker.port)}
        process = subprocess.Popen([*command, str(folder / "flow.json")], stdout=log, stderr=log, env=environment)
        try:
            probe = {"status": "ok", "problems": ["probe"]}
            # Retained, so that it arrives whenever the flow subscribes.
            subscriber.publish("edge-agent/probe/health", json.dumps(probe), retain=True)
            subscriber.wait_for("fleet/alerts", timeout=90)
            yield subscriber
        finally:
            process.terminate()
            process.wait(20)


def _now(document: dict[str, Any], **more: Any) -> str:
    return json.dumps(document | {"start": timestamp(datetime.now(UTC).timestamp())} | more)


def test_node_red_adds_up_the_people_of_a_site_from_two_devices_on(flow: Subscriber) -> None:
    window = next(d for d in documents(5) if d.get("faces", {}).get("mean"))
    faces = window["faces"]
    for device, mean in (("a", 1.5), ("b", 2.0), ("c", None)):
        message = _now(window, device=device, site="hall", faces=faces | {"mean": mean})
        flow.publish(f"edge-agent/{device}/summary", message)
    told = flow.wait_for("fleet/hall/people", count=2)
    assert told.json == {"people": 3.5, "devices": 2, "unknown": 1}
    assert flow.on("fleet/hall/people")[0].json == {"people": 3.5, "devices": 2, "unknown": 0}


def test_node_red_acts_on_live_laughter_only(flow: Subscriber) -> None:
    event = {
        "v": 1, "device": "a", "boot_id": "b", "seq": 1, "kind": "burst", "label": "laughter", "score": 0.9,
        "seconds": 1.0, "site": "hall",
    }  # fmt: skip
    flow.publish("edge-agent/a/event/burst", _now(event, start=timestamp(UNTIL - timedelta(hours=1).total_seconds())))
    flow.publish("edge-agent/a/event/burst", _now(event, label="cough"))
    flow.publish("edge-agent/a/event/burst", _now(event, score=0.75))
    assert flow.wait_for("fleet/hall/laughter").json == {"device": "a", "score": 0.75}


def test_node_red_tells_each_change_once(flow: Subscriber, eventually: Callable[..., Any]) -> None:
    name = device_id(9)
    for status in ("online", "offline", "offline", "online"):
        flow.publish(f"edge-agent/{name}/status", status)
    for problems in ([], ["camera: lost"], ["camera: lost"], []):
        flow.publish(f"edge-agent/{name}/health", json.dumps(health(9, problems=problems)))

    def told() -> list[Any]:
        return [message.json for message in flow.on("fleet/alerts") if message.json["device"] == name]

    expected = [
        {"device": name, "status": "offline"},
        {"device": name, "status": "online"},
        {"device": name, "problems": "camera: lost"},
        {"device": name, "problems": ""},
    ]
    eventually(lambda: len(told()) >= len(expected))
    assert sorted(told(), key=str) == sorted(expected, key=str)


def test_the_flow_is_whole() -> None:
    nodes = json.loads((FLEET / "node-red-flow.json").read_text(encoding="utf-8"))
    ids = {node["id"] for node in nodes}
    assert {target for node in nodes for wires in node.get("wires", ()) for target in wires} <= ids
    assert {node["broker"] for node in nodes if node["type"].startswith("mqtt ")} == {"edge-agent-broker"}
