"""Devices of a fleet as they tell of themselves on retained topics, and groups of them by site and labels.

:func:`reports` is pure; :func:`read_fleet` asks the broker. What devices say is not trusted: fields of a wrong kind
count as not said. Nothing is compared with this machine's clock where the broker tells the age of messages (MQTT 5).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Literal

from edge_agent.delivery import topics
from edge_agent.delivery.link import InboundMessage
from edge_agent.domain.errors import ConfigError
from edge_agent.fleet.station import Station
from edge_agent.settings import MqttSettings
from edge_agent.settings.device import LABEL_KEY

KINDS = (topics.STATUS, topics.INFO, topics.HEALTH, topics.CONFIG)

SILENT_S = 120.0
"""A device that says ``online`` and was not heard of for this long cannot be reached: it repeats it every 30 s."""

State = Literal["online", "silent", "offline"]


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """What is known of one device. None and empty: it did not say.

    ``state``: ``silent`` when neither it nor its last will was heard, as behind a cut bridge. ``seen_s``: seconds since
    it was heard of. ``backlog``: messages in its outbox, the oldest ``oldest_s`` old. ``behind``: another one
    has a newer version. ``options`` are those it publishes, ``tables`` the hashes of all of them.
    """

    device: str
    state: State
    name: str = ""
    site: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    behind: bool = False
    seen_s: float | None = None
    health: str = ""
    problems: Sequence[str] = ()
    notices: Sequence[str] = ()
    backlog: int | None = None
    oldest_s: float | None = None
    broker: str = ""
    host: str = ""
    hardware: Mapping[str, Any] = field(default_factory=dict)
    system: str = ""
    config_hash: str = ""
    tables: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON-like types."""
        return asdict(self)


def read_fleet(station: Station, mqtt: MqttSettings, wall: float) -> list[DeviceReport]:
    """Ask the broker for all devices under the prefix of ``mqtt``; ``wall`` is the time now, Unix seconds.

    Raises:
        DeliveryError: the broker refuses to tell, or the connection broke.
    """
    everything = topics.of_device(mqtt.prefix, "+").removesuffix("#")
    station.subscribe([f"{everything}{kind}" for kind in KINDS])
    return reports(station.kept(), mqtt.prefix, wall)


def reports(messages: Iterable[InboundMessage], prefix: str, wall: float) -> list[DeviceReport]:
    """Reports of all devices that ``messages`` tell of, by id."""
    heard: dict[str, dict[str, InboundMessage]] = {}
    for message in messages:
        where = topics.split(prefix, message.topic)
        if where is not None and where[1] in KINDS and message.payload:
            heard.setdefault(where[0], {})[where[1]] = message
    found = [_report(device, told, wall) for device, told in sorted(heard.items())]
    newest = max((version_key(report.version) for report in found), default=())
    return [_marked(report, newest) for report in found]


def version_key(version: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts versions such as ``0.10.1`` and ``1.0.0rc1``, which comes before ``1.0.0``."""
    parts = re.findall(r"\d+|[a-z]+", version.lower().partition("+")[0])[:8]
    key = [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
    return (*key, (0, "")) if key else ()


def _marked(report: DeviceReport, newest: tuple[tuple[int, str], ...]) -> DeviceReport:
    return replace(report, behind=bool(report.version) and version_key(report.version) < newest)


def _report(device: str, told: Mapping[str, InboundMessage], wall: float) -> DeviceReport:
    info, health, config = (_document(told.get(kind)) for kind in (topics.INFO, topics.HEALTH, topics.CONFIG))
    seen_s = _seen(told, health, wall)
    delivery = _table(health, "delivery")
    outbox = _table(delivery, "outbox")
    oldest, digest, at = outbox.get("oldest"), _table(info, "config"), _time(health)
    place = info if "site" in info or "labels" in info or not health else health
    return DeviceReport(
        device=device,
        state=_state(told.get(topics.STATUS), seen_s),
        name=_text(info, "name"),
        site=_text(place, "site"),
        labels={k: v for k, v in _table(place, "labels").items() if isinstance(v, str)},
        version=_text(info, "version"),
        seen_s=seen_s,
        health=_text(health, "status"),
        problems=_lines(health, "problems"),
        notices=_lines(health, "notices"),
        backlog=n if type(n := outbox.get("pending")) is int and n >= 0 else None,
        oldest_s=None if at is None or not isinstance(oldest, int | float) else round(max(0.0, at - oldest), 1),
        broker=_text(delivery, "broker"),
        host=_text(info, "host"),
        hardware=_table(info, "hardware"),
        system=_text(info, "system"),
        config_hash=_text(digest, "hash"),
        tables={k: v for k, v in _table(digest, "tables").items() if isinstance(v, str)},
        options=_table(config, "options") if topics.CONFIG in told else None,
    )


def _state(status: InboundMessage | None, seen_s: float | None) -> State:
    if status is None or status.payload not in (topics.ONLINE, topics.OFFLINE):
        return "silent"
    if status.payload == topics.OFFLINE:
        return "offline"
    # Over MQTT 5 the broker would have forgotten it; else the time in health decides.
    kept = status.retain and status.waited_s is None
    return "silent" if kept and seen_s is not None and seen_s > SILENT_S else "online"


def _seen(told: Mapping[str, InboundMessage], health: Mapping[str, Any], wall: float) -> float | None:
    """Seconds since the device was heard of, by the broker's count; else by the time that health tells."""
    own = [m for kind, m in told.items() if kind in (topics.STATUS, topics.HEALTH) and m.payload != topics.OFFLINE]
    ages = [float(age) for m in own if (age := 0 if not m.retain else m.waited_s) is not None]
    if ages:
        return min(ages)
    at = _time(health)
    return None if at is None else round(max(0.0, wall - at), 1)


def _time(health: Mapping[str, Any]) -> float | None:
    """When ``health`` was said by the device's clock, Unix seconds."""
    try:
        return datetime.fromisoformat(_text(health, "at")).timestamp()
    except (ValueError, OverflowError):
        return None


def _document(message: InboundMessage | None) -> Mapping[str, Any]:
    try:
        found = json.loads(message.payload) if message is not None else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _lines(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = document.get(name)
    return tuple(line for line in value if isinstance(line, str)) if isinstance(value, list) else ()


@dataclass(frozen=True, slots=True)
class Group:
    """Devices that fulfil every one of ``conditions``, pairs of a key and a pattern with ``*`` and ``?``."""

    text: str
    conditions: tuple[tuple[str, str], ...]

    def holds(self, report: DeviceReport) -> bool:
        """Whether the device of ``report`` belongs to the group."""
        own = {"device": report.device, "site": report.site, "version": report.version}
        return all(fnmatchcase((dict(report.labels) | own).get(key, ""), pattern) for key, pattern in self.conditions)


def parse_group(text: str) -> Group:
    """Read a group: ``all``, a device id, or ``site=Köln,floor=2`` with labels, ``device`` and ``version``.

    Raises:
        ConfigError: ``text`` is none; says what to write.
    """
    if text == "all":
        return Group(text, ())
    conditions = []
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            key, value = "device", key
        if not value or not LABEL_KEY.fullmatch(key):
            raise ConfigError(f"{text!r} is no group: write all, a device id, or conditions as site=Köln,floor=2")
        conditions.append((key, value))
    return Group(text, tuple(conditions))


def choose(found: Sequence[DeviceReport], group: Group) -> list[DeviceReport]:
    """Those of ``found`` that belong to ``group``. Raises ConfigError when there are none."""
    chosen = [report for report in found if group.holds(report)]
    if not chosen:
        known = f"the broker knows {len(found)}, see 'edge-agent fleet list'" if found else "the broker knows none"
        raise ConfigError(f"no device belongs to {group.text!r}: {known}")
    return chosen
