"""An :class:`~edge_agent.app.Analysis` as JSON, JSON lines, CSV, or tables for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from edge_agent.app import Analysis
from edge_agent.cli.output import to_json
from edge_agent.delivery.payload import event_document, summary_document
from edge_agent.domain.observation import EMOTIONS
from edge_agent.domain.summary import Summary, estimate_emotion
from edge_agent.domain.text import printable

BOOT_ID = "00000000"
"""A recording has no boot; ``seq`` counts its windows and events."""

_CSV_HEAD = ("source", "frame", "time", "face_id", "x", "y", "w", "h", "probability", *EMOTIONS)


def document(analysis: Analysis, device: str) -> dict[str, Any]:
    """``{"source", "duration", "windows", "events", "report"}``; offsets and durations in seconds."""
    windows = [
        {**summary_document(s, device, BOOT_ID, seq), "offset": round(s.window.begin, 3)}
        for seq, s in enumerate(analysis.summaries, 1)
    ]
    events = [
        {**event_document(e, e.start, "unsynced", device, BOOT_ID, seq), "offset": round(e.start, 3)}
        for seq, e in enumerate(analysis.events, len(windows) + 1)
    ]
    return {
        "source": analysis.source,
        "duration": round(analysis.duration, 3),
        "windows": windows,
        "events": events,
        "report": _rounded(asdict(analysis.report)),
    }


def lines(analysis: Analysis, device: str) -> Iterator[str]:
    """One JSON object a line, each with its ``type`` and ``source``; the report comes last."""
    whole = document(analysis, device)
    source = {"source": whole["source"]}
    for kind in ("window", "event"):
        for item in whole[f"{kind}s"]:
            yield to_json({"type": kind, **source, **item})
    yield to_json({"type": "report", **source, "duration": whole["duration"], **whole["report"]})


def to_csv(analyses: Sequence[Analysis]) -> str:
    """One row per analysed face: frame number, time in seconds, box in pixels, probability, one column per emotion."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_HEAD)
    for analysis in analyses:
        for row in analysis.faces:
            box = (round(v, 1) for v in (row.box.x, row.box.y, row.box.w, row.box.h))
            emotion = [round(row.emotion[name], 4) for name in EMOTIONS] if row.emotion else [""] * len(EMOTIONS)
            fixed = (printable(analysis.source), row.frame, round(row.time, 3), row.face_id)
            writer.writerow((*fixed, *box, round(row.probability, 4), *emotion))
    return text.getvalue()


def show(analysis: Analysis, console: Console) -> None:
    """Windows, events and the report as tables."""
    console.rule(f"{analysis.source} ({analysis.duration:.1f} s)")
    table = Table(box=None, pad_edge=False)
    for column in ("from", "to", "faces", "emotion", "p", "valence", "sure", "sounds"):
        table.add_column(
            column, justify="right" if column in ("from", "to", "faces", "p", "valence", "sure") else "left"
        )
    for summary in analysis.summaries:
        table.add_row(*_window_row(summary))
    console.print(table)
    for event in analysis.events:
        what = f"{event.kind}: {event.label} ({event.score:.2f}, {event.seconds:.1f} s)"
        console.print(f"{event.start:8.2f} s  {what}")
    report = analysis.report
    if report.overall_dominant_emotion is None or report.average_emotion_scores is None:
        console.print(f"{report.total_frames_analyzed} frames analysed; no face could be judged")
        return
    scores = sorted(report.average_emotion_scores.items(), key=lambda item: -item[1])
    console.print(
        f"{report.total_frames_analyzed} frames analysed; "
        + ", ".join(f"{name} {score:.0f} %" for name, score in scores[:4])
    )


def _window_row(summary: Summary) -> tuple[str, ...]:
    window = summary.window
    mean = "-" if window.faces.mean is None else f"{window.faces.mean:.1f}"
    estimate = estimate_emotion(window.emotion)
    sounds = ", ".join(f"{label} x{sums.count}" for label, sums in window.bursts.items())
    head = (f"{window.begin:.0f}", f"{window.end:.0f}", mean)
    if estimate is None:
        return (*head, "-", "", "", "", sounds)
    p = f"{max(estimate.p):.2f}"
    return (*head, estimate.dominant, p, f"{estimate.valence:+.2f}", f"{estimate.confidence:.2f}", sounds)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
