"""One thing to deliver: a summary or an event, already rendered, with the key that makes duplicates recognisable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MessageKind = Literal["summary", "event"]


@dataclass(frozen=True, slots=True)
class Message:
    """``boot_id`` and ``seq`` identify the message on this device; ``topic`` is relative to the device's prefix.

    ``payload`` is UTF-8 JSON valid against the schema of its kind. ``replayed`` is set on late data.
    """

    boot_id: str
    seq: int
    kind: MessageKind
    topic: str
    payload: bytes
    replayed: bool = False
