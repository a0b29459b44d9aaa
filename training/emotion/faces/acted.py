r"""Make people of FER+ act: neutral photographs, moved and shaded as the head model's face moves.

    python -m training.emotion.faces.acted --data PATH --facekit ../shared/data/facekit/ict_facekit.npz \
        --landmarks face_landmark.tflite --count 6000 --seed 1 --out acted.npz --sheet acted.png

Rendered heads show what a face does, but not on skin, hair and light as cameras see them. Here the movement is the head
model's and the picture is a photograph's: points found on a neutral face tell where each of its pixels is on the head,
the head's displacements move the pixels, and how its shading and folds change (an expression ratio image, Liu et al.
2001) is multiplied in. One in eight only talks or looks around, and its label stays the observers', so that traces of
the editing say nothing. Writes ``images`` uint8 [n, 48, 48], ``targets`` float32 [n, 8] and ``labels`` int64 [n].

``face_landmark.tflite`` (Apache-2.0) is in the PyPI wheel ``mediapipe==0.10.21``; it finds points and labels nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import LinearNDInterpolator, RBFInterpolator
from scipy.spatial import Delaunay

from edge_agent.domain.errors import MediaError
from edge_agent.models import TfliteModel
from training.emotion.dataset import CLASSES, SIDE, load
from training.emotion.faces import head as heads
from training.emotion.faces.expressions import STRENGTH, Act, act
from training.emotion.faces.head import Array, Head
from training.emotion.faces.paint import folds, person
from training.emotion.faces.render import sheet

LARGE = 96
"""Side at which pictures are edited, pixels."""
CELLS = 160
"""Side of the maps over the front of the head."""
ACROSS, DOWN = (-1.3, 1.3), (-2.2, 1.4)
"""What of the head these maps show, in eye distances."""
ROI_CENTRE, ROI_SIDE = (0.48, 0.59), 1.26
"""Where the landmark network's square is in a FER+ picture, in its sides."""
SURE = 8.0
"""Least score of the landmark network: below, the face is turned away or covered."""
NEUTRAL = 0.75
"""Share of observers who must have called a photograph neutral for it to be acted on."""
EACH = 3
"""Faces made of one photograph."""
SEEN = 0.1
"""Share of the observers' votes in the target of an acted face."""
TURNED, FRONTAL = 0.35, 0.1
"""Most turn (see :func:`_turn`) of a face that is acted on, and of one that is taken for frontal."""
LANDMARKS = (
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305, 33, 160, 158, 133, 153, 144,
    362, 385, 387, 263, 373, 380, 61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14,
    87,
)  # fmt: skip
"""Which of the 468 points are the landmarks 18 to 68 of the usual 68: brows, nose, eyes and lips."""


class Front:
    """Maps of the head's front: what is known at its points, at each cell of a grid over it.

    Only what is seen from the front belongs to it; cells beside the face hold 0.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        normal = head.normals(head.neutral)
        seen = head.of("M_Face") & (normal[:, 2] > 0.05) & (head.neutral[:, 2] > -1.3)
        self._points = np.flatnonzero(seen & _nearest(head.neutral, seen))
        flat = head.neutral[self._points, :2].astype(float)
        x, y = np.meshgrid(np.linspace(*ACROSS, CELLS), np.linspace(*DOWN, CELLS))
        self.x, self.y = x.astype(np.float32), y.astype(np.float32)
        mesh = Delaunay(flat)
        cells = np.column_stack([x.ravel(), y.ravel()])
        found = mesh.find_simplex(cells)
        inside = np.flatnonzero(found >= 0)
        transform = mesh.transform[found[inside]]
        first = np.einsum("nij,nj->ni", transform[:, :2], cells[inside] - transform[:, 2])
        self._cells, self._corners = inside, mesh.simplices[found[inside]]
        self._shares = np.column_stack([first, 1 - first.sum(1)]).astype(np.float32)
        self._normal = normal

    def of(self, values: Array) -> Array:
        """Map [cells, cells, k] of ``values`` [n, k] at the head's points."""
        out = np.zeros((CELLS * CELLS, values.shape[1]), np.float32)
        out[self._cells] = np.einsum("nc,nck->nk", self._shares, values[self._points][self._corners])
        return out.reshape(CELLS, CELLS, -1)

    def moved(self, made: Act, rng: np.random.Generator) -> tuple[Array, Array]:
        """Displacements [cells, cells, 3] of a face made, and by what it changes the brightness [cells, cells]."""
        none = np.zeros(0, np.float32)
        points = self._head.posed(made.weights, none)
        lamp = np.array([rng.normal(0, 0.6), rng.uniform(-0.1, 0.9), 0.8])
        lamp = (lamp / np.linalg.norm(lamp)).astype(np.float32)
        ambient = rng.uniform(0.25, 0.7)
        before, after = (ambient + np.clip(n @ lamp, 0, 1) for n in (self._normal, self._head.normals(points)))
        ratio = self.of((after / before)[:, None])[..., 0]
        ratio[ratio == 0] = 1
        ratio = np.clip(cv2.GaussianBlur(ratio, (0, 0), 2), 0.7, 1.25)
        who = person(rng)
        lines = folds(self.x.ravel(), self.y.ravel(), who, made.weights, np.random.default_rng(who.seed))
        plain = folds(self.x.ravel(), self.y.ravel(), who, {}, np.random.default_rng(who.seed))
        shade = (1 - rng.uniform(0.3, 1) * np.maximum(lines - plain, 0)).reshape(CELLS, CELLS)
        return self.of(points - self._head.neutral), np.asarray(ratio * shade, np.float32)


def _nearest(points: Array, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Bool [n]: whether no other of the points ``among`` is well in front at the same place."""
    cell = np.floor(points[:, :2] / 0.05).astype(int)
    key = (cell[:, 0] + 1000) * 4000 + cell[:, 1] + 2000
    order, where = np.unique(key[among], return_inverse=True)
    front = np.full(len(order), -np.inf, np.float32)
    np.maximum.at(front, where, points[among, 2])
    kept = np.zeros(len(points), bool)
    kept[among] = points[among, 2] >= front[where] - 0.15
    return kept


@dataclass(frozen=True, slots=True, eq=False)
class Sitter:
    """A neutral photograph, float32 [large, large] 0 to 1; for each pixel its place on the front of the head as cells
    of the maps, [large, large] each, how surely it is the face, 0 to 1, and whether it may lie within the mouth;
    ``camera`` [2, 3]: pixels for an eye distance."""

    image: Array
    across: Array
    down: Array
    sure: Array
    mouth: Array
    camera: Array


class Sitters:
    """Callable: a photograph, uint8 [48, 48], to a :class:`Sitter`, or None where no face is surely found."""

    def __init__(self, network: Path, head_points: Array, some: npt.NDArray[np.uint8]) -> None:
        """``head_points`` [51, 3] are the landmarks on the head; ``some`` photographs [n, 48, 48] tell what is usual.

        Raises:
            MediaError: no frontal face is found in any of them.
        """
        self._network, self._head_points = TfliteModel(network), head_points
        shapes = [found for image in some if (found := self._found(image)) is not None]
        if not any(abs(_turn(points)) < FRONTAL for points in shapes):
            raise MediaError(f"no face is found in any of {len(some)} photographs: is this face_landmark.tflite?")
        self._on_head = _on_head(np.stack(shapes), head_points)

    def __call__(self, image: npt.NDArray[np.uint8]) -> Sitter | None:
        found = self._found(image)
        if found is None or abs(_turn(found)) > TURNED:
            return None
        points = found[:, :2] * LARGE
        known = np.column_stack([self._head_points, np.ones(len(LANDMARKS))])
        fitted, *_ = np.linalg.lstsq(known, points[list(LANDMARKS)], rcond=None)
        rows, columns = np.mgrid[0:LARGE, 0:LARGE] + 0.5
        place = LinearNDInterpolator(points, self._on_head)(np.column_stack([columns.ravel(), rows.ravel()]))
        inside = np.isfinite(place[:, 0]).reshape(LARGE, LARGE)
        x, y = np.nan_to_num(place).T.reshape(2, LARGE, LARGE)
        edge = cv2.distanceTransform(np.pad(inside.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        return Sitter(
            cv2.resize(image.astype(np.float32) / 255, (LARGE, LARGE), interpolation=cv2.INTER_CUBIC),
            ((x - ACROSS[0]) / (ACROSS[1] - ACROSS[0]) * (CELLS - 1)).astype(np.float32),
            ((y - DOWN[0]) / (DOWN[1] - DOWN[0]) * (CELLS - 1)).astype(np.float32),
            np.clip(edge / 6, 0, 1).astype(np.float32),
            (inside & (np.abs(x) < 0.6) & (y < -0.75)).astype(np.float32),
            fitted[:3].T.astype(np.float32),
        )

    def _found(self, image: npt.NDArray[np.uint8]) -> Array | None:
        """Points [468, 3] in sides of the picture, or None."""
        scale = 192 / (SIDE * ROI_SIDE)
        left, top = (centre - ROI_SIDE / 2 for centre in ROI_CENTRE)
        matrix = np.array([[scale, 0, -left * SIDE * scale], [0, scale, -top * SIDE * scale]])
        large = cv2.warpAffine(image, matrix, (192, 192), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        outputs = self._network(np.repeat(large[None, :, :, None], 3, 3).astype(np.float32) / 255)
        points = next(each for each in outputs if each.size == 1404).reshape(468, 3)
        score = next(each for each in outputs if each.size == 1).item()
        return None if score < SURE else points / 192 * ROI_SIDE + np.array([left, top, 0], np.float32)


def _turn(points: Array) -> float:
    """How much nearer one cheek is than the other, in widths of the face: about the sine of the yaw."""
    return float((points[234, 2] - points[454, 2]) / np.hypot(*(points[454, :2] - points[234, :2])))


def _on_head(shapes: Array, head_points: Array) -> Array:
    """Where on the head, (x, y), each of the 468 points is: the mean of frontal ``shapes`` [n, 468, 3], bent to it."""
    frontal = shapes[[abs(_turn(points)) < FRONTAL for points in shapes]][..., :2] * (1, -1)
    left, right = frontal[:, 33], frontal[:, 263]
    axis = right - left
    unit = (axis**2).sum(1)[:, None]
    centred = frontal - ((left + right) / 2)[:, None]
    x = (centred * axis[:, None]).sum(2) / unit
    y = (centred * (axis[:, ::-1] * (-1, 1))[:, None]).sum(2) / unit
    mean = np.stack([x, y], 2).mean(0)
    bend = RBFInterpolator(mean[list(LANDMARKS)], head_points[:, :2], smoothing=1e-3)
    return np.asarray(bend(mean), np.float32)


def edited(sitter: Sitter, move: Array, shade: Array, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """The photograph, uint8 [48, 48], with the face moved by ``move`` and its brightness changed by ``shade``."""
    step = move @ sitter.camera.T  # pixels on the photograph, by cell
    on_face = [_remap(step[..., k], sitter.across, sitter.down) * sitter.sure for k in (0, 1)]
    rows, columns = np.mgrid[0:LARGE, 0:LARGE].astype(np.float32)
    x, y = columns, rows
    for _ in range(6):
        x, y = columns - _remap(on_face[0], x, y), rows - _remap(on_face[1], x, y)
    short = np.hypot(x + _remap(on_face[0], x, y) - columns, y + _remap(on_face[1], x, y) - rows)
    brightness = 1 + (_remap(shade, sitter.across, sitter.down) - 1) * sitter.sure
    picture = _remap(sitter.image, x, y) * _remap(brightness, x, y)
    # Where the lips part, no pixel of the photograph comes to lie: that is the inside of the mouth.
    open_ = (short > 1.0) & _remap(sitter.mouth, columns, rows).astype(bool)
    mouth = cv2.GaussianBlur(open_.astype(np.float32), (0, 0), 0.8)
    teeth = rng.uniform(0.1, 0.4) if rng.random() < 0.3 else 0.0
    picture = picture * (1 - mouth) + mouth * (float(np.percentile(picture, 5)) * rng.uniform(0.6, 1.2) + teeth)
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(small * 255, 0, 255), np.uint8)


def _remap(picture: Array, x: Array, y: Array) -> Array:
    return np.asarray(
        cv2.remap(
            picture.astype(np.float32), x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )  # fmt: skip


def collect(
    head: Head,
    sitters: Sitters,
    photographs: npt.NDArray[np.uint8],
    votes: Array,
    count: int,
    seed: int,
    strength: tuple[float, float] = STRENGTH,
) -> dict[str, npt.NDArray[np.generic]]:
    """``count`` acted faces, the classes in turn, of random ``photographs`` [n, 48, 48] with these ``votes`` [n, 8],
    acted as strongly as between the bounds ``strength``."""
    rng, front = np.random.default_rng(seed), Front(head)
    images, targets, labels = [], [], []
    while len(images) < count:
        chosen = int(rng.integers(len(photographs)))
        sitter = sitters(photographs[chosen])
        for _ in range(0 if sitter is None else EACH):
            label = CLASSES[len(images) % len(CLASSES)]
            made = act(head, label, rng, strength)
            move, shade = front.moved(made, rng)
            images.append(edited(sitter, move, shade, rng))
            acted = made.target if label != "neutral" else votes[chosen]
            targets.append((1 - SEEN) * acted + SEEN * votes[chosen])
            labels.append(CLASSES.index(label))
    return {
        "images": np.stack(images[:count]),
        "targets": np.stack(targets[:count]).astype(np.float32),
        "labels": np.array(labels[:count]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an .npz of FER+: the training or validation split")
    parser.add_argument("--facekit", type=Path, required=True, help="ict_facekit.npz, vertex_indices.json beside it")
    parser.add_argument("--landmarks", type=Path, required=True, help="face_landmark.tflite")
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strength", type=float, nargs=2, default=STRENGTH, metavar=("LEAST", "MOST"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sheet", type=Path, help="also write a picture of the first 64")
    args = parser.parse_args()
    split = load(args.data)
    neutral = split.targets[:, 0] >= NEUTRAL
    photographs, votes = split.images[neutral], split.targets[neutral]
    sitters = Sitters(args.landmarks, heads.landmarks(args.facekit)[17:], photographs[:200])
    made = collect(
        heads.load(args.facekit),
        sitters,
        photographs,
        votes,
        args.count,
        args.seed,
        (args.strength[0], args.strength[1]),
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(args.out, **made)
    if args.sheet:
        cv2.imwrite(str(args.sheet), sheet(made["images"]))


if __name__ == "__main__":
    main()
