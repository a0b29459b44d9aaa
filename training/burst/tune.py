"""Tune the later layers of the shipped network on more recordings, in half an hour on one core.

    python -m training.burst.tune --corpus runs/corpus --out runs/t1

It sets out from the float weights of what is shipped (:data:`SHIPPED`), other float weights (``--start``) or an int8
file (``--model``, :mod:`training.burst.thaw`). Its
first convolutions keep their weights, so their answer to each window is computed once; batch norms keep their
statistics. Targets are shares of the label, of a teacher fitted on YAMNet's embedding of the same sounds
(:func:`training.burst.train.fit_teacher`), and of what the network itself said before, so that it forgets little.
Writes what :mod:`training.burst.dump` takes as ``--weights``: the mean of start and end by ``--kept``, as
``weights.pt``, and the end itself as ``end.pt``.
"""

from __future__ import annotations

import argparse
import copy
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from training.burst.corpus import CLASSES, NO_LABEL
from training.burst.dataset import TEACHER_REAL_SHARE, Sampler, load
from training.burst.network import BurstNet
from training.burst.thaw import spread, thaw
from training.burst.train import SMOOTHING, Teacher, fit_teacher

SHIPPED = Path(__file__).with_name("shipped.npz")
"""Float weights of ``burst.tflite``, batch norms not folded."""
FROZEN = 3
"""Convolutions that keep their weights; they make a window 64 channels of 32 moments and 8 bands."""
SHARES = (0.55, 0.33, 0.12)
"""Of label, teacher and own answer in the target; without a label, the other two in their proportion."""


class Tail(nn.Module):
    """The layers that learn. It never leaves evaluation mode, so batch norms keep their statistics."""

    def __init__(self, net: BurstNet) -> None:
        super().__init__()
        self.features = copy.deepcopy(net.features[3 * FROZEN :])
        self.classify = copy.deepcopy(net.classify)
        self.eval()

    def forward(self, maps: torch.Tensor, drop: float = 0.0) -> torch.Tensor:
        """Logits of float [n, 64, 32, 8]; ``drop`` is the share of pooled features left out."""
        x = self.features(maps)
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)
        return self.classify(F.dropout(pooled, drop))  # type: ignore[no-any-return]


def windows(
    net: BurstNet, teacher: Teacher, sampler: Sampler, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of ``count`` windows what the frozen layers say (half precision), the teacher's opinion [n, 11], labels [n]."""
    maps, opinions, labels = [], [], []
    for _ in range(-(-count // 250)):
        batch = sampler.batch(250)
        with torch.inference_mode():
            maps.append(net.features[: 3 * FROZEN](torch.from_numpy(batch.windows)[:, None]).half())
            opinions.append(teacher.opinion(torch.from_numpy(batch.embeddings), torch.from_numpy(batch.heard)))
        labels.append(torch.from_numpy(batch.labels))
    return torch.cat(maps), torch.cat(opinions), torch.cat(labels)


def targets(opinions: torch.Tensor, labels: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Label, teacher and ``own`` answers, all [n, 11], by :data:`SHARES`."""
    label, teacher, before = SHARES
    named = F.one_hot(labels.clamp(min=0), len(CLASSES)) * (1 - SMOOTHING) + SMOOTHING / len(CLASSES)
    known = (labels != NO_LABEL)[:, None]
    rest = teacher * opinions + before * own
    return torch.where(known, label * named + rest, rest / (teacher + before))


@dataclass(frozen=True, slots=True)
class Plan:
    """``rate`` is the highest learning rate of one cycle."""

    steps: int
    batch: int
    rate: float
    seed: int
    drop: float = 0.3


def tune(tail: Tail, maps: torch.Tensor, wanted: torch.Tensor, plan: Plan) -> Tail:
    """The moving average of the weights of ``tail``, which is trained on."""
    generator = torch.Generator().manual_seed(plan.seed)
    optimizer = torch.optim.AdamW(tail.parameters(), plan.rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, total_steps=plan.steps, pct_start=0.15)
    average, total = copy.deepcopy(tail), 0.0
    for step in range(plan.steps):
        chosen = torch.randint(len(maps), (plan.batch,), generator=generator)
        loss = F.cross_entropy(tail(maps[chosen].float(), plan.drop), wanted[chosen])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tail.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        follow(average, tail, min(0.998, (1 + step) / (10 + step)))
        total += loss.item()
        if step % 200 == 199:
            print(json.dumps({"step": step + 1, "loss": round(total / 200, 4)}), flush=True)
            total = 0.0
    return average


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, keep: float) -> None:
    """Move the weights of ``average`` towards those of ``net``, of which they ``keep`` that share."""
    for mine, theirs in zip(average.parameters(), net.parameters(), strict=True):
        mine.lerp_(theirs, 1 - keep)


def read(path: Path) -> dict[str, torch.Tensor]:
    """The float weights in a file of :mod:`training.burst.train` (.pt) or :mod:`training.burst.dump` (.npz)."""
    if path.suffix == ".npz":
        return {name: torch.from_numpy(value) for name, value in np.load(path).items()}
    return dict(torch.load(path))


def whole(net: BurstNet, tail: Tail) -> dict[str, torch.Tensor]:
    """The state of ``net`` with the layers of ``tail``."""
    net = copy.deepcopy(net)
    net.features[3 * FROZEN :].load_state_dict(tail.features.state_dict())
    net.classify.load_state_dict(tail.classify.state_dict())
    return net.state_dict()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--model", type=Path, help="an int8 file to set out from")
    start.add_argument("--start", type=Path, default=SHIPPED, help="float weights to set out from (.pt or .npz)")
    parser.add_argument("--corpus", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=60_000)
    parser.add_argument("--teacher-windows", type=int, default=40_000)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--kept", type=float, default=0.8, help="share of the end in the mean that is written")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    clips = load([p for corpus in args.corpus for p in sorted(corpus.glob("features-*.npz"))])
    teacher = fit_teacher(Sampler(clips, args.seed, TEACHER_REAL_SHARE, unlabelled=0.0), args.teacher_windows)
    torch.save(teacher.state_dict(), args.out / "teacher.pt")
    sampler = Sampler(clips, args.seed)
    if args.model:
        net = thaw(args.model.read_bytes())
        spread(net, torch.from_numpy(sampler.batch(1000).windows)[:, None])
    else:
        net = BurstNet(len(CLASSES)).eval()
        net.load_state_dict(read(args.start))
    maps, opinions, labels = windows(net, teacher, sampler, args.windows)
    del clips, sampler
    begin = Tail(net)
    with torch.inference_mode():
        own = torch.cat([begin(part.float()).softmax(1) for part in maps.split(500)])
    wanted = targets(opinions, labels, own)
    plan = Plan(args.steps, args.batch, args.rate, args.seed)
    end = tune(copy.deepcopy(begin), maps.clone(), wanted.clone(), plan)
    torch.save(whole(net, end), args.out / "end.pt")
    follow(begin, end, 1 - args.kept)
    torch.save(whole(net, begin), args.out / "weights.pt")


if __name__ == "__main__":
    main()
