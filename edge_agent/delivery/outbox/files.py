"""The files beside the database: the lock, the ballast and the mark.

The lock keeps a second agent out. The ballast is space given back when the disk is full, because SQLite cannot even
delete without some. The mark repeats the newest numbers after every commit, unsynced and therefore free of wear: after
a crash it tells how much a lost write-ahead log held.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_agent.delivery.rows import Counters
from edge_agent.domain.errors import AlreadyRunningError

BALLAST_BYTES = 1 << 20
MARK_BYTES = 320


class Lock:
    """An exclusive lock on the state directory; the kernel frees it when the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Raises AlreadyRunningError when another process holds it, OSError when the directory cannot be written."""
        if self._fd is not None:
            return
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise AlreadyRunningError(
                f"another edge-agent uses {self._path.parent}: stop it, or give this one its own device.state_dir"
            ) from None
        self._fd = fd

    def release(self) -> None:
        """Let others in; idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Ballast:
    """A file of real blocks, given back in need and made again when there is plenty of room."""

    def __init__(self, path: Path, size: int = BALLAST_BYTES) -> None:
        self._path = path
        self._size = size

    @property
    def present(self) -> bool:
        """Whether there is something to release."""
        try:
            return self._path.stat().st_size >= self._size
        except OSError:
            return False

    def release(self) -> bool:
        """Free the space; False when there was none."""
        present = self.present
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        return present

    def restore(self) -> bool:
        """Make the file when it is missing and the disk has room for it twice over; False when that must wait."""
        if self.present:
            return True
        try:
            if shutil.disk_usage(self._path.parent).free < 2 * self._size:
                return False
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, self._size)
            finally:
                os.close(fd)
        except OSError:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            return False
        return True


@dataclass(frozen=True, slots=True)
class MarkValue:
    """The newest numbers known; ``next_seq`` is of ``boot_id``. ``open`` until the outbox was closed in order."""

    boot_id: str
    next_seq: int
    counters: Counters
    open: bool


class Mark:
    """Reads and rewrites one fixed-size JSON line; never raises, because it is only a help."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def read(self) -> MarkValue | None:
        """The mark of the previous run, or None when there is none that can be trusted."""
        try:
            value = json.loads(self._path.read_bytes())
            counters = Counters(**{name: int(count) for name, count in value["counters"].items()})
            return MarkValue(str(value["boot_id"]), int(value["next_seq"]), counters, bool(value["open"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, value: MarkValue) -> None:
        """Replace the mark."""
        text = json.dumps(asdict(value), separators=(",", ":")).ljust(MARK_BYTES).encode()
        with contextlib.suppress(OSError):
            if self._fd is None:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._fd, text, 0)

    def close(self) -> None:
        """Release the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
