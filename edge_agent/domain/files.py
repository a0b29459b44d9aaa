"""Atomic, durable replacement of files. After a power cut a file has its old or its new content, never a mixture."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def replace_durably(
    path: Path,
    data: bytes,
    mode: int | None = None,
    *,
    check: Callable[[bytes], None] | None = None,
    shared: bool = False,
) -> None:
    """Replace the content of ``path`` with ``data``, or leave it as it was. The folder is made if it is missing.

    ``mode``: the file's permissions, set before it has content; None: the process's default. ``check`` gets what was
    written, read back, before it replaces the old content; it may raise. ``shared``: other processes may replace the
    same file at the same time, so that each needs a temporary file of its own.

    Raises:
        OSError: the file cannot be replaced.
    """
    suffix = f".{secrets.token_hex(4)}.new" if shared else ".new"
    new = path.with_name(path.name + suffix)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with new.open("wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(new.read_bytes())
        new.replace(path)
    except BaseException:  # Ctrl-C included: leave no temporary file
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make new, renamed and deleted names in ``folder`` durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
