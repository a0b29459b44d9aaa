"""Face detector: search the letterboxed frame or parts of it, convert to fractions of the frame, merge and filter.

``near`` and ``far`` search the whole frame once. ``auto`` searches with the short range and then with the full range in
the parts that :mod:`edge_agent_face.lookout` chooses, for which a tiny grey picture of the last search is kept. With
``near`` and ``auto``, a face where nobody was known is searched again with the short range in an enlarged part before
it counts as a new person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import ModelError
from edge_agent.domain.face import Box, Face, KeyPoints, Point
from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.models.tflite import TfliteModel
from edge_agent.plugin import AnalyzerContext, FaceDetector, imaging
from edge_agent_face import FaceSettings, Range, lookout
from edge_agent_face.blazeface import OVERLAP, BlazeFace, Detections, iou, join, variants_for

VERIFIED_IN = 2.5
"""Side of the look that verifies a new face in sides of its box: drawn faces lose their score when seen larger."""
CONFIRMED: Mapping[Range, float] = {"near": 1.4, "auto": 1.05}
"""Least sum of a new face's score and that of its verification, by range: what real ones reach that look this way, with
``auto`` the small ones included."""
STIRRING = 1.15
"""The same for a face that was denied and has moved since: what those reach that are turned away."""
FAINT = 0.1
"""Least score that counts in a verification."""
MOVED = 8.0
"""Grey levels by which a cell must differ to have moved."""
CUT = 0.6
"""Share of the cells that moved from which on the picture shows another scene: a cut, or the next of many stills."""


class BlazeFaceDetector(FaceDetector):
    """Analyzer ``face``; see the package.

    Raises:
        ModelError: a model of the chosen range is not installed or not usable.
    """

    def __init__(self, settings: FaceSettings, context: AnalyzerContext) -> None:
        self._settings = settings
        self._networks = [
            BlazeFace(variant, TfliteModel(context.models.locate(variant.model), context.threads))
            for variant in variants_for(settings.range)
        ]
        self._lookout = _Lookout(settings.extra_looks)

    def detect(self, frame: Frame) -> Sequence[Face]:
        """Faces in the frame, most certain first; boxes may reach outside of it."""
        score = self._settings.min_score
        found = look(self._networks[0], frame, score)
        if len(self._networks) > 1:
            views = self._lookout.views(frame, found)
            more = [self._lookout.believable(look_at(self._networks[1], frame, view, score)) for view in views]
            found = self._verified(frame, join(self._lookout.unchallenged(found), more, lookout.SURE))
            self._lookout.learn(found)
        elif self._settings.range == "near":  # the full range alone has no closer look that would tell
            self._lookout.watch(frame)
            found = self._verified(frame, found)
            self._lookout.follow(found)
        faces = [_face(*one) for one in zip(found.score, found.corner, found.points, strict=True)]
        return [face for face in faces if face.box.w >= self._settings.min_face][: self._settings.max_faces]

    def _verified(self, frame: Frame, found: Detections) -> Detections:
        """Lower the score of faces that nobody knew and that the short range does not confirm in an enlarged part."""
        score = found.score.copy()
        for n in np.flatnonzero((score >= lookout.CERTAIN) & np.logical_not(self._lookout.known(found))).tolist():
            stirs = self._lookout.stirs(found, n)
            if (self._lookout.rests(found, n) and not stirs) or not self._confirmed(frame, found, n, stirs):
                score[n] = lookout.CERTAIN - 0.01
        order = np.argsort(-score, kind="stable")
        return Detections(score[order], found.corner[order], found.points[order])

    def _confirmed(self, frame: Frame, found: Detections, n: int, stirs: bool) -> bool:
        closer = look_at(self._networks[0], frame, _around(found.corner[n], frame), FAINT)
        same = closer.score[iou(found.corner[n], closer.corner) > OVERLAP]
        least = CONFIRMED[self._settings.range]
        if found.score[n] + max(same.tolist(), default=0.0) >= (min(least, STIRRING) if stirs else least):
            return True
        self._lookout.deny(found, n)
        return False

    def self_check(self) -> None:
        """Check that each network runs and finds no certain face in a grey picture.

        Raises:
            ModelError: one does.
        """
        for network in self._networks:
            side = network.side
            blank = Frame(np.full((side, side), 128, np.uint8), PixelFormat.GRAY, side, side, 0.0, 0)
            if (look(network, blank, self._settings.min_score).score > 0.9).any():
                raise ModelError(
                    "the face detector sees a face in an empty picture: its model does not work on this machine"
                )

    def close(self) -> None:
        """Do nothing: the interpreters are freed with the object."""


class _Lookout:
    """Input of the policy: motion since the last search of the same stream, and its time."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._memory = lookout.begin()
        self._picture: npt.NDArray[np.float32] | None = None
        self._shape, self._now = (0, 0), 0.0
        self._views: Sequence[Box] = ()

    def views(self, frame: Frame, near: Detections) -> Sequence[Box]:
        """Choose the parts of the frame for a second look."""
        self.watch(frame)
        moved = self._moved(frame)
        if moved.mean() > CUT:
            self._memory, moved = lookout.begin(), np.zeros_like(moved)
        memory = lookout.notice(self._memory, moved, _seen(near), frame.time)
        self._memory = memory
        self._views = lookout.choose(memory, frame.width / frame.height, self._budget)
        return self._views

    def watch(self, frame: Frame) -> None:
        """Begin a search; what is known of another stream or picture, or from long ago, is forgotten."""
        shape = (frame.width, frame.height)
        if shape != self._shape or not 0 < frame.time - self._now < lookout.REFRESH_S:
            self._memory, self._picture = lookout.begin(), None
        self._shape, self._now = shape, frame.time

    def known(self, found: Detections) -> list[bool]:
        """Select the faces where somebody was certain before."""
        return [lookout.known(self._memory, face) for face in _seen(found)]

    def believable(self, found: Detections) -> Detections:
        """Select the faces of a second look that count."""
        return _only(found, lookout.believable(self._memory, _seen(found)))

    def unchallenged(self, near: Detections) -> Detections:
        """Select the faces of the first look that count beside those of the second looks."""
        width, height = self._shape
        overruled = lookout.overruled(self._views, _seen(near), width / height)
        return _only(near, [not over for over in overruled])

    def learn(self, found: Detections) -> None:
        """Update the policy with the final faces of a search."""
        self._memory = lookout.learn(self._memory, self._views, _seen(found), self._now)

    def follow(self, found: Detections) -> None:
        """Update who was found where, after a search without second looks."""
        self._memory = lookout.follow(self._memory, _seen(found))

    def rests(self, found: Detections, n: int) -> bool:
        """Whether face ``n`` was denied a moment ago."""
        return lookout.rests(self._memory, _seen(found)[n], self._now)

    def stirs(self, found: Detections, n: int) -> bool:
        """Whether face ``n`` was denied and has moved since."""
        return lookout.stirs(self._memory, _seen(found)[n])

    def deny(self, found: Detections, n: int) -> None:
        """Note that a closer look did not confirm face ``n``."""
        self._memory = lookout.deny(self._memory, _seen(found)[n], self._now)

    def _moved(self, frame: Frame) -> npt.NDArray[np.bool_]:
        columns, rows = lookout.COLUMNS, lookout.ROWS
        picture = imaging.luma(frame, 2 * columns, 2 * rows).astype(np.float32)
        last, self._picture = self._picture, picture
        if last is None:
            return np.zeros((rows, columns), bool)
        # A change of brightness is not motion.
        gain = (float(picture.sum()) + 1) / (float(last.sum()) + 1)
        differs = np.abs(picture - last * np.float32(min(max(gain, 0.7), 1.4))) > MOVED
        return np.asarray(differs.reshape(rows, 2, columns, 2).any(axis=(1, 3)))


def look(network: BlazeFace, frame: Frame, min_score: float) -> Detections:
    """Faces of the whole ``frame``, in fractions of it."""
    canvas, letterbox = imaging.letterbox_rgb(frame, network.side)
    found = network(canvas, min_score)
    return Detections(found.score, letterbox.to_frame(found.corner), letterbox.to_frame(found.points))


def look_at(network: BlazeFace, frame: Frame, view: Box, min_score: float) -> Detections:
    """Faces of a part of ``frame``, in fractions of the frame; those that the part's edge cuts are left out."""
    if view == lookout.WHOLE:
        return look(network, frame, min_score)
    piece, place = imaging.part(frame, view)
    found = look(network, piece, min_score)
    origin, size = np.array([place.x, place.y], np.float32), np.array([place.w, place.h], np.float32)
    corner, points = origin + found.corner * size, origin + found.points * size
    # Beyond an edge that is not the frame's.
    cut = ((found.corner[:, 0] < 0) & (origin > 0)) | ((found.corner[:, 1] > 1) & (origin + size < 1 - 1e-6))
    return _only(Detections(found.score, corner, points), np.logical_not(cut.any(axis=1)).tolist())


def _around(corner: npt.NDArray[np.float32], frame: Frame) -> Box:
    """A square in pixels around a face, :data:`VERIFIED_IN` times its size, as far as the frame goes."""
    size = np.array([frame.width, frame.height], np.float32)
    half = VERIFIED_IN / 2 * float(((corner[1] - corner[0]) * size).max()) / size
    centre = corner.mean(axis=0)
    (x0, y0), (x1, y1) = np.clip([centre - half, centre + half], 0, 1).tolist()
    return Box(x0, y0, x1 - x0, y1 - y0)


def _only(found: Detections, kept: Sequence[bool]) -> Detections:
    chosen = np.asarray(kept, bool)
    return Detections(found.score[chosen], found.corner[chosen], found.points[chosen])


def _seen(found: Detections) -> list[lookout.Seen]:
    boxes = [Box(x0, y0, x1 - x0, y1 - y0) for (x0, y0), (x1, y1) in found.corner.tolist()]
    return [lookout.Seen(*one) for one in zip(boxes, found.score.tolist(), strict=True)]


def _face(score: np.float32, corner: npt.NDArray[np.float32], points: npt.NDArray[np.float32]) -> Face:
    (x0, y0), (x1, y1) = corner.tolist()
    return Face(Box(x0, y0, x1 - x0, y1 - y0), float(score), KeyPoints(*(Point(x, y) for x, y in points.tolist())))
