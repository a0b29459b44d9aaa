"""How often a model is right when it says so: bins of confidence, and a reliability diagram of them as a small SVG.

The diagram is written by ``python -m training.evaluate MODEL --plot FILE``; its numbers are in it as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 10
_SIDE, _LEFT, _TOP = 200, 40, 24
_STYLE = "font-family='sans-serif' font-size='11' fill='#444'"


def bins(confidence: npt.NDArray[np.floating[Any]], right: npt.NDArray[np.bool_]) -> list[dict[str, float]]:
    """For each tenth of confidence that occurs: its mean, the share that was right, and the number of answers."""
    place = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    return [
        {
            "confidence": round(float(confidence[place == k].mean()), 3),
            "right": round(float(right[place == k].mean()), 3),
            "n": int((place == k).sum()),
        }
        for k in range(BINS)
        if (place == k).any()
    ]


def diagram(found: Sequence[Mapping[str, float]], title: str) -> str:
    """A standalone SVG: the share that was right over confidence; the area of a point grows with its answers."""
    total = sum(point["n"] for point in found)
    lines = [
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 260 262' width='260' height='262'>",
        "<rect width='260' height='262' fill='#fff'/>",
        f"<text x='{_LEFT}' y='15' {_STYLE}>{title}</text>",
        f"<rect x='{_LEFT}' y='{_TOP}' width='{_SIDE}' height='{_SIDE}' fill='none' stroke='#ccc'/>",
        f"<line x1='{_LEFT}' y1='{_TOP + _SIDE}' x2='{_LEFT + _SIDE}' y2='{_TOP}' stroke='#ccc'/>",
    ]
    for tick in (0.0, 0.5, 1.0):
        x, y = _place(tick, tick)
        lines.append(f"<text x='{x:.0f}' y='{_TOP + _SIDE + 14}' text-anchor='middle' {_STYLE}>{tick:g}</text>")
        lines.append(f"<text x='{_LEFT - 5}' y='{y + 4:.0f}' text-anchor='end' {_STYLE}>{tick:g}</text>")
    path = " ".join("{:.1f},{:.1f}".format(*_place(point["confidence"], point["right"])) for point in found)
    lines.append(f"<polyline points='{path}' fill='none' stroke='#1f6fb2'/>")
    for point in found:
        x, y = _place(point["confidence"], point["right"])
        radius = 2 + 8 * (point["n"] / total) ** 0.5
        told = f"confidence {point['confidence']:.3f}, right {point['right']:.3f}, n {point['n']}"
        lines.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{radius:.1f}' fill='#1f6fb2' fill-opacity='.6'>")
        lines.append(f"<title>{told}</title></circle>")
    lines.append(f"<text x='{_LEFT + _SIDE / 2:.0f}' y='256' text-anchor='middle' {_STYLE}>confidence</text>")
    lines.append(f"<text transform='translate(11 {_TOP + _SIDE / 2:.0f}) rotate(-90)' text-anchor='middle' ")
    lines[-1] += f"{_STYLE}>share that was right</text>"
    return "\n".join([*lines, "</svg>", ""])


def _place(confidence: float, right: float) -> tuple[float, float]:
    return _LEFT + _SIDE * confidence, _TOP + _SIDE * (1 - right)
