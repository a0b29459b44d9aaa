"""What Home Assistant is told about this device: one entity per figure, event and control, as MQTT discovery.

Pure: from a description of the device to topics and payloads. ``device`` discovery is one message for everything
(Home Assistant 2024.12 and later), ``component`` discovery one message per entity. Entities read the same topics as
every other subscriber; only controls that the config allows are offered. Sending is :mod:`..delivery.announcer`'s.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edge_agent.delivery import topics
from edge_agent.delivery.commands import COMMANDS
from edge_agent.delivery.payload import encode
from edge_agent.delivery.topics import Topics
from edge_agent.domain.event import ARRIVAL, BURST, DEPARTURE
from edge_agent.domain.observation import EMOTIONS

Entity = dict[str, Any]
Style = Literal["device", "component"]

BURST_LABELS = ("laughter", "crying", "scream", "sigh", "gasp", "groan", "cough", "throat_clearing", "sneeze")
"""Event types of bursts; labels of other plugins are told as ``other``."""

OTHER = "other"
PAUSE_S = 900
HEALTH_EXPIRES_S = 120


@dataclass(frozen=True, slots=True)
class Described:
    """What the entities depend on. ``commands`` are those that are obeyed, ``fps`` the bounds of what may be set."""

    id: str
    name: str
    version: str
    topics: Topics
    window_s: float
    camera: bool
    microphone: bool
    attention: bool
    commands: Collection[str]
    fps: tuple[float, float]


def messages(device: Described, style: Style, prefix: str) -> dict[str, bytes]:
    """Discovery payloads by full topic, to be published retained; an empty payload there takes the entity away."""
    about = {"device": _device(device), "origin": {"name": "edge-agent", "sw_version": device.version}}
    found = entities(device)
    if style == "device":
        payload = about | _availability(device) | {"components": found}
        return {topics.discovery(prefix, "device", device.id): encode(payload)}
    result = {}
    for key, entity in found.items():
        rest = {name: value for name, value in entity.items() if name not in ("platform", "default_entity_id")}
        # Versions before 2025 know this hint for the entity's id under its old name.
        rest["object_id"] = entity["default_entity_id"].split(".", 1)[1]
        topic = topics.discovery(prefix, entity["platform"], device.id, key)
        result[topic] = encode(rest | about | _availability(device))
    return result


def entities(device: Described) -> dict[str, Entity]:
    """Every entity by its key, with its platform; device and availability are told once for all."""
    found = _figures(device) | _events(device) | _controls(device)
    for key, entity in found.items():
        entity["unique_id"] = f"edge_agent_{device.id}_{key}"
        entity["default_entity_id"] = f"{entity['platform']}.{_slug(device.id)}_{key}"
        entity["qos"] = 1
    return found


def _device(device: Described) -> dict[str, Any]:
    return {
        "identifiers": [f"edge_agent_{device.id}"],
        "name": device.name,
        "manufacturer": "edge-agent",
        "model": "Emotion sensor",
        "sw_version": device.version,
    }


def _availability(device: Described) -> dict[str, Any]:
    return {
        "availability_topic": device.topics.full(topics.STATUS),
        "payload_available": topics.ONLINE.decode(),
        "payload_not_available": topics.OFFLINE.decode(),
    }


# -- figures ----------------------------------------------------------------------------------------------------------


def _figures(device: Described) -> dict[str, Entity]:
    found: dict[str, Entity] = {}
    if device.camera:
        found |= _sight(device)
    summary = _from_summary(device, "{{ value_json.quality.flags | join(', ') or 'ok' }}")
    found["quality"] = _sensor("Quality", "mdi:image-check", summary) | _attributes(device, "value_json.quality")
    found["quality"]["entity_category"] = "diagnostic"
    found["temperature"] = _sensor(
        "Temperature", None, _from_health(device, "{{ value_json.process.temperature_c }}")
    ) | {
        "device_class": "temperature",
        "unit_of_measurement": "°C",
        "state_class": "measurement",
        "entity_category": "diagnostic",
    }
    pending = "{{ value_json.delivery.outbox.pending if value_json.delivery.outbox else none }}"
    found["backlog"] = _sensor("Backlog", "mdi:tray-full", _from_health(device, pending)) | {
        "state_class": "measurement",
        "entity_category": "diagnostic",
    }
    found["problem"] = {
        "platform": "binary_sensor",
        "name": "Problem",
        "device_class": "problem",
        "entity_category": "diagnostic",
        **_from_health(device, "{{ 'OFF' if value_json.status == 'ok' else 'ON' }}"),
        "json_attributes_topic": device.topics.full(topics.HEALTH),
        "json_attributes_template": "{{ {'problems': value_json.problems} | tojson }}",
    }
    return found


def _sight(device: Described) -> dict[str, Entity]:
    def emotion(field: str) -> str:
        return "{{ value_json.emotion." + field + " if value_json.emotion else none }}"

    found = {
        "people": _sensor("People", "mdi:account-group", _from_summary(device, "{{ value_json.faces.max }}"))
        | {"state_class": "measurement"}
        | _attributes(device, "value_json.faces"),
        "occupancy": {
            "platform": "binary_sensor",
            "name": "Occupancy",
            "device_class": "occupancy",
            **_from_summary(device, "{{ 'ON' if value_json.faces.max > 0 else 'OFF' }}"),
        },
        "emotion": _sensor("Dominant emotion", "mdi:emoticon-outline", _from_summary(device, emotion("dominant")))
        | {"device_class": "enum", "options": list(EMOTIONS)}
        | _attributes(
            device,
            "dict(value_json.emotion.p, confidence=value_json.emotion.confidence, readings=value_json.emotion.readings)"
            " if value_json.emotion else {}",
        ),
        "valence": _sensor("Valence", "mdi:emoticon-neutral-outline", _from_summary(device, emotion("valence")))
        | {"state_class": "measurement"},
    }
    if device.attention:
        ratio = "{{ (value_json.attention.ratio * 100) | round if value_json.get('attention') else none }}"
        found["attention"] = _sensor("Attention", "mdi:eye", _from_summary(device, ratio)) | {
            "state_class": "measurement",
            "unit_of_measurement": "%",
        }
    return found


def _sensor(name: str, icon: str | None, reading: Mapping[str, Any]) -> Entity:
    return {"platform": "sensor", "name": name, **({"icon": icon} if icon else {}), **reading}


def _from_summary(device: Described, template: str) -> dict[str, Any]:
    return {
        "state_topic": device.topics.full(topics.SUMMARY),
        "value_template": template,
        "expire_after": int(max(60.0, 3 * device.window_s + 30.0)),
    }


def _from_health(device: Described, template: str) -> dict[str, Any]:
    return {
        "state_topic": device.topics.full(topics.HEALTH),
        "value_template": template,
        "expire_after": HEALTH_EXPIRES_S,
    }


def _attributes(device: Described, expression: str) -> dict[str, Any]:
    return {
        "json_attributes_topic": device.topics.full(topics.SUMMARY),
        "json_attributes_template": "{{ (" + expression + ") | tojson }}",
    }


# -- events -----------------------------------------------------------------------------------------------------------


def _events(device: Described) -> dict[str, Entity]:
    found: dict[str, Entity] = {}
    if device.microphone:
        known = json.dumps(list(BURST_LABELS)).replace('"', "'")
        kind = f"(value_json.label if value_json.label in {known} else '{OTHER}')"
        found["burst"] = _event(device, "Vocal burst", "mdi:microphone-message", BURST, [*BURST_LABELS, OTHER], kind)
    if device.camera:
        found["arrival"] = _event(device, "Arrival", "mdi:account-arrow-left", ARRIVAL, [ARRIVAL], f"'{ARRIVAL}'")
        found["departure"] = _event(
            device, "Departure", "mdi:account-arrow-right", DEPARTURE, [DEPARTURE], f"'{DEPARTURE}'"
        )
    return found


def _event(device: Described, name: str, icon: str, kind: str, types: list[str], event_type: str) -> Entity:
    """Live events only: they are not retained, and what was delayed goes to a topic that no entity reads."""
    return {
        "platform": "event",
        "name": name,
        "icon": icon,
        "event_types": types,
        "state_topic": device.topics.full(topics.event(kind)),
        "value_template": "{{ dict(event_type="
        + event_type
        + ", label=value_json.label, score=value_json.score, seconds=value_json.seconds, start=value_json.start)"
        " | tojson }}",
    }


# -- controls ---------------------------------------------------------------------------------------------------------


def _controls(device: Described) -> dict[str, Entity]:
    found: dict[str, Entity] = {}
    switches = {"privacy": ("Privacy", "mdi:eye-off", True)}
    switches["camera"] = ("Camera", "mdi:camera", device.camera)
    switches["microphone"] = ("Microphone", "mdi:microphone", device.microphone)
    for command, (name, icon, there) in switches.items():
        if there and command in device.commands:
            found[command] = _switch(device, command, name, icon)
    if device.camera and "profile" in device.commands:
        found["profile"] = _control(device, "select", "profile", "Profile", "mdi:speedometer") | {
            "options": ["monitor", "standard", "detail"],
            **_state(device, "{{ value_json.profile }}"),
        }
    if device.camera and "max_fps" in device.commands:
        least, most = device.fps
        found["max_fps"] = _control(device, "number", "max_fps", "Most frames per second", "mdi:speedometer") | {
            "min": least,
            "max": most,
            "step": 0.1,
            "mode": "box",
            **_state(device, "{{ value_json.max_fps }}"),
        }
        automatic = _control(device, "button", "max_fps", "Frames per second automatic", "mdi:speedometer")
        found["max_fps_auto"] = automatic | {"payload_press": "auto"}
    return found | _buttons(device)


def _switch(device: Described, command: str, name: str, icon: str) -> Entity:
    """Its state is what the device confirms: a switch that waits for a release is neither on nor off."""
    confirmed = "{{ {'on': 'ON', 'off': 'OFF'}.get(value_json." + command + ", 'None') }}"
    return _control(device, "switch", command, name, icon) | {
        "payload_on": "ON",
        "payload_off": "OFF",
        **_state(device, confirmed),
    }


def _buttons(device: Described) -> dict[str, Entity]:
    buttons = {
        "pause": ("Pause for 15 minutes", "mdi:pause", str(PAUSE_S)),
        "resume": ("End the pause", "mdi:play", "{}"),
        "reset": ("Reopen camera and microphone", "mdi:restart", "stream"),
        "reload": ("Reload the config", "mdi:file-refresh", "{}"),
    }
    return {
        f"{command}_button": _control(device, "button", command, name, icon) | {"payload_press": payload}
        for command, (name, icon, payload) in buttons.items()
        if command in device.commands
    }


def _control(device: Described, platform: str, command: str, name: str, icon: str) -> Entity:
    return {
        "platform": platform,
        "name": name,
        "icon": icon,
        "command_topic": device.topics.full(f"{COMMANDS}/{command}"),
        "entity_category": "config",
    }


def _state(device: Described, template: str) -> dict[str, Any]:
    return {"state_topic": device.topics.full(topics.STATE), "value_template": template}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "device"
