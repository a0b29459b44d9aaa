"""Operations on devices of a fleet: a command to many and their answers, removal from the broker, differing options."""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edge_agent.delivery import topics
from edge_agent.delivery.commands import COMMANDS
from edge_agent.delivery.diagnostics import reason
from edge_agent.delivery.link import InboundMessage, Outgoing
from edge_agent.domain.commands import REGISTRY
from edge_agent.domain.errors import ConfigError, DeliveryError, RefusedError
from edge_agent.fleet.registry import DeviceReport
from edge_agent.fleet.station import Station
from edge_agent.payloads.rendering import encode

DONE = frozenset({"done", "accepted"})
NO_ANSWER, NOT_SENT = "no answer", "not sent"
NOBODY_LISTENS = 0x10
"""Reason code of a broker with MQTT 5: the message matches no subscription."""


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """What became of a command to one device: its status, or ``no answer`` or ``not sent``, why, and after how long."""

    device: str
    site: str
    outcome: str
    reason: str = ""
    after_s: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON-like types."""
        return asdict(self)


def command_value(name: str, text: str | None) -> object:
    """The value of command ``name`` in ``text`` from a command line, JSON or a bare word, None without one.

    Raises:
        ConfigError: there is no such command, or it does not take the value.
    """
    spec = REGISTRY.get(name)
    if spec is None:
        raise ConfigError(f"{name!r} is no command; there are: {', '.join(REGISTRY)}")
    if text is None or spec.value is None:
        if text is not None:
            raise ConfigError(f"{name} takes no value")
        if spec.value is not None and spec.default is None:
            raise ConfigError(f"{name} needs a value: {spec.values.replace('`', '')}")
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    try:
        TypeAdapter(spec.value).validate_python(value)
    except ValidationError:
        raise ConfigError(f"{name} does not take {text!r}: {spec.values.replace('`', '')}") from None
    return value


def send_command(
    station: Station, prefix: str, devices: Sequence[DeviceReport], name: str, value: object, wait_s: float
) -> list[CommandAnswer]:
    """Send command ``name`` to those of ``devices`` that can be reached, and gather the answers for ``wait_s`` seconds.

    Brokers and bridges drop it after that time (MQTT 5), so that it takes effect then or never.

    Raises:
        DeliveryError: the connection broke, or the broker refuses to pass on the answers.
    """
    paths = {r.device: topics.Topics(prefix, r.device).full(f"{COMMANDS}/{name}") for r in devices}
    station.subscribe([f"{topics.of_device(prefix, '+').removesuffix('#')}{COMMANDS}/{name}/response"])
    token = secrets.token_hex(8)
    payload = encode({"id": token} | ({} if value is None else {"value": value}))
    reached = [report for report in devices if report.state == "online"]
    started = time.monotonic()
    codes = station.publish([Outgoing(0, paths[r.device], payload, False, expiry_s=math.ceil(wait_s)) for r in reached])
    waiting = {r.device for r in reached if codes[paths[r.device]] < NOBODY_LISTENS}
    answers: dict[str, CommandAnswer] = {}
    sites = {report.device: report.site for report in devices}
    while waiting and (message := station.next(started + wait_s - time.monotonic())) is not None:
        answer = _answer(message, prefix, token, sites, time.monotonic() - started)
        if answer is not None and answer.device in waiting:
            waiting.discard(answer.device)
            answers[answer.device] = answer
    return [answers.get(r.device) or _unanswered(r, codes.get(paths[r.device]), wait_s) for r in devices]


def _answer(
    message: InboundMessage, prefix: str, token: str, sites: Mapping[str, str], after_s: float
) -> CommandAnswer | None:
    where = topics.split(prefix, message.topic)
    try:
        told: Any = json.loads(message.payload)
    except (ValueError, RecursionError):
        return None
    if where is None or not isinstance(told, dict) or told.get("id") != token or where[0] not in sites:
        return None
    why = told.get("reason")
    return CommandAnswer(
        where[0], sites[where[0]], str(told.get("status")), why if isinstance(why, str) else "", round(after_s, 2)
    )


def _unanswered(report: DeviceReport, code: int | None, wait_s: float) -> CommandAnswer:
    if code is None:
        why = f"it is {report.state}"
        return CommandAnswer(report.device, report.site, NOT_SENT, why)
    if code >= 0x80:
        return CommandAnswer(report.device, report.site, NOT_SENT, f"the broker refuses it: {reason(code)}")
    if code == NOBODY_LISTENS:
        return CommandAnswer(
            report.device, report.site, NO_ANSWER, "it takes no commands: see commands.enabled in its config"
        )
    return CommandAnswer(report.device, report.site, NO_ANSWER, f"within {wait_s:g} s")


def retire(station: Station, prefix: str, discovery: str, device: str, *, force: bool) -> list[str]:
    """Remove everything that the broker keeps of ``device``, Home Assistant's entities too; the topics that held it.

    ``discovery``: prefix of Home Assistant's discovery topics. ``force``: also while the device is online.

    Raises:
        ConfigError: ``device`` is no device id.
        RefusedError: the device is online.
        DeliveryError: the broker refuses to remove something, or the connection broke.
    """
    own = topics.of_device(prefix, device)
    entities = [topics.discovery(discovery, "device", device), topics.discovery(discovery, "+", device, "+")]
    station.subscribe([own, *entities])
    kept = {message.topic: message for message in station.kept() if message.retain and message.payload}
    status = kept.get(topics.Topics(prefix, device).full(topics.STATUS))
    if status is not None and status.payload == topics.ONLINE and not force:
        raise RefusedError(
            f"{device} is online and would publish everything again: stop it first ('systemctl disable --now "
            "edge-agent' there), or use --force for one that is gone without a word"
        )
    codes = station.publish([Outgoing(0, topic, b"", True) for topic in kept])
    refused = {topic: code for topic, code in codes.items() if code >= 0x80}
    if refused:
        topic, code = next(iter(refused.items()))
        raise DeliveryError(f"mqtt: the broker refuses to clear {topic} and {len(refused) - 1} more: {reason(code)}")
    return sorted(kept)


@dataclass(frozen=True, slots=True)
class Difference:
    """An option, or a whole table of the config, in which devices differ: the value or hash of each, None: default."""

    what: str
    values: Mapping[str, Any]
    hashed: bool

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON-like types."""
        return asdict(self)


def config_differences(devices: Sequence[DeviceReport]) -> list[Difference]:
    """Options in which ``devices`` differ where all publish them, and tables in which they do by their hashes."""
    if all(report.options is not None for report in devices):
        tables: dict[str, Mapping[str, Any]] = {report.device: report.options or {} for report in devices}
    else:
        tables = {report.device: report.tables for report in devices if report.tables}
    hashed = any(report.options is None for report in devices)
    found = []
    for what in sorted({name for table in tables.values() for name in table}):
        values = {device: table.get(what) for device, table in tables.items()}
        if len({json.dumps(value, sort_keys=True) for value in values.values()}) > 1:
            found.append(Difference(what, values, hashed))
    return found
