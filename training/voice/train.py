"""Fit the two linear models of the voice analyzer: ``python -m training.voice.train [--out FILE]`` (an ``.npz``).

Arousal: ridge regression on EMO-DB, each clip as it is and in mixtures of conditions, without the mean of its speaker
and microphone; the scale of the log odds is fitted on speakers that were left out. Speech: logistic regression on the
features themselves, of speech against coughs, cries, noises, vocal bursts and synthetic music.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from edge_agent.domain.media import AUDIO_RATE
from edge_agent_voice import arousal
from edge_agent_voice.prosody import NAMES
from training.burst import recordings
from training.voice.dataset import (
    SHARED,
    Clip,
    Samples,
    Table,
    Vectors,
    anyhow,
    corpora,
    features,
    read_manifest,
    table,
)

RIDGE = 1.0
VARIANTS = 6
_ABROAD = 10.0
"""Other languages, rooms and microphones differ by so many times the variance of the training's ten speakers."""
_OTHER = ("background", "cough", "crying", "sneeze")
SPEECH_RIDGE = 0.01


def centred(t: Table) -> Vectors:
    """Features without the mean of their group."""
    x = t.x.copy()
    for group in np.unique(t.group):
        x[t.group == group] -= x[t.group == group].mean(axis=0)
    return x


def ridge(x: Vectors, high: Vectors) -> Vectors:
    """Weights [features + 1], the last one a constant, for targets of -1 and 1."""
    ones = np.c_[x, np.ones(len(x))]
    penalty = RIDGE * np.diag([1.0] * x.shape[1] + [0.0])
    return np.asarray(np.linalg.solve(ones.T @ ones / len(x) + penalty, ones.T @ np.where(high, 1.0, -1.0) / len(x)))


def fit(t: Table) -> dict[str, Vectors]:
    """Weights of arousal, see :class:`edge_agent_voice.arousal.Arousal`."""
    within = centred(t).std(axis=0) + 1e-9
    x = np.clip(centred(t) / within, -4.0, 4.0)
    weights = ridge(x, t.high)
    scores = np.concatenate(
        [x[t.speaker == s] @ (w := ridge(x[t.speaker != s], t.high[t.speaker != s]))[:-1] + w[-1]
         for s in np.unique(t.speaker)]
    )  # fmt: skip
    truth = np.concatenate([t.high[t.speaker == s] for s in np.unique(t.speaker)])
    scale = minimize(lambda a: np.logaddexp(0.0, -a[0] * scores * np.where(truth, 1, -1)).mean(), [2.0]).x[0]
    means = np.stack([_balanced(t, group) for group in np.unique(t.group)])
    between = np.maximum(means.var(axis=0), 1e-9)
    return {
        "mean": means.mean(axis=0),
        "within": within,
        "lean": within**2 / (_ABROAD * between),
        "weight": weights[:-1] * scale,
        # No bias: 0 is as this speaker usually speaks, however many of the training's clips are acted as high.
        "bias": np.array(0.0),
    }


def _balanced(t: Table, group: str) -> Vectors:
    """Mean of a group in which high and low count the same."""
    here = t.group == group
    sides = [t.x[here & (t.high == side)] for side in (True, False)]
    return np.asarray(np.mean([side.mean(axis=0) for side in sides if len(side)], axis=0))


def music(rng: np.random.Generator) -> Samples:
    """Four seconds of notes with overtones and decay, one to four at a time, sometimes with drums."""
    out = np.zeros(4 * AUDIO_RATE)
    beat, decay = rng.uniform(0.15, 0.8), rng.uniform(0.5, 8.0)
    for start in np.arange(0.0, 3.8, beat):
        t = np.arange(int(min(4.0 - start, beat * rng.uniform(0.6, 2.0)) * AUDIO_RATE)) / AUDIO_RATE
        place = slice(int(start * AUDIO_RATE), int(start * AUDIO_RATE) + len(t))
        for _ in range(rng.integers(1, 5)):
            hertz = 110.0 * 2 ** (rng.integers(0, 30) / 12)
            wobble = 1 + rng.choice([0.0, 0.006]) * np.sin(2 * np.pi * 5.5 * t)
            for k in range(1, int(min(12, 7_000 / hertz))):
                out[place] += np.sin(2 * np.pi * hertz * k * t * wobble) * np.exp(-decay * t) / k ** rng.uniform(1, 2)
        if rng.random() < 0.4:
            out[place] += rng.standard_normal(len(t)) * np.exp(-30 * t) * rng.uniform(0, 3)
    return (out / (np.abs(out).max() + 1e-9) * rng.uniform(0.1, 0.9)).astype(np.float32)


def sounds(seed: int = 0, share: int = 1) -> Iterator[tuple[Samples, bool]]:
    """Sounds and whether they are speech, every ``share``-th, from the training side of the recordings."""
    rng = np.random.default_rng(seed)
    found = [r for r in recordings.find(SHARED / "bursts") if r.split == "train"]
    spoken = [r for r in found if r.label == "speech"]
    other = [r for r in found if any(part in _OTHER for part in r.path.parts)]
    bursts = [c for c in read_manifest(SHARED / "emogator") if int(c.speaker[-6:]) <= 200]
    for path, speech in [
        *((r.path, True) for r in spoken[::share]),
        *((r.path, False) for r in other[::share]),
        *((c.path, False) for c in bursts[:: 8 * share]),
    ]:
        samples = recordings.read(path)[: 8 * AUDIO_RATE]
        yield samples, speech
        if not speech or rng.random() < 0.5:
            yield anyhow(samples, rng), speech
    for _ in range(120 // share):
        yield music(rng), False


def fit_speech(x: Vectors, speech: Vectors) -> dict[str, Vectors]:
    """Weights of the speech gate; both classes count the same."""
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-9
    scaled = np.clip((x - mean) / deviation, -4.0, 4.0)
    sign, share = np.where(speech, 1.0, -1.0), speech.mean()
    balance = np.where(speech, 0.5 / share, 0.5 / (1 - share))

    def loss(w: Vectors) -> tuple[float, Vectors]:
        margin = sign * (scaled @ w[:-1] + w[-1])
        slope = -balance * sign / (1 + np.exp(np.clip(margin, -30, 30)))
        gradient = np.append(scaled.T @ slope, slope.sum()) / len(x) + 2 * SPEECH_RIDGE * np.append(w[:-1], 0.0)
        return float((balance * np.logaddexp(0, -margin)).mean() + SPEECH_RIDGE * w[:-1] @ w[:-1]), gradient

    w = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return {
        "speech_mean": mean, "speech_deviation": deviation, "speech_weight": w[:-1], "speech_bias": np.array(w[-1])
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(str(arousal.__file__)).with_name("arousal.npz"))
    args = parser.parse_args()
    speakers: dict[str, list[Clip]] = corpora(("emodb",))["emodb"]
    acted = table(speakers, VARIANTS)
    rows = [(vector, speech) for samples, speech in sounds() if (vector := features(samples)) is not None]
    x = np.concatenate([acted.x, np.stack([row[0] for row in rows])])
    speech = np.concatenate([np.ones(len(acted.x), bool), np.array([row[1] for row in rows])])
    weights = {**fit(acted), **fit_speech(x, speech)}
    assert all(len(w) == len(NAMES) for w in weights.values() if w.ndim)
    np.savez_compressed(args.out, **{name: value.astype(np.float32) for name, value in weights.items()})
    print(f"{args.out}: {len(acted.x)} turns of {len(speakers)} speakers, {len(rows)} other recordings")


if __name__ == "__main__":
    main()
