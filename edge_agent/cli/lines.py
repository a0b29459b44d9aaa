"""One line of text for a payload, for people who watch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def summary_line(summary: Mapping[str, Any]) -> str:
    """How many people, what they looked like, what was heard."""
    emotion, mean = summary["emotion"], summary["faces"]["mean"]
    unknown = summary.get("unknown", {})
    parts = [f"faces unknown ({_reasons(unknown.get('people', {}))})" if mean is None else f"{mean:.1f} faces"]
    if emotion is None and "withheld" in summary:
        parts.append("withheld: too few people")
    elif emotion is None:
        parts += [] if mean is None else ["not enough evidence for an emotion"]
    else:
        parts.append(f"{emotion['dominant']} {emotion['p'][emotion['dominant']]:.2f}")
        parts.append(f"valence {emotion['valence']:+.2f}")
    parts += [f"{burst['label']} x{burst['count']}" for burst in summary["bursts"]]
    unheard = unknown.get("sounds", {})
    if unheard and "none" not in unheard:
        parts.append(f"sounds unknown ({_reasons(unheard)})")
    parts += summary["quality"]["flags"]
    return ", ".join(parts)


def _reasons(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{why} {time:.0f} s" for why, time in seconds.items()) or "no reason given"


def presence_line(presence: Mapping[str, Any]) -> str:
    """How many people are in view, or why that is unknown."""
    return f"unknown: {presence['unknown']}" if presence["count"] is None else f"{presence['count']} in view"


def event_line(event: Mapping[str, Any]) -> str:
    """What happened, how sure, how long."""
    return f"{event['kind']}: {event['label']} ({event['score']:.2f}, {event['seconds']:.1f} s)"


def health_line(health: Mapping[str, Any]) -> str:
    """The problems, what is not known and why, and notices; or that all is well."""
    sources = health.get("sources", {}).items()
    quiet = [f"{name}: {why}" for name, source in sources if (why := source.get("unknown"))]
    return "; ".join([*health["problems"], *quiet, *health.get("notices", ())]) or "all well"


def pacing_line(pacing: Mapping[str, Any]) -> str:
    """Why the camera was looked at as it was."""
    search = "searched" if pacing["searched"] else "not searched"
    readings = (
        f"; read {pacing['read']} of {pacing['faces']}: {', '.join(pacing['readings'])}" if pacing["faces"] else ""
    )
    rate = f"next look in {pacing['next_look_s']:.2f} s ({pacing['pace']}, {pacing['limit']})"
    return f"{search}: {pacing['search']}{readings}; {rate}"
