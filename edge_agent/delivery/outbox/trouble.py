"""Why the state folder cannot be used, and what to do about it: one line for logs and health."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from edge_agent.delivery.outbox.database import StoreFullError

ELSEWHERE = "or set device.state_dir"


def explain(error: Exception, folder: Path) -> str:
    """One line: what is wrong with the outbox's ``folder``, and the remedy."""
    what = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return f"{folder}: {what}: {_remedy(error, folder)}"


def _remedy(error: Exception, folder: Path) -> str:
    number = error.errno if isinstance(error, OSError) else None
    nearest = next(path for path in (folder, *folder.parents, Path()) if os.path.exists(path))
    if isinstance(error, StoreFullError) or number in (errno.ENOSPC, errno.EDQUOT):
        return f"free some space there, {ELSEWHERE}"
    if number == errno.EROFS or _read_only(nearest):
        return f"mounted read-only: see dmesg for the disk's errors, then remount it, {ELSEWHERE}"
    if not nearest.is_dir():
        return f"{nearest} is not a folder: move it away, {ELSEWHERE}"
    if nearest != folder or not os.access(folder, os.W_OK | os.X_OK):
        return f"make {folder.parent} a folder that this user can write to, {ELSEWHERE}"
    return f"see dmesg for the disk's errors, {ELSEWHERE}"


def _read_only(path: Path) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False
