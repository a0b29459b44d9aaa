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

BOARDS: Mapping[str, tuple[float, int]] = {
    "Raspberry Pi 5": (0.55, 4),
    "Raspberry Pi 4": (0.22, 4),
    "Raspberry Pi 3 B+": (0.10, 4),
    "Raspberry Pi Zero 2 W": (0.07, 4),
}
"""Speed of one core in that of the measuring machine's, and cores. Rough: remembered from published single-core scores,
not looked up. An int8 network gains more on cores with dot-product instructions (Pi 5), less on those without."""


def write_report(folder: Path, figures: Sequence[Mapping[str, Any]]) -> None:
    """Write ``performance.json``, replace what is between the marks of ``performance.md``, draw ``performance.svg``."""
    (folder / "performance.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = folder / "performance.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    measured = f"{table(figures)}\n\n{boards(figures)}"
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


def boards(figures: Sequence[Mapping[str, Any]]) -> str:
    """The estimate for small boards from the processor time of an hour of kiosk; empty without that figure."""
    hour = next((f["ours"] for f in figures if f["item"] == "e"), None)
    if hour is None:
        return ""
    rows = [
        "| board (estimate, not measured) | speed of a core | kiosk: share of one core | of the board |",
        "|---|---|---|---|",
    ]
    for name, (speed, cores) in BOARDS.items():
        share = hour / 3600 / speed
        rows.append(f"| {name} | {speed:.2f} | {share:.0%} | {share / cores:.0%} |")
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
