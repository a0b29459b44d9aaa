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
from edge_agent.domain.text import printable

if TYPE_CHECKING:
    from edge_agent.api import Analysis

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
    "burst": ("Id", "BeginTime", "EndTime"),
    "prosody": ("Id", "Text", "BeginTime", "EndTime", "SpeakerConfidence"),
    "language": ("Id", "Text", "BeginPosition", "EndPosition", "BeginTime", "EndTime", "SpeakerConfidence"),
}
"""Columns before the scores, by model."""

SCORES = ("emotions", "others", "descriptions")
"""Parts of a prediction that hold names and scores; ``others`` are emotions that Hume has no name for, under ours."""

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
    leading = list(_LEADING.get(model, ("Id",)))
    scores: dict[str, None] = {}
    for prediction in predictions:
        for part in SCORES:
            scores |= {str(one["name"]): None for one in prediction.get(part) or ()}
    return [*leading, *scores]


def rows(model: str, groups: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one row for each of a model's ``grouped_predictions``, by column."""
    for group in groups:
        for prediction in group["predictions"]:
            row: dict[str, Any] = {"Id": group["id"], **_leading(prediction)}
            for part in SCORES:
                row |= {str(one["name"]): one["score"] for one in prediction.get(part) or ()}
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


def analysis_document(analysis: Analysis) -> dict[str, Any]:
    """What was found in a recording, as the document of one source: faces, bursts and, if it was recognised, speech."""
    from edge_agent.batch.wording import word_emotions

    faces: dict[str, list[dict[str, Any]]] = {}
    names = {track: f"face_{number}" for number, track in enumerate(dict.fromkeys(f.face_id for f in analysis.faces))}
    for row in analysis.faces:
        box = {side: round(getattr(row.box, side), 3) for side in "xywh"}
        told = {"frame": row.frame, "time": round(row.time, 3), "prob": round(row.probability, 6), "box": box}
        faces.setdefault(names[row.face_id], []).append(
            told | {"emotions": emotions(row.emotion) if row.emotion else []}
        )
    bursts = [
        {
            "time": {"begin": round(e.start, 3), "end": round(e.start + e.seconds, 3)},
            "emotions": [],
            "descriptions": [{"name": BURST_NAMES.get(e.label, e.label), "score": round(e.score, 6)}],
        }
        for e in analysis.events
        if e.kind == "burst"
    ]
    words = []
    for said in analysis.utterances:
        named, others = word_emotions(said.emotions or {})
        time = {"begin": round(said.start, 3), "end": round(said.end, 3)}
        words.append(
            {"text": said.text, "time": time, "confidence": said.confidence, "emotions": named, "others": others}
        )
    found = {"face": faces, "burst": {"unknown": bursts} if bursts else {}}
    models = {
        model: {"metadata": None, "grouped_predictions": [{"id": k, "predictions": v} for k, v in groups.items()]}
        for model, groups in (found | ({"language": {"unknown": words}} if words else {})).items()
    }
    name = printable(Path(analysis.source).name, lines=False)
    results = {"predictions": [{"file": name, "models": models}], "errors": []}
    return {"source": {"type": "file", "filename": name}, "results": results}


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
