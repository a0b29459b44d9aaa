"""The table and the plot of :mod:`benchmarks.adaptive`, written between marks in ``docs/adaptive.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.adaptive import Score

BEGIN, END = "<!-- begin measured -->", "<!-- end measured -->"


def write_report(folder: Path, scores: Sequence[Score], costs: Mapping[str, float], setting: str) -> None:
    """Replace what stands between the marks in ``adaptive.md``, and draw ``adaptive.svg``."""
    page = folder / "adaptive.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    measured = "\n\n".join((setting, _table(scores), _empty(costs), _against_fixed(scores)))
    page.write_text(f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}", encoding="utf-8")
    _plot(folder / "adaptive.svg", scores)


def equal_error(score: Score, families: Sequence[Sequence[Score]]) -> float | None:
    """Readings that the best of ``families`` needs for ``score``'s distance; None: none gets there.

    A family varies one rate; between two of its members both figures are taken as linear.
    """
    needed: list[float] = []
    for family in families:
        curve = sorted((o.distance, o.readings) for o in family)
        needed += [r for d, r in curve if d <= score.distance]
        needed += [
            r0 + (r1 - r0) * (score.distance - d0) / (d1 - d0)
            for (d0, r0), (d1, r1) in pairwise(curve)
            if d0 <= score.distance < d1
        ]
    return min(needed, default=None)


def _table(scores: Sequence[Score]) -> str:
    every = scores[0]
    rows = [
        "| strategy | searches | readings | 1/x | JS distance | JS divergence | no answer | person-seconds off "
        "| visits missed | noticed after (median, most) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {s.strategy.name} | {s.searches} | {s.readings} | {every.readings / s.readings:.1f} | {s.distance:.3f} "
        f"| {s.divergence:.4f} | {s.unanswered:.1%} | {s.people_error:.1%} | {s.missed} "
        f"| {s.noticed_median:.2f} s, {s.noticed_most:.2f} s |"
        for s in scores
    ]
    return "\n".join(rows)


def _empty(costs: Mapping[str, float]) -> str:
    every = costs["every frame"]
    rows = ["| empty scene | CPU seconds a minute | of every frame |", "|---|---|---|"]
    rows += [f"| {name} | {cost:.3f} | {cost / every:.1%} |" for name, cost in costs.items()]
    return "\n".join(rows)


def _against_fixed(scores: Sequence[Score]) -> str:
    ours = [s for s in scores if s.strategy.name.startswith("ours")]
    strides, *others = (
        [s for s in scores if s.strategy.name.startswith(start)] for start in ("fixed", "search 3", "search 5")
    )
    rows = [
        "| at equal JS distance | readings | best fixed stride | best fixed rate of any kind |",
        "|---|---|---|---|",
    ]
    for s in ours:
        cells = [_times(equal_error(s, opponents), s.readings) for opponents in ([strides], [strides, *others])]
        rows.append(f"| {s.strategy.name} | {s.readings} | {cells[0]} | {cells[1]} |")
    return "\n".join(rows)


def _times(needed: float | None, readings: int) -> str:
    return "never as good" if needed is None else f"{needed:.0f} ({needed / readings:.2f}x)"


def _plot(path: Path, scores: Sequence[Score]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2))
    for label, start, style in (
        ("every n-th frame", "fixed", "o-"),
        ("search 3/s, read at a fixed rate", "search 3", "s--"),
        ("search 5/s, read at a fixed rate", "search 5", "^--"),
        ("ours", "ours", "D-"),
    ):
        points = sorted((s.readings, s.distance) for s in scores if s.strategy.name.startswith(start))
        if points:
            axes.plot([p[0] for p in points], [p[1] for p in points], style, label=label)
    axes.axvline(scores[0].readings / 20, color="grey", lw=0.8)
    axes.annotate("1/20 of every frame", (scores[0].readings / 20, axes.get_ylim()[1] * 0.95), fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("emotion readings")
    axes.set_ylabel("mean Jensen-Shannon distance of windows")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
