"""Append-only file of complete lines with rotation, safe against power cuts.

Each batch is synced before it counts as stored. A batch that fails half-way is truncated, and so is an incomplete last
line found at start: every line in the file is complete, and the outbox offers the missing ones again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edge_agent.domain.event import Message
from edge_agent.domain.files import sync_folder

CHUNK = 1 << 16


class JsonlSink:
    """Write ``path``, rotating it to ``path.1`` … ``path.<keep>`` before it grows beyond ``max_bytes``."""

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._fd: int | None = None
        self._size = 0

    def write(self, messages: Sequence[Message]) -> None:
        """Append one line per message, durably. Raises OSError; the batch is then to be offered again."""
        lines = [message.payload + b"\n" for message in messages]
        while lines:
            fd = self._open()
            count = self._fitting(lines)
            if count == 0:
                self._rotate()
                continue
            self._append(fd, b"".join(lines[:count]))
            lines = lines[count:]

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _fitting(self, lines: Sequence[bytes]) -> int:
        """How many of ``lines`` the file takes; an empty one takes at least one."""
        size, count = self._size, 0
        for line in lines:
            if size + len(line) > self._max_bytes and size > 0:
                break
            size += len(line)
            count += 1
        return count

    def _append(self, fd: int, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        except OSError:
            os.ftruncate(fd, self._size)
            raise
        self._size += len(data)

    def _open(self) -> int:
        if self._fd is not None and not self._moved(self._fd):
            return self._fd
        self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._fd, self._size = fd, _whole_lines(fd)
        os.ftruncate(fd, self._size)
        sync_folder(self._path.parent)
        return fd

    def _moved(self, fd: int) -> bool:
        """Whether another program, such as logrotate, renamed or deleted the file."""
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(fd))

    def _rotate(self) -> None:
        self.close()
        if self._keep == 0:
            self._path.unlink(missing_ok=True)
            return
        for number in range(self._keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _whole_lines(fd: int) -> int:
    """Length of the file up to its last line break."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - CHUNK)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
