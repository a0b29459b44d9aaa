"""What the shipped models do with recordings, through the plugin's own engines and event logic.

A data folder holds one sub-folder of sound files per label; ``speech`` and ``background`` measure false events. On the
project's own recordings only those whose source was never trained on count for recall; false events are counted over
everything. Engines: ``own``, and ``yamnet`` where it is installed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import MediaError, ModelError
from edge_agent.models import Catalogue, ModelStore, cache_dir
from edge_agent.plugin import AnalyzerContext
from edge_agent_burst import BACKGROUND, LABELS, REJECTIONS, BurstSettings
from edge_agent_burst.analyzer import BurstAnalyzer, make_engine
from edge_agent_burst.events import Arbiter, LabelPolicy, Reading
from edge_agent_burst.own import Engine
from training import calibration
from training.burst import recordings, scenes
from training.burst.recordings import RATE, Recording

DEFAULT_DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "bursts"
ENGINES = ("own", "yamnet")
_BLOCK = RATE // 10


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """A recording and what an engine made of it."""

    recording: Recording
    seconds: float
    readings: Sequence[Reading]

    def choice(self, among: Sequence[str] = LABELS) -> tuple[str, float] | None:
        """The likeliest label of the whole clip and its score, believable or not; None without any reading."""
        if not self.readings:
            return None
        return choose(np.array([[reading.scores[label] for label in among] for reading in self.readings]), among)

    def events(self, policies: Mapping[str, LabelPolicy]) -> list[str]:
        """Labels of the events that would be reported."""
        arbiter = Arbiter(policies)
        found = [segment.label for reading in self.readings for segment in arbiter.push(reading)]
        return found + [segment.label for segment in arbiter.flush()]


def choose(scores: npt.NDArray[np.float64], among: Sequence[str]) -> tuple[str, float]:
    """The label with the highest mean in ``scores`` [windows, labels], with the mean of its three highest windows.

    The mean of all windows chooses better than that of a few, but silence around a burst makes it small.
    """
    chosen = int(scores.mean(axis=0).argmax())
    return among[chosen], float(np.sort(scores[:, chosen])[-3:].mean())


def listen(engine: Engine, recording: Recording) -> Heard:
    """Play a recording to an engine."""
    samples = recordings.read(recording.path)
    readings: list[Reading] = []
    for begin in range(0, len(samples), _BLOCK):
        readings += engine.feed(samples[begin : begin + _BLOCK])
    readings += engine.drain()
    engine.reset()
    return Heard(recording, len(samples) / RATE, readings)


def evaluate(data: Path) -> dict[str, Any]:
    """The report of every engine that can run here.

    Raises:
        MediaError: there is nothing to evaluate.
    """
    everything = recordings.find(data)
    found = [r for r in everything if r.label in (*LABELS, *REJECTIONS)]
    unknown = sorted({r.label for r in everything} - {*LABELS, *REJECTIONS})
    if not found:
        raise MediaError(f"{data}: no sound files in folders called {', '.join((*LABELS, *REJECTIONS))}")
    ours = data.resolve() == DEFAULT_DATA.resolve()
    report: dict[str, Any] = {}
    for name in ENGINES:
        try:
            engine = make_engine(BurstSettings(engine=name), context())
        except ModelError as error:
            report[name] = {"unavailable": str(error)}
            continue
        heard = [listen(engine, r) for r in found if not ours or r.label in REJECTIONS or r.split == "valid"]
        report[name] = summarise(heard, engine.policies)
        report[name]["events"] = _events(engine, found if not ours else [r for r in found if r.split == "valid"])
    return {
        "data": data.name,
        "split": "valid" if ours else "all",
        "ignored": unknown,
        "calibration": report["own"].get("calibration", []),
        "engines": report,
    }


def _events(engine: Engine, found: Sequence[Recording]) -> Mapping[str, Any] | None:
    """Event-level scores with up to 25 bursts a label, set into the folder's own speech and background."""
    rng = np.random.default_rng(0)
    beds = [r for r in found if r.label in REJECTIONS]
    chosen = [r for label in LABELS for r in [r for r in found if r.label == label][:25]]
    if not beds or not chosen:
        return None
    made = [scenes.compose(r, beds[int(rng.integers(len(beds)))], rng) for r in chosen]
    return scenes.score(BurstAnalyzer(engine, LABELS, {}), made)


def context() -> AnalyzerContext:
    """Where models are found: the bundled one, the user's store, and the folder beside the project's recordings."""
    return AnalyzerContext(_Models(), threads=1)


class _Models:
    """The user's store, then the folder beside the recordings."""

    def locate(self, name: str) -> Path:
        beside = DEFAULT_DATA.parents[1] / "models" / f"{name}.tflite"
        try:
            return ModelStore(cache_dir(), Catalogue.load()).locate(name)
        except ModelError:
            if beside.exists():
                return beside
            raise


def summarise(heard: Sequence[Heard], policies: Mapping[str, LabelPolicy]) -> dict[str, Any]:
    """Forced choice, thresholded detection and false events."""
    bursts = [h for h in heard if h.recording.label in LABELS]
    others = [h for h in heard if h.recording.label in REJECTIONS]
    present = [label for label in LABELS if any(h.recording.label == label for h in bursts)]
    trusted = {label: policies[label] for label in BurstSettings().labels}
    return {
        "forced_choice": _confusion(bursts, lambda h: [_chosen(h, LABELS)]),
        "forced_choice_among_present": _confusion(bursts, lambda h: [_chosen(h, present)]),
        "calibration": _calibration(bursts),
        "detected": _confusion(bursts, lambda h: sorted(set(h.events(policies))) or ["none"]),
        "false_events": {
            "default_labels": _false_events(others, trusted),
            "all_labels": _false_events(others, policies),
        },
    }


def _chosen(heard: Heard, among: Sequence[str]) -> str:
    choice = heard.choice(among)
    return choice[0] if choice else BACKGROUND


def _calibration(heard: Sequence[Heard]) -> list[dict[str, float]]:
    """How often the label with the highest score is right, by that score."""
    choices = [(h.recording.label, h.choice()) for h in heard]
    answers = [(choice[1], choice[0] == label) for label, choice in choices if choice]
    if not answers:
        return []
    return calibration.bins(np.array([a[0] for a in answers]), np.array([a[1] for a in answers]))


def _confusion(heard: Sequence[Heard], judge: Callable[[Heard], Sequence[str]]) -> dict[str, Any]:
    rows: dict[str, Counter[str]] = {}
    for h in heard:
        rows.setdefault(h.recording.label, Counter()).update(judge(h))
    sizes = Counter(h.recording.label for h in heard)
    recall = {label: round(rows[label][label] / sizes[label], 4) for label in rows}
    hits = sum(rows[label][label] for label in rows)
    return {
        "clips": dict(sizes),
        "recall": recall,
        "accuracy": round(hits / len(heard), 4) if heard else None,
        "macro": round(float(np.mean(list(recall.values()))), 4) if recall else None,
        "confusion": {label: dict(row.most_common()) for label, row in rows.items()},
    }


def _false_events(heard: Sequence[Heard], policies: Mapping[str, LabelPolicy]) -> dict[str, Any]:
    events: dict[str, Counter[str]] = {label: Counter() for label in REJECTIONS}
    hours = dict.fromkeys(REJECTIONS, 0.0)
    for h in heard:
        events[h.recording.label].update(h.events(policies))
        hours[h.recording.label] += h.seconds / 3600
    total = sum(hours.values())
    return {
        "hours": {label: round(value, 3) for label, value in hours.items()},
        "events": {label: dict(counts) for label, counts in events.items()},
        "per_hour": {
            label: round(sum(events[label].values()) / hours[label], 2) for label in REJECTIONS if hours[label] > 0
        },
        "per_hour_overall": round(sum(sum(c.values()) for c in events.values()) / total, 2) if total else None,
    }


def table(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    lines = [f"Recordings: {report['data']} ({report['split']})", ""]
    for name, result in report["engines"].items():
        lines.append(f"engine {name}")
        if "unavailable" in result:
            lines += [f"  not available: {result['unavailable']}", ""]
            continue
        lines += _rows(result)
    return "\n".join(lines)


def _rows(result: Mapping[str, Any]) -> list[str]:
    forced, detected = result["forced_choice"], result["detected"]
    lines = ["", "| label | clips | forced choice | detected | detected as |", "|---|---|---|---|---|"]
    for label, clips in forced["clips"].items():
        also = ", ".join(f"{name} {count}" for name, count in detected["confusion"][label].items())
        lines.append(
            f"| {label} | {clips} | {forced['recall'][label]:.3f} | {detected['recall'][label]:.3f} | {also} |"
        )
    lines.append(f"| all | {sum(forced['clips'].values())} | {forced['accuracy']} | {detected['accuracy']} | |")
    if 1 < len(forced["clips"]) < len(LABELS):
        among = result["forced_choice_among_present"]
        lines += ["", f"forced choice among these {len(forced['clips'])} labels only: {among['accuracy']}"]
    lines.append("")
    for which, counts in result["false_events"].items():
        text = f"false events, {which.replace('_', ' ')}: {counts['per_hour_overall']} an hour over {counts['hours']} h"
        lines.append(f"{text}: {counts['events']}")
    if result.get("events"):
        lines += [
            "",
            "| label | scenes | found | onset within 0.5 s | events of other labels |",
            "|---|---|---|---|---|",
        ]
        for label, row in result["events"]["labels"].items():
            lines.append(f"| {label} | {' | '.join(str(value) for value in row.values())} |")
        lines.append(f"median onset error {result['events']['median_onset_error_s']} s")
    return [*lines, ""]
