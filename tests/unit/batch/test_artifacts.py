"""Tables and archives of predictions."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from typing import Any

from edge_agent.api import Analysis, Event, FaceRow, Observation, Report, UtteranceRow
from edge_agent.batch.artifacts import TABLE, analysis_document, columns, emotions, everything, table, write_archive
from edge_agent.domain.face import Box
from edge_agent.domain.observation import EMOTIONS, LANGUAGE_EMOTIONS

FACE = {
    "frame": 3, "time": 1.5, "prob": 0.9, "box": {"x": 1.0, "y": 2.0, "w": 3.0, "h": 4.0}, "facs": None,
    "emotions": [{"name": "Joy", "score": 0.75}], "descriptions": None,
}  # fmt: skip
BURST = {
    "time": {"begin": 0.5, "end": 1.0}, "emotions": [], "descriptions": [{"name": "Cough", "score": 0.8}],
}  # fmt: skip
WORDS = {
    "text": "=2+2", "position": {"begin": 0, "end": 4}, "time": {"begin": 0.0, "end": 1.0}, "confidence": 0.9,
    "speaker_confidence": None, "emotions": [{"name": "Anger", "score": 0.5}],
}  # fmt: skip


def grouped(who: str, *predictions: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"id": who, "predictions": list(predictions)}]


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_faces_have_hume_s_columns() -> None:
    (row,) = read(table("face", grouped("face_0", FACE)))
    assert row == {"Id": "face_0", "Frame": "3", "Time": "1.5", "Prob": "0.9", "BoxX": "1.0", "BoxY": "2.0",
                   "BoxW": "3.0", "BoxH": "4.0", "Joy": "0.75"}  # fmt: skip


def test_a_column_for_each_score_that_any_row_has() -> None:
    other = {**BURST, "descriptions": [{"name": "Laugh", "score": 0.4}]}
    first, second = read(table("burst", grouped("unknown", BURST, other)))
    assert (first["Cough"], first["Laugh"]) == ("0.8", "")
    assert (second["Cough"], second["Laugh"]) == ("", "0.4")
    assert first["BeginTime"] == "0.5"


def test_a_model_that_found_nothing_has_a_table_without_rows() -> None:
    assert table("face", []) == "Id,Frame,Time,Prob,BoxX,BoxY,BoxW,BoxH\n"
    assert columns("burst", []) == ["Id", "BeginTime", "EndTime"]


def test_what_was_said_cannot_command_a_spreadsheet() -> None:
    (row,) = read(table("language", grouped("unknown", WORDS)))
    assert row["Text"] == "'=2+2"
    assert (row["BeginPosition"], row["EndTime"], row["SpeakerConfidence"]) == ("0", "1.0", "")


def test_scores_of_expressions_add_up_to_one() -> None:
    even = dict.fromkeys(("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"), 0.125)
    assert sum(one["score"] for one in emotions(even)) == 1.0


def test_no_name_of_a_client_leaves_the_archive_s_folder() -> None:
    documents = [
        {
            "source": {"type": "file", "filename": name},
            "results": {
                "predictions": [{"file": file, "models": {"burst": {"grouped_predictions": grouped("x", BURST)}}}] * 2,
                "errors": [{"message": "m", "file": file}],
            },
        }
        for name, file in (("../../etc/passwd", "/a/../b"), ("C:\\x\\y.wav", ".."), (None, "ünï ço\n.mp3"))
    ]
    packed = io.BytesIO()
    write_archive(documents, packed)
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
        assert json.loads(archive.read("predictions.json")) == documents
    assert all(".." not in name and not name.startswith("/") and "\n" not in name for name in names)
    assert len(names) == len(set(names)) == 3 * (4 + 1) + 1
    assert "file-0-passwd/csv/b/burst.csv" in names
    assert "file-1-y.wav/errors.json" in names


def analysis(source: str = "a.mp4", *more: Observation) -> Analysis:
    """One face, one burst, an utterance and one that could not be judged, and a turn of speech."""
    gaze = Observation("gaze", {"yaw": -3.25, "pitch": 1.0}, 0.4, "t1")
    side = Observation("custom:side", {"left": 0.75}, 0.4, "t1")
    emotion = dict.fromkeys(EMOTIONS, 1 / 8)
    face = FaceRow(2, 0.4, "t1", Box(1, 2, 30, 40), 0.9, emotion, (gaze, side))
    language = dict.fromkeys(LANGUAGE_EMOTIONS, 0.1) | {"joy": 0.8}
    heard = (Observation("language", language, 1.0),)
    said = UtteranceRow('=So good, "really"', 1.0, 2.5, 0.95, language, observations=heard)
    heard = (Observation("language_unknown", {"not_english": 1}, 3.0),)
    unknown = UtteranceRow("Guten Tag", 3.0, 4.0, None, None, "not_english", heard)
    voice = Observation("voice", {"turn_seconds": 1.5, "pitch_hz": 201.5, "loudness_db": -20.0}, 1.0)
    event = Event("burst", "laughter", 0.8, 0.25, 1.0)
    report = Report(None, None, 1, 0.9)
    return Analysis(source, 5.0, (), (event,), (face,), report, (said, unknown), observations=(voice, *more))


def test_one_table_holds_everything() -> None:
    rows = read(everything([analysis(), analysis("b.mp4", Observation("custom:noise", {"value": 2.0}, 4.5))]))
    assert [(row["source"], row["kind"], row["time"]) for row in rows[:5]] == [
        ("a.mp4", "burst", "0.25"), ("a.mp4", "face", "0.4"), ("a.mp4", "words", "1.0"), ("a.mp4", "voice", "1.0"),
        ("a.mp4", "words", "3.0"),
    ]  # fmt: skip
    burst, face, words, voice, unknown = rows[:5]
    assert list(burst)[: len(TABLE)] == list(TABLE)
    assert (burst["label"], burst["end"], burst["probability"], burst["frame"]) == ("laughter", "1.25", "0.8", "-1")
    assert (face["frame"], face["gaze.yaw"], face["custom:side.left"], face["w"]) == ("2", "-3.25", "0.75", "30")
    assert (words["text"], words["language.joy"]) == ('\'=So good, "really"', "0.8")  # no formula for spreadsheets
    assert (voice["end"], voice["voice.pitch_hz"], voice["text"]) == ("2.5", "201.5", "")
    assert (unknown["label"], unknown["language.joy"]) == ("not_english", "")
    assert rows[-1]["custom:noise.value"] == "2.0"
    assert read(everything([])) == []


def test_artifacts_hold_voices_gaze_and_custom_models() -> None:
    (prediction,) = analysis_document(analysis("a.mp4", Observation("custom:noise", {"value": 2.0}, 4.5)))["results"][
        "predictions"
    ]
    models = {name: table(name, found["grouped_predictions"]) for name, found in prediction["models"].items()}
    assert set(models) == {"face", "burst", "language", "prosody", "custom-noise"}
    (voice,) = read(models["prosody"])
    assert (voice["BeginTime"], voice["EndTime"], voice["voice.pitch_hz"]) == ("1.0", "2.5", "201.5")
    assert read(models["face"])[0]["gaze.yaw"] == "-3.25"
    assert read(models["custom-noise"])[0]["custom:noise.value"] == "2.0"
    assert len(read(models["language"])) == 2
