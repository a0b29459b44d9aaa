"""One line of text for a payload, for people who watch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def summary_line(summary: Mapping[str, Any]) -> str:
    """How many people, what they looked like, what was heard."""
    emotion = summary["emotion"]
    parts = [f"{summary['faces']['mean']:.1f} faces"]
    if emotion is None:
        parts.append("withheld: too few people" if "withheld" in summary else "not enough evidence for an emotion")
    else:
        parts.append(f"{emotion['dominant']} {emotion['p'][emotion['dominant']]:.2f}")
        parts.append(f"valence {emotion['valence']:+.2f}")
    parts += [f"{burst['label']} x{burst['count']}" for burst in summary["bursts"]]
    parts += summary["quality"]["flags"]
    return ", ".join(parts)


def event_line(event: Mapping[str, Any]) -> str:
    """What happened, how sure, how long."""
    return f"{event['kind']}: {event['label']} ({event['score']:.2f}, {event['seconds']:.1f} s)"


def health_line(health: Mapping[str, Any]) -> str:
    """The problems, or that there are none."""
    return "; ".join(health["problems"]) or "all well"


def pacing_line(pacing: Mapping[str, Any]) -> str:
    """Why the camera was looked at as it was."""
    search = "searched" if pacing["searched"] else "not searched"
    readings = (
        f"; read {pacing['read']} of {pacing['faces']}: {', '.join(pacing['readings'])}" if pacing["faces"] else ""
    )
    rate = f"next look in {pacing['next_look_s']:.2f} s ({pacing['pace']}, {pacing['limit']})"
    return f"{search}: {pacing['search']}{readings}; {rate}"
