"""Half an hour of a small fleet for the files in config/fleet, and what those files ask of it."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from edge_agent.domain.summary import Presence, Summary
from edge_agent.fleet.simulation import SimulatedScene
from edge_agent.fleet.swarm import place
from edge_agent.payloads.rendering import event_document, presence_document, summary_document, timestamp
from edge_agent.summary.context import TrendKeeper

FLEET = Path(__file__).resolve().parent.parent.parent / "config" / "fleet"
DEVICES = range(5, 25, 4)
"""Numbers of the devices; they stand on three sites."""

UNTIL = time.time()


def device_id(number: int) -> str:
    """Name of a device."""
    return f"kiosk-{number}"


@cache
def documents(number: int, seconds: int = 1800) -> tuple[dict[str, Any], ...]:
    """Summaries and events of a device, in order, until now."""
    return tuple(_documents(number, seconds))


def _documents(number: int, seconds: int) -> Iterator[dict[str, Any]]:
    scene, trend, seq = SimulatedScene(random.Random(number), 0.0, hears=True), TrendKeeper(), 0
    begin = UNTIL - seconds
    for t in range(0, seconds, 10):
        window, events = scene.window(float(t), t + 10.0)
        for event in events:
            seq += 1
            yield event_document(event, begin + event.start, "synced", device_id(number), "boot", seq, place(number))
        seq += 1
        summary = Summary(begin + t, "synced", window, trend.next(window))
        yield summary_document(summary, device_id(number), "boot", seq, place=place(number))


def presence(number: int) -> dict[str, Any]:
    """Who is before a device."""
    return presence_document(Presence(2), device_id(number)) | place(number)


def health(number: int, **more: Any) -> dict[str, Any]:
    """Health of a device with a problem."""
    source = {"available": True, "reopens": 0, "off": False, "unknown": None}
    counters = {"produced": 400, "acked": 390, "merged_away": 0, "dropped": 3, "dead_lettered": 0}
    outbox = {
        "counters": counters, "pending": 7, "size": 40_960, "limit": 64_000_000, "salvages": 0, "ballast": True,
        "degraded": None, "oldest": None, "gaps": [],
    }  # fmt: skip
    delivery = {
        "enabled": True, "connected": True, "protocol": "5", "trouble": None, "client_id_in_use": False, "in_flight": 0,
        "sent": 400, "inbound_dropped": 0, "refused_topics": [], "refusals": [], "namesakes": [], "outbox": outbox,
        "sinks": {},
    }  # fmt: skip
    return {
        "v": 1, "status": "degraded", "problems": ["microphone: not available"], "at": timestamp(UNTIL),
        "uptime_s": 3600, "components": {}, "analyzers": {}, "replaced": {},
        "sources": {"camera": source, "microphone": source | {"available": False, "unknown": "missing"}},
        "delivery": delivery, "commands": {},
        "process": {"rss_mb": 131.2, "cpu_s": 700.5 + number, "descriptors": 40, "temperature_c": 55.1},
        **place(number), **more,
    }  # fmt: skip


def gaps(number: int) -> dict[str, Any]:
    """What a device lost."""
    run = {
        "boot_id": "boot", "count": 3, "reason": "no space", "first_seq": 1, "last_seq": 3,
        "start": timestamp(UNTIL - 9000), "end": timestamp(UNTIL - 8970),
    }  # fmt: skip
    document = {"v": 1, "device": device_id(number), "dropped": 3, "dead_lettered": 0, "salvages": 0, "gaps": [run]}
    return document | place(number)


def dashboard(name: str) -> Any:
    """A Grafana dashboard."""
    return json.loads((FLEET / "grafana" / f"{name}.json").read_text(encoding="utf-8"))


def queries(name: str, key: str) -> list[tuple[str, str, str]]:
    """Title of the panel, format and text of every query of a dashboard; ``key``: rawSql or expr."""
    return [
        (panel["title"], target.get("format", ""), target[key])
        for panel in dashboard(name)["panels"]
        for target in panel["targets"]
    ]


def sql(text: str, sites: list[str], devices: list[str]) -> str:
    """A query with the macros and variables that Grafana replaces, as its documentation says."""
    since, until = (f"'{timestamp(moment)}'" for moment in (UNTIL - 90_000, UNTIL + 600))
    group = r"floor(extract(epoch from \1) / 60) * 60"
    text = re.sub(r"\$__timeGroupAlias\(([^,)]+), \$__interval\)", rf'{group} AS "time"', text)
    text = re.sub(r"\$__timeFilter\(([^)]*)\)", rf"\1 BETWEEN {since} AND {until}", text)
    text = text.replace("$__timeTo()", until).replace("$__timeFrom()", since).replace("$least", "20")
    for name, values in (("site", sites), ("device", devices)):
        quoted = ",".join("'" + value.replace("'", "''") + "'" for value in values)
        text = text.replace(f"${{{name}:sqlstring}}", quoted)
    assert "$" not in text, f"not replaced: {text}"
    return text


def promql(text: str) -> str:
    """The same for Prometheus."""
    text = text.replace("$site", ".*").replace("$__rate_interval", "30s")
    assert "$" not in text, f"not replaced: {text}"
    return text
