"""What adaptive looking costs and what it loses, against looking at every frame and against fixed rates.

    python -m benchmarks.adaptive --media ../shared/media --out docs

Recordings are searched and read once per frame; each strategy then runs the real vision lane and the real windows
over what was found (:mod:`benchmarks.adaptive_streams`). The reference is every frame. The cost of an empty scene is
measured in CPU seconds with the real detector. Writes ``adaptive.md`` and ``adaptive.svg``; needs matplotlib for the
latter.
"""

from __future__ import annotations

import argparse
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import edge_agent_quality
from benchmarks.adaptive_report import write_report
from benchmarks.adaptive_streams import EMPTY, FPS, Clip, Stream, TracedAnalyzers, load, shrink, trace, visits
from edge_agent.analysis.lanes import VisionLane
from edge_agent.analysis.pacing import Bounds
from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.domain.summary import Window, estimate_emotion
from edge_agent.models import Catalogue, ModelStore
from edge_agent.plugin import AnalyzerContext, AnalyzerSpec, Kind
from edge_agent.plugin.running import ActiveAnalyzer
from edge_agent.plugin.spec import Analyzer, FaceDetector
from edge_agent.summary.window import WindowBuilder

WINDOW = 10.0
EVERY = Bounds.at(1e6)


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way of pacing. ``reading_fps`` bounds the emotion model apart from the search, as a fixed rate may."""

    name: str
    bounds: Bounds
    reading_fps: float | None = None

    @property
    def fixed(self) -> bool:
        """Whether it is one of the opponents."""
        return self.bounds.fixed


STANDARD = Bounds.of("standard")

STRATEGIES = (
    Strategy("every frame", EVERY),
    *(Strategy(f"fixed {rate:g}/s", Bounds.at(rate)) for rate in (7.5, 5.0, 3.0, 2.0, 1.5, 1.0, 0.75, 0.5)),
    *(
        Strategy(f"search {search:g}/s, read {rate:g}/s", Bounds.at(search), rate)
        for search in (3.0, 5.0)
        for rate in (2.0, 1.5, 1.0, 0.75, 0.5)
    ),
    *(Strategy(f"ours {name}", Bounds.of(name)) for name in ("monitor", "standard", "detail")),
    *(
        Strategy(f"ours, evidence {e:g}, spacing {s:g}", replace(STANDARD, evidence=e, spacing=s))
        for e, s in ((0.3, 1.2), (0.7, 0.8), (1.5, 0.5), (1.5, 0.3), (4.0, 0.3))
    ),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One strategy over one stream. ``noticed`` holds the seconds from the first face of each visit to the first report
    of a person; infinite for a visit that was missed."""

    windows: tuple[Window, ...]
    searches: int
    readings: int
    noticed: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """A strategy over all streams, against the reference. Distances are Jensen-Shannon, base 2, averaged over the
    windows in which the reference has an answer. One reading is taken for an answer here, which favours slow fixed
    rates; a window without any counts as 1. ``unanswered`` is the share of those in which the agent would not
    answer."""

    strategy: Strategy
    searches: int
    readings: int
    distance: float
    divergence: float
    unanswered: float
    people_error: float
    missed: int
    noticed_median: float
    noticed_most: float


def active(spec_kind: Kind, analyzer: Analyzer, name: str, max_fps: float | None = None) -> ActiveAnalyzer:
    """``analyzer`` as the plugin manager would hand it to a lane."""
    spec = AnalyzerSpec(name, spec_kind, name, lambda _settings, _context: analyzer, max_fps=max_fps)

    def crashed(detail: str) -> None:
        raise RuntimeError(f"{name}: {detail}")

    return ActiveAnalyzer(spec, analyzer, crashed)


def run(stream: Stream, strategy: Strategy) -> Outcome:
    """The stream through the vision lane and the windows."""
    traced = TracedAnalyzers(stream)
    lane = VisionLane(
        [active(Kind.DETECTOR, traced, "face"), active(Kind.FACE, traced, "emotion", strategy.reading_fps)],
        strategy.bounds,
    )
    builder, windows = WindowBuilder(0.0, WINDOW), []
    arrivals, noticed = first_faces(stream), []
    for frame in stream.frames():
        report = lane.offer(frame)
        if report is None:
            continue
        windows += builder.advance(report.time)
        builder.vision(report)
        while arrivals and arrivals[0][1] < report.time:
            noticed.append(float("inf"))
            arrivals.pop(0)
        if report.faces and arrivals and report.time >= arrivals[0][0]:
            noticed.append(report.time - arrivals.pop(0)[0])
    windows += builder.advance(stream.seconds)
    noticed += [float("inf")] * len(arrivals)
    return Outcome(tuple(windows), traced.searches, traced.readings, tuple(noticed))


def first_faces(stream: Stream) -> list[tuple[float, float]]:
    """For each visit with a face for at least a second: when the first was there, and when the last."""
    visible = [i / FPS for i, found in enumerate(stream.found) if any(face.score >= 0.5 for face, _ in found)]
    found: list[tuple[float, float]] = []
    for t in visible:
        if found and t - found[-1][1] < 2.5:
            found[-1] = (found[-1][0], t)
        else:
            found.append((t, t))
    return [(begin, end) for begin, end in found if end - begin >= 1.0]


def divergence(p: Sequence[float], q: Sequence[float]) -> float:
    """Jensen-Shannon divergence in bits."""
    a, b = np.asarray(p), np.asarray(q)
    m = (a + b) / 2

    def against(x: np.ndarray) -> float:
        some = x > 0
        return float((x[some] * np.log2(x[some] / m[some])).sum())

    return max(0.0, (against(a) + against(b)) / 2)


def score(strategy: Strategy, outcomes: Sequence[Outcome], reference: Sequence[Outcome]) -> Score:
    """Compare window by window."""
    divergences, silent = [], 0
    people, people_off = 0.0, 0.0
    for ours, theirs in zip(outcomes, reference, strict=True):
        for w, r in zip(ours.windows, theirs.windows, strict=True):
            people += r.faces.person_seconds
            people_off += abs(w.faces.person_seconds - r.faces.person_seconds)
            truth = estimate_emotion(r.emotion)
            if truth is None or r.emotion.weight < 1.0:
                continue
            answer = estimate_emotion(w.emotion, min_readings=1)
            silent += estimate_emotion(w.emotion) is None
            divergences.append(divergence(answer.p, truth.p) if answer else 1.0)
    noticed = np.asarray([n for o in outcomes for n in o.noticed])
    seen = noticed[np.isfinite(noticed)]
    return Score(
        strategy=strategy,
        searches=sum(o.searches for o in outcomes),
        readings=sum(o.readings for o in outcomes),
        distance=float(np.sqrt(divergences).mean()),
        divergence=float(np.mean(divergences)),
        unanswered=silent / len(divergences),
        people_error=people_off / people,
        missed=int(np.isinf(noticed).sum()),
        noticed_median=float(np.median(seen)),
        noticed_most=float(seen.max()),
    )


def empty_cost(detector: FaceDetector, store: ModelStore, picture: Frame, bounds: Bounds, seconds: float) -> float:
    """CPU seconds the vision lane takes for ``seconds`` of an empty scene with camera noise, at :data:`FPS`."""
    quality = next(iter(edge_agent_quality.edge_agent_register_analyzers()))
    watch = active(
        Kind.SCENE, quality.factory(quality.settings(), AnalyzerContext(store)), quality.name, quality.max_fps
    )
    lane = VisionLane([active(Kind.DETECTOR, detector, "face"), watch], bounds)
    rng = np.random.default_rng(0)
    noisy = [np.clip(picture.data + rng.normal(0, 3, picture.data.shape), 0, 255).astype(np.uint8) for _ in range(7)]
    spent = 0.0
    for index in range(round(seconds * FPS)):
        frame = Frame(noisy[index % 7], picture.format, picture.width, picture.height, index / FPS, index)
        before = time.process_time()
        lane.offer(frame)
        spent += time.process_time() - before
    return spent


def traced_streams(
    media: Path, store: ModelStore, cache: Path | None, face_range: str, minutes: float, seed: int
) -> list[Stream]:
    """All streams with what is to be found in them, from the cache if there is one."""
    if cache is not None and cache.exists():
        kept: list[Stream] = pickle.loads(cache.read_bytes())
        return kept
    from edge_agent_emotion import EmotionSettings
    from edge_agent_emotion.analyzer import EmotionAnalyzer

    detector = make_detector(store, face_range, 0.3)
    reader = EmotionAnalyzer(EmotionSettings(min_face_px=12, min_score=0.0), AnalyzerContext(store))
    clips = {path.stem: load(path) for path in sorted(media.iterdir()) if path.suffix in (".gif", ".mkv", ".mp4")}
    clips[EMPTY] = Clip(EMPTY, clips["one-by-one-person-detection"].pictures[:1])
    made = streams(clips, minutes, seed)
    for stream in made:
        trace(stream, clips, detector, reader)
    if cache is not None:
        cache.write_bytes(pickle.dumps(made))
    return made


def make_detector(store: ModelStore, face_range: str, min_score: float = 0.5) -> FaceDetector:
    """The first-party detector."""
    from edge_agent_face import FaceSettings
    from edge_agent_face.detector import BlazeFaceDetector

    settings = FaceSettings.model_validate({"range": face_range, "min_score": min_score})
    return BlazeFaceDetector(settings, AnalyzerContext(store))


def streams(clips: Mapping[str, Clip], minutes: float, first_seed: int = 1) -> list[Stream]:
    """The long recordings as they are, and composed ones: short and long visits, and nobody."""
    small = {name: shrink(clip) for name, clip in clips.items()}
    lengths = {name: len(clip.pictures) for name, clip in clips.items()}
    cast = {name: n for name, n in lengths.items() if n < 600 and name != EMPTY}
    real = [Stream(name, [(name, i) for i in range(n)], small, sway=False) for name, n in lengths.items() if n >= 600]
    composed = [
        Stream(f"visits of {stay:.0f} s", visits(cast, minutes, stay, gap, seed), small)
        for stay, gap, seed in ((6.0, 20.0, first_seed), (20.0, 30.0, first_seed + 1), (90.0, 60.0, first_seed + 2))
    ]
    return [*real, *composed, Stream("nobody", [(EMPTY, 0)] * round(minutes * 60 * FPS), small)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, required=True, help="folder of recordings")
    parser.add_argument("--models", type=Path, required=True, help="model store (edge-agent models pull)")
    parser.add_argument("--out", type=Path, help="folder for adaptive.md and adaptive.svg; default: print only")
    parser.add_argument("--minutes", type=float, default=30.0, help="length of each composed stream")
    parser.add_argument("--seed", type=int, default=1, help="other visits: what was tuned on one is checked on another")
    parser.add_argument("--range", choices=("near", "far", "auto"), default="far", help="detector for the recordings")
    parser.add_argument("--only", default="", help="strategies whose names hold this text")
    parser.add_argument("--cache", type=Path, help="keep the traces here (a few hundred MB)")
    options = parser.parse_args()
    store = ModelStore(options.models, Catalogue.load())
    played = traced_streams(options.media, store, options.cache, options.range, options.minutes, options.seed)
    reference = [run(stream, STRATEGIES[0]) for stream in played]
    scores = []
    for strategy in (s for s in STRATEGIES if options.only in s.name):
        outcomes = reference if strategy is STRATEGIES[0] else [run(stream, strategy) for stream in played]
        scores.append(score(strategy, outcomes, reference))
        print_score(scores[-1], reference)
    costs = measure_empty(store, options.media / "one-by-one-person-detection.mp4")
    print("empty scene, CPU seconds a minute:", {name: round(cost, 4) for name, cost in costs.items()})
    if options.out is not None:
        write_report(options.out, scores, costs, describe(played, options.range))


def describe(played: Sequence[Stream], face_range: str) -> str:
    """What was measured on."""
    named = ", ".join(f"{stream.name} ({stream.seconds / 60:.1f} min)" for stream in played)
    return f"Streams at {FPS:g} fps, detector range `{face_range}`: {named}. Windows of {WINDOW:g} s."


def print_score(s: Score, reference: Sequence[Outcome]) -> None:
    """One line."""
    every = sum(o.readings for o in reference)
    print(
        f"{s.strategy.name:32} searches {s.searches:7d} readings {s.readings:7d} (1/{every / s.readings:5.1f}) "
        f"distance {s.distance:.4f} divergence {s.divergence:.5f} silent {s.unanswered:.1%} "
        f"people {s.people_error:.1%} missed {s.missed} noticed {s.noticed_median:.2f}/{s.noticed_most:.2f} s",
        flush=True,
    )


def measure_empty(store: ModelStore, recording: Path) -> dict[str, float]:
    """CPU seconds a minute of an empty scene (the first picture of ``recording``), for every frame and each profile."""
    from edge_agent.capture import iter_media

    detector = make_detector(store, "near")
    picture = next(item for item in iter_media(recording) if isinstance(item, Frame))
    assert picture.format is PixelFormat.BGR
    ways: dict[str, Callable[[], Bounds]] = {
        "every frame": lambda: EVERY,
        "monitor": lambda: Bounds.of("monitor"),
        "standard": lambda: Bounds.of("standard"),
        "detail": lambda: Bounds.of("detail"),
    }
    empty_cost(detector, store, picture, EVERY, 2)  # warm up
    return {name: empty_cost(detector, store, picture, bounds(), 60) for name, bounds in ways.items()}


if __name__ == "__main__":
    main()
