"""The float weights of the model that ships, kept small for the next training to set out from: numpy alone.

``shipped.npz`` holds the two large tables as 8 bits with a scale for each row, which is finer than the one scale of the
``.tflite`` file, the rest as 16-bit floats, and the names of the features, of which the product has only the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SHIPPED = Path(__file__).with_name("shipped.npz")
_TABLES = ("words.weight", "grams.weight")


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """``net``: parameters by name; ``words``, ``grams``: names in the order of their rows; ``calibration`` [28, 2]."""

    net: Mapping[str, np.ndarray]
    words: tuple[str, ...]
    grams: tuple[str, ...]
    calibration: np.ndarray


def keep(kept: Kept, path: Path = SHIPPED) -> None:
    """Write the weights."""
    parts: dict[str, np.ndarray] = {"calibration": kept.calibration.astype(np.float32)}
    for name, value in kept.net.items():
        if name in _TABLES:
            scale = np.maximum(np.abs(value).max(1, keepdims=True) / 127, 1e-8)
            parts[f"net.{name}"] = np.rint(value / scale).astype(np.int8)
            parts[f"scale.{name}"] = scale.astype(np.float32)
        else:
            parts[f"net.{name}"] = value.astype(np.float16)
    for name in ("words", "grams"):
        parts[name] = np.frombuffer("\n".join(getattr(kept, name)).encode(), np.uint8)
    np.savez_compressed(path, **parts)


def load_weights(path: Path = SHIPPED) -> Kept:
    """Read what :func:`keep` wrote."""
    with np.load(path) as file:
        net = {
            name[4:]: file[name].astype(np.float32) * (file[f"scale.{name[4:]}"] if name[4:] in _TABLES else 1)
            for name in file.files
            if name.startswith("net.")
        }
        words, grams = (tuple(file[name].tobytes().decode().split("\n")) for name in ("words", "grams"))
        return Kept(net, words, grams, file["calibration"])
