"""Receive commands over MQTT: parse, check, pass them to their handlers, and publish the response.

``cmd/<name>`` with a bare value or a JSON object is answered on the request's response topic (MQTT 5), else on
``cmd/<name>/response``. Retained, old and repeated commands are refused, so that no command takes effect later than it
was meant. Every command is answered and counted.
"""

from __future__ import annotations

import json
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Literal, Protocol

from edge_agent.delivery.link import InboundMessage
from edge_agent.delivery.topics import Topics
from edge_agent.domain.clock import Clock
from edge_agent.domain.commands import REGISTRY
from edge_agent.domain.errors import EdgeAgentError, RefusedError
from edge_agent.payloads.rendering import timestamp
from edge_agent.settings.schema import CommandSettings

log = logging.getLogger(__name__)

COMMANDS = "cmd"
FILTER = f"{COMMANDS}/+"

MOST_BYTES = 4096
"""Larger payloads are refused without parsing."""

MOST_ID = 64
BURST = 10
"""Burst size of the rate limit, however few commands are allowed a minute."""

REMEMBERED = 256
"""Most ids kept to detect repeated commands."""

MOST_TOPIC = 256

Status = Literal["done", "accepted", "refused", "failed"]
"""``accepted``: under way, the result is published elsewhere. ``refused``: not tried. ``failed``: tried in vain."""


@dataclass(frozen=True, slots=True)
class Command:
    """A parsed command. ``value`` is any JSON value, None when there was none; ``sent`` is wall time."""

    name: str
    id: str | None = None
    value: object = None
    sent: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a command; ``details`` are added to the response."""

    status: Status
    details: Mapping[str, object]


@dataclass(slots=True)
class Tally:
    """Counters of commands by outcome; ``done`` includes accepted and ``refused`` includes malformed ones."""

    done: int = 0
    failed: int = 0
    refused: int = 0
    malformed: int = 0


class Responder(Protocol):
    """Delivery as the command server uses it."""

    def reply(self, request: InboundMessage, topic: str, payload: Mapping[str, object] | str | bytes) -> None:
        """Publish the response to ``request`` on its response topic, else on the relative ``topic``."""
        ...


Perform = Callable[[Command], Outcome]
"""Performs a command. Raises RefusedError when the command is not tried, another EdgeAgentError when it fails; the
message is the reason in the response."""


class RefusedCommand(Exception):  # noqa: N818 - a response, not an error of the agent
    """The command is refused; the message is the reason in the response."""


class MalformedCommand(RefusedCommand):
    """The payload is not a command."""


class CommandServer:
    """Command server: check each message, perform its command and publish the response. Not thread-safe."""

    def __init__(
        self,
        settings: CommandSettings,
        names: Topics,
        known: Collection[str],
        perform: Perform,
        responder: Responder,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._names = names
        self._known = known
        self._perform = perform
        self._responder = responder
        self._clock = clock
        self._bucket = Bucket(BURST, settings.per_minute / 60.0, clock.monotonic())
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._tally = Tally()
        self.last: Mapping[str, object] | None = None
        """The latest command other than ``status``: its name, outcome, time and reason."""

    @property
    def filter(self) -> str:
        """The full topic filter to subscribe to."""
        return self._names.full(FILTER)

    def counts(self) -> dict[str, int]:
        """Number of commands by outcome."""
        return asdict(self._tally)

    def handle(self, message: InboundMessage) -> None:
        """Handle one message and publish the response."""
        name, command = self._name(message.topic), None
        try:
            self._check_message(message)
            command = parse(name, message.payload)
            self._check_command(command)
        except RefusedCommand as refusal:
            self._tally.refused += 1
            self._tally.malformed += isinstance(refusal, MalformedCommand)
            log.warning("command %s refused: %s", name, refusal)
            self._answer(message, name, command, Outcome("refused", {"reason": str(refusal)}))
            return
        outcome = self._outcome(command)
        self._tally.done += outcome.status in ("done", "accepted")
        self._tally.refused += outcome.status == "refused"
        self._tally.failed += outcome.status == "failed"
        log.info("command %s: %s", name, outcome.status)
        self._answer(message, name, command, outcome)

    def _name(self, topic: str) -> str:
        """The last level of the topic if it is a valid name, else ``unknown``: foreign text is not repeated."""
        name = (self._names.relative(topic) or "").removeprefix(f"{COMMANDS}/")
        return name if re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name) else "unknown"

    def _check_message(self, message: InboundMessage) -> None:
        if message.retain:
            raise RefusedCommand("retained: a command must be sent without the retain flag")
        if self._clock.monotonic() - message.received > self._settings.max_age_s:
            raise RefusedCommand("stale: it waited too long on this device")
        if not self._bucket.take(self._clock.monotonic()):
            raise RefusedCommand(f"too many commands: {self._settings.per_minute} a minute are allowed")
        if len(message.payload) > MOST_BYTES:
            raise MalformedCommand(f"larger than {MOST_BYTES} bytes")

    def _check_command(self, command: Command) -> None:
        if command.name not in self._known:
            raise RefusedCommand(f"no such command; known: {', '.join(self._known)}")
        if command.name not in self._settings.allow:
            raise RefusedCommand("not allowed by this device's config (commands.allow)")
        if command.sent is not None:
            if not self._clock.synced():
                raise RefusedCommand("this device does not know the time: send the command without sent")
            age = self._clock.wall() - command.sent
            if abs(age) > self._settings.max_age_s:
                raise RefusedCommand(f"stale: sent {age:.0f} s ago by the sender's clock")
        if command.id is not None:
            if command.id in self._seen:
                raise RefusedCommand("repeated: this id was dealt with before")
            self._seen[command.id] = None
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)

    def _outcome(self, command: Command) -> Outcome:
        try:
            return self._perform(command)
        except RefusedError as error:
            return Outcome("refused", {"reason": str(error)})
        except EdgeAgentError as error:
            return Outcome("failed", {"reason": str(error)})
        except Exception as error:  # a bug in one command must not end the others
            log.exception("command %s", command.name)
            return Outcome("failed", {"reason": f"internal error: {type(error).__name__}"})

    def _answer(self, message: InboundMessage, name: str, command: Command | None, outcome: Outcome) -> None:
        if name not in REGISTRY or REGISTRY[name].permission != "read":
            reason = outcome.details.get("reason")
            at = timestamp(self._clock.wall())
            self.last = {"command": name, "status": outcome.status, "reason": reason, "at": at}
        document = {"v": 1, "command": name, "id": command.id if command else None, "status": outcome.status}
        request = replace(message, response_topic=usable_topic(message.response_topic))
        self._responder.reply(request, f"{COMMANDS}/{name}/response", document | dict(outcome.details))


class Bucket:
    """Token bucket: ``capacity`` tokens, refilled at ``per_second``."""

    def __init__(self, capacity: int, per_second: float, now: float) -> None:
        self._capacity = float(capacity)
        self._per_second = per_second
        self._tokens = self._capacity
        self._at = now

    def take(self, now: float) -> bool:
        """Take a token; False when there is none."""
        self._tokens = min(self._capacity, self._tokens + max(0.0, now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def parse(name: str, payload: bytes) -> Command:
    """Parse ``payload``: a bare word, a JSON value, or an object with ``id``, ``value`` and ``sent``.

    Raises:
        MalformedCommand: it is none of these.
    """
    try:
        text = payload.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise MalformedCommand("not UTF-8") from None
    if not text:  # also what deletes a retained message
        raise MalformedCommand("empty: a command without a value is sent as {}")
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,31}", text):
            return Command(name, value=text)
        raise MalformedCommand("neither a word nor JSON") from None
    return _from_object(name, value) if isinstance(value, dict) else Command(name, value=value)


def usable_topic(topic: str | None) -> str | None:
    """Return ``topic`` if it is a valid topic to publish to, else None: a request must not break the connection."""
    if topic is None or not 0 < len(topic) <= MOST_TOPIC or topic.startswith("$") or re.search(r"[+#\0]", topic):
        return None
    return topic


def _from_object(name: str, fields: dict[str, object]) -> Command:
    unknown = sorted(fields.keys() - {"id", "value", "sent"})
    if unknown:
        raise MalformedCommand(f"unknown field {unknown[0][:32]!r}; known: id, value, sent")
    id_ = fields.get("id")
    if id_ is not None and not (isinstance(id_, str) and 0 < len(id_) <= MOST_ID and id_.isprintable()):
        raise MalformedCommand(f"id must be a text of 1 to {MOST_ID} printable characters")
    return Command(name, id_, fields.get("value"), _sent(fields.get("sent")))


def _sent(value: object) -> float | None:
    if value is None:
        return None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        moment = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError):
        raise MalformedCommand("sent must be Unix seconds or an RFC 3339 time") from None
    if moment.tzinfo is None:
        raise MalformedCommand("sent needs a time zone")
    return moment.timestamp()


def _no_constant(text: str) -> object:
    raise ValueError(text)
