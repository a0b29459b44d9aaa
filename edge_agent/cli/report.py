"""HTML report of ``edge-agent analyze --html``: figures, timelines and a table for each recording.

One file without scripts and links: its content security policy forbids every request. It follows the reader's dark or
light mode, prints well, and shows only what the other formats contain: no picture, no sound. The timelines are inline
SVG with one width and time axis; time without evidence stays empty. Colours come from ``report.css``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from html import escape
from importlib import resources
from math import ceil
from pathlib import Path

from edge_agent import __version__
from edge_agent.app.offline import Analysis, UtteranceRow
from edge_agent.cli.text import told
from edge_agent.domain.event import ARRIVAL, BURST, DEPARTURE, Event
from edge_agent.domain.observation import EMOTIONS
from edge_agent.domain.summary import Summary, dominant_language, estimate_window
from edge_agent.domain.text import printable
from edge_agent.summary.summariser import merge_summaries

MOST_WINDOWS = 240
"""More windows than this are merged, exactly, so that a day of recording still fits a page."""

_SPLINTER_S = 0.05
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_FOOT = (
    f"edge-agent {__version__}. The distribution says how an average observer would label the expressions that were "
    "seen; it does not say what anybody feels."
)

WIDTH, LEFT, RIGHT = 1000, 96, 28
"""Width of a chart and of its left and right margins, in units of its view box."""

_ROW = 26
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


def page(analyses: Sequence[Analysis]) -> str:
    """Make the HTML document."""
    style = (resources.files(__package__) / "report.css").read_text(encoding="utf-8")
    title = escape(", ".join(_name(a) for a in analyses))
    body = "".join(_section(a) for a in analyses)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{title} · edge-agent</title>'
        f"<style>{style}</style></head><body><main>{body}<footer>{_FOOT}</footer></main></body></html>\n"
    )


def _name(analysis: Analysis) -> str:
    return printable(Path(analysis.source).name, lines=False)


def _section(analysis: Analysis) -> str:
    axis = Axis(analysis.duration)
    shown = condensed(analysis.summaries)
    charts = [
        ("Emotion", f'<p class="legend">{"".join(legend())}</p>' + emotions(shown, axis)),
        ("People", people(shown, axis)),
        ("Sounds", sounds(analysis.events, axis)),
        ("Quality", quality(shown, axis)),
        ("Windows", _table(shown)),
    ]
    if analysis.utterances:
        charts.insert(3, ("Words", _words(analysis.utterances)))
    figures = "".join(f"<div><b>{escape(value)}</b>{name}</div>" for name, value in _figures(analysis))
    parts = "".join(f"<h2>{name}</h2>{chart}" for name, chart in charts)
    return f'<section><h1>{escape(_name(analysis))}</h1><div class="figures">{figures}</div>{parts}</section>'


def condensed(summaries: Sequence[Summary], most: int = MOST_WINDOWS) -> list[Summary]:
    """Merge windows in equal groups to at most ``most``; a very short last window joins the one before."""
    if len(summaries) > 1 and summaries[-1].seconds < _SPLINTER_S:
        summaries = [*summaries[:-2], merge_summaries(*summaries[-2:])]
    group = ceil(len(summaries) / most) or 1
    return [reduce(merge_summaries, summaries[k : k + group]) for k in range(0, len(summaries), group)]


def _figures(analysis: Analysis) -> list[tuple[str, str]]:
    report = analysis.report
    confidence = report.average_confidence_score
    kinds = [event.kind for event in analysis.events]
    return [
        ("length", clock(analysis.duration)),
        ("pictures analysed", str(report.total_frames_analyzed)),
        ("mostly", report.overall_dominant_emotion or "nothing to judge"),
        ("arrivals", str(kinds.count(ARRIVAL))),
        ("vocal bursts", str(kinds.count(BURST))),
        ("mean face score", "–" if confidence is None else f"{confidence:.2f}"),
        *([("utterances", str(len(analysis.utterances)))] if analysis.utterances else []),
    ]


def _table(summaries: Sequence[Summary]) -> str:
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _row(s)) + "</tr>" for s in summaries)
    names = (
        "from",
        "to",
        "people",
        "emotion",
        "share",
        "valence",
        "sure",
        "looking",
        "sounds",
        "words",
        "voice",
        "flags",
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(summary: Summary) -> tuple[str, ...]:
    window = summary.window
    faces, estimate, looking = window.faces, estimate_window(window), window.attention.ratio
    people = "–" if faces.mean is None else f"{faces.mean:.1f}"
    reading = ("–", "", "", "")
    if estimate is not None:
        share = f"{100 * max(estimate.p):.0f} %"
        reading = (estimate.dominant, share, f"{estimate.valence:+.2f}", f"{estimate.confidence:.2f}")
    return (
        clock(window.begin),
        clock(window.end),
        people,
        *reading,
        "" if looking is None else f"{100 * looking:.0f} %",
        ", ".join(f"{label} ×{sums.count}" for label, sums in sorted(window.bursts.items())),
        ", ".join(f"{name} {100 * p:.0f} %" for name, p in dominant_language(window.language).items()),
        "" if window.voice.mean is None else f"arousal {window.voice.mean:+.2f}",
        ", ".join(sorted(window.stream.flags)),
    )


def _words(utterances: Sequence[UtteranceRow]) -> str:
    """What was said, as ``--speech`` asked for, and what it expresses."""
    cells = ((clock(row.start), row.text, told(row)) for row in utterances)
    rows = "".join("<tr>" + "".join(f"<td>{escape(printable(cell))}</td>" for cell in row) + "</tr>" for row in cells)
    head = "<tr><th>at</th><th>said</th><th>expresses</th></tr>"
    return f'<div class="wide"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


@dataclass(frozen=True, slots=True)
class Axis:
    """Time axis: maps seconds to horizontal positions."""

    duration: float

    def x(self, seconds: float) -> float:
        """Return the position of a time, clamped to the recording."""
        share = min(1.0, max(0.0, seconds / self.duration)) if self.duration > 0 else 0.0
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def span(self, begin: float, end: float, least: float = 0.0) -> str:
        """Return the attributes ``x`` and ``width`` of a time span."""
        left = self.x(begin)
        return f'x="{left:.1f}" width="{max(self.x(end) - left, least):.1f}"'

    def ticks(self) -> list[float]:
        """List about eight round times for tick marks."""
        step = next((s for s in _STEPS if self.duration / s <= 8), self.duration / 8 or 1.0)
        return [k * step for k in range(int(self.duration / step + 1e-6) + 1)]


def clock(seconds: float) -> str:
    """Format seconds as ``m:ss``, with tenths unless they are zero, or ``h:mm:ss``."""
    whole, tenths = divmod(round(seconds * 10), 10)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"{text}.{tenths}" if tenths else text


def emotions(summaries: Sequence[Summary], axis: Axis) -> str:
    """Draw each window's emotion distribution as a stacked bar; paler when less certain, empty without evidence."""
    parts = []
    for window in (s.window for s in summaries):
        estimate = estimate_window(window)
        if estimate is None:
            continue
        top = 0.0
        bars = []
        for k, p in enumerate(estimate.p):
            height = 160 * p
            told = f"{EMOTIONS[k]} {100 * p:.0f} %, {clock(window.begin)} to {clock(window.end)}"
            bars.append(
                f'<rect class="e{k}" {axis.span(window.begin, window.end, 1)} y="{top:.1f}" height="{height:.1f}">'
                f"<title>{told}</title></rect>"
            )
            top += height
        opacity = 0.45 + 0.55 * min(1.0, max(0.0, 2 * estimate.confidence - 1))
        parts.append(f'<g opacity="{opacity:.2f}">{"".join(bars)}</g>')
    scale = "".join(_label(f"{share} %", 160 - 1.6 * share) for share in (0, 50, 100))
    return _chart("Emotion distribution", scale + "".join(parts), 160, axis)


def people(summaries: Sequence[Summary], axis: Axis) -> str:
    """Draw the mean number of people as an area, and the maximum as a line above it."""
    most = max((s.window.faces.most for s in summaries), default=0)
    top, height = max(1, most), 90
    parts = [_label(str(top), 0), _label("0", height)]
    for window in (s.window for s in summaries):
        faces = window.faces
        mean = faces.mean
        if mean is None:  # a gap: unknown, not zero
            continue
        told = f"{mean:.1f} on average, at most {faces.most}, {clock(window.begin)} to {clock(window.end)}"
        span, tall, line = axis.span(window.begin, window.end, 1), height * mean / top, height * (1 - faces.most / top)
        parts.append(
            f'<rect class="people" {span} y="{height - tall:.1f}" height="{tall:.1f}"><title>{told}</title></rect>'
            f'<rect class="most" {span} y="{line:.1f}" height="2"><title>{told}</title></rect>'
        )
    return _chart("People in view", "".join(parts), height, axis)


def sounds(events: Sequence[Event], axis: Axis) -> str:
    """Draw one row for each label of events other than arrivals and departures."""
    heard = [e for e in events if e.kind not in (ARRIVAL, DEPARTURE)]
    labels = sorted({e.label for e in heard})
    parts = []
    for row, label in enumerate(labels):
        parts.append(_label(label, row * _ROW + _ROW / 2))
        for e in heard:
            if e.label == label:
                told = f"{e.kind} {e.label} at {clock(e.start)}, {e.seconds:.1f} s, score {e.score:.2f}"
                parts.append(
                    f'<rect class="burst" {axis.span(e.start, e.start + e.seconds, 4)} y="{row * _ROW + 5}" rx="3" '
                    f'height="{_ROW - 10}"><title>{escape(told)}</title></rect>'
                )
    if not labels:
        return '<p class="none">No vocal bursts were heard.</p>'
    return _chart("Vocal bursts", "".join(parts), len(labels) * _ROW, axis)


def quality(summaries: Sequence[Summary], axis: Axis) -> str:
    """Draw how much of each window camera and microphone cover, and the quality flags."""
    flags = sorted({flag for s in summaries for flag in s.window.stream.flags})
    parts = [_label(name, row * _ROW + _ROW / 2) for row, name in enumerate(("seen", "heard", *flags))]
    for window in (s.window for s in summaries):
        stream, seconds = window.stream, window.seconds or 1.0
        for row, covered in enumerate((stream.video_seconds, stream.audio_seconds)):
            share = min(1.0, covered / seconds)
            parts.append(
                f'<rect class="cover" {axis.span(window.begin, window.end, 1)} y="{row * _ROW + 4}" '
                f'height="{_ROW - 8}" opacity="{share:.2f}"><title>{100 * share:.0f} %</title></rect>'
            )
        for row, flag in enumerate(flags, 2):
            if flag in stream.flags:
                parts.append(
                    f'<rect class="flag" {axis.span(window.begin, window.end, 1)} y="{row * _ROW + 4}" '
                    f'height="{_ROW - 8}"><title>{escape(flag)}</title></rect>'
                )
    return _chart("Stream quality", "".join(parts), (2 + len(flags)) * _ROW, axis)


def _chart(name: str, inside: str, height: float, axis: Axis) -> str:
    grid = "".join(_tick(axis, t, height) for t in axis.ticks())
    return (
        f'<div class="wide"><svg role="img" aria-label="{escape(name)}" viewBox="0 -8 {WIDTH} {height + 34:.0f}">'
        f'<g class="grid">{grid}</g>{inside}</svg></div>'
    )


def _tick(axis: Axis, t: float, height: float) -> str:
    x = axis.x(t)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height:.1f}"/>'
        f'<text x="{x:.1f}" y="{height + 18:.1f}" text-anchor="middle">{clock(t)}</text>'
    )


def _label(text: str, y: float) -> str:
    return f'<text x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'


def legend() -> Iterator[str]:
    """Yield the names of the emotions with their colours."""
    for k, name in enumerate(EMOTIONS):
        yield f'<span><i class="e{k}"></i>{name}</span>'
