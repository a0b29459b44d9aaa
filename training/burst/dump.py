"""Hands a trained network over to the export, which runs where PyTorch need not be installed.

    python -m training.burst.dump --weights runs/v1/weights.pt --corpus runs/corpus --out runs/v1

Several ``--weights`` are averaged, and the batch norms of what comes out measured anew. Writes ``parity.json`` (see
:mod:`training.burst.parity`) and, into ``--out``, ``weights.npz`` and ``calibration.npz``: windows as in training and
the network's probabilities for them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.optim.swa_utils import update_bn

from training.burst import parity
from training.burst.corpus import CLASSES
from training.burst.dataset import Sampler, load
from training.burst.network import BurstNet


def average(paths: list[Path]) -> dict[str, torch.Tensor]:
    """Mean of the weights in ``paths``: of runs that set out from the same weights."""
    states = [torch.load(path) for path in paths]
    return {
        name: torch.stack([state[name].float() for state in states]).mean(0).to(states[0][name].dtype)
        for name in states[0]
    }


def settle(net: BurstNet, sampler: Sampler, windows: int = 16_000) -> None:
    """Measure the batch norms of ``net`` on windows as in training."""
    update_bn((torch.from_numpy(sampler.batch(250).windows)[:, None] for _ in range(windows // 250)), net)
    net.eval()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, nargs="+", required=True)
    parser.add_argument("--corpus", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=600)
    args = parser.parse_args()
    torch.set_num_threads(1)
    net = BurstNet(len(CLASSES))
    net.load_state_dict(average(args.weights))
    net.eval()
    sampler = Sampler(load([path for corpus in args.corpus for path in sorted(corpus.glob("features-*.npz"))]), seed=99)
    if len(args.weights) > 1:
        settle(net, sampler)
    batch = sampler.batch(args.windows)
    with torch.no_grad():
        probabilities = net(torch.from_numpy(batch.windows)[:, None])[0].softmax(1).numpy()
        parity.write(net(torch.from_numpy(parity.windows())[:, None])[0].softmax(1).numpy())
    args.out.mkdir(parents=True, exist_ok=True)
    np.savez(args.out / "weights.npz", **{name: value.numpy() for name, value in net.state_dict().items()})
    np.savez(args.out / "calibration.npz", windows=batch.windows, probabilities=probabilities)


if __name__ == "__main__":
    main()
