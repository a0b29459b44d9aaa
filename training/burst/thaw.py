"""PyTorch weights out of the int8 file, to train on from where the float ones are no longer at hand.

    python -m training.burst.thaw --model plugins/edge_agent_burst/burst.tflite --corpus runs/corpus --out start.pt

Batch norms were folded into the file's convolutions. Here they are unfolded again, with the statistics that the
convolutions have on windows as in training: the network says what the file says, and trains like a fresh one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from training.burst.corpus import CLASSES
from training.burst.dataset import Sampler, load
from training.burst.network import BurstNet
from training.burst.yamnet import constant


def thaw(content: bytes) -> BurstNet:
    """The network in a ``.tflite`` file of :mod:`training.burst.export`; its batch norms only add the biases.

    Raises:
        ValueError: the file holds another network.
    """
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    # There is no public list of a graph's operators.
    operators = [op for op in interpreter._get_ops_details() if op["op_name"] in {"CONV_2D", "FULLY_CONNECTED"}]
    read = [[torch.from_numpy(constant(interpreter, details[k])) for k in op["inputs"][1:3]] for op in operators]
    *convolutions, (weight, bias) = read
    state = {"classify.weight": weight, "classify.bias": bias}
    for k, (weight, bias) in enumerate(convolutions):
        kernel = weight.permute(0, 3, 1, 2).contiguous()
        state |= {f"features.{3 * k}.weight": kernel, **_unchanging(f"features.{3 * k + 1}", bias)}
    net = BurstNet(len(CLASSES))
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the file holds another network than training.burst.network: {error}") from error
    return net.eval()


def _unchanging(name: str, bias: torch.Tensor) -> dict[str, torch.Tensor]:
    """The state of a batch norm that adds ``bias`` and does nothing else."""
    nothing, one = torch.zeros_like(bias), torch.ones_like(bias)
    norm = {"weight": one, "bias": bias, "running_mean": nothing, "running_var": one - nn.BatchNorm2d(1).eps}
    return {f"{name}.{key}": value for key, value in norm.items()} | {f"{name}.num_batches_tracked": torch.tensor(0)}


@torch.no_grad()
def spread(net: BurstNet, windows: torch.Tensor) -> None:
    """Give the batch norms the statistics of ``windows`` [n, 1, 125, 64] without changing what ``net`` says."""
    x = windows
    for layer in net.features:
        inputs, x = x, layer(x)
        if isinstance(layer, nn.BatchNorm2d):
            variance, mean = torch.var_mean(inputs, (0, 2, 3), correction=0)
            layer.weight.copy_((variance + layer.eps).sqrt())
            layer.bias += mean
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=2000)
    args = parser.parse_args()
    net = thaw(args.model.read_bytes())
    clips = load([path for corpus in args.corpus for path in sorted(corpus.glob("features-*.npz"))])
    spread(net, torch.from_numpy(np.asarray(Sampler(clips, seed=99).batch(args.windows).windows))[:, None])
    torch.save(net.state_dict(), args.out)


if __name__ == "__main__":
    main()
