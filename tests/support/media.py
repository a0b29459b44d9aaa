"""Recordings for tests, made from what packages hold: scikit-image's photograph of a face and the burst synthesizer.

They stand in for recordings of people, which are not part of the repository: a minute with people coming and going,
with bursts and talk at known times, and shorter films of a face.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.support.recordings import write

Picture = npt.NDArray[np.uint8]
RATE = 16_000
KIOSK_FPS = 15
KIOSK_S = 60.0

FACES = ((0.0, 0), (5.0, 2), (17.0, 1), (41.0, 3), (53.0, 1))
"""From when on how many people are in the minute's picture."""

SOUNDS = (
    ("speech", "babble", 3, 8.0),
    ("speech", "babble", 4, 12.2),
    ("cough", "dry", 18, 20.0),
    ("cough", "dry", 9, 25.5),
    ("crying", "baby", 7, 31.0),
    ("sneeze", "built", 1, 41.0),
    ("laughter", "haha", 15, 46.0),
    ("cough", "wet", 13, 53.0),
)
"""The synthesizer's label, kind and seed, and when in the minute the sound begins, in seconds."""


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with ``kiosk.mp4`` (a minute, ``kiosk.json`` says of what), ``hungry.mkv``, ``sorry.mkv`` (a face, no
    sound) and ``classroom.gif``; made once for all workers of a test run.
    """
    root = tmp_path_factory.getbasetemp()
    folder = (root if worker_id == "master" else root.parent) / "media"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _make(folder)
            (folder / "complete").touch()
    return folder


def _make(folder: Path) -> None:
    sound, events = _sound()
    people = [*FACES, (KIOSK_S, 0)]
    segments = [
        {"start_s": start, "end_s": end, "scene": f"{faces} faces", "faces": faces}
        for (start, faces), (end, _) in pairwise(people)
    ]
    truth = {"clip": "kiosk.mp4", "duration_s": KIOSK_S, "audio_events": events, "video_segments": segments}
    (folder / "kiosk.json").write_text(json.dumps(truth, indent=1))
    write(
        folder / "kiosk.mp4",
        _scene(KIOSK_S, KIOSK_FPS),
        sound[:, None],
        sound_codec="aac",
        rate=RATE,
        fps=KIOSK_FPS,
        preset="ultrafast",
    )
    for name, seconds in (("hungry", 1.6333), ("sorry", 2.4666)):
        write(folder / f"{name}.mkv", _scene(seconds, 30, faces=1), fps=30)
    write(folder / "classroom.gif", _scene(3.0, 15, faces=3, size=(480, 270)), codec="gif", pixels="rgb8", fps=15)


def _scene(
    seconds: float, fps: int, faces: int | None = None, size: tuple[int, int] = (640, 480)
) -> Iterator[tuple[float, Picture]]:
    """RGB pictures of a plain room with ``faces`` people side by side (None: as :data:`FACES` says), each swaying."""
    head = _head()
    width, height = size
    noise = np.random.default_rng(0).integers(0, 4, (2 * height, 2 * width, 1), np.uint8)
    room = np.repeat(np.linspace(120, 150, height, dtype=np.uint8)[:, None, None], width, axis=1).repeat(3, axis=2)
    for number in range(round(seconds * fps)):
        time = number / fps
        count = faces if faces is not None else [n for start, n in FACES if start <= time][-1]
        image = room.copy()
        for person in range(count):
            _put(image, head if person % 2 == 0 else head[:, ::-1], (person + 0.5) / count, count, time + 2 * person)
        # A camera's noise never repeats from frame to frame.
        x, y = number * 37 % width, number * 61 % height
        yield time, cv2.add(image, np.repeat(noise[y : y + height, x : x + width], 3, axis=2)).astype(np.uint8)


def _head() -> Picture:
    """Head and shoulders out of the photograph, 200 x 200."""
    data = pytest.importorskip("skimage.data", reason="needs scikit-image: install the extra 'dev'")
    return np.ascontiguousarray(data.astronaut()[25:225, 122:322])


def _put(image: Picture, head: Picture, middle: float, count: int, time: float) -> None:
    height, width = image.shape[:2]
    side = int(min(0.72 * height, 0.95 * width / count))
    x = int(middle * width - side / 2 + 0.02 * width * np.sin(time / 1.1))
    y = int(0.5 * (height - side) + 0.02 * height * np.sin(time / 0.9))
    x, y = int(np.clip(x, 0, width - side)), int(np.clip(y, 0, height - side))
    image[y : y + side, x : x + side] = cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA)


def _sound() -> tuple[npt.NDArray[np.float32], list[dict[str, object]]]:
    """The minute's sound, mono, and what is heard when."""
    pytest.importorskip("scipy", reason="needs scipy: install the extra 'dev'")
    from training.burst.synth import synthesize

    sound = np.random.default_rng(1).normal(0.0, 1e-3, int(KIOSK_S * RATE)).astype(np.float32)
    events: list[dict[str, object]] = []
    for label, kind, seed, start in SOUNDS:
        samples = synthesize(label, np.random.default_rng(seed), kind).samples
        begin = int(start * RATE)
        sound[begin : begin + len(samples)] += 0.4 * samples
        loud = np.flatnonzero(np.abs(samples) > 0.05)
        events.append({"label": label, "start_s": start + loud[0] / RATE, "end_s": start + (loud[-1] + 1) / RATE})
    return np.clip(sound, -1.0, 1.0), events
