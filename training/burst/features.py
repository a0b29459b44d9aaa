"""From shards of sound to what training reads: log-mel frames and YAMNet's embedding and opinion of every clip.

    python -m training.burst.features --corpus runs/corpus --yamnet yamnet.tflite

Writes ``features-NAME.npz`` beside each shard: ``frames`` (float16 dB, all clips one after the other), ``lengths``; of
YAMNet's windows, one every 0.48 s and the first half a second before the clip, ``embeddings`` (float16 [n, 1024]),
``loudness``, what it ``heard`` (float16 [n, 11], :func:`edge_agent_burst.yamnet.by_class`) and ``windows``, how many
there are per clip; ``critic`` (YAMNet's highest score for the clip's own label, 1 where that is not asked) and the
shard's ``labels``, ``kinds`` and ``real``.
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
from edge_agent_burst.second import loudness
from edge_agent_burst.yamnet import EMBEDDING, GROUPS, WINDOW, by_class, with_inner_output
from training.burst.corpus import CLASSES, NO_LABEL

STRIDE = 7_680
"""Samples between two of YAMNet's windows."""
LEAD = STRIDE
"""Samples of silence in the first window: in a stream a sound is at a window's end before it is at its beginning."""
Array = npt.NDArray[np.float32]


class Yamnet:
    """Embeddings, and scores computed from them with the network's own last layer."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        self._embed = TfliteModel(with_inner_output(content, EMBEDDING))
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        details = {tuple(detail["shape"]): detail for detail in interpreter.get_tensor_details()}
        self._weights = constant(interpreter, details[521, EMBEDDING])
        self._bias = constant(interpreter, details[521,])

    def embed(self, samples: Array) -> tuple[Array, Array]:
        """Float32 [windows, 1024] and the windows' loudness; the last window is padded with silence."""
        count = max(2, -(-(len(samples) + LEAD - WINDOW) // STRIDE) + 1)
        padded = np.zeros((count - 1) * STRIDE + WINDOW, np.float32)
        padded[LEAD : LEAD + len(samples)] = samples[: len(padded) - LEAD]
        windows = [padded[k * STRIDE : k * STRIDE + WINDOW] for k in range(count)]
        return np.stack([self._embed(w)[0][0] for w in windows]), np.stack([loudness(w) for w in windows])

    def scores(self, embeddings: Array) -> Array:
        """Float32 [windows, 521]."""
        logits = embeddings @ self._weights.T + self._bias
        return np.asarray(1.0 / (1.0 + np.exp(-np.maximum(logits, -80.0))))


def constant(interpreter: Interpreter, detail: dict[str, Any]) -> Array:
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
    frames, embeddings, levels, heard, critic = [], [], [], [], []
    for end, length, label in zip(ends, data["lengths"], data["labels"], strict=True):
        samples = sound[end - length : end].astype(np.float32) / 32768
        frames.append(log_mel(samples).astype(np.float16))
        embedding, level = yamnet.embed(samples)
        embeddings.append(embedding.astype(np.float16))
        levels.append(level)
        scores = yamnet.scores(embedding)
        heard.append(np.stack([by_class(row) for row in scores]).astype(np.float16))
        critic.append(opinion(scores, CLASSES[label]) if label != NO_LABEL else 1.0)
    np.savez(
        shard.with_name(f"features-{shard.stem}.npz"),
        frames=np.concatenate(frames),
        lengths=np.array([len(f) for f in frames]),
        embeddings=np.concatenate(embeddings),
        loudness=np.concatenate(levels),
        heard=np.concatenate(heard),
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
    for shard in sorted(args.corpus.glob("[orst]*.npz")):
        if not shard.with_name(f"features-{shard.stem}.npz").exists():
            convert(shard, yamnet)
            print(shard, flush=True)


if __name__ == "__main__":
    main()
