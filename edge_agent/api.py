"""The Python API for scripts and notebooks: pictures, sound or files in; observations, windows and events out.

A :class:`Session` runs the daemon's analyzers, lanes and windows on what it is given, in the caller's thread, as fast
as the machine can; nothing is sent and nothing is written. Time is the caller's: seconds from the session's start.
A session is one pass over one stream; open another one for the next. It is not safe to use from two threads at once.

::

    from edge_agent.api import Session

    with Session() as session:
        result = session.file("film.mp4")
    print(result.report.overall_dominant_emotion, len(result.events))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_agent.app.builder import PipelineBuilder
from edge_agent.app.offline import (
    DEFAULT_FPS,
    EVERY_FRAME,
    Analysis,
    FaceRow,
    Progress,
    Report,
    Run,
    TextAnalysis,
    UtteranceRow,
    analyze,
    analyze_text,
)
from edge_agent.capture.sound import Mixer, Resampler, replace_bad, to_float
from edge_agent.domain.errors import ConfigError, EdgeAgentError, MediaError, ModelError, PluginError
from edge_agent.domain.event import Event
from edge_agent.domain.face import Box, Face, TrackedFace
from edge_agent.domain.media import AUDIO_RATE, AudioBlock, Frame, PixelFormat
from edge_agent.domain.observation import EMOTIONS, AudioReport, Observation, VisionReport
from edge_agent.domain.speech import Granularity, Passage, cut
from edge_agent.domain.summary import EmotionEstimate, Summary, estimate_window
from edge_agent.plugin.manager import PluginReport, Status
from edge_agent.plugin.spec import Kind
from edge_agent.settings import read

if TYPE_CHECKING:
    from edge_agent.app.custom import CustomModels
    from edge_agent.custom.store import CustomModel

__all__ = [
    "EMOTIONS",
    "EVERY_FRAME",
    "MIN_SIDE",
    "Analysis",
    "AudioReport",
    "Box",
    "ConfigError",
    "CustomModel",
    "CustomModels",
    "EdgeAgentError",
    "EmotionEstimate",
    "Event",
    "Face",
    "FaceRow",
    "MediaError",
    "ModelError",
    "Observation",
    "Passage",
    "PluginError",
    "Report",
    "Session",
    "Summary",
    "TextAnalysis",
    "TrackedFace",
    "UtteranceRow",
    "VisionReport",
    "estimate_window",
]

_LATER = {"CustomModel": "edge_agent.custom.store", "CustomModels": "edge_agent.app.custom"}
"""Names that are imported at their first use, with their module: few scripts train models."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)


_BLOCK = AUDIO_RATE // 10
"""Samples per block for the analyzers, 0.1 s as from a file or a microphone."""

_OVERLAP_S = 0.05
"""Tolerance in seconds for the time of sound, as callers round and the resampler delays."""

MIN_SIDE = 16
"""Least width and height of a picture in pixels."""

Analyzers = Iterable[str] | Mapping[str, Mapping[str, Any]]


class Session:
    """Analysis session: analyzers, lanes and windows over one stream of pictures and sound.

    ``analyzers``: names of those to run, or their options by name as in the config's ``[analyzers.*]`` tables; None
    runs what the config enables. ``fps``: analysed pictures per second at most (:data:`EVERY_FRAME`: all). ``stills``:
    the pictures are independent, not consecutive frames of a film, so faces need no confirmation by a second frame (a
    file with a single picture is always analysed so). ``live``: analyzers use their defaults for live streams rather
    than the slower, more thorough ones for recordings. ``speech``: what is said is recognised as well, which is off by
    default and needs the extra ``[speech]``. ``window_s``: the windows' length
    in seconds; None takes the config's. ``config``: a config file; None means the defaults, whatever is configured on
    this machine. ``pull``: fetch missing models, where the config allows it.

    Raises:
        ConfigError: unreadable config, an unknown analyzer or option, a length or a rate that is not positive.
        ModelError: a model is missing or damaged; says how to get it.
        PluginError: an analyzer cannot be built.
    """

    def __init__(
        self,
        analyzers: Analyzers | None = None,
        *,
        fps: float = DEFAULT_FPS,
        stills: bool = False,
        live: bool = False,
        speech: bool = False,
        window_s: float | None = None,
        config: str | Path | None = None,
        pull: bool = True,
    ) -> None:
        if not fps > 0:
            raise ConfigError(f"fps = {fps}: must be above 0")
        if window_s is not None and not window_s > 0:
            raise ConfigError(f"window_s = {window_s}: must be above 0")
        self._builder = _assemble(analyzers, window_s, None if config is None else Path(config), live, speech)
        if pull:
            self._builder.pull_missing()
        self._builder.require_models()
        self._builder.activate()
        self._refuse_broken()
        if speech:
            self._builder.require(Kind.SPEECH)
        self._run: Run | None = Run(self._builder, fps, stills=stills)
        self._fps = fps
        self._resampler: tuple[float, Resampler] | None = None
        self._pictures, self._picture_time = 0, 0.0
        self._mixer = Mixer()
        self._samples, self._sound_start = 0, 0.0
        self._flushed = False

    def _refuse_broken(self) -> None:
        broken = (Status.LOAD_ERROR, Status.SELF_CHECK_FAILED)
        wrong = [f"{r.name}: {r.detail}" for r in self._builder.plugins.reports() if r.status in broken]
        if wrong:  # an answer without them would say that nobody was there
            self._builder.close()
            raise PluginError("\n".join(wrong))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------------ feeding

    def frame(self, image: npt.NDArray[np.uint8], time: float, *, rgb: bool = False) -> VisionReport | None:
        """Analyse a picture taken ``time`` seconds after the session's start; times must increase.

        ``image``: uint8 [height, width] grey, or [height, width, 3] in OpenCV's order (BGR) or, with ``rgb``, in
        Pillow's. Returns None when the rate skips this picture; boxes are fractions of the picture.

        Raises:
            ValueError: not such a picture, or its time is before that of what was given already.
        """
        run = self._running()
        picture = _picture(image, rgb)
        self._refuse_late(run, time)
        if self._pictures and not time > self._picture_time:
            raise ValueError(f"the picture at {time} s must be later than the last one, at {self._picture_time} s")
        grey = picture.ndim == 2
        height, width = picture.shape[:2]
        form = PixelFormat.GRAY if grey else PixelFormat.BGR
        frame = Frame(picture, form, width, height, float(time), self._pictures)
        self._pictures, self._picture_time = self._pictures + 1, float(time)
        return run.frame(frame)

    def sound(self, samples: npt.NDArray[Any], rate: float, time: float | None = None) -> list[AudioReport]:
        """Analyse the next ``samples`` at ``rate`` Hz, float in [-1, 1] or any PCM integers, [n] or [n, channels].

        ``time``: when they begin, needed only after a pause; otherwise they continue the previous ones. Returns one
        report for each tenth of a second; the resampler delays a few milliseconds.

        Raises:
            ValueError: not such samples, a rate that changed or is not positive, or a time that has already passed.
        """
        run = self._running()
        if samples.ndim not in (1, 2) or not np.issubdtype(samples.dtype, np.number) or np.iscomplexobj(samples):
            raise ValueError("sound is an array of real numbers, [n] or [n, channels]")
        if not rate > 0 or (self._resampler is not None and rate != self._resampler[0]):
            raise ValueError(f"rate = {rate}: must be positive and the same throughout a session")
        heard = self._heard_until()
        begin = heard if time is None else float(time)
        self._refuse_late(run, begin)
        if self._resampler is not None and begin < heard - _OVERLAP_S:
            raise ValueError(f"the sound at {time} s must not begin before {heard:.2f} s")
        mono, _bad = replace_bad(self._mixer.push(to_float(samples.reshape(len(samples), -1)), rate))
        gap = max(0.0, begin - heard) if self._resampler else 0.0
        self._sound_start += max(0.0, begin - heard)
        if self._resampler is None:
            self._resampler = (rate, Resampler(rate))
        self._flushed = False
        return self._listen(run, self._resampler[1].push(mono), gap)

    def flush(self) -> list[AudioReport]:
        """End the sound so far: open bursts become final, in :attr:`events` or :meth:`take`.

        For streams that pause or wait for an answer: without it a burst is reported 1 to 2.5 s after its end, when
        enough sound has followed. The session continues, and later sound is kept apart from earlier sound. Does nothing
        before the first sound and when called again.
        """
        run = self._running()
        if self._resampler is None or self._flushed:
            return []
        self._flushed = True
        rate, resampler = self._resampler
        reports = self._listen(run, resampler.push(np.zeros(0, np.float32), last=True), 0.0)
        self._resampler = (rate, Resampler(rate))
        return [*reports, run.end_sound()]

    def _listen(self, run: Run, ready: npt.NDArray[np.float32], gap: float) -> list[AudioReport]:
        reports = []
        for start in range(0, len(ready), _BLOCK):
            block = AudioBlock(ready[start : start + _BLOCK], self._heard_until(), gap if start == 0 else 0.0)
            self._samples += len(block.samples)
            reports.append(run.sound(block))
        return reports

    def _heard_until(self) -> float:
        return self._sound_start + self._samples / AUDIO_RATE

    def file(self, path: str | Path, progress: Progress | None = None) -> Analysis:
        """Analyse a whole recording with a new session and finish it, as ``edge-agent analyze`` does.

        Raises:
            MediaError: missing, unreadable or empty file.
            ValueError: this session was fed already.
        """
        self._running()
        if self._pictures or self._resampler:
            raise ValueError("this session has begun with pictures or sound: open another one for a file")
        analysis = analyze(Path(path), self._builder, self._fps, progress)
        self._run = None
        return analysis

    def text(self, text: str, source: str = "text") -> TextAnalysis:
        """Analyse a text, sentence by sentence, with the analyzers of text; it becomes part of no window.

        Raises:
            PluginError: no analyzer of text runs in this session.
        """
        self._running()
        self._builder.require(Kind.TEXT)
        return analyze_text(text, self._builder, source)

    def passages(self, text: str, granularity: Granularity = "whole") -> list[tuple[Passage, tuple[Observation, ...]]]:
        """Judge what written ``text`` expresses, whole, by paragraph or by sentence, each with its place in the text.

        Such a reading is an observation ``language``, a probability for each of 28 emotions, or ``language_unknown``
        with the reason. It is returned only: no window or event comes of it.

        Raises:
            ConfigError: no analyzer of text runs in this session.
        """
        self._running()
        if not self._builder.reads:
            raise ConfigError("no analyzer of text runs: enable one, such as 'language'")
        return [(part, self._builder.read(part.text)) for part in cut(text, granularity)]

    # ------------------------------------------------------------------ results

    @property
    def windows(self) -> tuple[Summary, ...]:
        """Windows that have ended by now; :func:`estimate_window` gives a window's emotion distribution."""
        return tuple(self._running().summaries)

    @property
    def events(self) -> tuple[Event, ...]:
        """Events so far (bursts, arrivals, departures), in the order of detection."""
        return tuple(self._running().events)

    @property
    def utterances(self) -> tuple[UtteranceRow, ...]:
        """What was said so far, with what it expresses, where an analyzer of speech runs."""
        return tuple(self._running().utterances)

    @property
    def analyzers(self) -> Mapping[str, str]:
        """Status of every known analyzer, with the reason when it does not run; check it when results are missing."""
        return {r.name: _told(r) for r in self._builder.plugins.reports() if r.kind and r.name in self._known()}

    def person(self, key: str) -> str | None:
        """Name of an enrolled person by the key in an observation ``identity``; None when nobody has it."""
        people = self._builder.people
        return people.name(key) if people is not None else None

    def _known(self) -> frozenset[str]:
        return frozenset(self._builder.plugins.analyzer_settings())

    def finish(self, duration: float = 0.0) -> Analysis:
        """End the stream: close the last window and finish open sounds. No input may follow.

        ``duration``: seconds from the session's start to its end, when that is later than the last input.
        """
        run = self._running()
        if self._resampler:
            self._listen(run, self._resampler[1].push(np.zeros(0, np.float32), last=True), 0.0)
        self._run = None
        return run.finish("session", duration)

    def take(self) -> tuple[tuple[Summary, ...], tuple[Event, ...]]:
        """Return the windows and events since the last call and drop them, for streams without an end.

        :attr:`utterances` are dropped, too; read them before.
        """
        run = self._running()
        found = tuple(run.summaries), tuple(run.events)
        for kept in (run.summaries, run.events, run.faces, run.utterances):
            kept.clear()
        return found

    def close(self) -> None:
        """Free the models; may be called again."""
        self._run = None
        self._builder.close()

    def _running(self) -> Run:
        if self._run is None:
            raise ValueError("this session has ended: open another one")
        return self._run

    @staticmethod
    def _refuse_late(run: Run, time: float) -> None:
        if not isfinite(time):
            raise ValueError(f"{time} is not a time")
        if time < run.open_since:
            late = f"{time:.2f} s lies in a window that has ended ({run.open_since:.2f} s)"
            raise ValueError(f"{late}: feed pictures and sound in the order of their time")


def _assemble(
    analyzers: Analyzers | None, window_s: float | None, config: Path | None, live: bool, speech: bool
) -> PipelineBuilder:
    text = read(config)
    settings = text.settings()
    if window_s is not None:
        settings = settings.model_copy(update={"summary": settings.summary.model_copy(update={"window_s": window_s})})
    named = None
    if analyzers is not None:
        named = analyzers if isinstance(analyzers, Mapping) else {name: {} for name in analyzers}
    builder = PipelineBuilder(
        text, settings, recorded=not live, only=named, kinds={Kind.SPEECH: True} if speech else None
    )
    known = builder.plugins.analyzer_settings().keys()
    wrong = {r.name: r.detail for r in builder.plugins.reports() if r.status is Status.CONFIG_ERROR}
    for name in sorted((named or {}).keys() - known - wrong.keys()):
        raise ConfigError(f"no analyzer {name!r}; there are: {', '.join(sorted(known))}")
    if wrong:
        raise ConfigError("\n".join(wrong.values()))
    return builder


def _picture(image: npt.NDArray[np.uint8], rgb: bool) -> npt.NDArray[np.uint8]:
    colour = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not (image.ndim == 2 or colour):
        found = f"{image.dtype} {list(image.shape)}"
        raise ValueError(f"a picture is uint8 [height, width] or [height, width, 3], not {found}")
    if min(image.shape[:2]) < MIN_SIDE:
        raise ValueError(f"a picture is at least {MIN_SIDE} pixels wide and high, not {list(image.shape)}")
    return np.ascontiguousarray(image[..., ::-1] if rgb and colour else image)


def _told(report: PluginReport) -> str:
    running = report.status is Status.ENABLED
    return report.status.value if running else f"{report.status.value}: {report.detail}"
