"""Detected and tracked faces, boxes and key points. All coordinates are fractions of the frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Point:
    """A position: 0, 0 is the top left corner of the frame and 1, 1 the bottom right."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle in fractions of the frame; may reach outside of it."""

    x: float
    y: float
    w: float
    h: float

    @property
    def area(self) -> float:
        """Share of the frame covered."""
        return max(0.0, self.w) * max(0.0, self.h)

    @property
    def centre(self) -> Point:
        """Middle of the box."""
        return Point(self.x + self.w / 2, self.y + self.h / 2)

    def iou(self, other: Box) -> float:
        """Intersection over union, 0 to 1."""
        w = min(self.x + self.w, other.x + other.w) - max(self.x, other.x)
        h = min(self.y + self.h, other.y + other.h) - max(self.y, other.y)
        if w <= 0 or h <= 0:
            return 0.0
        union = self.area + other.area - w * h
        # The area of a tiny box can vanish, or the rounding of its edges exceed it.
        return min(1.0, w * h / union) if union > 0 else 0.0


@dataclass(frozen=True, slots=True)
class KeyPoints:
    """Six landmarks in BlazeFace's order; left and right are the viewer's (``right_eye`` is the person's right)."""

    right_eye: Point
    left_eye: Point
    nose: Point
    mouth: Point
    right_ear: Point
    left_ear: Point

    def all(self) -> tuple[Point, ...]:
        """The six points, in order."""
        return (self.right_eye, self.left_eye, self.nose, self.mouth, self.right_ear, self.left_ear)


@dataclass(frozen=True, slots=True)
class Face:
    """One detection. ``score`` is the detector's probability that this is a face."""

    box: Box
    score: float
    keypoints: KeyPoints | None = None

    def moved_to(self, box: Box) -> Face:
        """Move the face to ``box``, its key points with it."""
        old, points = self.box, self.keypoints
        if points is None:
            return Face(box, self.score)
        moved = (
            Point(box.x + (p.x - old.x) * box.w / old.w, box.y + (p.y - old.y) * box.h / old.h) for p in points.all()
        )
        return Face(box, self.score, KeyPoints(*moved))

    def pose_change(self, other: Face) -> float:
        """Compare how the key points lie in the two boxes: 0 (alike, or unknown) to 1."""
        if self.keypoints is None or other.keypoints is None:
            return 0.0
        total = 0.0
        for p, q in zip(self.keypoints.all(), other.keypoints.all(), strict=True):
            dx = (p.x - self.box.x) / self.box.w - (q.x - other.box.x) / other.box.w
            dy = (p.y - self.box.y) / self.box.h - (q.y - other.box.y) / other.box.h
            total += math.hypot(dx, dy)
        return min(1.0, total / 6 / 0.3)


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """A face with the ephemeral, random identity of its track; ``since`` is when the track was first seen.

    ``coasting``: it was not detected in this frame; ``face`` is where it should be by its motion. ``observed``: values
    of the observations that other analyzers made of it in this frame, by name; only for an analyzer that ``uses`` them.
    """

    track: str
    face: Face
    since: float
    coasting: bool = False
    observed: Mapping[str, Mapping[str, float]] = field(default_factory=dict, compare=False, repr=False)
