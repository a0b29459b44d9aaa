"""Count false tracks before pictures that show no living person: drawings, animals, signs, patterns.

    python -m training.face.posters FOLDER... [--range auto] [--half 1] [--most 400]

Each picture hangs for 1.3 s on a grey wall of 640x480, large and small, with a camera's noise, before a fresh
tracker, at three searches a second; the hours are those of ten seconds for each. ``--half`` takes one half of the
pictures, by the hash of the name. Debian's openclipart-png, tuxpaint-stamps-default, gnome-backgrounds and
gcompris-qt-data hold thousands of them (``apt-get download``, ``dpkg-deb -x``).
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.analysis.tracking import Tracker
from edge_agent.domain.media import Frame
from edge_agent.models import Catalogue, ModelStore, cache_dir
from edge_agent.plugin import AnalyzerContext
from edge_agent_face import FaceSettings
from edge_agent_face.detector import BlazeFaceDetector

HEIGHTS = (440, 200)
SEARCHES, PERIOD_S, SHOWN_S = 4, 1 / 3, 10.0
LARGEST = 1_500_000
"""Bytes of a file beyond which a picture is left out."""

Picture = npt.NDArray[np.uint8]


def pictures(folders: Sequence[Path], half: int, most: int) -> Iterator[tuple[Path, Picture]]:
    """Up to ``most`` pictures of one half, in the order of their hashes."""
    files = {p for folder in folders for kind in ("png", "jpg", "webp") for p in folder.rglob(f"*.{kind}")}
    ranked = sorted((hashlib.sha256(p.name.encode()).hexdigest(), p) for p in files if p.stat().st_size <= LARGEST)
    count = 0
    for digest, path in ranked:
        if int(digest[-1], 16) % 2 != half or count == most:
            continue
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if picture is None or picture.dtype != np.uint8 or min(picture.shape[:2]) < 24:
            continue
        count += 1
        yield path, _opaque(picture)


def _opaque(picture: Picture) -> Picture:
    if picture.ndim == 2:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR), np.uint8)
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., 3:].astype(np.float32) / 255
    return np.asarray(picture[..., :3] * alpha + 235 * (1 - alpha), np.uint8)


def hung(picture: Picture, height: int) -> Picture:
    """The picture, ``height`` pixels high if it fits, on a wall [480, 640, 3]."""
    scale = min(height / picture.shape[0], 620 / picture.shape[1])
    width, tall = (max(2, int(side * scale)) for side in (picture.shape[1], picture.shape[0]))
    wall = np.empty((480, 640, 3), np.uint8)
    wall[:] = np.linspace(150, 215, 640, dtype=np.uint8)[None, :, None]
    x, y = (640 - width) // 2, (480 - tall) // 2
    wall[y : y + tall, x : x + width] = cv2.resize(picture, (width, tall), interpolation=cv2.INTER_AREA)
    return wall


def arrivals(detector: BlazeFaceDetector, wall: Picture, begin: float, rng: np.random.Generator) -> int:
    """Tracks that begin while the camera looks at ``wall``."""
    tracker, found = Tracker(), 0
    for k in range(SEARCHES):
        seen = np.clip(wall + rng.normal(0, 2, wall.shape), 0, 255).astype(np.uint8)
        time = begin + k * PERIOD_S
        found += len(tracker.update(detector.detect(Frame.from_bgr(seen, time, k)), time).arrived)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--range", choices=("near", "far", "auto"), default="auto")
    parser.add_argument("--half", type=int, choices=(0, 1), default=1)
    parser.add_argument("--most", type=int, default=200)
    args = parser.parse_args()
    store = ModelStore(cache_dir(), Catalogue.load())
    store.pull(["blazeface-short", "blazeface-full"])
    detector = BlazeFaceDetector(FaceSettings(range=args.range), AnalyzerContext(store))
    rng, total, shown = np.random.default_rng(0), 0, 0
    for path, picture in pictures(args.folders, args.half, args.most):
        for height in HEIGHTS:
            found = arrivals(detector, hung(picture, height), 60.0 * shown, rng)
            total, shown = total + found, shown + 1
            if found:
                print(f"{found} at {height} px: {path.name}")
    hours = shown * SHOWN_S / 3600
    print(f"{args.range}: {total} false tracks before {shown} pictures, {total / max(hours, 1e-9):.0f} an hour")


if __name__ == "__main__":
    main()
