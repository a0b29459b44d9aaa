"""Vectors of faces, sounds and words for custom models, and the analyzers ``custom:NAME`` that judge live ones by them.

Training and live use share this code. A change of what a vector means needs a new name in :data:`NAMES`, so that models
trained before it are refused instead of answering wrongly.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from edge_agent.custom.examples import Medium
from edge_agent.custom.store import CustomModel, CustomStore, Vectors
from edge_agent.domain.errors import EdgeAgentError, ModelError
from edge_agent.domain.face import Face, TrackedFace
from edge_agent.domain.media import AUDIO_RATE, AudioBlock, Frame
from edge_agent.domain.observation import LANGUAGE, LANGUAGE_EMOTIONS, Observation
from edge_agent.domain.speech import Utterance
from edge_agent.models import TfliteModel
from edge_agent.plugin.spec import (
    Analyzer,
    AnalyzerContext,
    AnalyzerSettings,
    AnalyzerSpec,
    AudioAnalyzer,
    FaceAnalyzer,
    Isolation,
    Kind,
    TextAnalyzer,
)

NAMES: Mapping[Medium, str] = {"face": "face-1", "sound": "logmel-1", "words": "words-1"}
"""Names of the embeddings in use."""

log = logging.getLogger(__name__)

FACE_MODEL = "emotion"
"""Catalogue name of the network whose outputs are a part of a face's vector."""
MIN_FACE_PX = 28
"""Narrowest face in pixels that is judged."""
WINDOW_S = 2.0
HOP_S = 1.0
"""Sound is judged in windows of ``WINDOW_S`` every ``HOP_S``."""

LOOK_S = 10.0
"""A live analyzer looks for a newer version of its model this often, in seconds."""

_SIDE, _CELLS, _ANGLES = 48, 4, 8
_FRAME, _HOP, _BANDS = 512, 256, 40
_LEAST_FRAMES = 8
_QUIET = 1e-3
"""Windows whose root mean square is below -60 dB full scale are not judged."""
_BUCKETS = 512
_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[!?]")


class FaceEmbedding:
    """Vector of a face: the emotion network's logits, the place of its key points, and the directions of its edges."""

    def __init__(self, context: AnalyzerContext) -> None:
        self._network = TfliteModel(context.models.locate(FACE_MODEL), threads=context.threads)

    def __call__(self, frame: Frame, face: Face) -> Vectors | None:
        """float32 [1, 148] of ``face`` in ``frame``; None when it is too small."""
        from edge_agent.plugin import imaging  # OpenCV, which models of sound and words do not need

        if face.box.w * frame.width < MIN_FACE_PX:
            return None
        angle = imaging.roll(face, frame)
        crop = imaging.crop_gray(frame, imaging.expression_box(face.box, frame, angle), _SIDE, angle)
        scaled = crop.astype(np.float32)
        (logits,) = self._network(scaled[None, :, :, None] / np.float32(127.5) - np.float32(1))
        logits = logits.reshape(-1)
        parts = (logits - logits.mean(), _points(frame, face, angle), _edges(scaled))
        return np.concatenate(parts).astype(np.float32)[None]


def _points(frame: Frame, face: Face, angle: float) -> npt.NDArray[np.float64]:
    """Key points [12] relative to the box's middle, in its widths, turned upright; zeros when unknown."""
    if face.keypoints is None:
        return np.zeros(12)
    centre, width = face.box.centre, face.box.w * frame.width
    places = np.array([((p.x - centre.x) * frame.width, (p.y - centre.y) * frame.height) for p in face.keypoints.all()])
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(places @ np.array([[cos, -sin], [sin, cos]]) / width).ravel()


def _edges(crop: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Histograms of oriented gradients of a picture [48, 48]: 4 x 4 cells of 8 directions, of length 1."""
    down, right = np.gradient(crop)
    strength = np.hypot(down, right)
    direction = (np.arctan2(down, right) % np.pi / np.pi * _ANGLES).astype(int) % _ANGLES
    rows, columns = np.indices(crop.shape) * _CELLS // _SIDE
    cells = (rows * _CELLS + columns) * _ANGLES + direction
    found = np.sqrt(np.bincount(cells.ravel(), strength.ravel(), _CELLS * _CELLS * _ANGLES))
    return np.asarray(found / max(float(np.linalg.norm(found)), 1e-6))


def sound_windows(samples: npt.NDArray[np.float32]) -> Vectors:
    """Vectors float32 [n, 160] of the windows of a sound at :data:`AUDIO_RATE`; none of silence.

    A sound shorter than a window is one. Each is described by the mean, deviation, upper end and change of its log-mel
    bands, relative to its own loudness.
    """
    size, hop = round(WINDOW_S * AUDIO_RATE), round(HOP_S * AUDIO_RATE)
    starts = range(0, max(len(samples) - size, 0) + 1, hop)
    found = [vector for start in starts if (vector := _sound(samples[start : start + size])) is not None]
    return np.stack(found) if found else np.zeros((0, 4 * _BANDS), np.float32)


def _sound(samples: npt.NDArray[np.float32]) -> Vectors | None:
    samples = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    samples = samples - samples.mean() if len(samples) else samples
    if len(samples) < _FRAME + _LEAST_FRAMES * _HOP or float(np.sqrt(np.mean(samples**2))) < _QUIET:
        return None
    cut = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_HOP]
    power = np.abs(np.fft.rfft(cut * np.hanning(_FRAME), axis=1)) ** 2 @ _FILTERS
    bands = 10 * np.log10(power + 1e-10)
    loud = bands.mean(axis=1)
    bands = bands[loud > loud.max() - 35]  # pauses tell more about the room than about the sound
    bands = np.maximum(bands, bands.max() - 80) - bands.mean()
    change = np.abs(np.diff(bands, axis=0)).mean(axis=0) if len(bands) > 1 else np.zeros(_BANDS)
    parts = (bands.mean(axis=0), bands.std(axis=0), np.percentile(bands, 90, axis=0), change)
    return np.concatenate(parts).astype(np.float32)


def _filters() -> npt.NDArray[np.float64]:
    """Triangles [257, 40], equally spaced on the mel scale between 60 and 7,800 Hz."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (60, 7800))
    edges = 700 * (10 ** (np.linspace(low, high, _BANDS + 2) / 2595) - 1)
    hertz = np.arange(_FRAME // 2 + 1)[:, None] * AUDIO_RATE / _FRAME
    rise = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rise, fall))
    for band in np.flatnonzero(triangles.sum(axis=0) < 0.5):  # narrower than a bin: take the nearest one
        triangles[np.abs(hertz[:, 0] - edges[band + 1]).argmin(), band] = 1.0
    return triangles


_FILTERS = _filters()


def words_vector(text: str, observations: Sequence[Observation]) -> Vectors:
    """Vector float32 [1, 540] of a text: logits of the 28 emotions it expresses, and its words and pairs of words.

    ``observations`` are those of the analyzer ``language``; the emotions of a text that it cannot judge are zeros.
    """
    known = next((o.values for o in observations if o.name == LANGUAGE), None)
    p = np.full(len(LANGUAGE_EMOTIONS), 0.5) if known is None else np.array([known[e] for e in LANGUAGE_EMOTIONS])
    p = np.clip(p, 1e-3, 1 - 1e-3)
    tokens = _TOKEN.findall(text.casefold())
    counts = np.zeros(_BUCKETS)
    for term in [*tokens, *(f"{a} {b}" for a, b in pairwise(tokens))]:
        counts[zlib.crc32(term.encode("utf-8", "surrogatepass")) % _BUCKETS] += 1.0
    counts = np.sqrt(counts / max(1.0, counts.sum()))
    return np.concatenate([np.log(p / (1 - p)), counts]).astype(np.float32)[None]


# ---------------------------------------------------------------------- live


def terms(labels: Sequence[str]) -> tuple[str, ...]:
    """Terms of an observation for ``labels``: lower-case letters, digits and _, all different."""
    found: list[str] = []
    for label in labels:
        plain = re.sub(r"[^a-z0-9]+", "_", label.casefold()).strip("_") or "label"
        plain = plain if plain[0].isalpha() else f"label_{plain}"
        count = sum(other == plain or other.startswith(f"{plain}__") for other in found)
        found.append(f"{plain}__{count + 1}" if count else plain)
    return tuple(found)


def _observation(model: CustomModel, vectors: Vectors, time: float, track: str | None = None) -> Observation:
    values = model.predict(vectors)
    return Observation(
        f"custom:{model.about.name}", dict(zip(terms(tuple(values)), values.values(), strict=True)), time, track
    )


def check_use(model: CustomModel) -> CustomModel:
    """Return ``model`` if its vectors are made here. Raises ModelError when they were made otherwise."""
    about = model.about
    if about.embedding != NAMES[about.medium]:
        raise ModelError(f"custom model {about.name!r} rests on {about.embedding}, not known here: train it again")
    return model


class Newest:
    """The newest version of a model: a newer one replaces it within :data:`LOOK_S` seconds, without a restart.

    One that is damaged or judges something else does not, and a deleted model is kept until the next start.

    Raises:
        EdgeAgentError: there is no model, or it cannot be used.
    """

    def __init__(self, store: CustomStore, name: str) -> None:
        self._store = store
        self._model = check_use(store.load(name))
        self._seen, self._due = self._model.about.version, 0.0

    def at(self, time: float) -> CustomModel:
        """The model in use at ``time``, the seconds of what is analysed; now and then this reads a folder."""
        if time >= self._due or time < self._due - LOOK_S:
            self._due = time + LOOK_S
            self._look(self._model.about.name)
        return self._model

    def _look(self, name: str) -> None:
        newest = max(self._store.versions(name), default=0)
        if newest <= self._seen:
            return
        self._seen = newest
        try:
            model = check_use(self._store.load(name, newest))
        except EdgeAgentError as error:
            log.warning("custom:%s: version %d is not used: %s", name, newest, error)
            return
        if model.about.medium != self._model.about.medium:
            log.warning("custom:%s: version %d judges %s: restart to use it", name, newest, model.about.medium)
            return
        log.info("custom:%s: version %d is in use", name, newest)
        self._model = model


class CustomFaces(FaceAnalyzer):
    """Judge each face by a custom model."""

    def __init__(self, newest: Newest, context: AnalyzerContext) -> None:
        self._newest = newest
        self._embed = FaceEmbedding(context)

    def analyze(self, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation]:
        """One observation ``custom:NAME`` for every face that is large enough and was seen in this frame."""
        found = []
        model = self._newest.at(frame.time)
        for tracked in faces:
            if not tracked.coasting and (vector := self._embed(frame, tracked.face)) is not None:
                found.append(_observation(model, vector, frame.time, tracked.track))
        return found


class CustomSounds(AudioAnalyzer):
    """Judge the latest two seconds of sound every second by a custom model; silence is not judged."""

    def __init__(self, newest: Newest) -> None:
        self._newest = newest
        self._kept: npt.NDArray[np.float32] = np.zeros(0, np.float32)
        self._whole, self._end = False, 0.0

    def analyze(self, block: AudioBlock) -> Sequence[Observation]:
        """Observations ``custom:NAME`` of the windows that this block completes."""
        if block.gap > 0:
            self.forget()
        self._end = block.end
        self._kept = np.concatenate([self._kept, block.samples])
        size, hop = round(WINDOW_S * AUDIO_RATE), round(HOP_S * AUDIO_RATE)
        found: list[Observation] = []
        while len(self._kept) >= size:
            found += self._judge(self._kept[:size])
            self._kept = self._kept[hop:]
            self._whole = True
        return found

    def finish(self) -> Sequence[Observation]:
        """Judge a sound that was shorter than a window, and forget it."""
        found = () if self._whole else self._judge(self._kept)
        self.forget()
        return found

    def forget(self) -> None:
        """Forget the sound."""
        self._kept, self._whole, self._end = np.zeros(0, np.float32), False, 0.0

    def _judge(self, samples: npt.NDArray[np.float32]) -> tuple[Observation, ...]:
        vectors = sound_windows(samples)
        return (_observation(self._newest.at(self._end), vectors, self._end),) if len(vectors) else ()


class CustomWords(TextAnalyzer):
    """Judge each utterance by a custom model; ``language``, which reads emotions in words, is closed with it."""

    def __init__(self, newest: Newest, language: TextAnalyzer) -> None:
        self._newest = newest
        self._language = language

    def analyze(self, utterance: Utterance) -> Sequence[Observation]:
        """One observation ``custom:NAME``; none of an utterance without words."""
        if not utterance.text.strip():
            return ()
        vectors = words_vector(utterance.text, self._language.analyze(utterance))
        return (_observation(self._newest.at(utterance.start), vectors, utterance.start),)

    def close(self) -> None:
        """Close the analyzer of emotions."""
        self._language.close()


class CustomSettings(AnalyzerSettings):
    """``[analyzers."custom:NAME"]``"""

    enabled: bool = Field(default=False, description="Whether this custom model judges what is seen or heard live.")

    @field_validator("isolation")
    @classmethod
    def _not_apart(cls, isolation: Isolation | None) -> Isolation | None:
        if isolation == "process":
            raise ValueError("a custom model runs in the agent's own process: leave it out")
        return isolation


Language = Callable[[AnalyzerContext], TextAnalyzer]
"""Makes the analyzer ``language``; raises EdgeAgentError when there is none."""

_KINDS: Mapping[Medium, Kind] = {"face": Kind.FACE, "sound": Kind.AUDIO, "words": Kind.TEXT}
_MODELS: Mapping[Medium, tuple[str, ...]] = {"face": (FACE_MODEL,), "sound": (), "words": ("language",)}


def analyzer_specs(store: CustomStore, language: Language) -> Iterable[AnalyzerSpec]:
    """Describe an analyzer ``custom:NAME`` for the newest version of each model; of a damaged one, one that fails."""
    for name in store.names():
        try:
            medium = store.load(name).about.medium
            summary = f"custom model of {medium}: see 'edge-agent custom show {name}'"
        except EdgeAgentError as error:
            medium, summary = "sound", str(error)
        models = _MODELS[medium]
        yield AnalyzerSpec(
            name=f"custom:{name}",
            kind=_KINDS[medium],
            summary=summary,
            factory=partial(_make, store, name, language),
            settings=CustomSettings,
            models=lambda _settings, models=models: models,  # type: ignore[misc]
        )


def _make(
    store: CustomStore, name: str, language: Language, _settings: CustomSettings, context: AnalyzerContext
) -> Analyzer:
    newest = Newest(store, name)
    medium = newest.at(0.0).about.medium
    if medium == "face":
        return CustomFaces(newest, context)
    return CustomSounds(newest) if medium == "sound" else CustomWords(newest, language(context))
