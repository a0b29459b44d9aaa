"""Uploaded media as a file that exists in memory only: pictures and sound of a client never touch the disk.

Only formats that hold their media themselves are let through: a playlist would make the decoder open what it names.
"""

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


_HEADS = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF8",
    b"BM",
    b"RIFF",  # WAV, AVI, WebP
    b"fLaC",
    b"OggS",
    b"\x1aE\xdf\xa3",  # Matroska, WebM
)


def holds_media(content: bytes) -> bool:
    """Whether it begins as a self-contained picture, sound or film does (MP4 and MP3 among them)."""
    content = content[:10] if content[:3] != b"ID3" else content
    if content[:3] == b"ID3" and len(content) > 10:  # the decoder looks behind the tag, so this must too
        size = int.from_bytes(bytes(content[6:10]), "big")
        length = (size & 0x7F) | (size & 0x7F00) >> 1 | (size & 0x7F0000) >> 2 | (size & 0x7F000000) >> 3
        content = content[10 + length :][:10]
    mpeg = len(content) > 1 and content[0] == 0xFF and content[1] & 0xE0 == 0xE0
    return content.startswith(_HEADS) or content[4:8] == b"ftyp" or mpeg
