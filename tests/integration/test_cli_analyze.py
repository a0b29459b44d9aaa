"""``edge-agent analyze`` on real recordings, as a user calls it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from edge_agent.payloads.schemas import schema
from tests.support.cli import Cli
from tests.support.pictures import heic
from tests.support.recordings import joined, tone, write

TOLERANCE_S = 0.75


@pytest.fixture(scope="module")
def kiosk(cli: Cli, media: Path) -> dict[str, Any]:
    """The whole analysis of the composed minute."""
    result = cli("analyze", str(media / "kiosk.mp4"), "--format", "json")
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


def test_windows_and_events_follow_their_schemas(kiosk: dict[str, Any]) -> None:
    assert len(kiosk["windows"]) == 6  # a minute and a bit: the bit is no window of its own
    for window in kiosk["windows"]:
        jsonschema.validate({k: v for k, v in window.items() if k != "offset"}, schema("summary", closed=True))
    for event in kiosk["events"]:
        jsonschema.validate({k: v for k, v in event.items() if k != "offset"}, schema("event", closed=True))


def test_faces_match_the_ground_truth(cli: Cli, media: Path) -> None:
    result = cli("analyze", str(media / "kiosk.mp4"), "--format", "csv")
    assert result.returncode == 0, result.stderr
    everything = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [float(row["time"]) for row in everything] == sorted(float(row["time"]) for row in everything)
    bursts = [row for row in everything if row["kind"] == "burst"]
    assert {row["frame"] for row in bursts} == {"-1"}
    assert all(float(row["time"]) < float(row["end"]) and row["label"] and row["probability"] for row in bursts)
    rows = [row for row in everything if row["kind"] == "face"]
    assert {row["frame"] == "-1" for row in everything if row["kind"] != "face"} == {True}
    assert all(row["attention.score"] for row in rows if row["neutral"])
    heads: dict[int, int] = {}
    for row in rows:
        heads[int(row["frame"])] = heads.get(int(row["frame"]), 0) + 1
    times = {frame: frame / 15 for frame in range(0, 900, 3)}  # 15 fps, looked at five times a second
    empty = [heads.get(frame, 0) for frame, t in times.items() if t < 5]
    pair = [heads.get(frame, 0) for frame, t in times.items() if 5 <= t < 17]
    assert not any(empty)
    assert sum(n == 2 for n in pair) >= 0.9 * len(pair)
    sums = [
        sum(float(row[name]) for name in ("neutral", "happiness", "sadness", "anger")) for row in rows if row["neutral"]
    ]
    assert sums
    assert all(0 < s <= 1.001 for s in sums)


def test_artifacts_hold_faces_and_bursts_as_hume_s_do(cli: Cli, media: Path, tmp_path: Path) -> None:
    result = cli("analyze", str(media / "kiosk.mp4"), "--artifacts", str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    folder = tmp_path / "out/file-0-kiosk.mp4/csv/kiosk.mp4"
    faces = list(csv.DictReader((folder / "face.csv").open()))
    assert {"face_0", "face_1"} <= {row["Id"] for row in faces}
    assert all(float(row["BoxW"]) > 0 for row in faces)
    bursts = list(csv.DictReader((folder / "burst.csv").open()))
    assert bursts
    assert all(float(row["BeginTime"]) < float(row["EndTime"]) for row in bursts)
    (document,) = json.loads((tmp_path / "out/predictions.json").read_text())
    assert set(document["results"]["predictions"][0]["models"]) == {"face", "burst"}


def test_the_report_covers_the_whole_file(kiosk: dict[str, Any]) -> None:
    report = kiosk["report"]
    assert kiosk["duration"] == pytest.approx(60, abs=0.5)
    assert report["total_frames_analyzed"] == pytest.approx(300, abs=3)
    assert sum(report["average_emotion_scores"].values()) == pytest.approx(100, abs=0.5)
    assert report["overall_dominant_emotion"] == max(
        report["average_emotion_scores"], key=report["average_emotion_scores"].get
    )
    assert 0.5 <= report["average_confidence_score"] <= 1


def test_json_holds_each_face(kiosk: dict[str, Any]) -> None:
    assert {face["face_id"] for face in kiosk["faces"]} >= {"a", "b"} or len(kiosk["faces"]) > 300
    face = next(face for face in kiosk["faces"] if face["emotion"])
    assert set(face) >= {"frame", "time", "face_id", "box", "probability", "emotion", "attention"}
    assert set(face["box"]) == set("xywh")


def test_jsonl_gives_one_typed_object_a_line(cli: Cli, media: Path) -> None:
    result = cli("analyze", str(media / "hungry.mkv"), "--format", "jsonl")
    assert result.returncode == 0, result.stderr
    kinds = [json.loads(line)["type"] for line in result.stdout.splitlines()]
    assert kinds[-1] == "report"
    assert "window" in kinds
    assert set(kinds) <= {"window", "event", "report"}


def test_table_names_the_dominant_emotion(cli: Cli, media: Path) -> None:
    result = cli("analyze", str(media / "hungry.mkv"), "--format", "table")
    assert result.returncode == 0, result.stderr
    assert "frames analysed" in result.stdout


def test_every_burst_and_nothing_else(kiosk: dict[str, Any], media: Path) -> None:
    truth = json.loads((media / "kiosk.json").read_text())["audio_events"]
    expected = [(event["label"], event["start_s"], event["end_s"]) for event in truth if event["label"] != "speech"]
    found = [(event["label"], event["offset"]) for event in kiosk["events"] if event["kind"] == "burst"]
    for label, start, _end in expected:
        assert any(name == label and abs(at - start) <= TOLERANCE_S for name, at in found), (label, start, found)
    for name, at in found:
        assert any(
            name == label and start - TOLERANCE_S <= at <= end + TOLERANCE_S for label, start, end in expected
        ), (name, at)


def test_a_missing_file_is_one_line_and_exit_code_3(cli: Cli, tmp_path: Path) -> None:
    result = cli("analyze", str(tmp_path / "none.mp4"))
    assert result.returncode == 3
    assert result.stderr.strip().splitlines() == [f"edge-agent: {tmp_path / 'none.mp4'}: no such file"]


def test_an_unreadable_video_is_one_line_and_exit_code_3(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"this is not a film" * 1000)
    result = cli("analyze", str(path))
    assert result.returncode == 3
    assert len(result.stderr.strip().splitlines()) == 1
    assert "broken.mp4" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_video_without_sound_is_analysed(cli: Cli, media: Path) -> None:
    result = cli("analyze", str(media / "classroom.gif"), "--format", "json")
    assert result.returncode == 0, result.stderr
    windows = json.loads(result.stdout)["windows"]
    assert all(window["quality"]["coverage"]["audio"] == 0 for window in windows)
    assert windows[0]["quality"]["coverage"]["video"] > 0.5


def test_stills_groups_and_odd_names_in_one_go(cli: Cli, tmp_path: Path) -> None:
    """As many faces as people, in every format of a still, under names that FFmpeg would read as addresses."""
    face = Image.fromarray(astronaut())
    head = face.crop((120, 0, 340, 250)).resize((180, 227))
    room = Image.new("RGB", (1600, 900), (120, 120, 120))
    for k in range(8):
        room.paste(head, (k * 200 + 10, 336))
    room.save(tmp_path / "http:group%d.png")
    for suffix in ("gif", "avif", "tiff"):
        face.save(tmp_path / f"one.{suffix}")
    heic(tmp_path / "tiles.heic", face.crop((100, 0, 356, 256)), 128)
    wanted = {"http:group%d.png": 8, "one.gif": 1, "one.avif": 1, "one.tiff": 1, "tiles.heic": 1}
    result = cli("analyze", "-f", "csv", *(str(tmp_path / name) for name in wanted))
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {name: sum(row["source"].endswith(name) for row in rows) for name in wanted} == wanted
    near = cli("analyze", "-f", "csv", str(tmp_path / "http:group%d.png"), EDGE_AGENT__ANALYZERS__FACE__RANGE="near")
    assert len(list(csv.DictReader(io.StringIO(near.stdout)))) < 8, "the operator's range is kept"


def test_joined_recordings_are_analysed_to_the_end_with_a_warning(cli: Cli, tmp_path: Path) -> None:
    for offset, words in ((0.0, "jump back by"), (80_000.0, "jump ahead by")):
        result = cli("analyze", "-f", "json", str(joined(tmp_path / "joined.ts", offset)))
        told = json.loads(result.stdout)
        assert result.stderr.count(words) == 1
        assert told["duration"] == pytest.approx(4.0, abs=0.2)
        assert len(told["windows"]) == 1
        assert told["report"]["total_frames_analyzed"] == pytest.approx(20, abs=1)


def test_the_configured_channel_is_used_and_a_missing_one_refused(cli: Cli, tmp_path: Path) -> None:
    stereo = tone(6.0, channels=2)
    stereo[:, 1] = 0
    path = str(write(tmp_path / "left.wav", sound=stereo))
    flags = {}
    for channel in ("0", "1"):
        result = cli("analyze", "-f", "json", path, EDGE_AGENT__MICROPHONE__CHANNEL=channel)
        flags[channel] = json.dumps(json.loads(result.stdout)["windows"])
    assert "dead" in flags["1"]
    assert "dead" not in flags["0"]
    opposite = write(tmp_path / "opposite.wav", sound=tone(6.0, channels=2) * np.array([1, -1], np.float32))
    assert "dead" not in cli("analyze", "-f", "json", str(opposite)).stdout
    mono = cli("analyze", str(write(tmp_path / "mono.wav", sound=tone(1.0))), EDGE_AGENT__MICROPHONE__CHANNEL="1")
    assert mono.returncode != 0
    assert (
        mono.stderr.strip()
        .splitlines()[-1]
        .endswith("microphone.channel = 1, but the sound has 1 channel(s), counted from 0")
    )


def test_standard_input_and_pipes_are_refused_in_one_line(cli: Cli, tmp_path: Path) -> None:
    for name, words in (("-", "standard input is not read"), ("/dev/stdin", "is a ")):
        result = cli("analyze", name)
        assert result.returncode == 3
        (line,) = result.stderr.strip().splitlines()
        assert words in line
        assert "save" in line
