"""Home Assistant discovery payloads: one entity per figure, event and control, and device triggers.

Pure functions from a description of the device to topics and payloads. ``device`` discovery is one message for all
(Home Assistant 2024.12 and later), ``component`` discovery one message per entity. Entities read the same topics as
other subscribers; only controls that the config allows are offered. Missing values have the state ``unknown`` and an
attribute ``unknown`` with the reason. :mod:`edge_agent.control.mqtt` publishes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from edge_agent.delivery import topics
from edge_agent.delivery.commands import COMMANDS, Status
from edge_agent.delivery.topics import Topics
from edge_agent.domain.commands import REGISTRY, CommandSpec, EntitySpec
from edge_agent.domain.event import ARRIVAL, BURST, DEPARTURE, PERSON
from edge_agent.domain.observation import EMOTIONS, LANGUAGE_EMOTIONS
from edge_agent.payloads.rendering import encode

Entity = dict[str, Any]
Style = Literal["device", "component"]

BURST_LABELS = ("laughter", "crying", "scream", "sigh", "gasp", "groan", "cough", "throat_clearing", "sneeze")
"""Event types of bursts; labels of other plugins become ``other``."""

OTHER = "other"
HEALTH_EXPIRES_S = 120


@dataclass(frozen=True, slots=True)
class Described:
    """Description of the device. ``commands``: allowed commands; ``ranges``: value ranges that the config narrows.

    ``temperature``: whether this machine measures one; ``url``: where the dashboard can be reached. ``words`` and
    ``voice``: whether it is judged what is said, and how.
    """

    id: str
    name: str
    version: str
    topics: Topics
    window_s: float
    camera: bool
    microphone: bool
    attention: bool
    commands: Collection[str]
    ranges: Mapping[str, tuple[float, float]]
    temperature: bool = True
    url: str | None = None
    area: str | None = None
    words: bool = False
    voice: bool = False


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
        # Home Assistant before 2025 reads this hint for the entity id under its old name.
        if "default_entity_id" in entity:
            rest["object_id"] = entity["default_entity_id"].split(".", 1)[1]
        topic = topics.discovery(prefix, entity["platform"], device.id, key)
        result[topic] = encode(rest | about | _availability(device))
    return result


def entities(device: Described) -> dict[str, Entity]:
    """Every entity by its key, with its platform; without device and availability, which all share."""
    found = _figures(device) | _events(device) | _controls(device)
    for key, entity in found.items():
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
        for kind in (ARRIVAL, DEPARTURE):
            found[f"on_{kind}"] = _trigger(device, kind, PERSON, "{{ value_json.label }}", PERSON)
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


# -- figures ----------------------------------------------------------------------------------------------------------


def _figures(device: Described) -> dict[str, Entity]:
    found: dict[str, Entity] = {}
    if device.camera:
        found |= _sight(device)
    found |= _speech(device)
    found["quality"] = _sensor("Quality", "mdi:image-check", _from_summary(device, _QUALITY))
    found["quality"] |= _attributes(device, "dict(value_json.quality, unknown=value_json.get('unknown'))")
    found["quality"]["entity_category"] = "diagnostic"
    if device.temperature:
        celsius = _from_health(device, "{{ value_json.process.temperature_c }}")
        found["temperature"] = _sensor("Temperature", None, celsius) | {
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
        **_from_health(device, "{{ 'ON' if value_json.problems else 'OFF' }}"),
        "json_attributes_topic": device.topics.full(topics.HEALTH),
        "json_attributes_template": "{{ {'problems': value_json.problems} | tojson }}",
    }
    return found


def _sight(device: Described) -> dict[str, Entity]:
    unknown = "unknown=" + _why_none("value_json.emotion")
    dominant = "{{ value_json.emotion.dominant if value_json.emotion else 'unknown' }}"
    valence = "{{ value_json.emotion.valence if value_json.emotion else none }}"
    found = {
        "people": _sensor("People", "mdi:account-group", _from_presence(device, "{{ value_json.count }}"))
        | {"state_class": "measurement"},
        "occupancy": {
            "platform": "binary_sensor",
            "name": "Occupancy",
            "device_class": "occupancy",
            **_from_presence(device, "{{ {true: 'ON', false: 'OFF'}.get(value_json.occupied, 'None') }}"),
        },
        "people_mean": _sensor(
            "People on average", "mdi:account-group-outline", _from_summary(device, "{{ value_json.faces.mean }}")
        )
        | {"state_class": "measurement"}
        | _attributes(device, f"dict(value_json.faces, unknown={_why_none('value_json.faces.max is not none')})"),
        # Before 2024.10 Home Assistant takes "None" for a state of sensors without numbers.
        "emotion": _sensor("Dominant emotion", "mdi:emoticon-outline", _from_summary(device, dominant))
        | {"device_class": "enum", "options": [*EMOTIONS, "unknown"]}
        | _attributes(
            device,
            "dict(value_json.emotion.p, confidence=value_json.emotion.confidence, readings=value_json.emotion.readings,"
            f" unknown=none) if value_json.emotion else dict({unknown})",
        ),
        "valence": _sensor("Valence", "mdi:emoticon-neutral-outline", _from_summary(device, valence))
        | {"state_class": "measurement"}
        | _attributes(device, f"dict({unknown})"),
    }
    if device.attention:
        ratio = "{{ (value_json.attention.ratio * 100) | round if value_json.get('attention') else none }}"
        found["attention"] = _sensor("Attention", "mdi:eye", _from_summary(device, ratio)) | {
            "state_class": "measurement",
            "unit_of_measurement": "%",
            **_attributes(device, "dict(unknown=" + _why_none("value_json.get('attention')") + ")"),
        }
    return found


def _speech(device: Described) -> dict[str, Entity]:
    """What was said and how; off until somebody switches them on, as few want them on a wall."""
    found: dict[str, Entity] = {}
    if device.words:
        language = "value_json.get('language', {})"
        found["words_emotion"] = _sensor(
            "Dominant emotion of words",
            "mdi:comment-text-outline",
            _from_summary(device, f"{{{{ {language}.get('dominant', 'unknown') }}}}"),
        ) | {
            "device_class": "enum",
            "options": [*LANGUAGE_EMOTIONS, "unknown"],
            "enabled_by_default": False,
            **_attributes(device, f"dict({language}.get('p', {{}}), utterances={language}.get('utterances', 0))"),
        }
    if device.voice:
        voice = "value_json.get('voice', {})"
        found["arousal"] = _sensor(
            "Arousal of voices", "mdi:waveform", _from_summary(device, f"{{{{ {voice}.get('arousal') }}}}")
        ) | {
            "state_class": "measurement",
            "enabled_by_default": False,
            **_attributes(device, f"dict(seconds={voice}.get('seconds', 0), turns={voice}.get('turns', 0))"),
        }
    return found


def _reasons(sense: str) -> str:
    """Template: why people or sounds are unknown for a part of the window."""
    return f"value_json.get('unknown', {{}}).get('{sense}', {{}})"


def _named(device: str, sense: str) -> str:
    """Template: the reasons of ``device``, without the flags and without ``none``, a device that the config omits."""
    rest = f"{_reasons(sense)} | reject('in', value_json.quality.flags) | reject('eq', 'none')"
    return f"({rest} | map('regex_replace', '^', '{device}: ') | list)"


_QUALITY = (
    f"{{{{ (value_json.quality.flags + {_named('camera', 'people')} + {_named('microphone', 'sounds')})"
    " | join(', ') or 'ok' }}"
)


def _why_none(known: str) -> str:
    """Template: why the number of people is unknown; none when it is ``known``."""
    return (
        f"(none if {known} else 'withheld' if value_json.get('withheld')"
        f" else ({_reasons('people')} | join(', ')) if value_json.faces.max is none"
        " else 'nobody' if value_json.faces.max == 0 else 'too_little')"
    )


def _sensor(name: str, icon: str | None, reading: Mapping[str, Any]) -> Entity:
    return {"platform": "sensor", "name": name, **({"icon": icon} if icon else {}), **reading}


def _from_summary(device: Described, template: str) -> dict[str, Any]:
    return {
        "state_topic": device.topics.full(topics.SUMMARY),
        "value_template": template,
        "expire_after": int(max(60.0, 3 * device.window_s + 30.0)),
    }


def _from_presence(device: Described, template: str) -> dict[str, Any]:
    """Published on changes, so it never expires; availability tells when it is out of date."""
    topic = device.topics.full(topics.PRESENCE)
    return {
        "state_topic": topic,
        "value_template": template,
        "json_attributes_topic": topic,
        "json_attributes_template": "{{ {'unknown': value_json.unknown} | tojson }}",
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
    """Live events only: they are not retained, and late ones go to a topic that no entity reads."""
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
    if device.commands:
        status = "{{ value_json.last_command.status if value_json.last_command else 'unknown' }}"
        reading = _state(device, status, "value_json.last_command or {}")
        found["last_command"] = _sensor("Last command", "mdi:message-reply-text", reading) | {
            "device_class": "enum",
            "options": [*get_args(Status), "unknown"],
            "entity_category": "diagnostic",
        }
    return found


def _state(device: Described, template: str, attributes: str = "") -> dict[str, Any]:
    topic = device.topics.full(topics.STATE)
    more = {"json_attributes_topic": topic, "json_attributes_template": "{{ (" + attributes + ") | tojson }}"}
    return {"state_topic": topic, "value_template": template, **(more if attributes else {})}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "device"
