"""Home Assistant's published rules for device discovery, as a checker: what is wrong with a payload, in plain lines.

From the MQTT integration's documentation (device discovery, and the page of each platform). Stricter than Home
Assistant, which drops keys that it does not know: an unknown key here is a mistake.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

AVAILABILITY = {"availability_topic", "payload_available", "payload_not_available", "availability_template"}
SHARED = {"state_topic", "command_topic", "qos", "encoding"} | AVAILABILITY
DEVICE = {
    *("identifiers", "connections", "name", "manufacturer", "model", "model_id", "serial_number", "sw_version"),
    *("hw_version", "suggested_area", "configuration_url", "via_device"),
}
ORIGIN = {"name", "sw_version", "support_url"}
COMMON = {
    *("platform", "name", "unique_id", "default_entity_id", "icon", "entity_category", "enabled_by_default", "qos"),
    *("encoding", "json_attributes_topic", "json_attributes_template", "entity_picture"),
} | AVAILABILITY
READING = {"state_topic", "value_template", "expire_after", "device_class", "force_update"}
PLATFORMS: dict[str, tuple[set[str], set[str]]] = {
    # platform: keys that must be there, keys that may be
    "sensor": (
        {"state_topic"},
        READING | {"state_class", "unit_of_measurement", "options", "suggested_display_precision"},
    ),
    "binary_sensor": ({"state_topic"}, READING | {"payload_on", "payload_off", "off_delay"}),
    "event": ({"state_topic", "event_types"}, {"state_topic", "event_types", "value_template", "device_class"}),
    "switch": (
        {"command_topic"},
        {
            *("command_topic", "command_template", "state_topic", "value_template", "payload_on", "payload_off"),
            *("state_on", "state_off", "optimistic", "retain", "device_class"),
        },
    ),
    "select": (
        {"command_topic", "options"},
        {"command_topic", "command_template", "options", "state_topic", "value_template", "optimistic", "retain"},
    ),
    "number": (
        {"command_topic"},
        {
            *("command_topic", "command_template", "state_topic", "value_template", "min", "max", "step", "mode"),
            *("optimistic", "retain", "unit_of_measurement", "device_class", "payload_reset"),
        },
    ),
    "update": (
        {"state_topic"},
        {"state_topic", "value_template", "latest_version_topic", "latest_version_template", "title", "release_url"},
    ),
    "device_automation": (
        {"topic", "type", "subtype"},
        {"automation_type", "topic", "type", "subtype", "payload", "value_template"},
    ),
    "button": ({"command_topic"}, {"command_topic", "command_template", "payload_press", "retain", "device_class"}),
}
DEVICE_CLASSES = {
    "sensor": {"temperature", "enum", "timestamp", "duration"},
    "binary_sensor": {"occupancy", "presence", "motion", "problem", "connectivity"},
    "button": {"restart", "identify", "update"},
}
UNITS = {"temperature": {"°C", "°F", "K"}}
CATEGORIES = {
    "sensor": {"diagnostic"},
    "binary_sensor": {"diagnostic"},
    "event": {"diagnostic"},
    "button": {"config", "diagnostic"},
    "switch": {"config", "diagnostic"},
    "select": {"config", "diagnostic"},
    "number": {"config", "diagnostic"},
    "update": {"config", "diagnostic"},
}


def problems(topic: str, payload: bytes, prefix: str = "homeassistant") -> list[str]:
    """Everything that breaks a rule; empty for a sound announcement or a removal (an empty payload)."""
    return list(_problems(topic, payload, prefix))


def _problems(topic: str, payload: bytes, prefix: str) -> Iterator[str]:
    if not re.fullmatch(rf"{re.escape(prefix)}/device/([A-Za-z0-9_-]+/)?[A-Za-z0-9_-]+/config", topic):
        yield f"topic {topic!r} is not <prefix>/device/[node/]<object>/config"
    if not payload:
        return
    try:
        document = json.loads(payload)
    except ValueError as error:
        yield f"not JSON: {error}"
        return
    yield from _unknown("root", document, {"device", "origin", "components"} | SHARED)
    yield from _device(document.get("device", {}))
    yield from _unknown("origin", document.get("origin", {}), ORIGIN)
    if not document.get("origin", {}).get("name"):
        yield "origin needs a name"
    components = document.get("components")
    if not isinstance(components, dict) or not components:
        yield "no components"
        return
    seen: dict[str, str] = {}
    for key, component in components.items():
        yield from (f"{key}: {problem}" for problem in _component({**_shared(document), **component}))
        same = ("topic", "type", "subtype") if component.get("platform") == "device_automation" else ("unique_id",)
        unique = " ".join(str(component.get(name, "")) for name in same)
        if unique in seen:
            yield f"{key}: unique_id {unique!r} is that of {seen[unique]}"
        seen[unique] = key


def _shared(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key in SHARED}


def _device(device: dict[str, Any]) -> Iterator[str]:
    yield from _unknown("device", device, DEVICE)
    if not (device.get("identifiers") or device.get("connections")):
        yield "device needs identifiers or connections"
    if not device.get("name"):
        yield "device needs a name"


def _component(entity: dict[str, Any]) -> Iterator[str]:
    platform = entity.get("platform")
    if platform not in PLATFORMS:
        yield f"platform {platform!r} is none that we use"
        return
    needed, allowed = PLATFORMS[platform]
    trigger = platform == "device_automation"  # no entity: nothing of what entities have in common
    common = set() if trigger else {"unique_id", "name"}
    yield from (f"lacks {key}" for key in sorted(common | needed) if not entity.get(key))
    yield from _unknown("entity", entity, ({"platform", "qos"} | AVAILABILITY if trigger else COMMON) | allowed)
    if trigger and entity.get("automation_type") != "trigger":
        yield "automation_type must be trigger"
    if not str(entity.get("default_entity_id", f"{platform}.x")).startswith(f"{platform}."):
        yield "default_entity_id must begin with the platform"
    category = entity.get("entity_category")
    if category is not None and category not in CATEGORIES[platform]:
        yield f"entity_category {category!r} is not for a {platform}"
    kind = entity.get("device_class")
    if kind is not None and kind not in DEVICE_CLASSES.get(platform, set()):
        yield f"device_class {kind!r} is not for a {platform}"
    if kind in UNITS and entity.get("unit_of_measurement") not in UNITS[kind]:
        yield f"a {kind} needs one of the units {sorted(UNITS[kind])}"
    yield from _values(entity, str(platform))


def _values(entity: dict[str, Any], platform: str) -> Iterator[str]:
    if entity.get("device_class") == "enum" and not (entity.get("options") and "state_class" not in entity):
        yield "an enum has options and no state_class"
    if platform == "sensor" and entity.get("options") and entity.get("device_class") != "enum":
        yield "only an enum has options"
    if entity.get("state_class") not in (None, "measurement", "total", "total_increasing"):
        yield "unknown state_class"
    if platform == "number" and not float(entity.get("min", 1)) < float(entity.get("max", 100)):
        yield "min must be below max"
    if platform == "number" and not float(entity.get("step", 1)) >= 0.001:
        yield "step must be at least 0.001"
    for key in ("options", "event_types"):
        if key in entity and (not entity[key] or len(set(entity[key])) < len(entity[key])):
            yield f"{key} must be a list without repetitions"
    if not isinstance(entity.get("expire_after", 0), int) or entity.get("qos", 0) not in (0, 1, 2):
        yield "expire_after and qos are whole numbers"
    for key, value in entity.items():
        wildcards = "+#" if key.endswith("topic") else ""
        if key.endswith("topic") and (not value or any(mark in value for mark in wildcards)):
            yield f"{key} must be a topic without wildcards"
        if key.endswith("template") and value.count("{{") != value.count("}}"):
            yield f"{key} has unbalanced braces"


def _unknown(where: str, found: dict[str, Any], known: set[str]) -> Iterator[str]:
    yield from (f"{where}: unknown key {key!r}" for key in sorted(found.keys() - known))
