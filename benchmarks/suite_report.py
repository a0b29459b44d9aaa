"""Table, plot and JSON of :mod:`benchmarks.suite` and the estimate for small boards, as ``docs/performance.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- begin measured -->", "<!-- end measured -->"

ITEMS: Mapping[str, str] = {
    "a": "Faces",
    "b": "Vision beyond its models",
    "c": "Sound",
    "d": "Delivery",
    "e": "An hour of kiosk",
    "f": "Start and memory",
    "g": "Growth",
    "h": "Empty room",
    "i": "Stream clients",
}

ARM_INSTRUCTIONS = 444e6
"""Arm instructions of a second of kiosk.mp4: ``edge-agent bench --seconds 46`` less ``--seconds 1``, counted by
``scripts/arm64-count`` (19.97e9 in 45 s; decoding of the film included)."""

BOARDS: Mapping[str, tuple[str, float, float]] = {
    "Raspberry Pi 5": ("Cortex-A76", 2.4, 2.2),
    "Raspberry Pi 4": ("Cortex-A72", 1.8, 1.3),
    "Raspberry Pi 3 B+": ("Cortex-A53", 1.4, 0.8),
    "Raspberry Pi Zero 2 W": ("Cortex-A53", 1.0, 0.8),
}
"""Core, published clock in GHz, and instructions a cycle, which are assumed: usual for such cores, wrong by up to half.
Each board has four cores."""


def write_report(folder: Path, figures: Sequence[Mapping[str, Any]]) -> None:
    """Write ``performance.json``, replace what is between the marks of ``performance.md``, draw ``performance.svg``."""
    (folder / "performance.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = folder / "performance.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    measured = f"{table(figures)}\n\n{boards()}"
    page.write_text(f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}", encoding="utf-8")
    plot(folder / "performance.svg", figures)


def table(figures: Sequence[Mapping[str, Any]]) -> str:
    """Markdown table; a bar is met or missed."""
    rows = ["| | what | ours | against | other | ratio | bar | |", "|---|---|---|---|---|---|---|---|"]
    for f in figures:
        other = "" if f["other"] is None else f"{_number(f['other'])} {f['unit']}"
        ratio = "" if f["ratio"] is None else f"{f['ratio']:.2f}"
        judged = f["ours"] if f["ratio"] is None else f["ratio"]
        bar = "" if f["bar"] is None else f"≤ {f['bar']:.3g}: {'met' if judged <= f['bar'] else '**missed**'}"
        ours = f"{_number(f['ours'])} {f['unit']}"
        cells = (ITEMS[f["item"]], f["name"], ours, f["against"], other, ratio, bar, f["note"])
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def boards() -> str:
    """The estimate for small boards from the Arm instructions of a second of kiosk."""
    rows = [
        "| board (estimate, not measured) | core | GHz | instructions a cycle | kiosk: share of one core | of four |",
        "|---|---|---|---|---|---|",
    ]
    for name, (core, ghz, a_cycle) in BOARDS.items():
        share = ARM_INSTRUCTIONS / (ghz * 1e9 * a_cycle)
        rows.append(f"| {name} | {core} | {ghz} | {a_cycle} | {share:.0%} | {share / 4:.0%} |")
    return "\n".join(rows)


def plot(file: Path, figures: Sequence[Mapping[str, Any]]) -> None:
    """Draw the ratios as bars on a logarithmic axis, with the bars to be met."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "edge-agent"
    import matplotlib.pyplot as plt

    drawn = [f for f in figures if f["ratio"] is not None and f["item"] != "g"]
    if not drawn:
        return
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(drawn) + 1.2))
    names = [f"{f['name']}\nagainst {f['against']}" for f in drawn]
    axes.barh(names, [f["ratio"] for f in drawn], color="#3b6ea5", height=0.6)
    for row, f in enumerate(drawn):
        axes.annotate(f" {f['ratio']:.2f}", (f["ratio"], row), va="center", fontsize=8)
        if f["bar"] is not None:
            axes.plot([f["bar"]] * 2, [row - 0.4, row + 0.4], color="#c2572b", linewidth=2)
    axes.axvline(1.0, color="#888", linewidth=0.8)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("ours / other, processor time (orange: bar to stay below)")
    axes.tick_params(axis="y", labelsize=8)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
