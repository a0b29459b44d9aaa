"""What passes between the sender and the connection to the broker, and what a broker's answers mean. Values only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A QoS 1 publish. ``token`` comes back in :class:`Published`; ``correlation`` answers a request (MQTT 5 only).

    What is ``urgent`` goes before what is not. ``seen``: the refusals on this connection that the sender knew of.
    ``expiry_s``: seconds for which brokers may keep the message for those who are not there (MQTT 5 only).
    """

    token: int
    topic: str
    payload: bytes
    retain: bool
    correlation: bytes | None = None
    urgent: bool = True
    seen: int = 0
    expiry_s: int | None = None


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A message from the broker. ``topic`` is the full topic, ``received`` monotonic seconds.

    ``retain`` is set when the broker kept it from before we subscribed: for a command that means stale.
    """

    topic: str
    payload: bytes
    retain: bool
    received: float
    response_topic: str | None = None
    correlation: bytes | None = None


Handler = Callable[[InboundMessage], None]
"""Called with each message that arrives on a subscription."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted us. ``session`` numbers the connections; ``maximum_packet`` is in bytes, None: no limit."""

    session: int
    protocol: str
    receive_maximum: int = 65_535
    maximum_packet: int | None = None


@dataclass(frozen=True, slots=True)
class Disconnected:
    """No connection any more, or another attempt failed; whatever was not acknowledged must be sent again.

    ``retry_in``: seconds until the next attempt. ``taken_over``: another client uses our id; ``flapping``: that
    may be so, because connections keep breaking soon after they were accepted. ``refused``: the broker said no.
    """

    reason: str
    retry_in: float
    taken_over: bool = False
    flapping: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """Acknowledgements in their order: ``(token, reason code)``; codes below 0x80 are successes.

    ``unsent``: tokens that come back without having been sent, because the broker turned down another message on their
    topic. ``refusals``: how many it turned down on this connection so far.
    """

    acks: tuple[tuple[int, int], ...]
    unsent: tuple[int, ...] = ()
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker's answers to subscriptions: ``(topic filter, reason code)``. What it refused is asked for again."""

    answers: tuple[tuple[str, int], ...]


Report = Connected | Disconnected | Published | Subscribed


class Verdict(Enum):
    """What becomes of a message after its acknowledgement."""

    DONE = "done"
    RETRY = "retry"
    REFUSED = "refused"


REFUSED = frozenset({0x90, 0x95, 0x99})
"""Reason codes that will be the same for the same message however often it is sent."""


def verdict(code: int) -> Verdict:
    """The verdict of a PUBACK's reason code. Not authorised, quota exceeded and the like are the operator's to mend."""
    if code < 0x80:
        return Verdict.DONE
    return Verdict.REFUSED if code in REFUSED else Verdict.RETRY


def packet_size(topic: str, payload: bytes) -> int:
    """Bytes of the QoS 1 PUBLISH packet (MQTT 5, no properties)."""
    remaining = 2 + len(topic.encode()) + 2 + 1 + len(payload)
    return 1 + sum(remaining >= limit for limit in (0, 1 << 7, 1 << 14, 1 << 21)) + remaining
