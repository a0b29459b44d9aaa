"""MQTT topics and topic filters under ``<prefix>/<device>/``, and Home Assistant's; the only place that defines them.

Prefixes may end in a slash.
"""

from __future__ import annotations

import re

from edge_agent.domain.errors import ConfigError
from edge_agent.domain.event import MessageKind
from edge_agent.settings.mqtt import topic_prefix

STATUS = "status"
INFO = "info"
HEALTH = "health"
CONFIG = "config"
GAPS = "gaps"
STATE = "state"
PACING = "pacing"
PRESENCE = "presence"
UPDATE = "update"
SUMMARY = "summary"
BACKFILL = "backfill"

ONLINE = b"online"
OFFLINE = b"offline"


def event(kind: str) -> str:
    """Relative topic of events of ``kind``; characters that are not allowed in a level become ``-``."""
    return f"event/{re.sub(r'[^A-Za-z0-9_.-]+', '-', kind) or '-'}"


def rollup(seconds: float) -> str:
    """Relative topic of the latest roll-up of ``seconds``."""
    return f"rollup/{seconds:g}"


def backfill(kind: MessageKind) -> str:
    """Relative topic of late messages of ``kind``."""
    return f"{BACKFILL}/{kind}"


class Topics:
    """Full topics of one device. Raises ValueError for an invalid ``prefix``."""

    def __init__(self, prefix: str, device: str) -> None:
        self._base = f"{topic_prefix(prefix)}/{device}"

    def full(self, relative: str) -> str:
        """``<prefix>/<device>/<relative>``."""
        return f"{self._base}/{relative}"

    def relative(self, full: str) -> str | None:
        """The part below the device's prefix, or None when ``full`` lies elsewhere."""
        base = self._base + "/"
        return full[len(base) :] if full.startswith(base) else None


def of_device(prefix: str, device: str) -> str:
    """Topic filter for all topics of ``device``; ``+``: of every device.

    Raises:
        ConfigError: ``device`` is not a device id.
    """
    if device != "+" and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", device):
        raise ConfigError(f"{device!r} is no device id (letters, digits, - and _); + stands for all devices")
    return f"{topic_prefix(prefix)}/{device}/#"


def split(prefix: str, topic: str) -> tuple[str, str] | None:
    """Return the device id of a full topic and what follows it; None when it is no topic of a device."""
    base = f"{topic_prefix(prefix)}/"
    device, _, relative = topic.removeprefix(base).partition("/")
    known = topic.startswith(base) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", device)
    return (device, relative) if known and relative else None


def discovery(prefix: str, *levels: str) -> str:
    """Home Assistant's discovery topic for ``levels``: device and id, or platform, id and key."""
    return "/".join((topic_prefix(prefix), *levels, "config"))


def birth(prefix: str) -> str:
    """Topic of Home Assistant's birth message."""
    return f"{topic_prefix(prefix)}/{STATUS}"


def check_filter(topic_filter: str) -> str:
    """Return ``topic_filter`` if it is valid. Raises ValueError: a wildcard inside a level, or # before the end."""
    levels = topic_filter.split("/")
    wild = any(("+" in level or "#" in level) and len(level) > 1 for level in levels)
    if not topic_filter or wild or "#" in levels[:-1] or "\0" in topic_filter or len(topic_filter.encode()) > 65_535:
        raise ValueError(f"{topic_filter!r} is no topic filter")
    return topic_filter


def matches(topic_filter: str, topic: str) -> bool:
    """Whether ``topic`` matches ``topic_filter`` with its wildcards ``+`` and ``#``."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for k, part in enumerate(wanted):
        if part == "#":
            return True
        if k >= len(levels) or part not in ("+", levels[k]):
            return False
    return len(wanted) == len(levels)
