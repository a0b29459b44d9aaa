"""Uploaded media as a file that exists in memory only: pictures and sound of a client never touch the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def in_memory(content: bytes) -> Iterator[Path]:
    """A path under which ``content`` can be opened, as often as wanted, until the block ends (Linux)."""
    descriptor = os.memfd_create("upload")
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


PIXELS = 4096 * 4096
"""Most pixels of a picture: those of a phone's photograph (12 or 16 million), 50 MB when decoded."""


def too_large(width: int, height: int) -> str | None:
    """Why a picture of that size is not decoded, None when it is."""
    if width * height <= PIXELS:
        return None
    return f"the picture is too large: {width} x {height}, the limit is {PIXELS / 1e6:.1f} million pixels (4096 x 4096)"
