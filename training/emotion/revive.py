"""A trainable network from the int8 file that ships: to go on where an earlier run ended.

    python -m training.emotion.revive --model plugins/edge_agent_emotion/emotion.tflite --data PATH --out start.pt

The file holds each convolution with its batch norm folded in. The convolution is taken as it is, and a batch norm that
changes nothing is put behind it, with the mean and deviation of augmented training faces as its statistics.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from training.emotion.augment import Augment
from training.emotion.dataset import load
from training.emotion.floating import opened, real
from training.emotion.network import EmotionNet, unfold

FACES = 2048
"""How many give the statistics."""


def layers(model: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Kernel [out, height, width, in] (or [out, in] of the last, dense layer) and bias of each layer, in order."""
    interpreter, details = opened(model)
    found = []
    for operator in interpreter._get_ops_details():
        if operator["op_name"] in ("CONV_2D", "FULLY_CONNECTED"):
            kernel, bias = (real(interpreter.get_tensor(i), details[i]) for i in operator["inputs"][1:3])
            found.append((torch.from_numpy(kernel), torch.from_numpy(bias)))
    return found


@torch.inference_mode()
def revive(model: Path, faces: torch.Tensor) -> EmotionNet:
    """The student with the weights of ``model``; ``faces`` are float [n, 1, 48, 48] in [-1, 1].

    Raises:
        ValueError: the file holds another number of layers.
    """
    net = EmotionNet().eval()
    *convolutions, (weight, bias) = layers(model)
    if len(convolutions) != len(net.features):
        raise ValueError(f"{model} has {len(convolutions)} convolutions, the student {len(net.features)}")
    net.head.weight.copy_(weight)
    net.head.bias.copy_(bias)
    x = faces
    for block, (kernel, shift) in zip(net.features, convolutions, strict=True):
        block.conv.weight.copy_(kernel.permute(0, 3, 1, 2))
        unfold(block.norm, block.conv(x), 1.0, shift)
        x = block(x)
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with ferplus_train.npz")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    images = load(args.data / "ferplus_train.npz").images
    chosen = images[np.random.default_rng(0).permutation(len(images))[:FACES]]
    net = revive(args.model, Augment(0)(torch.from_numpy(chosen)))
    torch.save({"layout": "student", "state": net.state_dict()}, args.out)


if __name__ == "__main__":
    main()
