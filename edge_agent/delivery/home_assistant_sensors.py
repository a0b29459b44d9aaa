"""Home Assistant entities that show what the device measures: sensors, binary sensors, events, and their German names.

:mod:`edge_agent.delivery.home_assistant` adds the controls and makes discovery messages. Missing values have the state
``unknown`` and an attribute ``unknown`` with the reason.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edge_agent.delivery import topics
from edge_agent.delivery.topics import Topics
from edge_agent.domain.event import ARRIVAL, BURST, DEPARTURE, RECOGNISED
from edge_agent.domain.observation import EMOTIONS, LANGUAGE_EMOTIONS, Measure

Entity = dict[str, Any]
Language = Literal["en", "de"]

BURST_LABELS = ("laughter", "crying", "scream", "sigh", "gasp", "groan", "cough", "throat_clearing", "sneeze")
"""Event types of bursts; labels of other plugins become ``other``."""

OTHER = "other"
HEALTH_EXPIRES_S = 120


@dataclass(frozen=True, slots=True)
class Described:
    """Description of the device. ``commands``: allowed commands; ``ranges``: value ranges that the config narrows.

    ``temperature``: whether this machine measures one; ``url``: where the dashboard can be reached. ``words`` and
    ``voice``: whether it is judged what is said, and how. ``measures`` and ``events`` (labels by kind): what analyzers
    declare. ``enrolled``: names of the people whose presence is published. ``language``: of the names of the entities.
    ``identity``: whether people who enrolled are recognised. ``packaged``: whether it comes from a Debian package.
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
    measures: Sequence[Measure] = ()
    events: Mapping[str, Sequence[str]] = field(default_factory=dict)
    enrolled: Sequence[str] = ()
    language: Language = "en"
    identity: bool = False
    packaged: bool = False


# -- figures ----------------------------------------------------------------------------------------------------------


def figures(device: Described) -> dict[str, Entity]:
    found: dict[str, Entity] = {}
    if device.camera:
        found |= _sight(device)
    found |= _speech(device) | _measures(device) | _connectivity(device) | _counters(device)
    found["quality"] = sensor("Quality", "mdi:image-check", _from_summary(device, _QUALITY))
    found["quality"] |= _attributes(device, "dict(value_json.quality, unknown=value_json.get('unknown'))")
    found["quality"]["entity_category"] = "diagnostic"
    if device.temperature:
        celsius = _from_health(device, "{{ value_json.process.temperature_c }}")
        found["temperature"] = sensor("Temperature", None, celsius) | {
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            "state_class": "measurement",
            "entity_category": "diagnostic",
        }
    pending = "{{ value_json.delivery.outbox.pending if value_json.delivery.outbox else none }}"
    found["backlog"] = sensor("Backlog", "mdi:tray-full", _from_health(device, pending)) | {
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
        "people": sensor("People", "mdi:account-group", _from_presence(device, "{{ value_json.count }}"))
        | {"state_class": "measurement"},
        "occupancy": {
            "platform": "binary_sensor",
            "name": "Occupancy",
            "device_class": "occupancy",
            **_from_presence(device, "{{ {true: 'ON', false: 'OFF'}.get(value_json.occupied, 'None') }}"),
        },
        "people_mean": sensor(
            "People on average", "mdi:account-group-outline", _from_summary(device, "{{ value_json.faces.mean }}")
        )
        | {"state_class": "measurement"}
        | _attributes(device, f"dict(value_json.faces, unknown={_why_none('value_json.faces.max is not none')})"),
        # Before 2024.10 Home Assistant takes "None" for a state of sensors without numbers.
        "emotion": sensor("Dominant emotion", "mdi:emoticon-outline", _from_summary(device, dominant))
        | {"device_class": "enum", "options": [*EMOTIONS, "unknown"]}
        | _attributes(
            device,
            "dict(value_json.emotion.p, confidence=value_json.emotion.confidence, readings=value_json.emotion.readings,"
            f" unknown=none) if value_json.emotion else dict({unknown})",
        ),
        "valence": sensor("Valence", "mdi:emoticon-neutral-outline", _from_summary(device, valence))
        | {"state_class": "measurement"}
        | _attributes(device, f"dict({unknown})"),
    }
    found |= _shares(device) | _enrolled(device)
    if device.attention:
        ratio = "{{ (value_json.attention.ratio * 100) | round if value_json.get('attention') else none }}"
        found["attention"] = sensor("Attention", "mdi:eye", _from_summary(device, ratio)) | {
            "state_class": "measurement",
            "unit_of_measurement": "%",
            **_attributes(device, "dict(unknown=" + _why_none("value_json.get('attention')") + ")"),
        }
    return found


def _enrolled(device: Described) -> dict[str, Entity]:
    """Whether each enrolled person is in view; unknown while nobody can be seen."""
    return {
        f"person_{re.sub('[^a-z0-9]+', '_', name.lower())}_{zlib.crc32(name.encode()) & 0xFFFF:04x}": {
            "platform": "binary_sensor",
            "name": name,
            "icon": "mdi:account-check",
            "device_class": "presence",
            **_from_presence(
                device,
                "{{ 'None' if value_json.names is not defined else 'ON' if "
                f"{json.dumps(name)} in value_json.names else 'OFF' }}}}",
            ),
        }
        for name in device.enrolled
    }


def _shares(device: Described) -> dict[str, Entity]:
    """Share of each emotion, for statistics and graphs; off until somebody switches them on."""
    share = "{{{{ (value_json.emotion.p.{name} * 100) | round(1) if value_json.emotion else none }}}}"
    return {
        f"emotion_{name}": sensor(
            f"Share of {name}", "mdi:emoticon-outline", _from_summary(device, share.format(name=name))
        )
        | {"state_class": "measurement", "unit_of_measurement": "%", "enabled_by_default": False}
        for name in EMOTIONS
    }


def _measures(device: Described) -> dict[str, Entity]:
    """What plugins measure."""
    found = {}
    for measure in device.measures:
        value = f"value_json.get('measures', {{}}).get('{measure.key}', {{}}).get('{measure.statistic}')"
        figure = sensor(measure.title, measure.icon, _from_summary(device, f"{{{{ {value} }}}}"))
        unit = {"unit_of_measurement": measure.unit} if measure.unit else {}
        found[f"measure_{measure.key.replace('.', '_')}"] = figure | unit | {"state_class": "measurement"}
    return found


def _connectivity(device: Described) -> dict[str, Entity]:
    """Whether camera and microphone deliver; unknown while they are switched off by choice."""
    found = {}
    for name, present in (("camera", device.camera), ("microphone", device.microphone)):
        if present:
            source = f"value_json.sources.get('{name}', {{}})"
            template = f"{{{{ 'None' if {source}.get('off', true) else 'ON' if {source}.available else 'OFF' }}}}"
            found[f"{name}_connection"] = {
                "platform": "binary_sensor",
                "name": f"{name.capitalize()} connection",
                "device_class": "connectivity",
                "entity_category": "diagnostic",
                **_from_health(device, template),
            }
    return found


def _counters(device: Described) -> dict[str, Entity]:
    """How many bursts and other events there were since the start; Home Assistant adds them up over restarts."""
    counted = {BURST: BURST_LABELS} if device.microphone else {}
    found = {}
    for kind, labels in (counted | dict(device.events)).items():
        events = f"value_json.get('events', {{}}).get('{kind}', {{}})"
        for label in (None, *labels):
            value = f"{events}.values() | sum" if label is None else f"{events}.get('{label}', 0)"
            title = "Vocal bursts counted" if kind == BURST else f"{_title(kind)} counted"
            name = title if label is None else f"{title}: {label.replace('_', ' ')}"
            found[f"count_{kind}" + (f"_{label}" if label else "")] = sensor(
                name, "mdi:counter", _from_health(device, f"{{{{ {value} }}}}")
            ) | {"state_class": "total_increasing", "enabled_by_default": label is None}
    return found


def _title(word: str) -> str:
    return word.replace("_", " ").capitalize()


def _speech(device: Described) -> dict[str, Entity]:
    """What was said and how; off until somebody switches them on, as few want them on a wall."""
    found: dict[str, Entity] = {}
    if device.words:
        language = "value_json.get('language', {})"
        found["words_emotion"] = sensor(
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
        found["arousal"] = sensor(
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


def sensor(name: str, icon: str | None, reading: Mapping[str, Any]) -> Entity:
    return {"platform": "sensor", "name": name, **({"icon": icon} if icon else {}), **reading}


def _from_summary(device: Described, template: str) -> dict[str, Any]:
    return {
        "state_topic": device.topics.full(topics.SUMMARY),
        "value_template": template,
        "expire_after": int(max(60.0, 3 * device.window_s + 30.0)),
    }


def _from_presence(device: Described, template: str) -> dict[str, Any]:
    """Repeated every 30 s, so it expires behind a bridge that is cut, where availability knows nothing of it."""
    topic = device.topics.full(topics.PRESENCE)
    return {
        "state_topic": topic,
        "value_template": template,
        "expire_after": HEALTH_EXPIRES_S,
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


def events(device: Described) -> dict[str, Entity]:
    """Event entities of bursts, arrivals, departures, and of what analyzers declare."""
    found: dict[str, Entity] = {}
    if device.microphone:
        found["burst"] = _event(device, "Vocal burst", "mdi:microphone-message", BURST, BURST_LABELS)
    if device.camera:
        found["arrival"] = _event(device, "Arrival", "mdi:account-arrow-left", ARRIVAL)
        found["departure"] = _event(device, "Departure", "mdi:account-arrow-right", DEPARTURE)
    if device.identity:
        found["recognised"] = _event(device, "Recognised person", "mdi:account-check", RECOGNISED)
    for kind, labels in device.events.items():
        found[f"event_{kind}"] = _event(device, _title(kind), "mdi:bell-ring", kind, labels)
    return found


def _event(device: Described, name: str, icon: str, kind: str, labels: Sequence[str] = ()) -> Entity:
    """Live events only: they are not retained, and late ones go to a topic that no entity reads.

    The event's type is its label where those are known, and ``other`` for others; its kind where it has no ``labels``.
    """
    known = json.dumps(list(labels)).replace('"', "'")
    event_type = f"(value_json.label if value_json.label in {known} else '{OTHER}')" if labels else f"'{kind}'"
    return {
        "platform": "event",
        "name": name,
        "icon": icon,
        "event_types": [*labels, OTHER] if labels else [kind],
        "state_topic": device.topics.full(topics.event(kind)),
        "value_template": "{% set name = {'name': value_json.name} if 'name' in value_json else {} %}"
        "{{ dict(event_type="
        + event_type
        + ", label=value_json.label, score=value_json.score, seconds=value_json.seconds, start=value_json.start,"
        " **name)"
        " | tojson }}",
    }


# -- names ------------------------------------------------------------------------------------------------------------


GERMAN: Mapping[str, str] = {
    "People": "Personen",
    "Occupancy": "Anwesenheit",
    "People on average": "Personen im Mittel",
    "Dominant emotion": "Vorherrschender Ausdruck",
    "Valence": "Valenz",
    "Attention": "Aufmerksamkeit",
    "Dominant emotion of words": "Vorherrschendes Gefühl der Worte",
    "Arousal of voices": "Erregung der Stimmen",
    "Quality": "Qualität",
    "Temperature": "Temperatur",
    "Backlog": "Rückstand",
    "Problem": "Problem",
    "Package": "Paket",
    "Camera connection": "Verbindung der Kamera",
    "Microphone connection": "Verbindung des Mikrofons",
    "Vocal burst": "Lautäußerung",
    "Arrival": "Ankunft",
    "Departure": "Weggang",
    "Recognised person": "Erkannte Person",
    "Sound": "Geräusch",
    "Privacy": "Privatsphäre",
    "Camera": "Kamera",
    "Microphone": "Mikrofon",
    "Profile": "Profil",
    "Most frames per second": "Höchste Bildrate",
    "Frames per second automatic": "Bildrate automatisch",
    "Pause for 15 minutes": "15 Minuten Pause",
    "End the pause": "Pause beenden",
    "Reopen camera and microphone": "Kamera und Mikrofon neu öffnen",
    "Reload the config": "Konfiguration neu laden",
    "Paused": "Pausiert",
    "Paused until": "Pausiert bis",
    "Last command": "Letzter Befehl",
    "Vocal bursts counted": "Lautäußerungen gezählt",
    "Sound counted": "Geräusche gezählt",
    "Share of": "Anteil",
    "neutral": "neutral",
    "happiness": "Freude",
    "surprise": "Überraschung",
    "sadness": "Trauer",
    "anger": "Ärger",
    "disgust": "Ekel",
    "fear": "Angst",
    "contempt": "Verachtung",
    "laughter": "Lachen",
    "crying": "Weinen",
    "scream": "Schrei",
    "sigh": "Seufzen",
    "gasp": "Keuchen",
    "groan": "Stöhnen",
    "cough": "Husten",
    "throat clearing": "Räuspern",
    "sneeze": "Niesen",
}
"""Names of entities and of what they are made of."""


def named(name: str, language: Language) -> str:
    """Translate the name of an entity, also one with a part behind ``Share of`` or a colon; others stay as they are."""
    if language == "en" or name in GERMAN:
        return name if language == "en" else GERMAN[name]
    if name.startswith("Share of "):
        return f"{GERMAN['Share of']} {named(name.removeprefix('Share of '), language)}"
    title, colon, part = name.partition(": ")
    return f"{GERMAN.get(title, title)}{colon}{GERMAN.get(part, part)}"
