"""Real voices for training: EmoGator's vocal bursts, named by what was intended, by rhythm and by two teachers.

    python -m training.burst.voices --data ../shared/data/emogator --yamnet yamnet.tflite --out runs/corpus

EmoGator (Apache-2.0) says which emotion a speaker meant, not which sound was made. Clips of which YAMNet, the shipped
model or the rhythm is sure begin (:func:`seeds`); a linear classifier learns from them, without the speaker it judges,
and its answer counts times how often such a sound is made for the emotion (:data:`MADE`). Clips of which that is sure
enough get a label (``OTHER`` is speech), all others none, for the network to learn what its teacher thinks of them.
Speakers from :data:`HELD_BACK` on are left for validation: their clips are written as sound files, one folder a label,
for ``training.evaluate burst``. Throat clearings, which nobody recorded for us, are spliced out of growls and coughs.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, find_peaks, sosfilt
from torch.nn import functional as F

from edge_agent.models import TfliteModel
from edge_agent_burst import LABELS
from edge_agent_burst.own import CLASSES, OwnEngine
from training.burst import recordings
from training.burst.channel import record
from training.burst.corpus import UNLABELLED, Sample, save
from training.burst.features import log_mel
from training.burst.recordings import RATE
from training.burst.yamnet import Yamnet, by_class, overall

Array = npt.NDArray[np.float32]
HELD_BACK = 241
"""First speaker that is not trained on."""
OTHER = "other"
KINDS = ("laughter", "crying", "scream", "sigh", "gasp", "groan", OTHER)
MADE: Mapping[str, Mapping[str, float]] = {
    "amusement": {"laughter": 0.82, OTHER: 0.12},
    "anger": {"groan": 0.45, "scream": 0.1, OTHER: 0.35},
    "disappointment": {"sigh": 0.4, "groan": 0.3, OTHER: 0.25},
    "disgust": {"groan": 0.3, OTHER: 0.6},
    "distress": {"crying": 0.2, "scream": 0.12, "sigh": 0.12, "gasp": 0.15, "groan": 0.25, OTHER: 0.15},
    "ecstasy": {"groan": 0.2, "sigh": 0.25, "scream": 0.08, OTHER: 0.4},
    "fear": {"gasp": 0.3, "scream": 0.25, "crying": 0.1, "groan": 0.15, OTHER: 0.15},
    "pain": {"groan": 0.45, "scream": 0.2, "gasp": 0.12, "crying": 0.1, OTHER: 0.12},
    "relief": {"sigh": 0.8, OTHER: 0.12},
    "sadness": {"crying": 0.45, "sigh": 0.15, "groan": 0.2, OTHER: 0.15},
    "surprise negative": {"gasp": 0.5, "scream": 0.06, OTHER: 0.35},
    "surprise positive": {"gasp": 0.45, "scream": 0.06, OTHER: 0.4},
}
"""How often each kind of sound is made for an emotion: an estimate from 200 spectrograms that were looked at."""
_RARE = 0.04
"""How often any other is."""
SURE: Mapping[str, float] = {**dict.fromkeys(KINDS, 0.6), "groan": 0.65, OTHER: 0.75}
"""From which probability on a clip gets the label."""
_FOLDS, _ROUNDS, _RIDGE, _COOL = 5, 2, 0.004, 1.3


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A file and what was heard in it: YAMNet's overall embedding [1024] and highest scores [521], the shipped model's
    mean probability of each label [9], and the :func:`rhythm`."""

    path: Path
    meant: str
    speaker: int
    samples: Array
    embedding: Array
    scores: Array
    own: Array
    rhythm: Array

    @property
    def held_back(self) -> bool:
        """Whether it is for validation alone."""
        return self.speaker >= HELD_BACK


def rhythm(frames: Array) -> Array:
    """Of dB frames [n, 64]: calls, gaps of .1 to .45 s between them, their rate and regularity; colour and length."""
    envelope = gaussian_filter1d(frames.mean(axis=1).astype(float), 1.0)
    loud = frames[envelope > envelope.max() - 25]
    peaks, _ = find_peaks(envelope, height=envelope.max() - 20, prominence=4)
    gaps = np.diff(peaks) * 0.016
    calls = gaps[(gaps > 0.1) & (gaps < 0.45)]
    power = (10 ** (loud / 10)).mean(axis=0)
    return np.array(
        [
            min(len(peaks), 10) / 3,
            min(len(calls), 8) / 3,
            1 / np.median(calls) / 3 if len(calls) else 0.0,
            calls.std() / calls.mean() if len(calls) > 1 else 1.0,
            (power * np.arange(64)).sum() / power.sum() / 20,
            loud.std(axis=1).mean() / 5,
            np.abs(np.diff(loud[:, :41], 2, axis=1)).mean() / 3,
            np.log(len(loud) + 1),
            loud.mean(),
        ],
        np.float32,
    )


def heard(engine: OwnEngine, samples: Array) -> Array:
    """Mean probability of each label over the windows in which anything is louder than silence."""
    found = [p for feed in (engine.probabilities(samples), engine.rest()) for _, p in feed if p.any()]
    engine.reset()
    mean = np.mean(found, axis=0) if found else np.zeros(len(CLASSES))
    return np.asarray(mean[: len(LABELS)], np.float32)


def clips(folder: Path, model: Path, yamnet: Yamnet) -> list[Clip]:
    """What the manifest in ``folder`` lists, but nothing under a tenth of a second."""
    engine, found = OwnEngine(TfliteModel(model), hop=round(0.24 * RATE)), []
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        samples = recordings.read(folder / row["path"])
        if len(samples) < RATE // 10:
            continue
        embeddings, levels = yamnet.embed(samples)
        said = yamnet.scores(embeddings).max(axis=0), heard(engine, samples), rhythm(log_mel(samples))
        speaker = int(row["speaker"].rpartition("_")[2])
        found.append(Clip(folder / row["path"], row["label"], speaker, samples, overall(embeddings, levels), *said))
    return found


def seeds(clip: Clip) -> str:
    """The kind of a clip that is beyond doubt, or :data:`UNLABELLED`."""

    def most(*indices: int) -> float:
        return float(clip.scores[list(indices)].max())

    def meant(*emotions: str) -> bool:
        return clip.meant in emotions

    laugh, cry, wail, scream = most(*range(13, 19)), most(19, 20, 21), most(19, 20, 21, 22), most(6, 7, 9, 11)
    sigh, groan, gasp, speech = most(23), most(33, 34), most(39, 40), most(0, 1, 2, 3)
    calls, own = float(clip.rhythm[1]) * 3, dict(zip(LABELS, clip.own, strict=True))
    frightened = ("distress", "fear", "surprise negative", "surprise positive", "pain", "anger")
    plain = max(laugh, wail, scream, sigh, groan, gasp) < 0.03 and speech > 0.85
    rules = (
        ("laughter", meant("amusement") and (calls >= 2 or laugh > 0.15) and own["cough"] < 0.5),
        ("laughter", meant("ecstasy", "surprise positive") and laugh > 0.3),
        ("crying", meant("sadness", "distress") and cry > max(0.12, laugh)),
        ("crying", meant("fear", "pain") and cry > 0.4),
        ("crying", meant("sadness", "distress") and calls >= 3 and laugh < 0.3),
        ("scream", meant(*frightened) and (scream > 0.15 or own["scream"] > 0.6) and wail < 0.2),
        ("sigh", meant("relief", "disappointment", "sadness") and sigh > max(0.25, groan) and gasp < 0.25),
        ("gasp", meant("surprise positive", "surprise negative", "fear") and gasp > max(0.25, groan)),
        ("groan", meant("pain", "distress", "disappointment", "anger") and groan > max(0.25, sigh) and scream < 0.1),
        (OTHER, not meant("amusement", "sadness", "distress", "fear", "pain") and plain),
    )
    return next((kind for kind, sure in rules if sure), UNLABELLED)


def features(found: Sequence[Clip]) -> torch.Tensor:
    """What the classifier sees of each clip, standardised: float [n, 1024 + 9 + 10 + 9]."""
    roots = np.sqrt(np.stack([clip.embedding for clip in found]))
    pace = np.stack([clip.rhythm for clip in found])
    said = np.log(np.stack([by_class(clip.scores)[:10] for clip in found]) + 0.01) / 2
    own = np.log(np.stack([clip.own for clip in found]) + 0.01) / 2
    roots = (roots - roots.mean(0)) / (roots.std(0) + 0.05)
    pace = (pace - pace.mean(0)) / (pace.std(0) + 1e-3) * 2
    return torch.from_numpy(np.concatenate([roots, pace, said, own], axis=1).astype(np.float32))


def _fit(x: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor) -> torch.nn.Linear:
    linear = torch.nn.Linear(x.shape[1], len(KINDS))
    optimiser = torch.optim.LBFGS(linear.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        misfit = -(weights * (wanted * F.log_softmax(linear(x), 1)).sum(1)).sum() / weights.sum()
        penalised = misfit + _RIDGE * linear.weight.square().sum()
        penalised.backward()
        return penalised

    optimiser.step(loss)
    return linear


def kinds(x: torch.Tensor, started: Sequence[str], meant: Sequence[str], speakers: Sequence[int]) -> Array:
    """Probabilities of :data:`KINDS` [n, 7] of clips with features ``x``, of which some have ``started`` as known."""
    prior = np.full((len(x), len(KINDS)), _RARE)
    for row, emotion in zip(prior, meant, strict=True):
        for kind, share in MADE[emotion].items():
            row[KINDS.index(kind)] = share
    prior /= prior.sum(axis=1, keepdims=True)
    known = np.array([kind in KINDS for kind in started])
    named = np.zeros((len(x), len(KINDS)))
    named[known, [KINDS.index(kind) for kind in started if kind in KINDS]] = 1.0
    wanted, weights, fold = named, known.astype(float), np.asarray(speakers) % _FOLDS
    judged = np.zeros_like(prior)
    for _ in range(_ROUNDS):
        balance = (wanted / ((wanted * weights[:, None]).sum(axis=0) + 1)).sum(axis=1) * len(x) / len(KINDS)
        for held in range(_FOLDS):
            rows = np.flatnonzero((fold != held) & (weights > 0))
            given = [torch.from_numpy(v[rows].astype(np.float32)) for v in (wanted, weights * balance)]
            linear, asked = _fit(x[rows], *given), np.flatnonzero(fold == held)
            with torch.no_grad():
                judged[asked] = (linear(x[asked]) / _COOL).softmax(1).numpy()
        judged *= prior
        judged /= judged.sum(axis=1, keepdims=True)
        wanted = np.where(known[:, None], (judged + named) / 2, judged)
        weights = np.maximum(wanted.max(axis=1), 0.2) ** 2
    return judged.astype(np.float32)


def labelled(probabilities: Array) -> str:
    """The label for a row of :func:`kinds`, or :data:`UNLABELLED`."""
    kind = KINDS[int(probabilities.argmax())]
    if probabilities.max() < SURE[kind]:
        return UNLABELLED
    return "speech" if kind == OTHER else kind


# ---------------------------------------------------------------------- throat clearings


def cleared(growls: Sequence[Array], coughs: Sequence[Array], rng: np.random.Generator) -> Array:
    """One to three short, rough pulses of a growl with the noise of a cough in their beginning."""
    parts = [np.zeros(RATE // 5)]
    for _ in range(int(rng.choice([1, 2, 3], p=[0.3, 0.5, 0.2]))):
        pulse = _pulse(growls[int(rng.integers(len(growls)))], coughs[int(rng.integers(len(coughs)))], rng)
        parts += [pulse, np.zeros(int(RATE * rng.uniform(0, 0.22)))]
    return np.concatenate([*parts, np.zeros(RATE // 5)]).astype(np.float32)


def _pulse(growl: Array, cough: Array, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    count, slower = int(RATE * rng.uniform(0.12, 0.42)), rng.uniform(0.65, 1.05)
    source = _loud(growl, int(count * slower) + 2, rng)
    voice = np.interp(np.arange(count) * slower, np.arange(len(source)), source)
    jitter = np.repeat(1 + 0.15 * rng.standard_normal(count // 400 + 2), 400)[:count]
    voice *= 1 - rng.uniform(0.2, 0.85) * (
        0.5 + 0.5 * np.cos(2 * np.pi * np.cumsum(rng.uniform(22, 65) * jitter) / RATE)
    )
    corners = [rng.uniform(200, 500), rng.uniform(2500, 5500)]
    breath = sosfilt(butter(2, corners, "band", fs=RATE, output="sos"), _loud(cough, count, rng))
    breath *= np.exp(-np.arange(count) / RATE / rng.uniform(0.04, 0.2)) * 10 ** (rng.uniform(-20, -3) / 20)
    x = voice / (np.abs(voice).max() + 1e-9) + breath / (np.abs(breath).max() + 1e-9)
    attack, decay = int(RATE * rng.uniform(0.008, 0.05)), int(count * rng.uniform(0.25, 0.6))
    x[:attack] *= np.linspace(0, 1, attack)
    x[count - decay :] *= np.linspace(1, 0, decay) ** rng.uniform(0.7, 2)
    if rng.random() < 0.4:
        x[count // 2 :] = sosfilt(butter(2, rng.uniform(500, 1100), fs=RATE, output="sos"), x)[count // 2 :]
    return np.asarray(x * rng.uniform(0.4, 1))


def _loud(x: Array, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A stretch of ``count`` samples from where ``x`` is loud."""
    if len(x) <= count:
        return np.pad(x.astype(float), (0, count - len(x)))
    power = np.convolve(x.astype(float) ** 2, np.ones(count), "valid")
    begin = int(rng.choice(np.flatnonzero(power >= 0.5 * power.max())))
    return x[begin : begin + count].astype(float)


# ---------------------------------------------------------------------- command line


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of EmoGator with manifest.csv")
    parser.add_argument("--coughs", type=Path, help="folder of recordings, one sub-folder per label")
    parser.add_argument("--yamnet", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("plugins/edge_agent_burst/burst.tflite"))
    parser.add_argument("--out", type=Path, required=True, help="corpus; held-back clips go beside it, to OUT-check")
    parser.add_argument("--cleared", type=int, default=360, help="throat clearings to splice, given --coughs")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    every = clips(args.data, args.model, Yamnet(args.yamnet))
    judged = kinds(features(every), [seeds(c) for c in every], [c.meant for c in every], [c.speaker for c in every])
    labels = [labelled(row) for row in judged]
    found, growls = [], []
    for clip, label in zip(every, labels, strict=True):
        if clip.held_back:
            target = args.out.with_name(f"{args.out.name}-check") / label / f"{clip.path.stem}_{clip.meant[:8]}.wav"
            target.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(target, clip.samples, RATE)
            continue
        found.append(Sample(clip.samples, label, clip.path.stem, real=True))
        if label == "groan" and clip.meant in {"anger", "disgust", "pain", "distress"}:
            growls.append(clip.samples)
    save(args.out / "spoken.npz", found)
    if args.coughs:
        train = [r for r in recordings.find(args.coughs) if r.label == "cough" and r.split == "train"]
        coughs = [recordings.read(r.path) for r in train[:150]]
        made = [record(cleared(growls, coughs, rng), rng, mild=True) for _ in range(args.cleared)]
        save(args.out / "spliced-000.npz", [Sample(x, "throat_clearing", "spliced", real=True) for x in made])
    for held_back in (False, True):
        count = Counter(label for clip, label in zip(every, labels, strict=True) if clip.held_back == held_back)
        print("held back" if held_back else "train", json.dumps(dict(count.most_common())))


if __name__ == "__main__":
    main()
