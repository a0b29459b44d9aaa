"""The clean recordings: reading them and splitting them by source, so that no recording is on both sides.

A folder holds one sub-folder of sound files per label (``cough``, ``crying``, …, ``speech``, ``background``), as any
evaluation set does; sub-folders of those are followed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
import numpy.typing as npt

from edge_agent.capture.decode import LENIENT
from edge_agent.domain.errors import MediaError

RATE = 16_000
SUFFIXES = {".ogg", ".wav", ".flac", ".mp3", ".m4a", ".opus", ".webm", ".aac", ".au", ".g722"}
ALIASES = {"pant": "gasp", "panting": "gasp"}
"""Folder names that mean another label."""
VALIDATION_SHARE = 0.35
Split = Literal["train", "valid"]


@dataclass(frozen=True, slots=True)
class Recording:
    """One file. ``source`` identifies the recording it was cut from, or the speaker where that is known."""

    path: Path
    label: str
    source: str

    @property
    def split(self) -> Split:
        """The side this recording's source belongs to, decided by a hash of its name."""
        digest = hashlib.sha256(self.source.encode()).digest()
        return "valid" if digest[0] / 256 < VALIDATION_SHARE else "train"


def find(folder: Path) -> list[Recording]:
    """All sound files below ``folder``, sorted by label and name.

    Raises:
        MediaError: no such folder.
    """
    if not folder.is_dir():
        raise MediaError(f"{folder}: no such folder; it must hold one sub-folder of sound files per label")
    return sorted(_walk(folder), key=lambda r: (r.label, r.path))


def _walk(folder: Path) -> Iterator[Recording]:
    for directory in sorted(p for p in folder.iterdir() if p.is_dir()):
        for path in sorted(directory.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                yield Recording(path, ALIASES.get(directory.name, directory.name), source_of(path.stem))


def source_of(stem: str) -> str:
    """ESC-10 names carry the recording, FSDD names the speaker; every other file is a recording of its own."""
    esc = re.fullmatch(r"esc10_\d+-(\d+)-[A-Z]", stem)
    if esc:
        return f"esc10-{esc.group(1)}"
    fsdd = re.fullmatch(r"fsdd_([a-z]+)_\d+", stem)
    return f"fsdd-{fsdd.group(1)}" if fsdd else stem


def read(path: Path) -> npt.NDArray[np.float32]:
    """Mono float32 samples at 16 kHz.

    Raises:
        MediaError: the file holds no sound that can be decoded.
    """
    parts = []
    try:
        with path.open("rb") as file, av.open(file, **LENIENT) as container:  # a name may look like an address
            resampler = av.AudioResampler("flt", "mono", RATE)
            for frame in container.decode(audio=0):
                parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
            parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    except (OSError, ValueError, IndexError, av.error.FFmpegError) as error:
        raise MediaError(f"{path}: no sound that can be decoded: {error}") from error
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
