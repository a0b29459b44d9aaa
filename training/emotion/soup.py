"""One network from several runs that set out from the same weights: the mean of theirs.

    python -m training.emotion.soup --weights runs/*/weights.pt --data PATH --out soup.pt

The mean answers better than each of them, at no cost on the device (Wortsman et al. 2022, "Model soups"). Its batch
norms are measured anew, on views as the camera gives them: those of training were nudged, which blurs them a little.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.optim.swa_utils import update_bn

from training.emotion.dataset import load
from training.emotion.network import EmotionNet
from training.emotion.scoring import predict, score
from training.emotion.views import view
from training.emotion.weights import load_weights

VIEWS = 6
FACES = 4096
"""How many of the training faces, in each view, the batch norms are measured on."""


def mixed(nets: Sequence[EmotionNet]) -> EmotionNet:
    """The mean of the weights of ``nets``."""
    states, soup = [net.state_dict() for net in nets], EmotionNet()
    mean = {name: torch.stack([state[name].double() for state in states]).mean(0) for name in states[0]}
    soup.load_state_dict(mean)
    return soup.eval()


def settle(net: EmotionNet, images: torch.Tensor) -> None:
    """Measure the batch norms of ``net`` on views of uint8 ``images`` [n, 48, 48]."""
    random = torch.Generator().manual_seed(0)
    chosen = images[torch.randperm(len(images), generator=random)[:FACES]]
    faces = torch.cat([view(chosen, number) for number in range(VIEWS)])
    faces = faces[torch.randperm(len(faces), generator=random)]
    update_bn((part[:, None].float() / 127.5 - 1 for part in faces.split(256)), net)
    net.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, nargs="+", required=True, help="weights.pt of students")
    parser.add_argument("--data", type=Path, required=True, help="folder with ferplus_train.npz and ferplus_valid.npz")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    nets, valid = [load_weights(path) for path in args.weights], load(args.data / "ferplus_valid.npz")
    students = [net for net in nets if isinstance(net, EmotionNet)]
    if len(students) < len(nets):
        parser.error("teachers are not mixed: give weights of students")
    soup = mixed(students)
    settle(soup, torch.from_numpy(load(args.data / "ferplus_train.npz").images))
    for name, net in [*zip(args.weights, students, strict=True), (args.out, soup)]:
        print(name, score(predict(net, valid.images), valid))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"layout": "student", "state": soup.state_dict()}, args.out)


if __name__ == "__main__":
    main()
