"""Error of the gaze analyzer in degrees, on rendered heads that it was not fitted to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.domain.errors import MediaError
from edge_agent_attention import AttentionSettings
from edge_agent_gaze.analyzer import FACE, Sureness
from edge_agent_gaze.geometry import Direction, Geometry
from training.emotion.faces import head as heads
from training.gaze.fit import SHUT, Finder, Seen
from training.gaze.scenes import Angles, scene

DEFAULT_DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "facekit"
SEED, COUNT = 901, 250
"""Scenes of the card; the constants are fitted to scenes of other seeds."""
CONTACT, AWAY = 5.0, 20.0
"""Degrees from the camera up to which eyes look into it, and from which on they do not."""


@dataclass(frozen=True, slots=True)
class Row:
    """One scene: errors in degrees, and what was said. ``head_as_gaze``: error of taking the nose for the eyes."""

    width: float
    turned: float
    off: float
    pose_yaw: float
    pose_pitch: float
    gaze: float
    head_as_gaze: float
    measured_off: float
    head_off: float
    sure: bool
    shut: bool
    eyes_open: float
    mouth: tuple[float, float]


def evaluate(data: Path = DEFAULT_DATA, count: int = COUNT) -> dict[str, Any]:
    """Figures over ``count`` scenes.

    Raises:
        MediaError: the head model is not there.
    """
    model = data / "ict_facekit.npz"
    if not model.exists():
        raise MediaError(f"{model}: not there; it is the head model that faces are rendered from")
    head, find = heads.load(model), Finder()
    seen = [find(scene(head, np.random.default_rng([SEED, k]))) for k in range(count)]
    return {"data": "renders", "scenes": count, **figures(seen)}


def _row(seen: Seen, geometry: Geometry) -> Row | None:
    pose = geometry.pose(seen.mesh)
    if pose is None:
        return None
    look, truth = geometry.look(seen.mesh, pose), seen.truth
    return Row(
        width=truth.width,
        turned=abs(truth.head.yaw),
        off=truth.gaze.apart(Angles(0, 0)),
        pose_yaw=abs(pose.nose.yaw - truth.head.yaw),
        pose_pitch=abs(pose.nose.pitch - truth.head.pitch),
        gaze=_apart(look.gaze, truth.gaze),
        head_as_gaze=_apart(pose.nose, truth.gaze),
        measured_off=_apart(look.gaze, Angles(0, 0)),
        head_off=_apart(pose.nose, Angles(0, 0)),
        sure=Sureness().sure(pose, look),
        shut=truth.eyes_shut >= SHUT,
        eyes_open=look.eyes_open,
        mouth=(truth.mouth_open, look.mouth_open),
    )


def _apart(found: Direction, truth: Angles) -> float:
    return Angles(found.yaw, found.pitch).apart(truth)


def figures(seen: Sequence[Seen | None]) -> dict[str, Any]:
    """Figures over scenes in which a mesh was found, or no face (None)."""
    geometry, settings = Geometry.bundled(), AttentionSettings()
    rows = [row for one in seen if one is not None and one.score >= FACE and (row := _row(one, geometry))]
    opened = [r for r in rows if not r.shut]
    sure = [r for r in opened if r.sure]
    shut = [r for r in rows if r.shut]
    classes = {
        "all": opened,
        "sure": sure,
        "sure, 85 to 129 px": [r for r in sure if r.width < 130],
        "sure, 130 px and more": [r for r in sure if r.width >= 130],
        "sure, head within 15 degrees": [r for r in sure if r.turned < 15],
        "sure, head beyond 15 degrees": [r for r in sure if r.turned >= 15],
    }
    contact, away = [r for r in sure if r.off <= CONTACT], [r for r in sure if r.off >= AWAY]
    return {
        "missed": len(seen) - len(rows),
        "classes": {name: dict(_errors(some)) for name, some in classes.items()},
        "sure": {"open": _share([r.sure for r in opened]), "shut": _share([r.sure for r in shut])},
        "contact": {
            "eyes": _contact(contact, away, lambda r: r.measured_off < settings.eyes_cone_deg),
            "head": _contact(contact, away, lambda r: r.head_off < settings.cone_deg),
        },
        "eyes_open": {"open": _median([r.eyes_open for r in opened]), "shut": _median([r.eyes_open for r in shut])},
        "mouth_open": round(float(np.corrcoef([r.mouth[0] for r in rows], [r.mouth[1] for r in rows])[0, 1]), 2),
    }


def _errors(rows: Sequence[Row]) -> Iterator[tuple[str, Any]]:
    yield "faces", len(rows)
    for name in ("pose_yaw", "pose_pitch", "gaze", "head_as_gaze"):
        values = [getattr(r, name) for r in rows]
        yield name, {"median": _median(values), "mean": round(float(np.mean(values)), 1) if values else None}


def _contact(contact: Sequence[Row], away: Sequence[Row], looking: Any) -> dict[str, Any]:
    return {
        "found": _share([looking(r) for r in contact]),
        "false": _share([looking(r) for r in away]),
        "faces": [len(contact), len(away)],
    }


def _median(values: Sequence[float]) -> float | None:
    return round(float(np.median(values)), 2) if values else None


def _share(values: Sequence[bool]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None


def table(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    lines = [
        "| faces | number | head yaw | head pitch | gaze | the head's direction taken for the gaze |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in report["classes"].items():
        cells = (f"{row[part]['median']} ({row[part]['mean']})" for part in ("pose_yaw", "pose_pitch", "gaze"))
        lines.append(f"| {name} | {row['faces']} | {' | '.join(cells)} | {row['head_as_gaze']['median']} |")
    lines += [
        "",
        "| looking into the camera, by | found | of those who look 20 degrees past it, taken for it |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {told['found']} | {told['false']} |" for name, told in report["contact"].items()]
    return "\n".join(lines)
