"""The page of ``edge-agent analyze --html``: figures, timelines and a table for each recording.

One file without scripts and without links: its policy forbids the browser to ask for anything. It follows the reader's
choice of dark or light, prints, and shows nothing but what the other formats tell too: no picture, no sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from html import escape
from importlib import resources
from math import ceil
from pathlib import Path

from edge_agent import __version__
from edge_agent.app import Analysis
from edge_agent.cli.report import plot
from edge_agent.domain.event import ARRIVAL, BURST
from edge_agent.domain.summary import Summary, estimate_window
from edge_agent.domain.text import printable
from edge_agent.summary.rollup import merge_summaries

MOST_WINDOWS = 240
"""More windows than this are merged, exactly, so that a day of recording is still a page."""

_SPLINTER_S = 0.05
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_FOOT = (
    f"edge-agent {__version__}. The distribution says how an average observer would label the expressions that were "
    "seen; it does not say what anybody feels."
)


def page(analyses: Sequence[Analysis]) -> str:
    """The whole document."""
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
    axis = plot.Axis(analysis.duration)
    shown = condensed(analysis.summaries)
    charts = (
        ("Emotion", f'<p class="legend">{"".join(plot.legend())}</p>' + plot.emotions(shown, axis)),
        ("People", plot.people(shown, axis)),
        ("Sounds", plot.sounds(analysis.events, axis)),
        ("Quality", plot.quality(shown, axis)),
        ("Windows", _table(shown)),
    )
    figures = "".join(f"<div><b>{escape(value)}</b>{name}</div>" for name, value in _figures(analysis))
    parts = "".join(f"<h2>{name}</h2>{chart}" for name, chart in charts)
    return f'<section><h1>{escape(_name(analysis))}</h1><div class="figures">{figures}</div>{parts}</section>'


def condensed(summaries: Sequence[Summary], most: int = MOST_WINDOWS) -> list[Summary]:
    """At most ``most`` windows: neighbours merged in equal groups, and a splinter at the end into its neighbour."""
    if len(summaries) > 1 and summaries[-1].seconds < _SPLINTER_S:
        summaries = [*summaries[:-2], merge_summaries(*summaries[-2:])]
    group = ceil(len(summaries) / most) or 1
    return [reduce(merge_summaries, summaries[k : k + group]) for k in range(0, len(summaries), group)]


def _figures(analysis: Analysis) -> list[tuple[str, str]]:
    report = analysis.report
    confidence = report.average_confidence_score
    kinds = [event.kind for event in analysis.events]
    return [
        ("length", plot.clock(analysis.duration)),
        ("pictures analysed", str(report.total_frames_analyzed)),
        ("mostly", report.overall_dominant_emotion or "nothing to judge"),
        ("arrivals", str(kinds.count(ARRIVAL))),
        ("vocal bursts", str(kinds.count(BURST))),
        ("mean face score", "–" if confidence is None else f"{confidence:.2f}"),
    ]


def _table(summaries: Sequence[Summary]) -> str:
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _row(s)) + "</tr>" for s in summaries)
    names = ("from", "to", "people", "emotion", "share", "valence", "sure", "looking", "sounds", "flags")
    head = "".join(f"<th>{name}</th>" for name in names)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(summary: Summary) -> tuple[str, ...]:
    window = summary.window
    faces, estimate, looking = window.faces, estimate_window(window), window.attention.ratio
    people = "–" if faces.mean is None else f"{faces.mean:.1f}"
    told = ("–", "", "", "")
    if estimate is not None:
        share = f"{100 * max(estimate.p):.0f} %"
        told = (estimate.dominant, share, f"{estimate.valence:+.2f}", f"{estimate.confidence:.2f}")
    return (
        plot.clock(window.begin),
        plot.clock(window.end),
        people,
        *told,
        "" if looking is None else f"{100 * looking:.0f} %",
        ", ".join(f"{label} ×{sums.count}" for label, sums in sorted(window.bursts.items())),
        ", ".join(sorted(window.stream.flags)),
    )
