"""Messages and reports exchanged between the sender and the connection to the broker, and verdicts on reason codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

UserProperties = tuple[tuple[str, str], ...]
"""Names and values of the user properties of a message (MQTT 5 only)."""

EXPIRY = "expiry_s"
"""User property: the message expiry interval that the device gave the message, in seconds."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A QoS 1 PUBLISH.

    ``token`` identifies it in :class:`Published`. ``correlation`` is the correlation data of a response (MQTT 5 only).
    ``urgent`` messages are sent before others. ``seen``: number of refusals on this connection that the sender knew of.
    ``expiry_s``: the message expiry interval, seconds; ``about``: user properties (both MQTT 5 only).
    """

    token: int
    topic: str
    payload: bytes
    retain: bool
    correlation: bytes | None = None
    urgent: bool = True
    seen: int = 0
    expiry_s: int | None = None
    about: UserProperties = ()


Ticket = tuple[int, int]
"""A message that waits for our acknowledgement: number of the connection, packet id."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """Have the broker keep our session while we are away, and acknowledge its messages ourselves (MQTT 5 only).

    ``expiry_s``: for how long, in seconds; ``receive_maximum``: most messages that wait for our acknowledgement;
    ``largest``: bytes of the largest message. Nothing is read while ``ready`` returns false: mosquitto 2.0 sends more
    than the receive maximum when a session with a queue is resumed.
    """

    expiry_s: int
    receive_maximum: int
    largest: int
    ready: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A message from the broker. ``topic`` is the full topic; ``received`` is the monotonic time of its arrival.

    ``retain``: the broker had kept it from before the subscription, so it may be stale. ``expiry_s``: what is left of
    its message expiry interval, ``about``: its user properties (MQTT 5 only). ``ticket``: what to acknowledge it with,
    on a link with :class:`Keeping`.
    """

    topic: str
    payload: bytes
    retain: bool
    received: float
    response_topic: str | None = None
    correlation: bytes | None = None
    expiry_s: int | None = None
    about: UserProperties = ()
    ticket: Ticket | None = None

    @property
    def waited_s(self) -> int | None:
        """Seconds that it spent in brokers and bridges, by the broker's own count; None: it does not tell."""
        given = dict(self.about).get(EXPIRY, "")
        if self.expiry_s is None or not (given.isascii() and given.isdigit()):
            return None
        return max(0, int(given[:10]) - self.expiry_s)


Handler = Callable[[InboundMessage], None]
"""Called with each message that arrives on a subscription."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted a connection.

    ``session`` is the connection's number; ``maximum_packet`` is in bytes, None: no limit. ``broker``: its address;
    ``rank``: its place among the configured brokers, from 0.
    """

    session: int
    protocol: str
    receive_maximum: int = 65_535
    maximum_packet: int | None = None
    broker: str = ""
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A connection ended or an attempt failed; unacknowledged messages must be sent again.

    ``retry_in``: seconds until the next attempt. ``taken_over``: another client uses our client id; ``flapping``: it
    may, because connections keep breaking soon after they were accepted. ``refused``: the broker gave a reason.
    ``planned``: we ended it, to return to the first broker.
    """

    reason: str
    retry_in: float
    taken_over: bool = False
    flapping: bool = False
    refused: bool = False
    planned: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """Acknowledgements in order, ``(token, reason code)``; codes below 0x80 mean success.

    ``unsent``: tokens of messages returned unsent, because the broker refused another message on the same topic.
    ``refusals``: number of refused messages on this connection so far.
    """

    acks: tuple[tuple[int, int], ...]
    unsent: tuple[int, ...] = ()
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker's answers to subscriptions, ``(topic filter, reason code)``. Refused ones are requested again."""

    answers: tuple[tuple[str, int], ...]


Report = Connected | Disconnected | Published | Subscribed


class Verdict(Enum):
    """What to do with a message after its acknowledgement."""

    DONE = "done"
    RETRY = "retry"
    REFUSED = "refused"


REFUSED = frozenset({0x90, 0x95, 0x99})
"""Reason codes that a message gets every time it is sent."""


def verdict(code: int) -> Verdict:
    """The verdict on a PUBACK's reason code. RETRY: the operator can fix it, as not authorised or quota exceeded."""
    if code < 0x80:
        return Verdict.DONE
    return Verdict.REFUSED if code in REFUSED else Verdict.RETRY


def packet_size(message: Outgoing) -> int:
    """Size in bytes of a QoS 1 PUBLISH packet (MQTT 5)."""
    properties = sum(5 + len(name.encode()) + len(value.encode()) for name, value in message.about)
    properties += 0 if message.expiry_s is None else 5
    properties += 0 if message.correlation is None else 3 + len(message.correlation)
    length = 1 if properties < 128 else 2 if properties < 16_384 else 3
    remaining = 2 + len(message.topic.encode()) + 2 + length + properties + len(message.payload)
    return 1 + sum(remaining >= limit for limit in (0, 1 << 7, 1 << 14, 1 << 21)) + remaining
