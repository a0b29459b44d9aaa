"""The Flask API's documented lines. Its paths lie below ``/flask``, so that the native answers stay beside them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from edge_agent.api import Report
from edge_agent.web.upload import flask_report
from tests.support.compat import Shell
from tests.support.recordings import write

LINE = (
    'curl -X POST --data-binary @sample_video.mp4 -H "Content-Type: application/octet-stream" '
    "http://127.0.0.1:5000/process-frame"
)


@pytest.mark.documented("Flask", "curl http://127.0.0.1:5000/")
def test_health(shell: Shell) -> None:
    assert json.loads(replace(shell, prefix="/flask").run())["status"] == "ok"


@pytest.mark.documented(
    "Flask",
    'curl -X POST --data-binary @sample_video.mp4 -H "Content-Type: application/octet-stream" '
    "http://127.0.0.1:5000/process-frame",
)
def test_a_film(shell: Shell) -> None:
    told = json.loads(replace(shell, prefix="/flask").run())
    assert "detail" not in told, told
    scores = told["average_emotion_scores"]
    assert scores.keys() == {"angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt"}
    assert sum(scores.values()) == pytest.approx(100, abs=0.1)
    assert told["overall_dominant_emotion"] == "happy" == max(scores, key=scores.__getitem__)
    assert told["total_frames_analyzed"] == 15
    assert 0.5 < told["average_confidence_score"] <= 1
    assert told["eye_contact_score"] > 1, "per cent"


@pytest.mark.documented("Flask", "X-Compat: flask, or ?compat=flask, at the native path")
def test_both_contracts_live_side_by_side(shell: Shell) -> None:
    native = json.loads(shell.run(LINE))
    header = json.loads(shell.run(LINE + " -H 'X-Compat: Flask'"))
    query = json.loads(shell.run(LINE + "?compat=flask"))
    assert native["overall_dominant_emotion"] == "happiness"
    assert header == query == json.loads(replace(shell, prefix="/flask").run(LINE))
    assert header["eye_contact_score"] == pytest.approx(100 * native["eye_contact_score"], abs=0.01)


@pytest.mark.documented("Flask", "a film without a face")
def test_nobody_in_a_film_is_no_null_where_a_dict_is_indexed(shell: Shell) -> None:
    grey = np.full((120, 160, 3), 128, np.uint8)
    write(shell.folder / "empty.mp4", [(k / 5, grey) for k in range(5)], fps=5)
    told = json.loads(replace(shell, prefix="/flask").run(LINE.replace("sample_video", "empty")))
    assert told["average_emotion_scores"][told["overall_dominant_emotion"]] == 100.0
    assert told["overall_dominant_emotion"] == "unknown"
    assert None not in told.values()


@pytest.mark.documented("Flask", '"eye_contact_score": 40.0')
def test_figures_are_rounded() -> None:
    scores = dict.fromkeys(
        ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"), 12.5
    )
    told = flask_report(Report(scores, "anger", 10, 0.8000000000000007, 0.5800000000000001))
    assert told["eye_contact_score"] == 58.0
    assert told["average_confidence_score"] == 0.8
    assert told["overall_dominant_emotion"] == "angry"
