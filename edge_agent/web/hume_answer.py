"""What this device found, in Hume's words and shapes. Pure.

Only what the models say is told: eight facial expressions out of Hume's forty-eight, and of a vocal burst what kind it
was, not which emotion. The names are mapped by :data:`EMOTION_NAMES` and :data:`BURST_NAMES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_agent.api import Event, VisionReport

EMOTION_NAMES: Mapping[str, tuple[str, ...]] = {
    "neutral": ("Calmness",),
    "happiness": ("Joy",),
    "surprise": ("Surprise (positive)", "Surprise (negative)"),
    "sadness": ("Sadness",),
    "anger": ("Anger",),
    "disgust": ("Disgust",),
    "fear": ("Fear",),
    "contempt": ("Contempt",),
}
"""Our classes in Hume's names. FER+ does not tell pleasant from unpleasant surprise: each gets half of it."""

BURST_NAMES: Mapping[str, str] = {"laughter": "Laugh", "crying": "Cry", "cough": "Cough", "sneeze": "Sneeze"}
"""Our labels in Hume's description names; any other keeps its own name."""


def emotions(values: Mapping[str, float]) -> list[dict[str, Any]]:
    """A distribution over our classes as Hume's list; the scores add up to 1."""
    return [
        {"name": name, "score": round(values[ours] / len(names), 6)}
        for ours, names in EMOTION_NAMES.items()
        for name in names
    ]


def faces(
    report: VisionReport,
    size: tuple[int, int],
    at: tuple[int, float],
    *,
    identify: bool = False,
    threshold: float = 0.0,
    smallest: float = 0.0,
) -> list[dict[str, Any]]:
    """One prediction for each face seen. ``size``: width and height in pixels; ``at``: frame number and seconds."""
    readings = {o.track: o.values for o in report.observations if o.name == "emotion"}
    found = []
    for tracked in report.faces:
        box, score = tracked.face.box, tracked.face.score
        width, height = box.w * size[0], box.h * size[1]
        if tracked.coasting or score < threshold or min(width, height) < smallest:
            continue
        found.append(
            {
                "frame": at[0],
                "time": round(at[1], 3),
                "prob": round(score, 6),
                "face_id": tracked.track if identify else "unknown",
                "bbox": {
                    name: round(value, 3)
                    for name, value in (("x", box.x * size[0]), ("y", box.y * size[1]), ("w", width), ("h", height))
                },
                "emotions": emotions(readings[tracked.track]) if tracked.track in readings else [],
            }
        )
    return found


def bursts(events: Iterable[Event], earlier: float) -> list[dict[str, Any]]:
    """Vocal bursts of a payload that begins after ``earlier`` seconds of context; times count from the payload."""
    return [
        {
            "time": {"begin": round(e.start - earlier, 3), "end": round(e.start + e.seconds - earlier, 3)},
            "emotions": [],
            "descriptions": [{"name": BURST_NAMES.get(e.label, e.label), "score": round(e.score, 6)}],
        }
        for e in events
        if e.kind == "burst" and e.start + e.seconds > earlier
    ]


def outcome(predictions: Sequence[dict[str, Any]], warning: str, code: str) -> dict[str, Any]:
    """A model's part of the answer: what it found, or the warning that it found nothing."""
    return {"predictions": list(predictions)} if predictions else {"warning": warning, "code": code}
