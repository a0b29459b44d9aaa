"""Fit the constants of the gaze analyzer to rendered heads of known pose and gaze.

    python -m training.gaze.fit --facekit ../shared/data/facekit/ict_facekit.npz --count 450 --seed 102 103

Writes ``geometry.json`` beside the plugin: the rigid points of an average head as the mesh network places them, and
linear weights for the direction of the eyes. About 0.2 s of one core a scene; every scene is a person of its own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.models import Catalogue, ModelStore, cache_dir
from edge_agent.models.tflite import TfliteModel
from edge_agent.plugin import AnalyzerContext
from edge_agent_face import FaceSettings
from edge_agent_face.detector import BlazeFaceDetector
from edge_agent_gaze.geometry import DISTANCE, RIGID, Geometry, HeadPose
from edge_agent_gaze.mesh import IRIS_MODEL, MESH_MODEL, FaceMesh, FloatArray
from training.emotion.faces import head as heads
from training.gaze.scenes import Scene, scene

OUT = Path(__file__).resolve().parents[2] / "plugins" / "edge_agent_gaze" / "geometry.json"
ROUNDS = 6
"""Alternations between placing each head and averaging its points."""
RIDGE = 30.0
MOST_YAW = 40.0
"""Degrees to which heads may be turned for their eyes to count in the fit."""
OPEN, SHUT = 0.3, 0.9
"""Weights of the shape that shuts the eyes up to which they count as open, and from which on as shut."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A scene and the mesh found in it."""

    truth: Scene
    mesh: FloatArray
    score: float


class Finder:
    """Detector and mesh networks as the agent runs them."""

    def __init__(self) -> None:
        store = ModelStore(cache_dir(), Catalogue.load())
        store.pull(["blazeface-short", "blazeface-full", MESH_MODEL, IRIS_MODEL])
        self._context = AnalyzerContext(store)
        self.mesh = FaceMesh(*(TfliteModel(store.locate(name)) for name in (MESH_MODEL, IRIS_MODEL)))

    def __call__(self, truth: Scene) -> Seen | None:
        """The mesh of the most certain face; None when no face is found."""
        frame = frame_of(truth)
        faces = BlazeFaceDetector(FaceSettings(range="auto", extra_looks=8), self._context).detect(frame)
        if not faces:
            return None
        found = self.mesh(frame, faces[0])
        return Seen(truth, found.points, found.score)


def frame_of(truth: Scene) -> Frame:
    """The scene as a camera's picture."""
    height, width = truth.image.shape
    return Frame(cv2.cvtColor(truth.image, cv2.COLOR_GRAY2BGR), PixelFormat.BGR, width, height, 0.0, 0)


def fit(seen: Sequence[Seen]) -> Geometry:
    """The constants that fit these scenes best."""
    points = _average(seen)
    geometry = Geometry(points, np.zeros((71, 2)), (0.0, 1.0), (0.0, 1.0))
    rows, targets = [], []
    for one in seen:
        pose = geometry.pose(one.mesh)
        if pose is not None and one.truth.eyes_shut <= OPEN and abs(pose.nose.yaw) <= MOST_YAW:
            for row, target in _equations(geometry, one, pose):
                rows.append(row)
                targets.append(target)
    geometry = replace(geometry, gaze=_ridge(np.array(rows), np.array(targets)))
    return replace(geometry, eyes=_ends(geometry, seen, "eyes"), mouth=_ends(geometry, seen, "mouth"))


def _ridge(x: Array, y: Array) -> Array:
    """Weights [k, 2]; the penalty is on standardised features, and the last one, a constant, has none."""
    mean, deviation = x[:, :-1].mean(axis=0), x[:, :-1].std(axis=0)
    z = (x[:, :-1] - mean) / deviation
    weights = np.linalg.solve(z.T @ z + RIDGE * np.eye(z.shape[1]), z.T @ (y - y.mean(axis=0)))
    weights /= deviation[:, None]
    return np.vstack([weights, y.mean(axis=0) - mean @ weights])


def _average(seen: Sequence[Seen]) -> Array:
    """Rigid points [n, 3] in distances of the eyes that explain all meshes at their true rotations."""
    points = np.mean([_straightened(one) for one in seen], axis=0)
    for _ in range(ROUNDS):
        views = []
        for one in seen:
            observed = one.mesh[list(RIGID), :2].astype(np.float64) * [1, -1]
            observed -= observed.mean(axis=0)
            turned = points @ one.truth.rotation.T
            # Seen in perspective from DISTANCE: a point is as much larger as it is nearer.
            nearer = DISTANCE / (DISTANCE - turned[:, 2:])
            flat = turned[:, :2] * nearer
            flat = flat - flat.mean(axis=0)
            scale = float((observed * flat).sum() / (flat**2).sum())
            views.append((observed / scale, nearer, one.truth.rotation))
        points = _solved(views, points)
        # The unit is the distance of the eyes, the origin the middle between them.
        eyes = [points[[RIGID.index(a), RIGID.index(b)]].mean(axis=0) for a, b in ((33, 133), (263, 362))]
        points = (points - (eyes[0] + eyes[1]) / 2) / np.linalg.norm(eyes[0] - eyes[1])
    return np.asarray(points)


def _solved(views: Sequence[tuple[Array, Array, Array]], points: Array) -> Array:
    """Least squares for each point over all views; the shift of a view is that of its mean."""
    total, count = np.zeros((len(points), 3)), np.zeros((len(points), 3, 3))
    for observed, nearer, rotation in views:
        shift = ((points @ rotation.T)[:, :2] * nearer).mean(axis=0)
        for k, (target, factor) in enumerate(zip(observed + shift, nearer[:, 0], strict=True)):
            rows = rotation[:2] * factor
            count[k] += rows.T @ rows
            total[k] += rows.T @ target
    return np.array([np.linalg.solve(c + 1e-6 * np.eye(3), t) for c, t in zip(count, total, strict=True)])


def _straightened(one: Seen) -> Array:
    own = one.mesh[list(RIGID)].astype(np.float64) * [1, -1, -1]
    own = (own - own.mean(axis=0)) @ one.truth.rotation
    return np.asarray(own / np.linalg.norm(own[RIGID.index(33)] - own[RIGID.index(263)]) * 1.45)


def _equations(geometry: Geometry, one: Seen, pose: HeadPose) -> Iterator[tuple[Array, Array]]:
    """Features and the eyes' direction along the level head, and the same in a mirror."""
    vector = one.truth.gaze.vector
    roll = np.radians(pose.roll)
    across = vector[0] * np.cos(roll) - vector[1] * np.sin(roll)
    along = vector[0] * np.sin(roll) + vector[1] * np.cos(roll)
    row = geometry.features(one.mesh, pose)
    yield row, np.array([across, along])
    right, left, forward = np.split(row[:-1], [34, 68])
    flip = np.tile([-1.0, 1.0], 17)
    yield np.concatenate([left * flip, right * flip, forward * [-1, 1], [1.0]]), np.array([-across, along])


def _ends(geometry: Geometry, seen: Sequence[Seen], part: str) -> tuple[float, float]:
    """Raw openness at which 0 and 1 lie: medians of shut and open eyes, or of a shut and a wide open mouth."""
    raw: dict[bool, list[float]] = {False: [], True: []}
    for one in seen:
        pose = geometry.pose(one.mesh)
        if pose is None:
            continue
        look = geometry.look(one.mesh, pose)
        if part == "eyes" and not OPEN < one.truth.eyes_shut < SHUT:
            raw[one.truth.eyes_shut <= OPEN].append(look.eyes_open)
        elif part == "mouth" and not 0 < one.truth.mouth_open < 0.6:
            raw[one.truth.mouth_open > 0].append(look.mouth_open)
    return (round(float(np.median(raw[False])), 4), round(float(np.median(raw[True])), 4))


def told(geometry: Geometry) -> dict[str, object]:
    """The constants as ``geometry.json`` has them."""
    arrays = {name: np.round(getattr(geometry, name), 4).tolist() for name in ("points", "gaze")}
    return {**arrays, "eyes": list(geometry.eyes), "mouth": list(geometry.mouth)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facekit", type=Path, required=True, help="ict_facekit.npz")
    parser.add_argument("--count", type=int, default=450, help="scenes of each seed")
    parser.add_argument("--seed", type=int, nargs="+", default=[102, 103])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    head, find = heads.load(args.facekit), Finder()
    scenes = (scene(head, np.random.default_rng([seed, k])) for seed in args.seed for k in range(args.count))
    seen = [one for one in map(find, scenes) if one is not None]
    args.out.write_text(json.dumps(told(fit(seen)), separators=(",", ":")) + "\n", "utf-8")
    print(f"{args.out}: fitted to {len(seen)} of {args.count * len(args.seed)} scenes")


if __name__ == "__main__":
    main()
