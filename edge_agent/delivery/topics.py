"""Names of the topics under ``<prefix>/<device>/``; the only place that spells them."""

from __future__ import annotations

import re

from edge_agent.domain.message import MessageKind

STATUS = "status"
INFO = "info"
HEALTH = "health"
GAPS = "gaps"
STATE = "state"
PACING = "pacing"
SUMMARY = "summary"
BACKFILL = "backfill"

ONLINE = b"online"
OFFLINE = b"offline"


def event(kind: str) -> str:
    """Relative topic of events of ``kind``; what MQTT does not allow inside a level becomes ``-``."""
    return f"event/{re.sub(r'[^A-Za-z0-9_.-]+', '-', kind) or '-'}"


def rollup(seconds: float) -> str:
    """Relative topic of the latest summary of that length."""
    return f"rollup/{seconds:g}"


def backfill(kind: MessageKind) -> str:
    """Relative topic of late data."""
    return f"{BACKFILL}/{kind}"


class Topics:
    """Full topics of one device."""

    def __init__(self, prefix: str, device: str) -> None:
        self._base = f"{prefix.rstrip('/')}/{device}"

    def full(self, relative: str) -> str:
        """``<prefix>/<device>/<relative>``."""
        return f"{self._base}/{relative}"

    def relative(self, full: str) -> str | None:
        """The part below the device's prefix, or None when ``full`` lies elsewhere."""
        base = self._base + "/"
        return full[len(base) :] if full.startswith(base) else None


def matches(topic_filter: str, topic: str) -> bool:
    """Whether an MQTT filter with ``+`` and ``#`` covers ``topic``."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for k, part in enumerate(wanted):
        if part == "#":
            return True
        if k >= len(levels) or part not in ("+", levels[k]):
            return False
    return len(wanted) == len(levels)
