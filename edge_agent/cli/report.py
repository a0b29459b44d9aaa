"""HTML report of ``edge-agent analyze --html``: figures, timelines and a table for each recording.

One file without scripts and links: its content security policy forbids every request. It follows the reader's dark or
light mode, prints well, and shows only what the other formats contain: no picture unless asked for, no sound. The
timelines are inline SVG with one width and time axis, in bins of a second where the recording is short; time without
evidence stays empty. Colours are those of :mod:`edge_agent.domain.palette`, the rest of the style is in ``report.css``.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from html import escape
from importlib import resources
from math import ceil
from pathlib import Path
from textwrap import wrap

from edge_agent import __version__
from edge_agent.app.offline import FINE_S, Analysis, FaceRow, UtteranceRow
from edge_agent.capture.media import iter_pictures
from edge_agent.cli.text import told
from edge_agent.domain.errors import MediaError
from edge_agent.domain.event import ARRIVAL, BURST, DEPARTURE, Event
from edge_agent.domain.observation import EMOTIONS
from edge_agent.domain.palette import css, sound_class
from edge_agent.domain.summary import Summary, Window, dominant_language, estimate_window
from edge_agent.domain.text import printable
from edge_agent.plugin.imaging import jpeg
from edge_agent.summary.summariser import merge_summaries

MOST_WINDOWS = 240
"""More windows than this are merged, exactly, so that a day of recording still fits a page."""

MOST_PEOPLE = 12
"""People with a strip of their own: those who were seen longest."""

PICTURES, PICTURE_SIDE = 12, 180
"""Thumbnails of a recording, and their longer side in pixels."""

_SPLINTER_S = 0.05
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_FOOT = (
    f"edge-agent {__version__}. The distribution says how an average observer would label the expressions that were "
    "seen; it does not say what anybody feels."
)

WIDTH, LEFT, RIGHT, TIP = 1000, 120, 28, 22
"""Width of a chart, its left and right margins, and the space above it for what is read off; units of its view box."""

_ROW = 26
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)

Pictures = Sequence[tuple[float, bytes]]
"""JPEGs with their time in seconds."""


def page(analyses: Sequence[Analysis], pictures: Mapping[str, Pictures] | None = None) -> str:
    """Make the HTML document; ``pictures``: thumbnails by source, for readers who asked for them."""
    style = css(chosen=False) + (resources.files(__package__) / "report.css").read_text(encoding="utf-8")
    title = escape(", ".join(_name(a) for a in analyses))
    body = "".join(_section(a, (pictures or {}).get(a.source, ())) for a in analyses)
    policy = f"{_POLICY}; img-src data:" if pictures else _POLICY
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{title} · edge-agent</title>'
        f"<style>{style}</style></head><body><main>{body}<footer>{_FOOT}</footer></main></body></html>\n"
    )


def thumbnails(path: Path, most: int = PICTURES) -> list[tuple[float, bytes]]:
    """Return small JPEGs of a recording at even intervals; none where no picture can be decoded."""
    found: list[tuple[float, bytes]] = []
    try:
        times = [picture.time for picture in iter_pictures(path)]
        wanted = {times[k * len(times) // min(most, len(times))] for k in range(min(most, len(times)))}
        for picture in iter_pictures(path):
            if picture.time in wanted and (frame := picture.to_frame(picture.time)) is not None:
                wanted.discard(picture.time)
                found.append((picture.time, jpeg(frame, PICTURE_SIDE)))
    except MediaError:  # it holds no picture
        return []
    return found


def _name(analysis: Analysis) -> str:
    return printable(Path(analysis.source).name, lines=False)


def _section(analysis: Analysis, pictures: Pictures) -> str:
    axis = Axis(analysis.duration)
    shown = condensed(analysis.fine or analysis.summaries)
    charts = [
        ("Expressions", f'<p class="legend">{"".join(legend())}</p>' + emotions(shown, axis)),
        ("People", '<p class="legend"><span><i class="m-people"></i>on average, and the line: at most</span></p>'
         + people(shown, axis) + persons(analysis.faces, axis)),
        ("Valence and attention", valence(shown, axis) + attention(shown, axis)),
        ("Sounds", sounds(analysis.events, axis)),
        *([("Words", _words(analysis.utterances))] if analysis.utterances else []),
        ("Quality", quality(shown, axis)),
        ("Windows", _table(condensed(analysis.summaries))),
    ]  # fmt: skip
    if pictures:
        charts.insert(0, ("Pictures", "".join(_pictures(pictures))))
    figures = "".join(f"<div><b>{escape(value)}</b>{name}</div>" for name, value in _figures(analysis))
    parts = "".join(f"<h2>{name}</h2>{chart}" for name, chart in charts)
    return f'<section><h1>{escape(_name(analysis))}</h1><div class="figures">{figures}</div>{parts}</section>'


def _pictures(pictures: Pictures) -> Iterator[str]:
    yield '<div class="wide strip" tabindex="0" role="region" aria-label="Pictures">'
    for time, data in pictures:
        source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
        yield f'<figure><img src="{source}" alt="at {clock(time)}"><figcaption>{clock(time)}</figcaption></figure>'
    yield "</div>"


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


_HEAD = ("from", "to", "people", "emotion", "share", "valence", "sure", "looking", "sounds", "words", "voice", "flags")


def _table(summaries: Sequence[Summary]) -> str:
    """Figures of each window; columns without anything in them are left out."""
    rows = [_row(s) for s in summaries]
    shown = [k for k in range(len(_HEAD)) if any(row[k] for row in rows)]
    body = "".join("<tr>" + "".join(f"<td>{escape(row[k])}</td>" for k in shown) + "</tr>" for row in rows)
    head = "".join(f'<th scope="col">{_HEAD[k]}</th>' for k in shown)
    return _wide("Windows", f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def _row(summary: Summary) -> tuple[str, ...]:
    window = summary.window
    faces, estimate, looking = window.faces, estimate_window(window), window.attention.ratio
    people = "–" if faces.mean is None else f"{faces.mean:.1f}"
    reading = ("–", "", "", "")
    if estimate is not None:
        share = f"{100 * max(estimate.p):.0f} %"
        reading = (estimate.dominant, share, _signed(estimate.valence), f"{estimate.confidence:.2f}")
    return (
        clock(window.begin),
        clock(window.end),
        people,
        *reading,
        "" if looking is None else f"{100 * looking:.0f} %",
        ", ".join(f"{label} ×{sums.count}" for label, sums in sorted(window.bursts.items())),
        ", ".join(f"{name} {100 * p:.0f} %" for name, p in dominant_language(window.language).items()),
        "" if window.voice.mean is None else f"arousal {_signed(window.voice.mean)}",
        ", ".join(sorted(window.stream.flags)),
    )


def _words(utterances: Sequence[UtteranceRow]) -> str:
    """What was said, as ``--speech`` asked for, and what it expresses."""
    cells = ((clock(row.start), row.text, told(row)) for row in utterances)
    rows = "".join("<tr>" + "".join(f"<td>{escape(printable(cell))}</td>" for cell in row) + "</tr>" for row in cells)
    head = "<tr><th>at</th><th>said</th><th>expresses</th></tr>"
    return _wide("Words", f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>")


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
        left, right = round(self.x(begin), 1), round(self.x(end), 1)  # so that neighbours share an edge
        return f'x="{left:.1f}" width="{max(right - left, least):.1f}"'

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


def _reading(window: Window) -> str:
    """Say what a window holds, in one line."""
    estimate, looking, faces = estimate_window(window), window.attention.ratio, window.faces
    parts = [f"{clock(window.begin)} to {clock(window.end)}"]
    parts.append("nobody could be seen" if faces.mean is None else f"people {faces.mean:.1f}, at most {faces.most}")
    if estimate is not None:
        first, second = sorted(range(len(EMOTIONS)), key=lambda k: -estimate.p[k])[:2]
        parts += [f"{EMOTIONS[k]} {100 * estimate.p[k]:.0f} %" for k in (first, second) if estimate.p[k] >= 0.05]
        parts.append(f"valence {_signed(estimate.valence)}")
    return ", ".join(parts if looking is None else [*parts, f"attention {100 * looking:.0f} %"])


def emotions(summaries: Sequence[Summary], axis: Axis) -> str:
    """Draw each window's emotion distribution as a stacked bar; paler when less certain, empty without evidence."""
    parts = []
    for window in (s.window for s in summaries):
        estimate = estimate_window(window)
        if estimate is None:
            continue
        opacity = 0.45 + 0.55 * min(1.0, max(0.0, 2 * estimate.confidence - 1))
        bars = _stack(estimate.p, axis.span(window.begin, window.end, 1), 0, 160)
        parts.append(f'<g opacity="{opacity:.2f}">{bars}</g>')
    scale = "".join(_label(f"{share} %", 160 - 1.6 * share) for share in (0, 50, 100))
    return _chart("Distribution of expressions", scale + "".join(parts), 160, axis, summaries)


def _stack(p: Sequence[float], span: str, top: float, height: float) -> str:
    """Pile shares from the top; shares too thin to be seen are left out."""
    bars, y = [], top
    for name, share in zip(EMOTIONS, p, strict=True):
        if share * height >= 0.05:
            bars.append(f'<rect class="e-{name}" {span} y="{y:.1f}" height="{height * share:.1f}"/>')
        y += height * share
    return "".join(bars)


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
        span, tall, line = axis.span(window.begin, window.end, 1), height * mean / top, height * (1 - faces.most / top)
        parts.append(
            f'<rect class="m-people faint" {span} y="{height - tall:.1f}" height="{tall:.1f}"/>'
            f'<rect class="m-people" {span} y="{line:.1f}" height="2"/>'
        )
    return _chart("People in view", "".join(parts), height, axis, summaries)


def persons(faces: Sequence[FaceRow], axis: Axis) -> str:
    """Draw a strip for each person: the expressions read of the face, empty while it was not seen."""
    seen: dict[str, list[FaceRow]] = defaultdict(list)
    for row in faces:
        seen[row.face_id].append(row)
    longest = sorted(seen.values(), key=len, reverse=True)[:MOST_PEOPLE]
    step = max(FINE_S, axis.duration / MOST_WINDOWS)
    parts = []
    for k, rows in enumerate(sorted(longest, key=lambda rows: rows[0].time)):
        bins: dict[int, list[Mapping[str, float]]] = defaultdict(list)
        parts.append(_label(f"person {k + 1}", k * _ROW + _ROW / 2))
        for row in rows:
            bins[int(row.time / step)] += [row.emotion] if row.emotion else []
        for at, read in sorted(bins.items()):
            span, top = axis.span(at * step, (at + 1) * step, 1), k * _ROW + 3
            parts.append(f'<rect class="cover faint" {span} y="{top}" height="{_ROW - 6}"/>')
            if read:
                mean = [sum(each[name] for each in read) / len(read) for name in EMOTIONS]
                parts.append(_stack([value / sum(mean) for value in mean], span, top, _ROW - 6))
    if not longest:
        return ""
    left = len(seen) - len(longest)
    more = f'<p class="none">And {left} more, who were seen for a shorter time.</p>' if left else ""
    return _chart("Expressions of each person", "".join(parts), len(longest) * _ROW, axis) + more


def valence(summaries: Sequence[Summary], axis: Axis) -> str:
    """Draw valence from -1 to 1 around its middle."""

    def height(window: Window) -> float | None:
        estimate = estimate_window(window)
        return None if estimate is None else (1 + estimate.valence) / 2

    return _bars("Valence", summaries, axis, height, ("−1", "valence", "+1"), 0.5, "m-valence")


def attention(summaries: Sequence[Summary], axis: Axis) -> str:
    """Draw the share of the time in which people looked at the camera."""
    return _bars(
        "Attention", summaries, axis, lambda w: w.attention.ratio, ("0 %", "attention", "100 %"), 0, "m-attention"
    )


def _bars(
    name: str,
    summaries: Sequence[Summary],
    axis: Axis,
    value: Callable[[Window], float | None],
    labels: tuple[str, str, str],
    base: float,
    kind: str,
) -> str:
    """Draw ``value`` (0 to 1, None: unknown) as bars from ``base``; ``labels`` are those of 0, 0.5 and 1."""
    tall = 80
    parts = [_label(text, tall * (1 - share)) for text, share in zip(labels, (0, 0.5, 1), strict=True)]
    for window in (s.window for s in summaries):
        share = value(window)
        if share is None:
            continue
        span, top = axis.span(window.begin, window.end, 1), tall * (1 - max(share, base))
        parts.append(
            f'<rect class="{kind} faint" {span} y="{top:.1f}" height="{tall * abs(share - base):.1f}"/>'
            f'<rect class="{kind}" {span} y="{tall * (1 - share) - 1:.1f}" height="2"/>'
        )
    return _chart(name, "".join(parts), tall, axis, summaries)


def sounds(events: Sequence[Event], axis: Axis) -> str:
    """Draw one row for each label of events other than arrivals and departures."""
    heard = [e for e in events if e.kind not in (ARRIVAL, DEPARTURE)]
    labels = sorted({e.label for e in heard})
    parts = []
    for row, label in enumerate(labels):
        parts.append(_label(label.replace("+", " with ").replace("_", " "), row * _ROW + _ROW / 2))
        for e in heard:
            if e.label == label:
                told = f"{e.kind} {e.label} at {clock(e.start)}, {e.seconds:.1f} s, score {e.score:.2f}"
                span = axis.span(e.start, e.start + e.seconds, 4)
                parts.append(
                    f'<rect class="{sound_class(label)}" {span} y="{row * _ROW + 5}" rx="3" height="{_ROW - 10}">'
                    f"<title>{escape(told)}</title></rect>"
                )
    if not labels:
        return '<p class="none">No vocal bursts were heard.</p>'
    return _chart("Sounds", "".join(parts), len(labels) * _ROW, axis)


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


def _chart(name: str, inside: str, height: float, axis: Axis, summaries: Sequence[Summary] = ()) -> str:
    """Frame a drawing; where the pointer is, the figures of that window stand above it."""
    grid = "".join(_tick(axis, t, height) for t in axis.ticks())
    columns = "".join(
        f'<g class="col"><rect {axis.span(w.begin, w.end, 1)} y="0" height="{height:.1f}"/>'
        f'<text x="{LEFT}" y="-8">{_reading(w)}</text></g>'
        for w in (s.window for s in summaries)
    )
    box = f"0 {-TIP} {WIDTH} {height + TIP + 26:.0f}"
    drawing = f'<svg role="img" aria-label="{escape(name)}" viewBox="{box}">'
    return _wide(name, f'{drawing}<g class="grid">{grid}</g>{inside}{columns}</svg>')


def _wide(name: str, inside: str) -> str:
    """Frame what is wider than a phone, to be scrolled by touch and keys."""
    return f'<div class="wide" tabindex="0" role="region" aria-label="{escape(name)}">{inside}</div>'


def _tick(axis: Axis, t: float, height: float) -> str:
    x = axis.x(t)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height:.1f}"/>'
        f'<text x="{x:.1f}" y="{height + 18:.1f}" text-anchor="middle">{clock(t)}</text>'
    )


def _label(text: str, y: float) -> str:
    """Write a label left of the axis; a long one in two smaller lines, a longer one cut."""
    lines = wrap(text, 16, max_lines=2, placeholder="…") or [""]
    if len(lines) == 1 and lines[0] == text:
        return f'<text x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'
    spans = "".join(
        f'<tspan x="{LEFT - 10}" y="{y - 2 + 12 * k:.1f}">{escape(line)}</tspan>' for k, line in enumerate(lines)
    )
    return f'<text class="small" text-anchor="end"><title>{escape(text)}</title>{spans}</text>'


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def legend() -> Iterator[str]:
    """Yield the names of the emotions with their colours."""
    for name in EMOTIONS:
        yield f'<span><i class="e-{name}"></i>{name}</span>'
