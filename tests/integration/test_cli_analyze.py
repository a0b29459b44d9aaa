"""``edge-agent analyze`` on real recordings, as a user calls it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge_agent.delivery.payload import schema
from tests.support.cli import Cli

TOLERANCE_S = 0.75


@pytest.fixture(scope="module")
def kiosk(cli: Cli, shared: Path) -> dict[str, Any]:
    """The whole analysis of the composed minute."""
    result = cli("analyze", str(shared / "media" / "kiosk.mp4"), "--format", "json")
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


def test_windows_and_events_follow_their_schemas(kiosk: dict[str, Any]) -> None:
    assert len(kiosk["windows"]) == 6  # a minute and a bit: the bit is no window of its own
    for window in kiosk["windows"]:
        jsonschema.validate({k: v for k, v in window.items() if k != "offset"}, schema("summary"))
    for event in kiosk["events"]:
        jsonschema.validate({k: v for k, v in event.items() if k != "offset"}, schema("event"))


def test_faces_are_where_the_truth_says(cli: Cli, shared: Path) -> None:
    result = cli("analyze", str(shared / "media" / "kiosk.mp4"), "--format", "csv")
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
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


def test_the_report_covers_the_whole_file(kiosk: dict[str, Any]) -> None:
    report = kiosk["report"]
    assert kiosk["duration"] == pytest.approx(60, abs=0.5)
    assert report["total_frames_analyzed"] == pytest.approx(300, abs=3)
    assert sum(report["average_emotion_scores"].values()) == pytest.approx(100, abs=0.5)
    assert report["overall_dominant_emotion"] == max(
        report["average_emotion_scores"], key=report["average_emotion_scores"].get
    )
    assert 0.5 <= report["average_confidence_score"] <= 1


def test_jsonl_gives_one_typed_object_a_line(cli: Cli, shared: Path) -> None:
    result = cli("analyze", str(shared / "media" / "hungry.mkv"), "--format", "jsonl")
    assert result.returncode == 0, result.stderr
    kinds = [json.loads(line)["type"] for line in result.stdout.splitlines()]
    assert kinds[-1] == "report"
    assert "window" in kinds
    assert set(kinds) <= {"window", "event", "report"}


def test_table_names_the_dominant_emotion(cli: Cli, shared: Path) -> None:
    result = cli("analyze", str(shared / "media" / "hungry.mkv"), "--format", "table")
    assert result.returncode == 0, result.stderr
    assert "frames analysed" in result.stdout


def test_every_burst_and_nothing_else(kiosk: dict[str, Any], shared: Path) -> None:
    truth = json.loads((shared / "media" / "kiosk.json").read_text())["audio_events"]
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


def test_a_video_without_sound_is_analysed(cli: Cli, shared: Path) -> None:
    result = cli("analyze", str(shared / "media" / "classroom.gif"), "--format", "json")
    assert result.returncode == 0, result.stderr
    windows = json.loads(result.stdout)["windows"]
    assert all(window["quality"]["coverage"]["audio"] == 0 for window in windows)
    assert windows[0]["quality"]["coverage"]["video"] > 0.5
