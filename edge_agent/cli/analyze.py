"""``edge-agent analyze``: analyse recordings offline into the summaries and events that the daemon would publish.

Results are printed as tables, JSON, JSON lines or CSV, or written as an HTML report.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from edge_agent.app.builder import PipelineBuilder
from edge_agent.app.offline import DEFAULT_FPS, EVERY_FRAME, Analysis, FaceRow
from edge_agent.app.offline import analyze as analyze_file
from edge_agent.capture import read_media
from edge_agent.cli.common import ConfigOption, configuration, pull_showing_progress, tell
from edge_agent.cli.streams import emit, print_json, to_json
from edge_agent.cli.terminal import out, positions
from edge_agent.cli.text import SUFFIXES, row_document, told
from edge_agent.cli.text import files as analyze_texts
from edge_agent.domain.errors import MediaError
from edge_agent.domain.observation import Observation
from edge_agent.domain.summary import Summary, estimate_emotion
from edge_agent.payloads.rendering import event_document, summary_document
from edge_agent.plugin.spec import Kind
from edge_agent.runtime.logs import configure
from edge_agent.settings import ConfigText, Settings

BOOT_ID = "00000000"
"""Boot id of a recording, which has none; ``seq`` counts its windows and events."""


class ResultFormat(Enum):
    """How ``edge-agent analyze`` prints results."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


def analyze(
    files: Annotated[
        list[Path], typer.Argument(help="Video, sound or picture files; or text files (.txt, .md).", show_default=False)
    ],
    form: Annotated[
        ResultFormat | None,
        typer.Option("--format", "-f", help="Default: table on a terminal, else json.", show_default=False),
    ] = None,
    fps: Annotated[
        float, typer.Option("--fps", min=0.1, help="Frames to analyse per second; 0.1 or more.")
    ] = DEFAULT_FPS,
    every_frame: Annotated[bool, typer.Option("--every-frame", help="Analyse every frame.")] = False,
    window: Annotated[
        float | None,
        typer.Option("--window", min=1, help="Summary window in seconds. Default: summary.window_s."),
    ] = None,
    speech: Annotated[
        bool, typer.Option("--speech", help="Also transcribe what is said (extra [speech]); it is part of the result.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            help="Write an HTML report; print only with --format.",
            show_default=False,
        ),
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Put a strip of small pictures into the HTML report: it shows people.")
    ] = False,
    artifacts: Annotated[
        Path | None,
        typer.Option(
            "--artifacts",
            help="Write CSV and JSON of faces, bursts and words into this folder, laid out as batch jobs do; print "
            "only with --format.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Analyse recordings offline. Nothing is sent; only the result is written."""
    _check_report(html, thumbnails)
    text, settings = configuration(config)
    if window is not None:
        settings = settings.model_copy(update={"summary": settings.summary.model_copy(update={"window_s": window})})
    configure("warning", "text")
    if html is None and artifacts is None:
        form = form or (ResultFormat.TABLE if sys.stdout.isatty() else ResultFormat.JSON)
    if any(path.suffix.lower() in SUFFIXES for path in files):
        _texts(files, form, text, settings)
        return
    for path in files:  # fail before a long run, not in the middle of it
        read_media(path)
    done: list[Analysis] = []
    failures: list[MediaError] = []
    try:
        for found in _each(files, text, settings, EVERY_FRAME if every_frame else fps, speech=speech):
            if isinstance(found, MediaError):  # a damaged file does not discard the results of the others
                failures.append(found)
                continue
            done.append(found)
            if form is ResultFormat.JSONL:
                _print(form, [found], settings.device.id)
    finally:  # also after Ctrl-C: keep the results so far
        if done and artifacts is not None:
            _write_artifacts(artifacts, done)
        if done:
            report = None if html is None else (html, thumbnails)
            _deliver(done, form, report, settings.device.id, several=len(files) > 1)
    if failures:
        raise MediaError("\n".join(map(str, failures)))


def _check_report(html: Path | None, thumbnails: bool) -> None:
    if html is not None and not html.absolute().parent.is_dir():
        raise typer.BadParameter(f"{html.parent} is not a folder: create it first", param_hint="--html")
    if thumbnails and html is None:
        raise typer.BadParameter("pictures go into the HTML report: add --html FILE", param_hint="--thumbnails")


def _each(
    files: list[Path], config: ConfigText, settings: Settings, rate: float, *, speech: bool
) -> Iterator[Analysis | MediaError]:
    """Analyse the files one by one, each with models of its own; a damaged one gives its error."""
    kinds = {Kind.SPEECH: True} if speech else None
    for path in files:
        try:
            yield _one(path, PipelineBuilder(config, settings, recorded=True, kinds=kinds), rate, speech=speech)
        except MediaError as error:
            yield error


def _texts(files: list[Path], form: ResultFormat | None, config: ConfigText, settings: Settings) -> None:
    others = [path for path in files if path.suffix.lower() not in SUFFIXES]
    if others:
        raise typer.BadParameter(f"{others[0]} is no text file: analyse texts and recordings in two commands")
    if form is None:
        raise typer.BadParameter(
            "no report and no artifacts of text files are made: leave it out", param_hint="--html, --artifacts"
        )
    analyze_texts(files, form.value, config, settings)


def _one(path: Path, builder: PipelineBuilder, rate: float, *, speech: bool = False) -> Analysis:
    """Analyse one recording. Analyzers keep state between calls, so every recording gets new ones."""
    builder.pull_missing(pull_showing_progress)
    builder.require_models()  # results without them would report that nobody was there
    builder.activate()
    try:
        if speech:
            builder.require(Kind.SPEECH)
        with positions(path.name) as progress:
            return analyze_file(path, builder, rate, progress, builder.settings.microphone.channel)
    finally:
        builder.close()


def _deliver(
    done: list[Analysis], form: ResultFormat | None, html: tuple[Path, bool] | None, device: str, *, several: bool
) -> None:
    """Write the report, then print; print JSON when the report cannot be written, so that nothing is lost.

    ``html``: the file, and whether pictures go into it.
    """
    problem = None
    if html is not None:
        try:
            _write(*html, done)
        except MediaError as error:
            problem, form = error, form or ResultFormat.JSON
    if form is not None and form is not ResultFormat.JSONL:
        _print(form, done, device, several=several)
    if problem is not None:
        raise problem


def _write_artifacts(folder: Path, done: list[Analysis]) -> None:
    from edge_agent.batch.artifacts import write_artifacts  # needed with --artifacts only

    try:
        count = write_artifacts(done, folder)
    except OSError as error:
        raise MediaError(f"{folder}: the artifacts cannot be written: {error.strerror}") from error
    tell(f"{folder}: {count} files written")


def _write(path: Path, with_pictures: bool, done: list[Analysis]) -> None:
    from edge_agent.cli.report import page, thumbnails  # needed with --html only

    pictures = {a.source: thumbnails(Path(a.source)) for a in done} if with_pictures else {}
    try:
        path.write_text(page(done, pictures), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise MediaError(f"{path}: the report cannot be written: {error.strerror}") from error
    tell(f"{path}: written")


def _print(form: ResultFormat, done: list[Analysis], device: str, *, several: bool = False) -> None:
    if form is ResultFormat.JSON:
        documents = [document(a, device) for a in done]
        print_json(documents if several else documents[0])
    elif form is ResultFormat.JSONL:
        for analysis in done:
            for line in json_lines(analysis, device):
                emit(line)
    elif form is ResultFormat.CSV:
        from edge_agent.batch.artifacts import everything  # needed with CSV only

        emit(everything(done), end="")
    else:
        for analysis in done:
            show(analysis, out())


def document(analysis: Analysis, device: str) -> dict[str, Any]:
    """Make ``{"source", "duration", "windows", "events", "faces", "report"}``; offsets and durations in seconds. Also
    ``"utterances"``, when speech was recognised, and ``"observations"`` about sounds and whole pictures, if any."""
    windows = [
        {**summary_document(s, device, BOOT_ID, seq), "offset": round(s.window.begin, 3)}
        for seq, s in enumerate(analysis.summaries, 1)
    ]
    events = [
        {**event_document(e, e.start, "unsynced", device, BOOT_ID, seq), "offset": round(e.start, 3)}
        for seq, e in enumerate(analysis.events, len(windows) + 1)
    ]
    said = {"utterances": [row_document(row) for row in analysis.utterances]} if analysis.utterances else {}
    others = {"observations": [_observation(o) for o in analysis.observations]} if analysis.observations else {}
    return {
        "source": analysis.source,
        "duration": round(analysis.duration, 3),
        "windows": windows,
        "events": events,
        "faces": [_face(row) for row in analysis.faces],
        **said,
        **others,
        "report": _rounded(asdict(analysis.report)),
    }


def _face(row: FaceRow) -> dict[str, Any]:
    box = {side: round(getattr(row.box, side), 1) for side in "xywh"}
    head = {"frame": row.frame, "time": row.time, "face_id": row.face_id, "box": box, "probability": row.probability}
    emotion = None if row.emotion is None else dict(row.emotion)
    return dict(_rounded(head | {"emotion": emotion} | {o.name: dict(o.values) for o in row.observations}))


def _observation(one: Observation) -> dict[str, Any]:
    return dict(_rounded({"name": one.name, "time": one.time, "values": dict(one.values)}))


def json_lines(analysis: Analysis, device: str) -> Iterator[str]:
    """Yield one JSON object per line, each with its ``type`` and ``source``; the report comes last."""
    whole = document(analysis, device)
    source = {"source": whole["source"]}
    for kind in ("window", "event", "utterance", "observation"):
        for item in whole.get(f"{kind}s", ()):
            yield to_json({"type": kind, **source, **item})
    yield to_json({"type": "report", **source, "duration": whole["duration"], **whole["report"]})


def show(analysis: Analysis, console: Console) -> None:
    """Print windows, events and the report as tables."""
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
    for row in analysis.utterances:
        console.print(f"{row.start:8.2f} s  said: {row.text!r} ({told(row)})")
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
