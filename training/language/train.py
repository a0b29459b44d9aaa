"""Train the network that ships, or one on a part of the data, to calibrate and to choose thresholds by.

    python -m training.language.train --data ../shared/data/goemotions --out runs/whole.npz
    python -m training.language.train ... --fold 0 --out runs/fold0.npz      (and 1, 2: a third of the data kept back)

A run's file holds the float weights, the names of the features, and its logits on what it was not trained on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from edge_agent_language.features import normalized, tokens
from training.language.dataset import load
from training.language.network import LanguageNet, Sizes, Vocabulary, keys, padded, vocabulary
from training.language.scoring import best_thresholds, f1
from training.language.weights import load_weights

FOLDS = 3


def part_of(count: int) -> np.ndarray:
    """Number of the fold in which each of ``count`` sentences is kept back."""
    return np.random.default_rng(7).permutation(count) % FOLDS


@torch.no_grad()
def predict(net: LanguageNet, features: list, size: int = 256) -> np.ndarray:  # type: ignore[type-arg]
    """Logits [n, 28]."""
    net.eval()
    return np.concatenate([net(*padded(features[k : k + size])).numpy() for k in range(0, len(features), size)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fold", type=int)
    parser.add_argument("--start", type=Path, help="weights to set out from; never with --fold: they have seen it all")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--drop", type=float, default=0.3)
    parser.add_argument("--grams", type=int, default=60_000)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.start and args.fold is not None:
        parser.error("--start with --fold: those weights were trained on what the fold keeps back")
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    generator = np.random.default_rng(args.seed)
    whole, dev = (load(args.data / f"goemotions_{split}.tsv") for split in ("train", "dev"))
    out = part_of(len(whole.texts)) == args.fold if args.fold is not None else np.zeros(len(whole.texts), bool)
    rows = np.flatnonzero(~out)
    kept = load_weights(args.start) if args.start else None
    names = (kept.words, kept.grams) if kept else vocabulary([whole.texts[k] for k in rows], 3, args.grams)
    known = Vocabulary.of(keys(names[0]), keys(names[1]))
    features, dev_features = (
        [known.rows(tokens(normalized(text))) for text in whole.texts],
        [known.rows(tokens(normalized(text))) for text in dev.texts],
    )
    goal = torch.from_numpy(whole.labels)
    net = LanguageNet((len(names[0]) + 2, len(names[1]) + 1), Sizes(grams=args.width))
    if kept is not None:
        net.load_state_dict({name: torch.from_numpy(value) for name, value in kept.net.items()})
    optimizer = torch.optim.Adam(net.parameters(), args.rate)
    size = 128
    steps = args.epochs * -(-len(rows) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.rate, total_steps=steps, pct_start=0.15)
    begun = time.monotonic()
    for epoch in range(args.epochs):
        net.train()
        total, order = 0.0, generator.permutation(rows)
        for k in range(0, len(order), size):
            batch = order[k : k + size]
            logits = net(*padded([features[row] for row in batch], generator, args.drop), drop=args.drop)
            loss = F.binary_cross_entropy_with_logits(logits, goal[batch], reduction="sum") / len(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        if epoch % 2 or epoch == args.epochs - 1:
            said_dev = predict(net, dev_features)
            macro, micro, _ = f1(said_dev, dev.labels, best_thresholds(said_dev, dev.labels))
            print(f"{epoch + 1}: loss {total / len(rows):.4f} {time.monotonic() - begun:.0f} s; best thresholds there: "
                  f"macro {macro:.4f} micro {micro:.4f}", flush=True)  # fmt: skip
    found = {f"net.{name}": value.numpy() for name, value in net.state_dict().items()}
    np.savez_compressed(
        args.out, **found, words=np.array(names[0]), grams=np.array(names[1]), rows=np.flatnonzero(out),
        left=predict(net, [features[k] for k in np.flatnonzero(out)]) if out.any() else np.zeros((0, 28)),
        dev=predict(net, dev_features),
    )  # fmt: skip


if __name__ == "__main__":
    main()
