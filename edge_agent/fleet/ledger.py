"""Record what simulated devices deliver: an exact ledger of acknowledged rows, and figures of rate, size and delay."""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from edge_agent.delivery import topics
from edge_agent.delivery.link import Connected, Disconnected, InboundMessage, Outgoing, Published, Report, packet_size
from edge_agent.delivery.mqtt import MqttLink
from edge_agent.delivery.session import Will
from edge_agent.settings.mqtt import MqttSettings

UNSTABLE = frozenset({"start", "clock", "replayed"})
"""Fields of a payload that may change while it waits: a clock that gets known corrects the first two."""


def digest(document: Mapping[str, Any]) -> str:
    """Digest of a summary or event that any two deliveries of it share: of its JSON without :data:`UNSTABLE`."""
    told = {name: value for name, value in document.items() if name not in UNSTABLE}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


STEP = math.log(1.05)


@dataclass(slots=True)
class DeliveryTally:
    """What the devices of a process have delivered. ``delays``: number of messages by logarithmic step of their delay
    from the end of the window to the broker's acknowledgement."""

    messages: int = 0
    bytes: int = 0
    rows: int = 0
    row_bytes: int = 0
    late: int = 0
    connections: int = 0
    topics: Counter[str] = field(default_factory=Counter)
    delays: Counter[int] = field(default_factory=Counter)

    def delay(self, seconds: float) -> None:
        """Count a delay."""
        self.delays[round(math.log(max(seconds, 1e-4)) / STEP)] += 1

    def add(self, other: DeliveryTally) -> None:
        """Add what another process counted."""
        for name in ("messages", "bytes", "rows", "row_bytes", "late", "connections"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.topics.update(other.topics)
        self.delays.update(other.delays)

    def quantile(self, share: float) -> float | None:
        """Delay in seconds that ``share`` of the messages do not exceed, within 5 %; None without any."""
        wanted, found = share * self.delays.total(), 0
        for step in sorted(self.delays):
            found += self.delays[step]
            if found >= wanted:
                return math.exp(step * STEP)
        return None


class Ledger:
    """Record of every summary and event that a broker acknowledged, as JSON lines in a file that processes share.

    A line is written before the outbox forgets the row: after a kill, a row without a line is sent again, if it was
    committed before it was sent (``outbox.hold_s = 0``). So the file holds everything that was delivered for good, some
    of it twice.
    """

    def __init__(self, path: Path | None, prefix: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = None if path is None else os.open(path, flags, 0o644)
        self._prefix = prefix
        self._lock = threading.Lock()
        self.tally = DeliveryTally()

    def acknowledged(self, messages: Iterable[Outgoing], *, timely: bool) -> None:
        """Record acknowledged ``messages`` of one device; ``timely``: its clock was right all the time."""
        now, rows = time.time(), []
        for message in messages:
            _, relative = topics.split(self._prefix, message.topic) or ("", message.topic)
            is_row = relative == topics.SUMMARY or relative.startswith(("event/", f"{topics.BACKFILL}/"))
            document = json.loads(message.payload) if is_row else None
            with self._lock:
                self._count(message, relative, document, now, timely=timely)
            if document is not None:
                key = {name: document[name] for name in ("device", "boot_id", "seq")}
                rows.append(key | {"kind": document.get("kind", "summary"), "digest": digest(document)})
        if rows and self._file is not None:
            os.write(self._file, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def _count(
        self, message: Outgoing, relative: str, document: Mapping[str, Any] | None, now: float, *, timely: bool
    ) -> None:
        tally = self.tally
        tally.topics["event" if relative.startswith("event/") else relative] += 1
        tally.messages += 1
        tally.bytes += packet_size(message)
        if document is None:
            return
        tally.rows += 1
        tally.row_bytes += len(message.payload)
        tally.late += "replayed" in document
        if timely and "faces" in document:
            tally.delay(now - datetime.fromisoformat(document["start"]).timestamp() - document["seconds"])

    def connected(self) -> None:
        """Count a connection."""
        with self._lock:
            self.tally.connections += 1


class RecordedLink(MqttLink):
    """A connection to the broker that records in ``ledger`` what is acknowledged on it."""

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        will: Will | None,
        report: Callable[[Report], None],
        inbound: Callable[[InboundMessage], None],
        *,
        ledger: Ledger,
        timely: bool,
    ) -> None:
        super().__init__(settings, client_id, will, self._noted, inbound)
        self._forward = report
        self._ledger = ledger
        self._timely = timely
        self._sent: dict[int, Outgoing] = {}

    def publish(self, session: int, messages: Iterable[Outgoing]) -> None:
        batch = list(messages)
        self._sent.update((message.token, message) for message in batch)
        super().publish(session, batch)

    def _noted(self, report: Report) -> None:
        if isinstance(report, Connected):
            self._ledger.connected()
        elif isinstance(report, Published):
            done = [(self._sent.pop(token, None), code) for token, code in report.acks]
            self._ledger.acknowledged([m for m, code in done if m is not None and code < 0x80], timely=self._timely)
        elif isinstance(report, Disconnected):
            self._sent.clear()
        self._forward(report)
