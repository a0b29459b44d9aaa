r"""Tune a trained network on photographs, acted and rendered faces together, in half an hour of one core.

    python -m training.emotion.tune --data PATH --start start.pt --renders faces*.npz --acted acted*.npz \
        --check others.npz --out tuned.pt

All layers learn but the first two, which see edges; batch norms keep their statistics and are folded into the kernels
meanwhile, which halves the time of a step. On photographs the target is partly what the network said before
(:data:`OWN`), so that it forgets little; on acted and rendered faces it is what was acted. There, and where rare
classes are drawn oftener (:data:`RARER`), classes occur at other rates than in FER+. The loss takes that into account
(logit adjustment, Menon et al. 2021), so that what the network expects stays close to what FER+ taught it, which the
option ``prior`` exchanges later. The rate of learning falls along a cosine, once or several times in a row
(``--cycles``). What is written is the mean of the start and the moving average at the end by ``--kept`` (Wortsman et
al. 2022); a table tells what other means would give.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
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
from training.emotion.scoring import applied, fit_temperature
from training.emotion.train import update_average
from training.emotion.weights import load_weights

FROZEN = 2
"""Convolutions that keep their weights; a third of the time of a step goes without them."""
OWN = 0.5
"""Share of the network's own answers in the targets of photographs."""
RARER = 0.35
"""Photographs are drawn by the frequency of their class to minus this."""
ADJUSTED = 0.9
"""How much of the other rate of a class on acted and rendered faces the loss takes into account. With half of it the
network calls resting faces something in four cases of five."""
MEANS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0)
WARM = 40
"""Steps in which the rate rises at the beginning of a cycle."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Faces uint8 [n, 48, 48] and targets float32 [n, 8]. Faces are drawn in proportion to ``weights`` [n] float64;
    ``offset`` [8] is added to their logits in the loss."""

    images: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    offset: torch.Tensor

    @classmethod
    def of(
        cls, images: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, prior: Array, adjusted: float
    ) -> Self:
        """With the offset for these ``weights``, of which ``adjusted`` counts."""
        drawn = (targets * weights[:, None]).sum(0) / weights.sum()
        return cls(images, targets, weights, (adjusted * torch.log(drawn / torch.from_numpy(prior))).float())

    def some(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images, targets and offsets of ``count`` faces."""
        edges = torch.cumsum(self.weights / self.weights.sum(), 0)
        at = torch.rand(count, generator=generator, dtype=torch.float64)
        chosen = torch.searchsorted(edges, at).clamp(max=len(edges) - 1)
        return self.images[chosen], self.targets[chosen], self.offset.expand(count, 8)


class Learner(nn.Module):
    """A student with its batch norms folded into kernels and biases, of which the first :data:`FROZEN` do not learn."""

    def __init__(self, net: EmotionNet) -> None:
        super().__init__()
        self._blocks = tuple(net.features)
        folded = [_folded(net.features[k]) for k in range(len(net.features))]
        self.frozen = [(kernel, bias) for kernel, bias, _ in folded[:FROZEN]]
        self.kernels = nn.ParameterList(kernel for kernel, _, _ in folded[FROZEN:])
        self.biases = nn.ParameterList(bias for _, bias, _ in folded[FROZEN:])
        self.head = copy.deepcopy(net.head)
        self._scales = [scale for _, _, scale in folded[FROZEN:]]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layers = [*self.frozen, *zip(self.kernels, self.biases, strict=True)]
        for number, (block, (kernel, bias)) in enumerate(zip(self._blocks, layers, strict=True)):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number >= FROZEN):
                y = F.conv2d(x, kernel, bias, block.conv.stride, 1)
                x = torch.relu(x + y if block.residual else y)
        return self.head(x.mean(dim=(2, 3)))  # type: ignore[no-any-return]

    @torch.no_grad()
    def unfolded(self, like: EmotionNet) -> EmotionNet:
        """A student that computes the same, with the statistics of ``like``."""
        net = copy.deepcopy(like)
        learned = zip(self.kernels, self.biases, self._scales, strict=True)
        for k, (kernel, bias, scale) in enumerate(learned, FROZEN):
            norm = net.features[k].norm
            net.features[k].conv.weight.copy_(kernel / scale[:, None, None, None])
            norm.bias.copy_(bias + norm.running_mean * scale)
        net.head.load_state_dict(self.head.state_dict())
        return net.eval()


@torch.no_grad()
def _folded(block: nn.Module) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Kernel, bias and the scale by which the batch norm of ``block`` multiplies."""
    norm = block.norm
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    kernel = (block.conv.weight * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)
    return kernel, norm.bias - norm.running_mean * scale, scale


def photographs(net: EmotionNet, split: FerPlus, valid: FerPlus, prior: Array) -> Source:
    """The training split, with the votes mixed with what ``net`` says of each face and its mirror image."""
    temperature = fit_temperature(applied(net, valid.images), torch.from_numpy(valid.targets))
    views = (split.images, np.ascontiguousarray(split.images[:, :, ::-1]))
    said = torch.stack([torch.softmax(applied(net, view) / temperature, 1) for view in views]).mean(0)
    frequency = np.bincount(split.labels, minlength=len(CLASSES)) / len(split)
    weights = torch.from_numpy(frequency[split.labels] ** -RARER)
    targets = OWN * said + (1 - OWN) * torch.from_numpy(split.targets)
    return Source.of(torch.from_numpy(split.images), targets, weights, prior, 1.0)


def made(files: Sequence[Path], prior: Array) -> Source:
    """Rendered or acted faces."""
    read = [np.load(path) for path in files]
    images = torch.from_numpy(np.concatenate([each["images"] for each in read]))
    targets = torch.from_numpy(np.concatenate([each["targets"] for each in read]))
    return Source.of(images, targets, torch.ones(len(targets), dtype=torch.float64), prior, ADJUSTED)


def tune(learner: Learner, parts: Sequence[tuple[Source, int]], args: argparse.Namespace, seed: int) -> Learner:
    """The moving average of ``learner``, which is trained on; a batch has so many of each of ``parts``."""
    generator, augment = torch.Generator().manual_seed(seed), Augment(seed)
    optimizer = torch.optim.AdamW(learner.parameters(), args.rate, weight_decay=args.decay)
    average, total = copy.deepcopy(learner), 0.0
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / WARM) * (1 + math.cos(math.pi * step / args.steps)) / 2
        some = [source.some(count, generator) for source, count in parts if count]
        images, y, offset = (torch.cat(kind) for kind in zip(*some, strict=True))
        x = augment.shaded(augment(images)).contiguous(memory_format=torch.channels_last)
        loss = -(y * F.log_softmax(learner(x) + offset, 1)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 2.0)
        optimizer.step()
        update_average(average, learner, min(args.ema, (1 + step) / (10 + step)))
        total += loss.item()
        if step % 50 == 49:
            print(json.dumps({"step": step + 1, "loss": round(total / 50, 4)}), flush=True)
            total = 0.0
    return average


def mean(start: EmotionNet, end: EmotionNet, share: float) -> EmotionNet:
    """``share`` of ``end`` and the rest of ``start``."""
    both = copy.deepcopy(start)
    update_average(both, end, 1 - share)
    return both


def rate(net: EmotionNet, valid: FerPlus, check: Sequence[tuple[str, Array, Array]], prior: Array):  # type: ignore[no-untyped-def]
    """Figures on validation photographs, as trained and between, and recalls on made faces of others, between."""
    logits = applied(net, valid.images).numpy().astype(float)
    share = between(logits, prior, valid)
    row = {"trained": accuracy_and_recall(logits, valid), "share": share}
    row["between"] = accuracy_and_recall(shifted(logits, prior, share), valid)
    for name, images, labels in check:
        right = shifted(applied(net, images).numpy().astype(float), prior, share).argmax(1) == labels
        recalls = [float(right[labels == k].mean()) for k in range(len(CLASSES))]
        row |= {name: float(np.mean(recalls)), f"{name}, by class": recalls}
    return {name: np.round(value, 4).tolist() for name, value in row.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with ferplus_train.npz and ferplus_valid.npz")
    parser.add_argument("--start", type=Path, required=True, help="weights of a student")
    parser.add_argument("--renders", type=Path, nargs="+", required=True, help="of training.emotion.faces.render")
    parser.add_argument("--acted", type=Path, nargs="*", default=[], help="of training.emotion.faces.acted")
    parser.add_argument("--check", type=Path, nargs="+", required=True, help="made faces of other people, to judge by")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rendered", type=float, default=0.13, help="share of a batch that is rendered")
    parser.add_argument("--acting", type=float, default=0.33, help="share of a batch that is acted, if there are such")
    parser.add_argument("--cycles", type=int, default=2, help="of --steps each, one after the other")
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--batch", type=int, default=80)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--decay", type=float, default=0.02)
    parser.add_argument("--ema", type=float, default=0.996)
    parser.add_argument("--kept", type=float, default=0.5, help="share of the end in the mean that is written")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    start = load_weights(args.start)
    if not isinstance(start, EmotionNet):
        parser.error(f"{args.start} is a teacher, which is not tuned")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    split, valid = load(args.data / "ferplus_train.npz"), load(args.data / "ferplus_valid.npz")
    check = [(path.stem, *(np.load(path)[name] for name in ("images", "labels"))) for path in args.check]
    prior = split.targets.mean(axis=0).astype(float)
    rendered, acting = (round(args.batch * share) for share in (args.rendered, args.acting if args.acted else 0.0))
    parts = [(made(args.renders, prior), rendered)]
    if acting:
        parts.append((made(args.acted, prior), acting))
    parts.append((photographs(start, split, valid, prior), args.batch - rendered - acting))
    learner = Learner(start)
    for cycle in range(args.cycles):
        learner = tune(learner, parts, args, args.seed + cycle)
    end = learner.unfolded(start)
    for share in MEANS:
        print(share, json.dumps(rate(mean(start, end, share), valid, check, prior)), flush=True)
    torch.save({"layout": "student", "state": mean(start, end, args.kept).state_dict()}, args.out)


if __name__ == "__main__":
    main()
