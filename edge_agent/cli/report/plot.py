"""Timelines of one recording as inline SVG: emotion, people, sounds, quality. Pure; colours come from the page's style.

Every chart has the same width and time axis, so they can be read below each other. Time without evidence stays empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from edge_agent.domain.event import ARRIVAL, DEPARTURE, Event
from edge_agent.domain.observation import EMOTIONS
from edge_agent.domain.summary import Summary, estimate_window

WIDTH, LEFT, RIGHT = 1000, 96, 28
"""Of a chart, in units of its view box: all, for labels, and free."""

_ROW = 26
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps seconds to the horizontal position."""

    duration: float

    def x(self, seconds: float) -> float:
        """Position of a moment; those outside of the recording are at its edge."""
        share = min(1.0, max(0.0, seconds / self.duration)) if self.duration > 0 else 0.0
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def span(self, begin: float, end: float, least: float = 0.0) -> str:
        """``x`` and ``width`` of a stretch of time."""
        left = self.x(begin)
        return f'x="{left:.1f}" width="{max(self.x(end) - left, least):.1f}"'

    def ticks(self) -> list[float]:
        """Round moments, about eight."""
        step = next((s for s in _STEPS if self.duration / s <= 8), self.duration / 8 or 1.0)
        return [k * step for k in range(int(self.duration / step + 1e-6) + 1)]


def clock(seconds: float) -> str:
    """A position as ``m:ss``, with tenths only where they matter, or ``h:mm:ss``."""
    whole, tenths = divmod(round(seconds * 10), 10)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"{text}.{tenths}" if tenths else text


def emotions(summaries: Sequence[Summary], axis: Axis) -> str:
    """Each window's distribution as a stacked bar; paler the less sure, empty without enough evidence."""
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
    """Mean head count as an area, the most seen at once as a line above it."""
    most = max((s.window.faces.most for s in summaries), default=0)
    top, height = max(1, most), 90
    parts = [_label(str(top), 0), _label("0", height)]
    for window in (s.window for s in summaries):
        faces = window.faces
        mean = faces.mean
        if mean is None:  # a gap, not nobody
            continue
        told = f"{mean:.1f} on average, at most {faces.most}, {clock(window.begin)} to {clock(window.end)}"
        span, tall, line = axis.span(window.begin, window.end, 1), height * mean / top, height * (1 - faces.most / top)
        parts.append(
            f'<rect class="people" {span} y="{height - tall:.1f}" height="{tall:.1f}"><title>{told}</title></rect>'
            f'<rect class="most" {span} y="{line:.1f}" height="2"><title>{told}</title></rect>'
        )
    return _chart("People in view", "".join(parts), height, axis)


def sounds(events: Sequence[Event], axis: Axis) -> str:
    """One row for each kind of sound, and for what was seen and heard together."""
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
    """How much of each window was seen and heard, and the flags that were raised."""
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
    """The names of the emotions beside their colours."""
    for k, name in enumerate(EMOTIONS):
        yield f'<span><i class="e{k}"></i>{name}</span>'
