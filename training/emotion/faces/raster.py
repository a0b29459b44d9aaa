"""Draw a shaded mesh into a small picture, with numpy alone."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from training.emotion.faces.head import Array

SAMPLES = 3.0
"""Points drawn for each pixel that a triangle covers."""
MOST = 64
"""Points drawn for one triangle at most: it should cover no more than twenty pixels."""
_R2 = (np.arange(1, MOST + 1)[:, None] * np.array([0.7548776662, 0.5698402910])) % 1
_FOLDED = np.where(_R2.sum(1, keepdims=True) > 1, 1 - _R2, _R2).astype(np.float32)


def drawn(
    picture: Array, points: Array, values: Array, triangles: npt.NDArray[np.int32], two_sided: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Draw into ``picture`` float32 [h, w], in place; True where it was drawn.

    ``points`` [n, 3] are pixels to the right, pixels down and nearness; ``values`` [n] the brightness there. Triangles
    that face away are left out unless ``two_sided``. Each triangle is sampled evenly, the nearest samples of a pixel
    are averaged, and single pixels that none of them hit are filled from their neighbours.
    """
    height, width = picture.shape
    a, b, c = (points[triangles[:, k]] for k in range(3))
    twice = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    middle = (a + b + c) / 3
    inside = (middle[:, 0] > -2) & (middle[:, 0] < width + 2) & (middle[:, 1] > -2) & (middle[:, 1] < height + 2)
    shown = np.flatnonzero(inside & ((twice < 0) | two_sided))
    counts = np.clip(np.ceil(np.abs(twice[shown]) / 2 * SAMPLES), 1, MOST).astype(int)
    chosen = np.repeat(shown, counts)
    number = np.arange(len(chosen)) - np.repeat(np.cumsum(counts) - counts, counts)
    u, v = _FOLDED[number].T
    corners = triangles[chosen]
    share = (1 - u - v, u, v)
    x, y, near, value = (sum(s * column[corners[:, k]] for k, s in enumerate(share)) for column in (*points.T, values))
    at = np.floor(y).astype(int) * width + np.floor(x).astype(int)
    on = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    at, near, value = at[on], near[on], value[on]
    front = np.full(height * width, -np.inf, np.float32)
    np.maximum.at(front, at, near.astype(np.float32))
    kept = near >= front[at] - _DEPTH
    total = np.bincount(at[kept], value[kept], height * width).reshape(height, width)
    count = np.bincount(at[kept], minlength=height * width).reshape(height, width).astype(float)
    _fill(total, count)
    hit = count > 0
    picture[hit] = total[hit] / count[hit]
    return np.asarray(hit)


_DEPTH = 0.03
"""How far behind the nearest sample of a pixel others still belong to the same surface, in eye distances."""


def _fill(total: npt.NDArray[np.float64], count: npt.NDArray[np.float64]) -> None:
    """Give pixels that are surrounded by drawn ones the mean of these."""
    hit = (count > 0).astype(np.float32)
    around = cv2.boxFilter(hit, -1, (3, 3), normalize=False)
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    summed = cv2.boxFilter(mean, -1, (3, 3), normalize=False)
    holes = (count == 0) & (around >= 5)
    total[holes], count[holes] = summed[holes] / around[holes], 1
