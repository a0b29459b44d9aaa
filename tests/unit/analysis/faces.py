"""Faces to track, with key points where a face has them."""

from __future__ import annotations

from edge_agent.domain.face import Box, Face, KeyPoints, Point


def face(x: float, y: float = 0.4, size: float = 0.1, score: float = 0.9, turn: float = 0.0) -> Face:
    """A face whose box is centred at ``x, y``; ``turn`` moves the nose, in face sizes."""
    box = Box(x - size / 2, y - size / 2, size, size)

    def at(dx: float, dy: float) -> Point:
        return Point(x + dx * size, y + dy * size)

    points = KeyPoints(
        at(-0.2, -0.15), at(0.2, -0.15), at(turn, 0.05), at(turn / 2, 0.25), at(-0.45, -0.1), at(0.45, -0.1)
    )
    return Face(box, score, points)
