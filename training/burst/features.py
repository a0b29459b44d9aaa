"""From shards of sound to what training reads: log-mel frames and YAMNet's embedding and opinion of every clip.

    python -m training.burst.features --corpus runs/corpus --yamnet yamnet.tflite

Writes ``features-NAME.npz`` beside each shard: ``frames`` (float16 dB, all clips one after the other), ``lengths``,
``embeddings`` (float16 [n, 1024], a window every 0.48 s), ``windows`` (how many per clip), ``critic`` (YAMNet's highest
score for the clip's own label) and the shard's ``labels``, ``kinds`` and ``real``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from edge_agent.models import TfliteModel
from edge_agent_burst.frontend import LogMel
from edge_agent_burst.graph import with_inner_output
from edge_agent_burst.yamnet import EMBEDDING, GROUPS, WINDOW
from training.burst.corpus import CLASSES

STRIDE = 7_680
"""Samples between two of YAMNet's windows."""
Array = npt.NDArray[np.float32]


class Yamnet:
    """Embeddings, and scores computed from them with the network's own last layer."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        self._embed = TfliteModel(with_inner_output(content, EMBEDDING))
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        details = {tuple(detail["shape"]): detail for detail in interpreter.get_tensor_details()}
        self._weights = _constant(interpreter, details[521, EMBEDDING])
        self._bias = _constant(interpreter, details[521,])

    def embed(self, samples: Array) -> Array:
        """Float32 [windows, 1024]; the last window is padded with silence."""
        count = max(1, -(-(len(samples) - WINDOW) // STRIDE) + 1)
        padded = np.zeros((count - 1) * STRIDE + WINDOW, np.float32)
        padded[: len(samples)] = samples[: len(padded)]
        return np.stack([self._embed(padded[k * STRIDE : k * STRIDE + WINDOW])[0][0] for k in range(count)])

    def scores(self, embeddings: Array) -> Array:
        """Float32 [windows, 521]."""
        logits = embeddings @ self._weights.T + self._bias
        return np.asarray(1.0 / (1.0 + np.exp(-np.maximum(logits, -80.0))))


def _constant(interpreter: Interpreter, detail: dict[str, Any]) -> Array:
    """A weight tensor as real numbers."""
    values = interpreter.get_tensor(detail["index"]).astype(np.float32)
    scales = detail["quantization_parameters"]["scales"]
    return values * scales.reshape(-1, *[1] * (values.ndim - 1)) if len(scales) else values


def log_mel(samples: Array) -> Array:
    """Frames of a whole clip; one that is shorter than a frame is padded."""
    return LogMel().feed(np.pad(samples, (0, max(0, 512 - len(samples)))))


def opinion(scores: Array, label: str) -> float:
    """YAMNet's highest score for ``label``, or 1 for what it is not asked about."""
    group = GROUPS.get(label)  # type: ignore[call-overload]
    return float(scores[:, list(group)].max()) if group else 1.0


def convert(shard: Path, yamnet: Yamnet) -> None:
    """Write the features of one shard."""
    data = np.load(shard)
    ends = np.cumsum(data["lengths"])
    sound = data["samples"]
    frames, embeddings, critic = [], [], []
    for end, length, label in zip(ends, data["lengths"], data["labels"], strict=True):
        samples = sound[end - length : end].astype(np.float32) / 32768
        frames.append(log_mel(samples).astype(np.float16))
        embedding = yamnet.embed(samples)
        embeddings.append(embedding.astype(np.float16))
        critic.append(opinion(yamnet.scores(embedding), CLASSES[label]))
    np.savez(
        shard.with_name(f"features-{shard.stem}.npz"),
        frames=np.concatenate(frames),
        lengths=np.array([len(f) for f in frames]),
        embeddings=np.concatenate(embeddings),
        windows=np.array([len(e) for e in embeddings]),
        critic=np.array(critic, np.float32),
        labels=data["labels"],
        kinds=data["kinds"],
        real=data["real"],
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--yamnet", type=Path, required=True)
    args = parser.parse_args()
    yamnet = Yamnet(args.yamnet)
    for shard in sorted(args.corpus.glob("[rst]*.npz")):
        if not shard.with_name(f"features-{shard.stem}.npz").exists():
            convert(shard, yamnet)
            print(shard, flush=True)


if __name__ == "__main__":
    main()
