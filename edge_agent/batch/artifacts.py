"""Predictions as tables and archives: Hume's names, the columns of each model's CSV, and the zip of a job's artifacts.

The archive is laid out as Hume's: ``KIND-INDEX-NAME/csv/FILE/MODEL.csv``, where KIND is file, url or text; beside
``csv`` there is ``json`` with the same predictions, and ``predictions.json`` on top. ``edge-agent analyze`` writes the
same tables. Pure but for writing.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from edge_agent.batch.custom import grouped
from edge_agent.domain.observation import EMOTIONS, LANGUAGE, LANGUAGE_UNKNOWN, VOICE
from edge_agent.domain.text import printable

if TYPE_CHECKING:
    from edge_agent.api import Analysis, FaceRow, Observation, UtteranceRow

EMOTION_NAMES: Mapping[str, tuple[str, ...]] = {
    "neutral": ("Calmness",),
    "happiness": ("Joy",),
    "surprise": ("Surprise (positive)", "Surprise (negative)"),
    "sadness": ("Sadness",),
    "anger": ("Anger",),
    "disgust": ("Disgust",),
    "fear": ("Fear",),
    "contempt": ("Contempt",),
}
"""Our classes of facial expressions in Hume's names. FER+ does not tell pleasant from unpleasant surprise: each gets
half of it."""

BURST_NAMES: Mapping[str, str] = {"laughter": "Laugh", "crying": "Cry", "cough": "Cough", "sneeze": "Sneeze"}
"""Our labels of bursts in Hume's description names; any other keeps its own name."""

_LEADING = {
    "face": ("Id", "Frame", "Time", "Prob", "BoxX", "BoxY", "BoxW", "BoxH"),
    "facemesh": ("Id", "Frame", "Time"),
    "burst": ("Id", "BeginTime", "EndTime"),
    "prosody": ("Id", "Text", "BeginTime", "EndTime", "SpeakerConfidence"),
    "language": ("Id", "Text", "BeginPosition", "EndPosition", "BeginTime", "EndTime", "SpeakerConfidence"),
}
"""Columns before the scores, by model."""

MODEL_NAMES: Mapping[str, str] = {VOICE: "prosody"}
"""Hume's names of models for observations of ours; any other keeps its own."""

SCORES = ("emotions", "others", "descriptions")
"""Parts of a prediction that hold names and scores; ``others`` are emotions that Hume has no name for, under ours."""

MEASURES = ("voice", "measures", "gaze")
"""Parts of a prediction that hold numbers by name, which are ours."""

_FORMULA = ("=", "+", "-", "@")
"""Beginnings of a text that a spreadsheet would calculate."""


def emotions(values: Mapping[str, float]) -> list[dict[str, Any]]:
    """A distribution over our classes of expressions as Hume's list; the scores add up to 1."""
    return [
        {"name": name, "score": round(values[ours] / len(names), 6)}
        for ours, names in EMOTION_NAMES.items()
        for name in names
    ]


def columns(model: str, predictions: Iterable[Mapping[str, Any]]) -> list[str]:
    """Columns of a model's table: the leading ones, then one for each emotion and each description."""
    leading = list(_LEADING.get(model, ("Id", "Time")))
    scores: dict[str, None] = {}
    for prediction in predictions:
        for part in SCORES:
            scores |= {str(one["name"]): None for one in prediction.get(part) or ()}
        for part in MEASURES:
            scores |= dict.fromkeys(prediction.get(part) or ())
    return [*leading, *scores]


def rows(model: str, groups: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one row for each of a model's ``grouped_predictions``, by column."""
    for group in groups:
        for prediction in group["predictions"]:
            row: dict[str, Any] = {"Id": group["id"], **_leading(prediction)}
            for part in SCORES:
                row |= {str(one["name"]): one["score"] for one in prediction.get(part) or ()}
            for part in MEASURES:
                row |= prediction.get(part) or {}
            yield {name: value for name, value in row.items() if name in columns(model, [prediction])}


def _leading(prediction: Mapping[str, Any]) -> dict[str, Any]:
    box, time, position = (prediction.get(name) for name in ("box", "time", "position"))
    row = {
        "Frame": prediction.get("frame"),
        "Prob": prediction.get("prob"),
        "Text": prediction.get("text"),
        "SpeakerConfidence": prediction.get("speaker_confidence"),
    }
    if isinstance(box, Mapping):
        row |= {f"Box{side.upper()}": value for side, value in box.items()}
    if isinstance(position, Mapping):
        row |= {"BeginPosition": position["begin"], "EndPosition": position["end"]}
    if isinstance(time, Mapping):
        return row | {"BeginTime": time["begin"], "EndTime": time["end"]}
    return row | {"Time": time}


def table(model: str, groups: Sequence[Mapping[str, Any]]) -> str:
    """A model's predictions as CSV. What a spreadsheet would take for a formula is made a text."""
    head = columns(model, (p for group in groups for p in group["predictions"]))
    text = io.StringIO()
    writer = csv.DictWriter(text, head, restval="", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows(model, groups):
        writer.writerow({name: cell(value) for name, value in row.items()})
    return text.getvalue()


def cell(value: Any) -> Any:
    """A value fit for a cell."""
    if not isinstance(value, str):
        return "" if value is None else value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


# ---------------------------------------------------------------------- one table of everything

TABLE: Mapping[str, str] = {
    "source": "the file",
    "frame": "number of the picture; -1 where there is none",
    "time": "seconds at which it was seen, or began",
    "face_id": "whose face it is, within the file",
    "x": "left edge of the face, in pixels",
    "y": "upper edge",
    "w": "width",
    "h": "height",
    "probability": "that there is a face, such a sound, or that the words are right; 0 to 1",
    **dict.fromkeys(EMOTIONS, "probability of this facial expression, 0 to 1; all eight add up to 1"),
    "kind": "`face`, `burst` or another kind of event, `words`, or the observation: `voice`, `custom:NAME` …",
    "end": "seconds at which it ended; empty for a moment",
    "label": "which sound it was; of words that could not be judged, why",
    "text": "what was said, with `--speech`",
}
"""Columns of the table of everything and what they hold; one for each number that was observed follows."""


NO_FRAME = -1
"""Number of no picture: the column stays one of whole numbers."""


def observed(observations: Iterable[Observation]) -> dict[str, float]:
    """Numbers of observations by column: ``voice.pitch_hz``, ``attention.score``, ``custom:mood.thanks``."""
    return {f"{o.name}.{term}": round(value, 4) for o in observations for term, value in o.values.items()}


def everything(analyses: Sequence[Analysis]) -> str:
    """Every finding in recordings as CSV, one row for each, in the order of their times."""
    found = [row for analysis in analyses for row in sorted(table_rows(analysis), key=lambda row: float(row["time"]))]
    more = dict.fromkeys(sorted({name for row in found for name in row if name not in TABLE}))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*TABLE, *more], restval="", lineterminator="\n")
    writer.writeheader()
    for row in found:
        writer.writerow({name: cell(value) for name, value in row.items()})
    return text.getvalue()


def table_rows(analysis: Analysis) -> Iterator[dict[str, Any]]:
    """Yield the row of each face, event, utterance and other observation, by column; empty ones are left out."""
    source: dict[str, Any] = {"source": analysis.source, "frame": NO_FRAME}
    for face in analysis.faces:
        box = {side: round(getattr(face.box, side), 1) for side in "xywh"}
        told = {"frame": face.frame, "time": round(face.time, 3), "face_id": face.face_id, "kind": "face"}
        emotion = {name: round(value, 4) for name, value in (face.emotion or {}).items()}
        yield source | told | box | {"probability": round(face.probability, 4)} | emotion | observed(face.observations)
    for event in analysis.events:
        yield (
            source
            | {"kind": event.kind, "label": event.label, "probability": round(event.score, 4)}
            | _span(event.start, event.start + event.seconds)
        )
    for said in analysis.utterances:
        sure = None if said.confidence is None else round(said.confidence, 4)
        words = {"kind": "words", "text": said.text, "label": said.unknown, "probability": sure}
        known = (o for o in said.observations if o.name != LANGUAGE_UNKNOWN)
        yield source | words | _span(said.start, said.end) | observed(known)
    for one in analysis.observations:
        yield source | {"kind": one.name} | _span(one.time, ended(one)) | observed([one])


def ended(observation: Observation) -> float | None:
    """Seconds at which what was observed ended: a turn of speech lasts, others are of a moment."""
    seconds = observation.values.get("turn_seconds")
    return None if seconds is None else observation.time + seconds


def _span(start: float, end: float | None) -> dict[str, float]:
    return {"time": round(start, 3)} | ({} if end is None else {"end": round(end, 3)})


def analysis_document(analysis: Analysis) -> dict[str, Any]:
    """What was found in a recording, as the document of one source: faces, bursts, words, voices and all others."""
    bursts = [
        {
            "time": {"begin": round(e.start, 3), "end": round(e.start + e.seconds, 3)},
            "emotions": [],
            "descriptions": [{"name": BURST_NAMES.get(e.label, e.label), "score": round(e.score, 6)}],
        }
        for e in analysis.events
        if e.kind == "burst"
    ]
    found = {"face": _faces(analysis.faces), "burst": {"unknown": bursts} if bursts else {}}
    for model, predictions in (_words(analysis.utterances) | _others(analysis.observations)).items():
        found[model] = {"unknown": predictions}
    models = {
        model: {"metadata": None, "grouped_predictions": [{"id": k, "predictions": v} for k, v in groups.items()]}
        for model, groups in found.items()
    }
    name = printable(Path(analysis.source).name, lines=False)
    results = {"predictions": [{"file": name, "models": models}], "errors": []}
    return {"source": {"type": "file", "filename": name}, "results": results}


def _faces(faces: Sequence[FaceRow]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    names = {track: f"face_{number}" for number, track in enumerate(dict.fromkeys(f.face_id for f in faces))}
    for row in faces:
        box = {side: round(getattr(row.box, side), 3) for side in "xywh"}
        told = {"frame": row.frame, "time": round(row.time, 3), "prob": round(row.probability, 6), "box": box}
        known = {"emotions": emotions(row.emotion) if row.emotion else []}
        measures = {"measures": numbers} if (numbers := observed(row.observations)) else {}
        found.setdefault(names[row.face_id], []).append(told | known | measures)
    return found


def _words(utterances: Sequence[UtteranceRow]) -> dict[str, list[dict[str, Any]]]:
    from edge_agent.batch.wording import word_emotions

    words: list[dict[str, Any]] = []
    for said in utterances:
        named, others = word_emotions(said.emotions or {})
        time = {"begin": round(said.start, 3), "end": round(said.end, 3)}
        more = observed(o for o in said.observations if o.name not in (LANGUAGE, LANGUAGE_UNKNOWN))
        told = {"text": said.text, "time": time, "confidence": said.confidence, "emotions": named, "others": others}
        words.append(told | ({"measures": more} if more else {}))
    return {"language": words} if words else {}


def _others(observations: Sequence[Observation]) -> dict[str, list[dict[str, Any]]]:
    """Observations about sounds and whole pictures, by Hume's name of the model where it has one."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in observations:
        begin, end = round(one.time, 3), ended(one)
        time: Any = begin if end is None else {"begin": begin, "end": round(end, 3)}
        told = {"time": time, "emotions": [], "measures": observed([one])}
        found.setdefault(MODEL_NAMES.get(one.name, one.name.replace(":", "-")), []).append(told)
    return found


def write_artifacts(analyses: Sequence[Analysis], folder: Path) -> int:
    """Write what was found in recordings below ``folder``, laid out as the archive; how many files. Raises OSError."""
    documents = [analysis_document(analysis) for analysis in analyses]
    files = [file for index, document in enumerate(documents) for file in artifact_files(index, document)]
    files.append(("predictions.json", json.dumps(documents)))
    for path, text in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return len(files)


def write_archive(documents: Sequence[Mapping[str, Any]], file: BinaryIO) -> None:
    """Write the zip of a job's artifacts. ``documents``: its predictions, one for each source."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for index, document in enumerate(documents):
            for path, text in artifact_files(index, document):
                archive.writestr(path, text)
        archive.writestr("predictions.json", json.dumps(documents))


def artifact_files(index: int, document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield path and content of every file about the source with this ``index``."""
    source, taken = document["source"], set[str]()
    name = source.get("filename") or str(source.get("url", "")).partition("?")[0].rstrip("/").rpartition("/")[2]
    top = "-".join(part for part in (source["type"], str(index), _part(name) if name else "") if part)
    for prediction in document["results"]["predictions"]:
        inner = _part(str(prediction["file"]))
        while inner in taken:
            inner = f"{inner}_"
        taken.add(inner)
        custom = {f"custom-{name}": grouped(one) for name, one in prediction.get("custom_models", {}).items()}
        for model, found in (prediction["models"] | custom).items():
            yield f"{top}/csv/{inner}/{model}.csv", table(model, found["grouped_predictions"])
            yield f"{top}/json/{inner}/{model}.json", json.dumps(found)
    errors = document["results"]["errors"]
    if errors:
        yield f"{top}/errors.json", json.dumps(errors)


def _part(name: str) -> str:
    """A name that is one harmless part of a path, whatever a client has called its file."""
    name = re.sub(r"[^\w.()+ -]+", "_", name.replace("\\", "/").rpartition("/")[2]).strip(". ")
    return name[-100:] or "file"
