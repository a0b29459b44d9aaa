"""Train the burst network, first fitting a linear teacher on YAMNet's embedding.

    python -m training.burst.train --corpus runs/corpus --out runs/v1 --steps 3000

The network learns from the labels, where there are any, from the teacher's opinion and, through an auxiliary projection
that is thrown away, to predict YAMNet's embedding. AdamW, one cycle, bfloat16 autocast, exponential moving average of
the weights. Nothing is selected on validation data.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from training.burst.corpus import CLASSES, NO_LABEL
from training.burst.dataset import TEACHER_REAL_SHARE, Sampler, load
from training.burst.layers import LAYERS
from training.burst.network import BurstNet
from training.burst.yamnet import DOUBT, EMBEDDING
from training.precision import fast_bfloat16

PROJECTED = 64
SMOOTHING = 0.05
RIDGE = 0.003
"""Less of it, and coughs that YAMNet knows are lost to what only tells synthetic sounds apart; ten times as much, and
gasps and groans are forgotten, which YAMNet hardly knows."""


class Teacher(nn.Module):
    """A linear classifier on the compressed embedding, and its principal components for the auxiliary task."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(EMBEDDING, len(CLASSES))
        self.register_buffer("mean", torch.zeros(EMBEDDING))
        self.register_buffer("scale", torch.ones(EMBEDDING))
        self.register_buffer("components", torch.zeros(EMBEDDING, PROJECTED))

    def standardise(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Square roots (embeddings are sparse and heavy-tailed), centred and scaled."""
        return (embeddings.sqrt() - self.mean) / self.scale

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.linear(self.standardise(embeddings))

    def opinion(self, embeddings: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
        """Probabilities: the classifier's times what YAMNet itself ``heard`` [n, classes].

        Not the root of the product: YAMNet does not tell the labels of a family apart, so the classifier alone does.
        """
        return (self(embeddings) + (heard + DOUBT).log()).softmax(1)

    def project(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Principal components, unit length."""
        return F.normalize(self.standardise(embeddings) @ self.components, dim=1)


def fit_teacher(sampler: Sampler, windows: int, ridge: float = RIDGE) -> Teacher:
    """A teacher fitted on ``windows`` windows of the sampler; ``ridge`` is the penalty on squared weights."""
    batches = [sampler.batch(500) for _ in range(max(1, windows // 500))]
    x = torch.from_numpy(np.concatenate([b.embeddings for b in batches]))
    y = torch.from_numpy(np.concatenate([b.labels for b in batches]))
    teacher = Teacher()
    roots = x.sqrt()
    teacher.mean, teacher.scale = roots.mean(0), roots.std(0) + 0.05
    with torch.no_grad():
        teacher.components = torch.pca_lowrank(teacher.standardise(x), PROJECTED)[2]
    x = teacher.standardise(x)
    optimiser = torch.optim.LBFGS(teacher.linear.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        fit = F.cross_entropy(teacher.linear(x), y, label_smoothing=SMOOTHING)
        penalised = fit + ridge * teacher.linear.weight.square().sum()
        penalised.backward()
        return penalised

    optimiser.step(loss)
    return teacher.eval()


@dataclass(frozen=True, slots=True)
class Plan:
    """``rate`` is the highest learning rate, ``distil`` the teacher's share of the loss, ``embed`` the weight of
    the embedding's."""

    steps: int
    batch: int
    rate: float
    distil: float
    embed: float
    seed: int


def train(sampler: Sampler, teacher: Teacher, plan: Plan, net: BurstNet, out: Path) -> BurstNet:
    """The moving average of the weights of ``net``, which is trained on."""
    torch.manual_seed(plan.seed)
    net = net.to(memory_format=torch.channels_last)
    auxiliary = nn.Linear(2 * LAYERS[-1].channels, PROJECTED)
    parameters = [*net.parameters(), *auxiliary.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.rate, plan.steps, pct_start=0.15)
    average = copy.deepcopy(net)
    begun, losses = time.monotonic(), []
    for step in range(plan.steps):
        net.train()
        data = sampler.batch(plan.batch)
        x = torch.from_numpy(data.windows)[:, None].contiguous(memory_format=torch.channels_last)
        labels, embeddings = torch.from_numpy(data.labels), torch.from_numpy(data.embeddings)
        with torch.no_grad():
            opinion = teacher.opinion(embeddings, torch.from_numpy(data.heard))
            target = teacher.project(embeddings)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
            logits, pooled = net(x)
            guess = auxiliary(pooled)
        loss = _loss(logits.float(), labels, opinion, plan.distil) + plan.embed * _distance(guess.float(), target)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimiser.step()
        schedule.step()
        _follow(average, net, min(0.998, 1 - 1 / (step + 1)))
        losses.append(loss.item())
        if step % 100 == 99:
            line = {
                "step": step + 1,
                "loss": round(float(np.mean(losses[-100:])), 4),
                "s": int(time.monotonic() - begun),
            }
            print(json.dumps(line), flush=True)
            torch.save(average.state_dict(), out / "weights.pt")
    return average.eval()


def _loss(logits: torch.Tensor, labels: torch.Tensor, opinion: torch.Tensor, distil: float) -> torch.Tensor:
    hard = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING, ignore_index=NO_LABEL)
    return (1 - distil) * hard + distil * F.cross_entropy(logits, opinion)


def _distance(guess: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return 1 - F.cosine_similarity(guess, target, dim=1).mean()


@torch.no_grad()
def _follow(average: nn.Module, net: nn.Module, keep: float) -> None:
    for mine, theirs in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mine.dtype.is_floating_point:
            mine.lerp_(theirs, 1 - keep)
        else:
            mine.copy_(theirs)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--corpus", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--start", type=Path, help="weights to continue from")
    parser.add_argument("--distil", type=float, default=0.7)
    parser.add_argument("--embed", type=float, default=1.5)
    parser.add_argument("--teacher-windows", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    clips = load([path for corpus in args.corpus for path in sorted(corpus.glob("features-*.npz"))])
    if (args.out / "teacher.pt").exists():
        teacher = Teacher()
        teacher.load_state_dict(torch.load(args.out / "teacher.pt"))
    else:
        teacher = fit_teacher(Sampler(clips, args.seed, TEACHER_REAL_SHARE, unlabelled=0.0), args.teacher_windows)
        torch.save(teacher.state_dict(), args.out / "teacher.pt")
    net = BurstNet(len(CLASSES))
    if args.start:
        net.load_state_dict(torch.load(args.start))
    plan = Plan(args.steps, args.batch, args.rate, args.distil, args.embed, args.seed)
    net = train(Sampler(clips, args.seed), teacher, plan, net, args.out)
    torch.save(net.state_dict(), args.out / "weights.pt")


if __name__ == "__main__":
    main()
