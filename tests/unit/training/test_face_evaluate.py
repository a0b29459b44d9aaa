"""Counting hits and false alarms, and what is told about test sets that cannot be used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from edge_agent.domain.errors import MediaError
from edge_agent.domain.face import Box
from edge_agent.models import ModelStore
from training.face import evaluate
from training.face.evaluate import Tally, read_boxes

FACE = Box(100, 100, 20, 20)


def test_each_face_counts_once_and_the_rest_is_false() -> None:
    tally = Tally()
    tally.add([FACE, Box(300, 100, 50, 60)], [Box(102, 101, 20, 20), Box(99, 99, 20, 20), Box(10, 10, 14, 14)])
    assert tally.figures() == {
        "faces": 2,
        "found": 1,
        "false": 2,
        "recall": 0.5,
        "precision": 0.333,
        "sizes": {
            "0 to 15 px": {"faces": 0, "found": 0, "false": 1, "recall": None, "precision": 0.0},
            "16 to 23 px": {"faces": 1, "found": 1, "false": 1, "recall": 1.0, "precision": 0.5},
            "48 px and more": {"faces": 1, "found": 0, "false": 0, "recall": 0.0, "precision": None},
        },
    }


@pytest.mark.parametrize(("shift", "found"), [(8, 1), (9, 0)])
def test_an_overlap_of_two_fifths_is_asked_for(shift: float, found: int) -> None:
    """Shifted by s of 20 pixels, two boxes share (20 - s) / (20 + s)."""
    tally = Tally()
    tally.add([FACE], [Box(100 + shift, 100, 20, 20)])
    assert tally.figures()["found"] == found


def test_boxes_follow_the_documentation() -> None:
    truth = read_boxes(evaluate.OUR_BOXES)
    assert sum(len(frames) for frames in truth.values()) >= 60
    for frames in truth.values():
        for boxes in frames.values():
            assert all(8 <= box.w <= 80 and 1 <= box.h / box.w <= 1.7 for box in boxes)
            assert all(a is b or a.iou(b) < 0.2 for a in boxes for b in boxes)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"a.gif": [1]}', '{"a.gif": {"x": []}}', '{"a.gif": {"0": [[1, 2]]}}']
)
def test_a_file_in_another_format_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(MediaError, match=r"boxes\.json: "):
        evaluate.evaluate(tmp_path)


def write_clip(path: Path, frames: int) -> None:
    picture = cv2.resize(astronaut(), (256, 256), interpolation=cv2.INTER_AREA)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 256, 256, "yuv420p", 2_000_000
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture))))
        container.mux(stream.encode())


def test_the_command_takes_anyones_clips(tmp_path: Path, model_store: ModelStore, repository: Path) -> None:
    write_clip(tmp_path / "one.mp4", 4)
    (tmp_path / "boxes.json").write_text(json.dumps({"one.mp4": {"0": [[90, 40, 44, 50]], "3": [[90, 40, 44, 50]]}}))
    words = [sys.executable, "-m", "training.evaluate", "face", "--data", str(tmp_path), "--json"]
    done = subprocess.run(words, cwd=repository, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["frames"] == 2
    for name in ("near", "far", "auto"):
        assert {k: report["ranges"][name][k] for k in ("faces", "found", "false")} == {
            "faces": 2,
            "found": 2,
            "false": 0,
        }


def test_the_command_reports_the_error(tmp_path: Path, model_store: ModelStore, repository: Path) -> None:
    write_clip(tmp_path / "one.mp4", 2)
    (tmp_path / "boxes.json").write_text('{"one.mp4": {"9": [[1, 1, 2, 2]]}}')
    words = [sys.executable, "-m", "training.evaluate", "face", "--data", str(tmp_path)]
    done = subprocess.run(words, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "one.mp4: boxes are given for frames it does not have: [9]" in done.stderr
    assert "Traceback" not in done.stderr
