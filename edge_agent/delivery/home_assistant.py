"""Home Assistant discovery payloads: one entity per figure, event and control, and device triggers.

Pure functions from a description of the device to topics and payloads. ``device`` discovery is one message for all
(Home Assistant 2024.12 and later), ``component`` discovery one message per entity. Entities read the same topics as
other subscribers; only controls that the config allows are offered. Missing values have the state ``unknown`` and an
attribute ``unknown`` with the reason. :mod:`edge_agent.control.mqtt` publishes them.
"""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

from edge_agent.delivery import topics
from edge_agent.delivery.commands import COMMANDS, Status
from edge_agent.delivery.home_assistant_sensors import (
    BURST_LABELS,
    Described,
    Entity,
    events,
    figures,
    named,
    sensor,
)
from edge_agent.domain.commands import REGISTRY, CommandSpec, EntitySpec
from edge_agent.domain.event import ARRIVAL, BURST, DEPARTURE, PERSON, RECOGNISED
from edge_agent.payloads.rendering import encode

__all__ = ["Described", "Style", "entities", "messages", "triggers"]

Style = Literal["device", "component"]


def messages(device: Described, style: Style, prefix: str) -> dict[str, bytes]:
    """Discovery payloads by full topic, to be published retained; an empty payload removes the entity."""
    about = {"device": _device(device), "origin": {"name": "edge-agent", "sw_version": device.version}}
    found = entities(device) | triggers(device)
    if style == "device":
        payload = about | _availability(device) | {"components": found}
        return {topics.discovery(prefix, "device", device.id): encode(payload)}
    result = {}
    for key, entity in found.items():
        rest = {name: value for name, value in entity.items() if name not in ("platform", "default_entity_id")}
        if rest.get("device_class") == "timestamp":
            # Before 2024.10 Home Assistant knows no missing time, so it gets a text.
            del rest["device_class"]
            rest["value_template"] = rest["value_template"].replace(" }}", " or 'unknown' }}")
        # Home Assistant before 2025 reads this hint for the entity id under its old name.
        if "default_entity_id" in entity:
            rest["object_id"] = entity["default_entity_id"].split(".", 1)[1]
        topic = topics.discovery(prefix, entity["platform"], device.id, key)
        result[topic] = encode(rest | about | _availability(device))
    return result


def entities(device: Described) -> dict[str, Entity]:
    """Every entity by its key, with its platform; without device and availability, which all share."""
    found = figures(device) | events(device) | _controls(device) | _update(device)
    for key, entity in found.items():
        entity["name"] = named(entity["name"], device.language)
        entity["unique_id"] = f"edge_agent_{device.id}_{key}"
        entity["default_entity_id"] = f"{entity['platform']}.{_slug(device.id)}_{key}"
        entity["qos"] = 1
    return found


def triggers(device: Described) -> dict[str, Entity]:
    """Device triggers by key. They fire on messages as they arrive, not when Home Assistant or the agent starts."""
    found: dict[str, Entity] = {}
    if device.microphone:
        found["on_burst"] = _trigger(device, BURST, "any", "{{ value_json.kind }}", BURST)
        for label in BURST_LABELS:
            found[f"on_{label}"] = _trigger(device, BURST, label, "{{ value_json.label }}", label)
    if device.camera:
        for kind in (ARRIVAL, DEPARTURE, *([RECOGNISED] if device.identity else [])):
            found[f"on_{kind}"] = _trigger(device, kind, PERSON, "{{ value_json.label }}", PERSON)
    for kind, labels in device.events.items():
        for label in labels:
            found[f"on_{kind}_{label}"] = _trigger(device, kind, label, "{{ value_json.label }}", label)
    return found


def _trigger(device: Described, kind: str, subtype: str, template: str, payload: str) -> Entity:
    return {
        "platform": "device_automation",
        "automation_type": "trigger",
        "type": kind,
        "subtype": subtype,
        "topic": device.topics.full(topics.event(kind)),
        "value_template": template,
        "payload": payload,
        "qos": 1,
    }


def _device(device: Described) -> dict[str, Any]:
    more = {"configuration_url": device.url, "suggested_area": device.area}
    return {key: value for key, value in more.items() if value} | {
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


# -- controls ---------------------------------------------------------------------------------------------------------


def _controls(device: Described) -> dict[str, Entity]:
    found = {
        entity.key or spec.name: _control(device, spec, entity)
        for spec in REGISTRY.values()
        if spec.name in device.commands
        for entity in spec.entities
        if entity.needs is None or getattr(device, entity.needs)
    }
    return found | _outcomes(device)


def _control(device: Described, spec: CommandSpec, entity: EntitySpec) -> Entity:
    common: Entity = {
        "platform": entity.platform,
        "name": entity.name,
        "icon": entity.icon,
        "command_topic": device.topics.full(f"{COMMANDS}/{spec.name}"),
        "entity_category": "config",
    }
    state = _state(device, f"{{{{ value_json.{spec.name} }}}}")
    match entity.platform:
        case "switch":
            return common | _switch(device, spec.name)
        case "button":
            return common | {"payload_press": entity.press}
        case "select":
            return common | {"options": list(get_args(spec.value)), **state}
        case "number":
            least, most = device.ranges.get(spec.name) or spec.range or (None, None)
            return common | {"min": least, "max": most, "step": 0.1, "mode": "box", **state}


def _switch(device: Described, command: str) -> Entity:
    """Switch whose state is confirmed by the device: neither on nor off while it waits for a release or is missing."""
    confirmed = "{{ {'on': 'ON', 'off': 'OFF'}.get(value_json." + command + ", 'None') }}"
    sense = {"camera": "people", "microphone": "sounds"}.get(command)
    why = f"dict(unknown=value_json.unknown.{sense})" if sense else ""
    return {"payload_on": "ON", "payload_off": "OFF", **_state(device, confirmed, why)}


def _outcomes(device: Described) -> dict[str, Entity]:
    """Entities of commands: whether the device is paused, and the response to the last command."""
    found: dict[str, Entity] = {}
    if "pause" in device.commands:
        found["paused"] = {
            "platform": "binary_sensor",
            "name": "Paused",
            "icon": "mdi:pause-circle",
            "entity_category": "diagnostic",
            **_state(device, "{{ 'ON' if value_json.paused_until else 'OFF' }}", "dict(until=value_json.paused_until)"),
        }
        until = "{{ value_json.paused_until }}"
        found["paused_until"] = sensor("Paused until", "mdi:timer-pause", _state(device, until)) | {
            "device_class": "timestamp",
            "entity_category": "diagnostic",
        }
    if device.commands:
        status = "{{ value_json.last_command.status if value_json.last_command else 'unknown' }}"
        reading = _state(device, status, "value_json.last_command or {}")
        found["last_command"] = sensor("Last command", "mdi:message-reply-text", reading) | {
            "device_class": "enum",
            "options": [*get_args(Status), "unknown"],
            "entity_category": "diagnostic",
        }
    return found


def _update(device: Described) -> dict[str, Entity]:
    """Whether there is a newer package. No command installs it: that is the task of the machine's own upgrades."""
    if not device.packaged:
        return {}
    # Home Assistant refuses the whole message for a key that it does not know.
    known = "value_json.items() | selectattr(0, 'in', ['installed_version', 'latest_version'])"
    return {
        "update": {
            "platform": "update",
            "name": "Package",
            "title": "edge-agent",
            "entity_category": "diagnostic",
            "state_topic": device.topics.full(topics.UPDATE),
            "value_template": f"{{{{ dict({known}) | tojson }}}}",
        }
    }


def _state(device: Described, template: str, attributes: str = "") -> dict[str, Any]:
    topic = device.topics.full(topics.STATE)
    more = {"json_attributes_topic": topic, "json_attributes_template": "{{ (" + attributes + ") | tojson }}"}
    return {"state_topic": topic, "value_template": template, **(more if attributes else {})}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "device"
