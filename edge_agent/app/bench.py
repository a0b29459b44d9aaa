"""Benchmark of the whole pipeline on a recording: processor time of each stage, and allocations.

Runs the daemon's analyzers and lanes as fast as the machine can, with the configured rates in the time of the
recording. Times are processor time of the thread, so that other programs on the machine hardly change them; models with
more than one thread cost more than is counted here.
"""

from __future__ import annotations

import time
import tracemalloc
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from edge_agent.app.builder import PipelineBuilder
from edge_agent.capture import iter_media
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.domain.observation import AudioReport, VisionReport
from edge_agent.domain.summary import Summary
from edge_agent.payloads.rendering import encode, summary_document
from edge_agent.plugin.running import ActiveAnalyzer, Timing
from edge_agent.summary.summariser import Summariser

BOUNDS_MS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Upper bounds of the histogram's bins; a last bin holds what is slower."""
TRACED = 40
"""Pictures during which allocations are traced, which makes them slower: they are not timed."""

Item = Frame | AudioBlock


@dataclass
class StageCost:
    """Durations of one stage in milliseconds of processor time, one for each call."""

    name: str
    calls: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """The duration that ``share`` of the calls do not exceed; 0 without calls."""
        ordered = sorted(self.calls)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def histogram(self) -> list[int]:
        """Number of calls in each bin of :data:`BOUNDS_MS`, and above."""
        counts = [0] * (len(BOUNDS_MS) + 1)
        for took in self.calls:
            counts[bisect_left(BOUNDS_MS, took)] += 1
        return counts


@dataclass(frozen=True, slots=True)
class BenchReport:
    """Result: ``seconds`` of recording, ``pictures`` and ``looks`` (pictures that were analysed), the stages in order.

    ``look_kb``: most memory that Python and numpy allocate during one look, the median; ``look_blocks``: allocations
    that are still in use after it. ``summary_bytes``: size of a summary, the median; None without one.
    """

    seconds: float
    pictures: int
    looks: int
    stages: Sequence[StageCost]
    look_kb: float
    look_blocks: int
    summary_bytes: int | None

    @property
    def share(self) -> float:
        """Share of one core that the pipeline needs, on this machine, to keep up with the recording."""
        return sum(map(sum, (stage.calls for stage in self.stages))) / 1e3 / max(self.seconds, 1e-9)


class _Run:
    """One pass: lanes, windows, and a stopwatch on each step."""

    def __init__(self, builder: PipelineBuilder, active: Sequence[ActiveAnalyzer]) -> None:
        self._vision, self._audio = builder.lanes()
        self._active = active
        self._window_s = builder.settings.summary.window_s
        self._clock = ManualClock(wall=0.0, synced=False)
        self._device = builder.settings.device.id
        self._summaries: list[Summary] = []
        self._summariser = Summariser(self._clock, self._window_s, self._summaries.append, lambda *_: None)
        self.decoding, self.vision, self.audio = StageCost("decode"), StageCost("vision lane"), StageCost("audio lane")
        self.windows, self.rendering = StageCost("windows"), StageCost("payload")
        self.sizes: list[int] = []
        self.pictures = self.looks = 0
        self.seconds = 0.0
        for analyzer in active:
            analyzer.timing = Timing(time.thread_time)

    def play(self, items: Iterable[Item]) -> None:
        """Feed all items."""
        source = iter(items)
        while (item := self._decoded(source)) is not None:
            report = self.offer(item)
            if report is not None:
                self._count(report, item.time)
            self.seconds = max(self.seconds, item.time)

    def _decoded(self, source: Iterator[Item]) -> Item | None:
        began = time.thread_time()
        item = next(source, None)
        if isinstance(item, Frame):
            self.decoding.calls.append(1e3 * (time.thread_time() - began))
        return item

    def offer(self, item: Item) -> VisionReport | AudioReport | None:
        """One call of a lane, less the time of the analyzers, which are stages of their own."""
        analyzers, began = self._spent(), time.thread_time()
        report: VisionReport | AudioReport | None
        if isinstance(item, Frame):
            report, stage = self._vision.offer(item), self.vision
            self.pictures += 1
            self.looks += report is not None
        else:
            report, stage = self._audio.offer(item), self.audio
        stage.calls.append(1e3 * (time.thread_time() - began - (self._spent() - analyzers)))
        return report

    def _spent(self) -> float:
        return sum(analyzer.timing.total_s for analyzer in self._active)

    def _count(self, report: VisionReport | AudioReport, now: float) -> None:
        began = time.thread_time()
        self._clock.advance(max(0.0, now - self._clock.monotonic()))
        self._summariser.accept(report)
        self._summariser.tick()
        self.windows.calls.append(1e3 * (time.thread_time() - began))
        for summary in self._summaries:
            began = time.thread_time()
            payload = encode(summary_document(summary, self._device, "00000000", len(self.sizes)))
            self.rendering.calls.append(1e3 * (time.thread_time() - began))
            self.sizes.append(len(payload))
        self._summaries.clear()

    def stages(self) -> list[StageCost]:
        """All stages that were used, in the order of the data."""
        analyzers = [StageCost(a.spec.name, [1e3 * s for s in a.timing.durations()]) for a in self._active]
        every = [self.decoding, self.vision, *analyzers, self.audio, self.windows, self.rendering]
        return [stage for stage in every if stage.calls]


def allocations(run: _Run, frames: Iterable[Frame]) -> tuple[float, int]:
    """Median of the peak in kB during a look, and of the blocks that are still allocated after it."""
    peaks, blocks = [], []
    tracemalloc.start()
    try:
        for frame in frames:
            before, count = tracemalloc.get_traced_memory()[0], len(tracemalloc.take_snapshot().traces)
            tracemalloc.reset_peak()
            if run.offer(frame) is not None:
                peaks.append((tracemalloc.get_traced_memory()[1] - before) / 1024)
                blocks.append(len(tracemalloc.take_snapshot().traces) - count)
    finally:
        tracemalloc.stop()
    if not peaks:
        return 0.0, 0
    return sorted(peaks)[len(peaks) // 2], sorted(blocks)[len(blocks) // 2]


def bench(builder: PipelineBuilder, recording: Path, seconds: float) -> BenchReport:
    """Activate the analyzers of ``builder`` and run them over the first ``seconds`` of a recording.

    Raises:
        MediaError: the recording cannot be read.
    """
    active = builder.activate()
    run = _Run(builder, active)
    run.play(_until(iter_media(recording), seconds))
    stages = run.stages()
    frames = (item for item in _until(iter_media(recording), seconds) if isinstance(item, Frame))
    kb, blocks = allocations(_Run(builder, active), islice(frames, TRACED))
    sizes = sorted(run.sizes)
    middle = sizes[len(sizes) // 2] if sizes else None
    return BenchReport(run.seconds, run.pictures, run.looks, stages, kb, blocks, middle)


def _until(items: Iterable[Item], seconds: float) -> Iterator[Item]:
    for item in items:
        if item.time > seconds:
            return
        yield item
