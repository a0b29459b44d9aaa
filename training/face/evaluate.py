"""Recall and precision of the face detector, as the agent runs it, against boxes in clips.

A data folder holds clips and a ``boxes.json``: ``{clip: {frame: [[x, y, w, h], …]}}`` in pixels, frames counted from 0.
A clip's annotated frames go through one detector in their order and with their times, so what it remembers counts as it
does in the agent. Without a folder the project's own boxes are used, with the clips in ``../shared/media``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.analysis.tracking import TrackingRules
from edge_agent.capture.media import iter_pictures
from edge_agent.domain.errors import MediaError
from edge_agent.domain.face import Box, Face
from edge_agent.domain.media import Frame
from edge_agent.models import Catalogue, ModelStore, cache_dir
from edge_agent.plugin import AnalyzerContext, FaceDetector
from edge_agent_face import FaceSettings, Range
from edge_agent_face.detector import BlazeFaceDetector

DEFAULT_DATA = Path(__file__).resolve().parents[3] / "shared" / "media"
BOXES = "boxes.json"
OUR_BOXES = Path(__file__).with_name(BOXES)
RANGES: Sequence[Range] = ("near", "far", "auto")
OVERLAP = 0.4
"""Least intersection over union of a detection with a box for it to be that face."""
SIZES = (0, 16, 24, 32, 48, 1_000_000)
"""Limits of the classes of size: width of a face in pixels."""

Truth = Mapping[str, Mapping[int, Sequence[Box]]]
"""Boxes in pixels, by clip and frame."""


@dataclass(slots=True)
class Tally:
    """Counts for each class of size (whole pixels): faces, those found, and detections that are no face."""

    faces: list[int] = field(default_factory=lambda: [0] * (len(SIZES) - 1))
    found: list[int] = field(default_factory=lambda: [0] * (len(SIZES) - 1))
    false: list[int] = field(default_factory=lambda: [0] * (len(SIZES) - 1))
    ms: list[float] = field(default_factory=list)

    def add(self, truth: Sequence[Box], detected: Sequence[Box]) -> None:
        """One frame; ``detected`` most certain first. A detection belongs to the free face it covers best."""
        free = list(truth)
        for face in truth:
            self.faces[_size(face)] += 1
        for box in detected:
            best = max(free, key=box.iou, default=None)
            if best is not None and box.iou(best) >= OVERLAP:
                free.remove(best)
                self.found[_size(best)] += 1
            else:
                self.false[_size(box)] += 1

    def figures(self) -> dict[str, Any]:
        """Recall and precision, overall and by size."""
        rows = {
            _label(k): _row(self.faces[k], self.found[k], self.false[k])
            for k in range(len(SIZES) - 1)
            if self.faces[k] or self.false[k]
        }
        return {**_row(sum(self.faces), sum(self.found), sum(self.false)), "sizes": rows}


def read_boxes(path: Path) -> Truth:
    """The boxes of a file.

    Raises:
        MediaError: not there, or not in the format.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        boxes = {
            clip: {int(frame): [Box(*map(float, box)) for box in found] for frame, found in frames.items()}
            for clip, frames in raw.items()
        }
    except OSError as error:
        raise MediaError(f"{path}: {error.strerror}; it must hold {{clip: {{frame: [[x, y, w, h], …]}}}}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise MediaError(f"{path}: not {{clip: {{frame: [[x, y, w, h], …]}}}} in pixels: {error}") from error
    if not any(boxes.values()):
        raise MediaError(f"{path}: names no frame")
    return boxes


def evaluate(data: Path = DEFAULT_DATA) -> dict[str, Any]:
    """Figures of every range.

    Raises:
        MediaError: no boxes, a clip that cannot be read or has too few frames.
    """
    own = data / BOXES
    truth = read_boxes(own if own.exists() or data.resolve() != DEFAULT_DATA.resolve() else OUR_BOXES)
    store = ModelStore(cache_dir(), Catalogue.load())
    store.pull(["blazeface-short", "blazeface-full"])
    detectors: dict[Range, dict[str, FaceDetector]] = {
        face_range: {clip: BlazeFaceDetector(FaceSettings(range=face_range), AnalyzerContext(store)) for clip in truth}
        for face_range in RANGES
    }
    tallies: dict[Range, dict[str, Tally]] = {r: {clip: Tally() for clip in truth} for r in RANGES}
    for clip, frames in truth.items():
        for frame in pictures(data / clip, frames):
            for face_range in RANGES:
                tally = tallies[face_range][clip]
                begin = time.perf_counter()
                faces = detectors[face_range][clip].detect(frame)
                tally.ms.append(1e3 * (time.perf_counter() - begin))
                tally.add(frames[frame.index], in_pixels(faces, frame))
    return {
        "data": data.name,
        "frames": sum(len(frames) for frames in truth.values()),
        "iou": OVERLAP,
        "min_score": TrackingRules().strong,
        "ranges": {r: _summary(by_clip) for r, by_clip in tallies.items()},
    }


def pictures(path: Path, wanted: Mapping[int, Any]) -> Iterator[Frame]:
    """The ``wanted`` frames of a clip in order.

    Raises:
        MediaError: unreadable, or a frame is missing.
    """
    missing = set(wanted)
    for picture in iter_pictures(path):
        if picture.index in missing and (frame := picture.to_frame(picture.time)) is not None:
            missing.remove(picture.index)
            yield frame
    if missing:
        raise MediaError(f"{path}: boxes are given for frames it does not have: {sorted(missing)}")


def in_pixels(faces: Sequence[Face], frame: Frame) -> list[Box]:
    """Those certain enough to begin a track."""
    w, h = frame.width, frame.height
    sure = [face.box for face in faces if face.score >= TrackingRules().strong]
    return [Box(box.x * w, box.y * h, box.w * w, box.h * h) for box in sure]


def _summary(by_clip: Mapping[str, Tally]) -> dict[str, Any]:
    total = Tally()
    for tally in by_clip.values():
        for mine, theirs in ((total.faces, tally.faces), (total.found, tally.found), (total.false, tally.false)):
            mine[:] = [a + b for a, b in zip(mine, theirs, strict=True)]
        total.ms += tally.ms
    clips = {clip: {k: v for k, v in t.figures().items() if k != "sizes"} for clip, t in by_clip.items()}
    return {**total.figures(), "clips": clips, "p50_ms": round(float(np.median(total.ms)), 2)}


def _size(box: Box) -> int:
    return next(k for k in range(len(SIZES) - 1) if box.w < SIZES[k + 1] or k == len(SIZES) - 2)


def _label(k: int) -> str:
    return f"{SIZES[k]} px and more" if k == len(SIZES) - 2 else f"{SIZES[k]} to {SIZES[k + 1] - 1} px"


def _row(faces: int, found: int, false: int) -> dict[str, Any]:
    return {
        "faces": faces,
        "found": found,
        "false": false,
        "recall": round(found / faces, 3) if faces else None,
        "precision": round(found / (found + false), 3) if found + false else None,
    }


def table(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    lines = [
        "| range | size of the face | faces | found | false | recall | precision |",
        "|---|---|---|---|---|---|---|",
    ]
    for face_range, result in report["ranges"].items():
        rows = {**result["sizes"], "all": result, **result["clips"]}
        lines += [f"| {face_range} | {label} | {_cells(row)} |" for label, row in rows.items()]
    costs = ", ".join(f"{face_range} {result['p50_ms']} ms" for face_range, result in report["ranges"].items())
    return "\n".join([*lines, "", f"{report['frames']} frames of {report['data']}; median cost here: {costs}"])


def _cells(row: Mapping[str, Any]) -> str:
    shown = (row["recall"], row["precision"])
    rates = " | ".join("-" if rate is None else f"{rate:.3f}" for rate in shown)
    return f"{row['faces']} | {row['found']} | {row['false']} | {rates}"
