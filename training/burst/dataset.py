"""Training windows of two seconds, cut and varied afresh every time from the stored log-mel frames.

What can be done to a spectrogram is done here (position, noise, speech before, pitch, speed, tone colour, masks);
rooms and microphones were simulated on the samples. Labels are balanced; within a label, clips that YAMNet recognises
are drawn more often, where YAMNet can be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_agent_burst import LABELS, REJECTIONS
from edge_agent_burst.frontend import BANDS, HOP, relative
from edge_agent_burst.own import WINDOW_FRAMES
from edge_agent_burst.yamnet import WINDOW as YAMNET_WINDOW
from training.burst.corpus import CLASSES, NO_LABEL
from training.burst.yamnet import LEAD, STRIDE, overall

Array = npt.NDArray[np.float32]

SHARE: Mapping[str, float] = {**dict.fromkeys(LABELS, 0.075), "speech": 0.25, "background": 0.2}
"""How often a class is drawn, relative to the others."""
REAL_SHARE: Mapping[str, float] = {
    **dict.fromkeys(("laughter", "sigh", "gasp", "groan"), 0.4),
    **dict.fromkeys(("cough", "sneeze"), 0.3),
    "scream": 0.25,
    "crying": 0.35,
    "speech": 0.5,
    "background": 0.7,
}
"""How much of it is drawn from recordings, where there are any: not more, lest what is recorded be taken for them."""
TEACHER_REAL_SHARE: Mapping[str, float] = {**REAL_SHARE, "cough": 0.5, "crying": 0.4, "sneeze": 0.5}
"""The same for the teacher: YAMNet knows recordings of everything, so these are not taken for their label."""
UNLABELLED_SHARE = 0.2
"""How much of a batch has no label."""
UNJUDGED = ("throat_clearing", "groan", *REJECTIONS)
"""Labels on which YAMNet is no credible critic."""
_CRITIC_FLOOR = 0.06
_LOUD_DB = 15.0
_SPEECH, _BACKGROUND = (CLASSES.index(name) for name in REJECTIONS)


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """``frames`` float16 [n, 64] dB; of YAMNet's windows ``embeddings`` float16 [m, 1024], ``loudness`` float32 [m] and
    what it ``heard``, float16 [m, 11]."""

    frames: npt.NDArray[np.float16]
    embeddings: npt.NDArray[np.float16]
    loudness: Array
    heard: npt.NDArray[np.float16]
    label: int
    real: bool
    critic: float

    @property
    def burst(self) -> bool:
        """Whether it is called one, and neither speech nor background nor nothing at all."""
        return 0 <= self.label < len(LABELS)


def load(paths: Sequence[Path]) -> list[Clip]:
    """All clips of feature files."""
    clips: list[Clip] = []
    for path in paths:
        data = np.load(path)
        frames = np.split(data["frames"], np.cumsum(data["lengths"])[:-1])
        ends = np.cumsum(data["windows"])[:-1]
        heard = zip(*(np.split(data[name], ends) for name in ("embeddings", "loudness", "heard")), strict=True)
        columns = zip(frames, heard, data["labels"], data["real"], data["critic"], strict=True)
        clips += [Clip(f, *h, int(label), bool(real), float(c)) for f, h, label, real, c in columns if len(f)]
    return clips


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """``windows`` float32 [n, 125, 64] in -1..1; of the same sounds ``embeddings`` float32 [n, 1024] and what YAMNet
    ``heard`` float32 [n, 11]; ``labels`` int64 [n], some :data:`NO_LABEL`."""

    windows: Array
    embeddings: Array
    heard: Array
    labels: npt.NDArray[np.int64]


class Sampler:
    """Draws batches from ``clips`` without end.

    ``recorded`` is each label's share of recordings, ``unlabelled`` the share of windows without a label, where there
    are such clips.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        seed: int,
        recorded: Mapping[str, float] = REAL_SHARE,
        unlabelled: float = UNLABELLED_SHARE,
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._real_share = recorded
        self._pools = {
            (label, real): [c for c in clips if c.label == label and c.real == real]
            for label in range(len(CLASSES))
            for real in (False, True)
        }
        self._chances = {key: _chances(pool, CLASSES[key[0]]) for key, pool in self._pools.items() if pool}
        self._others = [clip for clip in clips if clip.label == NO_LABEL]
        self._unlabelled = unlabelled if self._others else 0.0
        self._recorded = [clip for clip in clips if clip.real and clip.burst]
        share = np.array([SHARE[name] for name in CLASSES])
        self._share = share / share.sum()
        self._grain = self._rng.gumbel(0.0, 4.0, (64, WINDOW_FRAMES, BANDS)).astype(np.float32)

    def batch(self, size: int) -> Batch:
        """``size`` fresh windows."""
        labels = self._rng.choice(len(CLASSES), size, p=self._share)
        labels[self._rng.random(size) < self._unlabelled] = NO_LABEL
        windows, asked = np.empty((size, WINDOW_FRAMES, BANDS), np.float32), []
        for k, label in enumerate(labels):
            clip = self._clip(int(label))
            windows[k], begin = self._window(clip)
            asked.append(yamnet_at(clip, begin))
        windows = relative(windows)
        for window in windows:
            self._mask(window)
        embeddings, heard = (np.stack(column) for column in zip(*asked, strict=True))
        return Batch(windows, embeddings, heard, labels.astype(np.int64))

    def _clip(self, label: int) -> Clip:
        if label == NO_LABEL:
            return self._others[int(self._rng.integers(len(self._others)))]
        real = self._rng.random() < self._real_share.get(CLASSES[label], 0.0)
        key = (label, real) if (label, real) in self._chances else (label, not real)
        pool = self._pools[key]
        return pool[int(self._rng.choice(len(pool), p=self._chances[key]))]

    def _window(self, clip: Clip) -> tuple[Array, int]:
        """Two seconds of dB with the clip somewhere in it, and the clip's frame at which they begin."""
        rng, frames = self._rng, clip.frames.astype(np.float32)
        begin = self._place(frames, clip.label)
        window = np.full((WINDOW_FRAMES, BANDS), -100.0, np.float32)
        first, last = max(0, -begin), min(WINDOW_FRAMES, len(frames) - begin)
        window[first:last] = frames[begin + first : begin + last]
        peak = float(window.mean(axis=1).max())
        if rng.random() < 0.65:
            window = _add(window, self._bed(), peak - rng.uniform(20.0, 55.0))
        if clip.burst and first > 12 and rng.random() < 0.12:
            talk = self._stretch(_SPEECH)
            talk[first:] = -100.0
            window = _add(window, talk, peak - rng.uniform(-3.0, 15.0))
        elif clip.label == _SPEECH and rng.random() < 0.2:
            window = _add(window, self._bed(), peak - rng.uniform(0.0, 20.0))
        return self._vary(window), begin

    def _place(self, frames: Array, label: int) -> int:
        rng, spare = self._rng, len(frames) - WINDOW_FRAMES
        if label in (_SPEECH, _BACKGROUND) and spare > 0:
            return int(rng.integers(spare + 1))
        levels = frames.mean(axis=1)
        anchor = int(rng.choice(np.flatnonzero(levels >= levels.max() - _LOUD_DB)))
        return anchor - int(rng.integers(15, WINDOW_FRAMES - 14))

    def _stretch(self, label: int) -> Array:
        """Two seconds of any clip of ``label``."""
        frames = self._clip(label).frames
        begin = int(self._rng.integers(max(1, len(frames) - WINDOW_FRAMES)))
        part = frames[begin : begin + WINDOW_FRAMES].astype(np.float32)
        return np.resize(part, (WINDOW_FRAMES, BANDS)) if len(part) else part

    def _bed(self) -> Array:
        """Background: a recorded or synthetic one, the quiet moments of a recording, or steady noise of any colour."""
        rng, choice = self._rng, self._rng.random()
        if choice < 0.35:
            return self._stretch(_BACKGROUND)
        if choice < 0.7 and self._recorded:
            return self._quiet(self._recorded[int(rng.integers(len(self._recorded)))])
        colour = np.linspace(0.0, rng.uniform(-40.0, 15.0), BANDS) + _curve(rng, 4.0)
        grain = self._grain[int(rng.integers(len(self._grain)))]
        return np.asarray(colour, np.float32) + np.roll(grain, int(rng.integers(WINDOW_FRAMES)), axis=0)

    def _quiet(self, clip: Clip) -> Array:
        """Two seconds made of the quietest frames of ``clip``: its room and microphone without its sound."""
        frames = clip.frames.astype(np.float32)
        order = np.argsort(frames.mean(axis=1))[: max(8, len(frames) // 4)]
        return np.asarray(frames[np.resize(self._rng.permutation(order), WINDOW_FRAMES)])

    def _vary(self, window: Array) -> Array:
        """Speed, pitch and formants, tone colour and bandwidth."""
        rng, bands = self._rng, np.arange(BANDS)
        if rng.random() < 0.5:
            factor = rng.uniform(0.75, 1.3)
            middle = WINDOW_FRAMES / 2
            source = np.rint((np.arange(WINDOW_FRAMES) - middle) * factor + middle).astype(int)
            window = window[np.clip(source, 0, WINDOW_FRAMES - 1)]
        if rng.random() < 0.6:
            shift, stretch = rng.uniform(-4.0, 4.0), rng.uniform(0.93, 1.07)
            window = window[:, np.clip(np.rint(bands * stretch + shift).astype(int), 0, BANDS - 1)]
        if rng.random() < 0.8:
            window = window + _curve(rng, 6.0)
        if rng.random() < 0.45:
            # Narrow-band microphones, telephones and codecs.
            slope = np.clip((bands - rng.integers(34, BANDS)) / rng.integers(1, 6), 0.0, 1.0)
            window = window - np.asarray(slope * rng.uniform(20.0, 60.0), np.float32)
        if rng.random() < 0.3:
            # Small microphones, and filters against rumble.
            low = bands < rng.integers(0, 14)
            window = window - np.asarray(low * rng.uniform(3.0, 30.0), np.float32)
        return window

    def _mask(self, window: Array) -> None:
        rng = self._rng
        if rng.random() < 0.4:
            begin, count = int(rng.integers(BANDS)), int(rng.integers(1, 10))
            window[:, begin : begin + count] = window.mean()
        if rng.random() < 0.4:
            begin, count = int(rng.integers(WINDOW_FRAMES)), int(rng.integers(1, 14))
            window[begin : begin + count] = window.mean()


def yamnet_at(clip: Clip, begin: int) -> tuple[Array, Array]:
    """Overall embedding, and what was heard, in YAMNet's windows whose middle is in the window from ``begin`` on."""
    middles = (np.arange(len(clip.embeddings)) * STRIDE - LEAD + YAMNET_WINDOW / 2) / HOP
    inside = (middles >= begin) & (middles < begin + WINDOW_FRAMES)
    if not inside.any():
        inside[np.abs(middles - begin - WINDOW_FRAMES / 2).argmin()] = True
    heard = clip.heard[inside].astype(np.float32).max(axis=0)
    heard[_BACKGROUND] = 1.0 - heard[:_BACKGROUND].max()
    return overall(clip.embeddings[inside].astype(np.float32), clip.loudness[inside]), heard


def _chances(pool: Sequence[Clip], label: str) -> npt.NDArray[np.float64]:
    if label in UNJUDGED or pool[0].real:
        weights = np.ones(len(pool))
    else:
        weights = _CRITIC_FLOOR + np.array([clip.critic for clip in pool])
    return np.asarray(weights / weights.sum())


def _add(window: Array, bed: Array, level: float) -> Array:
    """The two together, ``bed`` scaled so that its loudest frame has ``level`` dB; the louder masks the other."""
    return np.maximum(window, bed + np.float32(level - float(bed.mean(axis=1).max())))


def _curve(rng: np.random.Generator, depth_db: float) -> Array:
    """A smooth random response over the bands."""
    knots = int(rng.integers(2, 7))
    values = rng.normal(0.0, depth_db, knots)
    return np.interp(np.linspace(0, knots - 1, BANDS), np.arange(knots), values).astype(np.float32)
