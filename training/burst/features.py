"""From shards of sound to what training reads: log-mel frames and YAMNet's embedding and opinion of every clip.

    python -m training.burst.features --corpus runs/corpus --yamnet yamnet.tflite

Writes ``features-NAME.npz`` beside each shard: ``frames`` (float16 dB, all clips one after the other), ``lengths``; of
YAMNet's windows, one every 0.48 s and the first half a second before the clip, ``embeddings`` (float16 [n, 1024]),
``loudness``, what it ``heard`` (float16 [n, 11], :func:`training.burst.yamnet.by_class`) and ``windows``, how many
there are per clip; ``critic`` (YAMNet's highest score for the clip's own label, 1 where that is not asked) and the
shard's ``labels``, ``kinds`` and ``real``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_agent_burst.frontend import LogMel
from edge_agent_burst.yamnet import GROUPS
from training.burst.corpus import CLASSES, NO_LABEL
from training.burst.yamnet import Yamnet, by_class

Array = npt.NDArray[np.float32]


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
