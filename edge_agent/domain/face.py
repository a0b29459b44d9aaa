"""Faces as the detector sees them and as the tracker follows them. All coordinates are fractions of the frame."""

from __future__ import annotations

from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True)
class Face:
    """One detection. ``score`` is the detector's probability that this is a face."""

    box: Box
    score: float
    keypoints: KeyPoints | None = None


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """A face with the ephemeral, random identity of its track; ``since`` is when the track was first seen.

    ``coasting``: it was not detected in this frame; ``face`` is where it should be by its motion.
    """

    track: str
    face: Face
    since: float
    coasting: bool = False
