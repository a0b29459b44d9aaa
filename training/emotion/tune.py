r"""Tune the last layers of a trained network on photographs, acted and rendered faces together, in minutes on one core.

    python -m training.emotion.tune --data PATH --start start.pt --renders faces*.npz --acted acted*.npz \
        --check others.npz --out tuned.pt

The layers before keep their weights, so what they say of each face is computed once, and all batch norms keep their
statistics. On photographs the target is partly what the network said before (:data:`OWN`), so that it forgets little;
on acted and rendered faces it is what was acted. There, and where rare classes are drawn oftener (:data:`RARER`),
classes occur at other rates than in FER+. The loss takes that into account (logit adjustment, Menon et al. 2021), so
that what the network expects stays what FER+ taught it, which the option ``prior`` exchanges later. What is written is
the mean of several ends, and of that and the start by ``--kept`` (as in :mod:`training.emotion.soup`); a table tells
what other means would give.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edge_agent_emotion.analyzer import shifted
from training.emotion.augment import Augment
from training.emotion.dataset import CLASSES, FerPlus, load
from training.emotion.network import EmotionNet
from training.emotion.prior import Array, accuracy_and_recall, between
from training.emotion.scoring import fit_temperature
from training.emotion.train import update_average
from training.emotion.views import view
from training.emotion.weights import load_weights

FROZEN = 6
"""Convolutions that keep their weights; what they say of a face is 6 x 6 x 160 numbers. The others have three fifths of
all weights and take a quarter of the time."""
OWN = 0.5
"""Share of the network's own answers in the targets of photographs."""
RARER = 0.3
"""Photographs are drawn by the frequency of their class to minus this."""
ADJUSTED = 0.5
"""How much of the other rate of a class on acted and rendered faces the loss takes into account."""
MEANS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the frozen layers say, float16 [n, channels, h, w], and targets float32 [n, 8]. Faces are drawn in
    proportion to ``weights`` [n] float64; ``offset`` [8] is added to their logits in the loss."""

    maps: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    offset: torch.Tensor

    @classmethod
    def of(
        cls, maps: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, prior: Array, adjusted: float
    ) -> Self:
        """With the offset for these ``weights``, of which ``adjusted`` counts."""
        drawn = (targets * weights[:, None]).sum(0) / weights.sum()
        return cls(maps, targets, weights, (adjusted * torch.log(drawn / torch.from_numpy(prior))).float())

    def some(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        edges = torch.cumsum(self.weights / self.weights.sum(), 0)
        at = torch.rand(count, generator=generator, dtype=torch.float64)
        chosen = torch.searchsorted(edges, at).clamp(max=len(edges) - 1)
        mirrored = torch.rand(count, generator=generator) < 0.5
        maps = self.maps[chosen].float()
        maps[mirrored] = maps[mirrored].flip(3)
        return maps.contiguous(memory_format=torch.channels_last), self.targets[chosen], self.offset.expand(count, 8)


class Tail(nn.Module):
    """The layers that learn. It never leaves evaluation mode, so batch norms keep their statistics."""

    def __init__(self, net: EmotionNet) -> None:
        super().__init__()
        self.features, self.head = copy.deepcopy(net.features[FROZEN:]), copy.deepcopy(net.head)
        self.eval()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(maps).mean(dim=(2, 3)))  # type: ignore[no-any-return]


@torch.inference_mode()
def trunk(net: EmotionNet, images: torch.Tensor) -> torch.Tensor:
    """Float16 maps of the frozen layers for uint8 ``images`` [n, 48, 48]."""
    parts = (part[:, None].float() / 127.5 - 1 for part in images.split(64))
    return torch.cat([net.features[:FROZEN](x.contiguous(memory_format=torch.channels_last)).half() for x in parts])


@torch.inference_mode()
def answers(tail: nn.Module, maps: torch.Tensor) -> torch.Tensor:
    """Logits float32 [n, 8]."""
    return torch.cat([tail(part.float()) for part in maps.split(64)])


def photographs(
    net: EmotionNet, split: FerPlus, valid_logits: torch.Tensor, valid: FerPlus, views: int, prior: Array
) -> Seen:
    """The training split in ``views`` views, with the votes mixed with what ``net`` says, fitted to votes."""
    temperature = fit_temperature(valid_logits, torch.from_numpy(valid.targets))
    tail, maps, targets = Tail(net), [], []
    for number in range(views):
        seen = trunk(net, view(torch.from_numpy(split.images), number))
        said = torch.softmax(answers(tail, seen) / temperature, 1)
        maps.append(seen)
        targets.append(OWN * said + (1 - OWN) * torch.from_numpy(split.targets))
        print(f"view {number + 1} of {views}", flush=True)
    frequency = np.bincount(split.labels, minlength=len(CLASSES)) / len(split)
    weights = torch.from_numpy(frequency[split.labels] ** -RARER).repeat(views)
    return Seen.of(torch.cat(maps), torch.cat(targets), weights, prior, 1.0)


def made(net: EmotionNet, files: Sequence[Path], views: int, prior: Array) -> Seen:
    """Rendered or acted faces, in ``views`` augmented views each."""
    read = [np.load(path) for path in files]
    images = torch.from_numpy(np.concatenate([each["images"] for each in read]))
    targets = torch.from_numpy(np.concatenate([each["targets"] for each in read]))
    augment = Augment(1000)
    seen = [torch.cat([augment(part) for part in images.split(512)])[:, 0] for _ in range(views)]
    faces = ((torch.cat(seen) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    targets = targets.repeat(views, 1)
    return Seen.of(trunk(net, faces), targets, torch.ones(len(targets), dtype=torch.float64), prior, ADJUSTED)


def tune(tail: Tail, parts: Sequence[tuple[Seen, int]], args: argparse.Namespace, seed: int) -> Tail:
    """The moving average of the weights of ``tail``, which is trained on; a batch has so many of each of ``parts``."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(tail.parameters(), args.rate, weight_decay=args.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.rate, total_steps=args.steps, pct_start=0.15)
    average, total = copy.deepcopy(tail), 0.0
    for step in range(args.steps):
        some = [seen.some(count, generator) for seen, count in parts if count]
        x, y, offset = (torch.cat(kind) for kind in zip(*some, strict=True))
        loss = -(y * F.log_softmax(tail(x) + offset, 1)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        update_average(average, tail, min(args.ema, (1 + step) / (10 + step)))
        total += loss.item()
        if step % 50 == 49:
            print(json.dumps({"step": step + 1, "loss": round(total / 50, 4)}), flush=True)
            total = 0.0
            torch.save(average.state_dict(), args.out.with_suffix(".part"))
    return average


def mean(start: Tail, end: Tail, share: float) -> Tail:
    """``share`` of ``end`` and the rest of ``start``."""
    both = copy.deepcopy(start)
    update_average(both, end, 1 - share)
    return both


def rate(tail: Tail, maps: torch.Tensor, valid: FerPlus, check: tuple[torch.Tensor, np.ndarray], prior: np.ndarray):  # type: ignore[no-untyped-def]
    """Figures on validation photographs, as trained and between, and the macro recall on other people's renders."""
    logits = answers(tail, maps).numpy().astype(float)
    share = between(logits, prior, valid)
    rendered = shifted(answers(tail, check[0]).numpy().astype(float), prior, share)
    right = rendered.argmax(1) == check[1]
    recalls = [round(float(right[check[1] == k].mean()), 3) for k in range(len(CLASSES))]
    row = {"trained": accuracy_and_recall(logits, valid), "share": share}
    row |= {"between": accuracy_and_recall(shifted(logits, prior, share), valid), "renders": float(np.mean(recalls))}
    return {name: np.round(value, 4).tolist() for name, value in row.items()} | {"recalls": recalls}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with ferplus_train.npz and ferplus_valid.npz")
    parser.add_argument("--start", type=Path, required=True, help="weights of a student")
    parser.add_argument("--renders", type=Path, nargs="+", required=True, help="of training.emotion.faces.render")
    parser.add_argument("--acted", type=Path, nargs="*", default=[], help="of training.emotion.faces.acted")
    parser.add_argument("--check", type=Path, required=True, help="renders of other people, to judge by")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--views", type=int, default=2, help="of each photograph and each rendered face")
    parser.add_argument("--rendered", type=float, default=0.1, help="share of a batch that is rendered")
    parser.add_argument("--acting", type=float, default=0.3, help="share of a batch that is acted, if there are such")
    parser.add_argument("--runs", type=int, default=3, help="whose mean is taken")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--decay", type=float, default=0.02)
    parser.add_argument("--ema", type=float, default=0.985)
    parser.add_argument("--kept", type=float, default=0.5, help="share of the end in the mean that is written")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    net = load_weights(args.start)
    if not isinstance(net, EmotionNet):
        parser.error(f"{args.start} is a teacher, which is not tuned")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    split, valid = load(args.data / "ferplus_train.npz"), load(args.data / "ferplus_valid.npz")
    start = Tail(net)
    valid_maps = trunk(net, torch.from_numpy(valid.images))
    with np.load(args.check) as other:
        check = trunk(net, torch.from_numpy(other["images"])), other["labels"]
    prior = split.targets.mean(axis=0).astype(float)
    rendered, acting = (round(args.batch * share) for share in (args.rendered, args.acting if args.acted else 0.0))
    parts = [(made(net, args.renders, args.views, prior), rendered)]
    if acting:
        parts.append((made(net, args.acted, args.views, prior), acting))
    photos = photographs(net, split, answers(start, valid_maps), valid, args.views, prior)
    parts.append((photos, args.batch - rendered - acting))
    ends = [tune(copy.deepcopy(start), parts, args, args.seed + run) for run in range(args.runs)]
    end = ends[0]
    for number, other in enumerate(ends[1:], 2):
        end = mean(end, other, 1 / number)
    for share in MEANS:
        print(share, json.dumps(rate(mean(start, end, share), valid_maps, valid, check, prior)), flush=True)
    chosen = mean(start, end, args.kept)
    net.features[FROZEN:].load_state_dict(chosen.features.state_dict())
    net.head.load_state_dict(chosen.head.state_dict())
    torch.save({"layout": "student", "state": net.state_dict()}, args.out)


if __name__ == "__main__":
    main()
