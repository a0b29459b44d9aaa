"""What Home Assistant is told: sound by its rules, one message or many, and only what may be done."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from edge_agent.control.mqtt import FILE, SETTLED_S, SPREAD_S, Announcer
from edge_agent.delivery.home_assistant import Described, entities, messages, triggers
from edge_agent.delivery.link import Handler, InboundMessage
from edge_agent.delivery.topics import Topics
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.commands import CommandName
from edge_agent.domain.observation import EMOTIONS, LANGUAGE_EMOTIONS, Measure
from tests.support.ha_rules import problems

FULL = Described(
    id="kiosk-1",
    name="Hall",
    version="0.1.0",
    topics=Topics("edge-agent", "kiosk-1"),
    window_s=10.0,
    camera=True,
    microphone=True,
    attention=True,
    commands=get_args(CommandName),
    ranges={"max_fps": (0.1, 60.0)},
)
TOPIC = "homeassistant/device/kiosk-1/config"


def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(messages(FULL, "device", "homeassistant")[TOPIC])
    return document


@pytest.mark.parametrize(
    "device",
    [
        FULL,
        replace(FULL, camera=False),
        replace(FULL, words=True, voice=True),
        replace(FULL, microphone=False, attention=False, commands=()),
        replace(FULL, id="A_b-9", name="x" * 64, window_s=3600.0),
        replace(
            FULL, measures=[Measure("glow.red", "Red"), Measure("loudness.dbfs", "Loudness", "dB", "mdi:ear", "max")]
        ),
        replace(FULL, events={"sound": ["doorbell", "dog"]}, language="de"),
        replace(FULL, enrolled=["Anna", 'Jo "the" O\'Neil', "Änne", "änne"]),
        replace(FULL, packaged=True, language="de"),
        replace(FULL, url="https://kiosk.example/", area="Hall", temperature=False),
    ],
)
def test_the_announcement_is_sound(device: Described) -> None:
    ((topic, payload),) = messages(device, "device", "homeassistant").items()
    assert problems(topic, payload) == []


def test_both_discovery_styles_have_the_same_entities() -> None:
    one = _document()["components"]
    many = {
        topic.split("/")[3]: json.loads(text) for topic, text in messages(FULL, "component", "homeassistant").items()
    }
    assert {key: entity.get("unique_id") for key, entity in many.items()} == {
        key: entity.get("unique_id") for key, entity in one.items()
    }
    for key, entity in many.items():
        hint = {"object_id"} if "unique_id" in entity else set()
        assert {"device", "origin", "availability_topic"} | hint <= entity.keys(), key
        assert "default_entity_id" not in entity


def test_controls_are_offered_only_for_what_is_obeyed() -> None:
    offered = entities(replace(FULL, commands=("privacy",)))
    assert [key for key, entity in offered.items() if "command_topic" in entity] == ["privacy"]
    assert "paused" not in offered
    assert "last_command" not in entities(replace(FULL, commands=()))
    deaf = entities(replace(FULL, microphone=False))
    assert "microphone" not in deaf
    assert "burst" not in deaf
    blind = entities(replace(FULL, camera=False))
    assert not {"camera", "people", "emotion", "arrival", "profile", "max_fps", "occupancy"} & blind.keys()
    assert set(triggers(replace(FULL, microphone=False))) == {"on_arrival", "on_departure"}
    assert "temperature" not in entities(replace(FULL, temperature=False))
    assert "update" not in entities(FULL)
    assert "command_topic" not in entities(replace(FULL, packaged=True))["update"]


def test_words_and_voices_are_there_but_off_until_somebody_wants_them() -> None:
    jinja2 = pytest.importorskip("jinja2")
    assert not {"words_emotion", "arousal"} & entities(FULL).keys()
    offered = entities(replace(FULL, words=True, voice=True))
    words, arousal = offered["words_emotion"], offered["arousal"]
    assert (words["enabled_by_default"], arousal["enabled_by_default"]) == (False, False)

    def shown(entity: dict[str, Any], summary: dict[str, Any]) -> str:
        return str(jinja2.Template(entity["value_template"]).render(value_json=summary))

    spoken = {"language": {"dominant": "joy", "p": {"joy": 0.6}, "utterances": 2}, "voice": {"arousal": 0.25}}
    assert (shown(words, spoken), shown(arousal, spoken)) == ("joy", "0.25")
    unclear: dict[str, Any] = {"language": {"utterances": 1}, "voice": {"seconds": 1.0, "turns": 1}}
    for summary in ({}, unclear):
        assert (shown(words, summary), shown(arousal, summary)) == ("unknown", "None")
    assert set(words["options"]) == {*LANGUAGE_EMOTIONS, "unknown"}


def shown(entity: dict[str, Any], document: dict[str, Any]) -> str:
    """State of ``entity`` after a message, as Home Assistant's templates make it."""
    jinja2 = pytest.importorskip("jinja2")
    return str(jinja2.Template(entity["value_template"]).render(value_json=document))


def test_what_plugins_declare_has_entities_and_triggers() -> None:
    device = replace(
        FULL,
        measures=[Measure("glow.red", "Red"), Measure("people.came", "People who came", statistic="sum")],
        events={"sound": ["doorbell", "glass_breaking"]},
    )
    offered = entities(device)
    red, came, sound = offered["measure_glow_red"], offered["measure_people_came"], offered["event_sound"]
    assert (red["name"], red["state_class"]) == ("Red", "measurement")
    window = {"measures": {"glow.red": {"mean": 0.25, "sum": 3.0}, "people.came": {"mean": 1.0, "sum": 2}}}
    assert (shown(red, window), shown(came, window)) == ("0.25", "2")
    assert (shown(red, {}), shown(red, {"measures": {}})) == ("None", "None")
    assert sound["event_types"] == ["doorbell", "glass_breaking", "other"]
    event = {"label": "glass_breaking", "score": 0.9, "seconds": 1.0, "start": "x"}
    assert "'event_type': 'glass_breaking'" in shown(sound | _without_json(sound), event)
    assert "'event_type': 'other'" in shown(sound | _without_json(sound), event | {"label": "quake"})
    assert {"on_sound_doorbell", "on_sound_glass_breaking"} < triggers(device).keys()
    assert not [key for key in entities(FULL) if key.startswith(("measure_", "event_"))]


def _without_json(entity: dict[str, Any]) -> dict[str, Any]:
    """The template without Home Assistant's own filter ``tojson`` for everything."""
    return {"value_template": entity["value_template"].replace(" | tojson", "")}


def test_recognised_people_have_an_event_and_a_trigger() -> None:
    assert not {"recognised", "on_recognised"} & (entities(FULL) | triggers(FULL)).keys()
    known = replace(FULL, identity=True)
    entity = entities(known)["recognised"]
    event = {"kind": "recognised", "label": "person", "score": 0.9, "seconds": 0.0, "start": "x"}
    assert "name" not in shown(entity | _without_json(entity), event)
    named = shown(entity | _without_json(entity), event | {"name": "Ann"})
    assert "'event_type': 'recognised'" in named
    assert "'name': 'Ann'" in named
    assert triggers(known)["on_recognised"]["topic"].endswith("/event/recognised")


def test_bursts_and_events_of_plugins_are_counted() -> None:
    offered = entities(replace(FULL, events={"sound": ["doorbell"]}))
    health = {"events": {"burst": {"laughter": 3, "yodel": 2}, "sound": {"doorbell": 1}}}
    expected = {"count_burst": "5", "count_burst_laughter": "3", "count_burst_cough": "0", "count_sound_doorbell": "1"}
    for key, value in expected.items():
        assert shown(offered[key], health) == value
        assert shown(offered[key], {}) == "0"  # before the first
        assert offered[key]["state_class"] == "total_increasing"
    assert "count_burst" not in entities(replace(FULL, microphone=False))


def test_every_figure_has_long_term_statistics() -> None:
    sensors = {key: e for key, e in entities(FULL).items() if e["platform"] == "sensor"}
    words = {key for key, entity in sensors.items() if entity.get("device_class") in ("enum", "timestamp")}
    assert {key for key, entity in sensors.items() if "state_class" not in entity} == words | {"quality"}
    shares = [sensors[f"emotion_{name}"] for name in EMOTIONS]
    assert {entity["enabled_by_default"] for entity in shares} == {False}
    p = dict.fromkeys(EMOTIONS, 0.1) | {"neutral": 0.3}
    assert shown(shares[0], {"emotion": {"p": p}}) == "30.0"
    assert shown(shares[0], {"emotion": None}) == "None"


def test_connection_of_a_source_is_unknown_while_it_is_switched_off() -> None:
    camera = entities(FULL)["camera_connection"]
    for source, state in (
        ({"off": False, "available": True}, "ON"),
        ({"off": False, "available": False}, "OFF"),
        ({"off": True, "available": False}, "None"),
    ):
        assert shown(camera, {"sources": {"camera": source}}) == state
    assert shown(camera, {"sources": {}}) == "None"
    assert "microphone_connection" not in entities(replace(FULL, microphone=False))


def test_the_end_of_a_pause_is_a_time_where_home_assistant_knows_missing_ones() -> None:
    one = entities(FULL)["paused_until"]
    many = json.loads(messages(FULL, "component", "ha")["ha/sensor/kiosk-1/paused_until/config"])
    until = {"paused_until": "2026-11-20T09:00:00.000Z"}
    assert shown(one, until) == shown(many, until) == until["paused_until"]
    assert (one["device_class"], shown(one, {"paused_until": None})) == ("timestamp", "None")
    assert ("device_class" in many, shown(many, {"paused_until": None})) == (False, "unknown")


def test_every_name_is_there_in_german() -> None:
    full = replace(FULL, words=True, voice=True, identity=True, events={"sound": ["dog"]})
    english, german = (entities(replace(full, language=language)) for language in ("en", "de"))
    assert english.keys() == german.keys()
    same = {key for key in english if english[key]["name"] == german[key]["name"]}
    assert same == {"problem"}  # the same word
    assert german["emotion_happiness"]["name"] == "Anteil Freude"
    assert german["count_burst_throat_clearing"]["name"] == "Lautäußerungen gezählt: Räuspern"
    assert english["people"]["default_entity_id"] == german["people"]["default_entity_id"]


def test_the_device_links_to_its_dashboard_and_suggests_its_room() -> None:
    ((_, payload),) = messages(replace(FULL, url="http://10.0.0.7:8765/", area="Hall"), "device", "ha").items()
    about = json.loads(payload)["device"]
    assert (about["configuration_url"], about["suggested_area"]) == ("http://10.0.0.7:8765/", "Hall")
    assert not {"configuration_url", "suggested_area"} & _document()["device"].keys()


def test_no_entity_reads_what_was_delayed() -> None:
    for entity in entities(FULL).values():
        assert "backfill" not in json.dumps(entity)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda d: d.pop("origin"), "origin needs a name"),
        (lambda d: d.pop("components"), "no components"),
        (lambda d: d["device"].pop("identifiers"), "identifiers"),
        (lambda d: d.update(dev={}), "unknown key 'dev'"),
        (lambda d: d["components"]["people"].pop("platform"), "platform None"),
        (lambda d: d["components"]["people"].pop("unique_id"), "lacks unique_id"),
        (lambda d: d["components"]["people"].update(unique_id="edge_agent_kiosk-1_valence"), "is that of"),
        (lambda d: d["components"]["people"].update(object_id="x"), "unknown key 'object_id'"),
        (lambda d: d["components"]["people"].update(state_topic="a/+"), "wildcards"),
        (lambda d: d["components"]["people"].update(entity_category="config"), "entity_category"),
        (lambda d: d["components"]["valence"].update(expire_after="60"), "whole numbers"),
        (lambda d: d["components"]["on_cough"].pop("automation_type"), "automation_type"),
        (lambda d: d["components"]["on_cough"].update(name="x"), "unknown key 'name'"),
        (lambda d: d["components"]["on_cough"].update(subtype="sigh"), "is that of"),
        (lambda d: d["components"]["people"].update(default_entity_id="switch.x"), "default_entity_id"),
        (lambda d: d["components"]["emotion"].update(state_class="measurement"), "an enum"),
        (lambda d: d["components"]["temperature"].update(unit_of_measurement="C"), "units"),
        (lambda d: d["components"]["burst"].update(event_types=[]), "lacks event_types"),
        (lambda d: d["components"]["privacy"].pop("command_topic"), "lacks command_topic"),
        (lambda d: d["components"]["max_fps"].update(min=60), "below max"),
        (lambda d: d["components"]["profile"].update(options=["a", "a"]), "repetitions"),
        (lambda d: d["components"]["people"].update(value_template="{{ x }"), "unbalanced"),
    ],
)
def test_the_validator_finds_what_is_wrong(damage: Callable[[dict[str, Any]], object], complaint: str) -> None:
    document = _document()
    damage(document)
    found = problems(TOPIC, json.dumps(document).encode())
    assert any(complaint in line for line in found), found


def test_the_validator_knows_topics_and_removal() -> None:
    assert problems(TOPIC, b"") == []
    assert "topic" in problems("homeassistant/sensor/kiosk-1/config", b"")[0]
    assert "not JSON" in problems(TOPIC, b"{")[0]


class Board:
    """Remembers what was asked of delivery."""

    def __init__(self) -> None:
        self.states: dict[str, bytes] = {}
        self.refreshed: list[str] = []
        self.handlers: dict[str, Handler] = {}

    def publish_state(self, topic: str, payload: bytes, *, retain: bool = True, absolute: bool = False) -> None:
        assert retain
        assert absolute
        self.states[topic] = payload

    def refresh_state(self, topic: str) -> None:
        self.refreshed.append(topic)

    def forget_state(self, topic: str) -> None:
        del self.states[topic]

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        self.handlers[topic_filter] = handler


def announce(folder: Path, told: dict[str, bytes], clock: ManualClock) -> tuple[Announcer, Board]:
    board = Board()
    announcer = Announcer(told, "homeassistant/status", board, folder, clock)
    announcer.start()
    return announcer, board


def test_what_was_announced_before_is_taken_back_once(tmp_path: Path) -> None:
    clock = ManualClock()
    announce(tmp_path, {"a/old": b"1", "a/kept": b"2"}, clock)
    announcer, board = announce(tmp_path, {"a/kept": b"2", "a/new": b"3"}, clock)
    assert board.states == {"a/old": b"", "a/kept": b"2", "a/new": b"3"}
    announcer.tick(connected=True)
    clock.advance(SETTLED_S - 1)
    announcer.tick(connected=False)  # interrupted: the time counts anew
    clock.advance(2)
    announcer.tick(connected=True)
    assert json.loads((tmp_path / FILE).read_text()) == ["a/kept", "a/new", "a/old"]
    clock.advance(SETTLED_S)
    announcer.tick(connected=True)
    assert board.states == {"a/kept": b"2", "a/new": b"3"}
    _, after = announce(tmp_path, {}, clock)
    assert after.states == {"a/kept": b"", "a/new": b""}
    assert after.handlers == {}


def test_a_birth_message_is_answered_a_little_later(tmp_path: Path) -> None:
    clock = ManualClock()
    announcer, board = announce(tmp_path, {"a": b"1"}, clock)
    handler = board.handlers["homeassistant/status"]
    for payload, retain in ((b"offline", False), (b"online", True)):
        handler(InboundMessage("homeassistant/status", payload, retain, 0.0))
    clock.advance(SPREAD_S)
    announcer.tick(connected=True)
    assert board.refreshed == []
    handler(InboundMessage("homeassistant/status", b"online", False, 0.0))
    clock.advance(SPREAD_S)
    announcer.tick(connected=True)
    announcer.tick(connected=True)
    assert board.refreshed == ["a"]


def test_a_damaged_or_unwritable_memory_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{not json")
    _, board = announce(tmp_path, {"a": b"1"}, ManualClock())
    assert board.states == {"a": b"1"}
    (tmp_path / "file").write_text("")
    _, board = announce(tmp_path / "file", {"a": b"1"}, ManualClock())
    assert board.states == {"a": b"1"}
