"""Replace files atomically and durably, and read text files that people write: config, passwords, tokens.

After a power cut a replaced file has its old or its new content, never a mixture. A byte order mark is ignored.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from edge_agent.domain.errors import ConfigError

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


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
    make_folder(path.parent)
    try:
        with new.open("wb") as file:
            hand_over(new)
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


def make_folder(folder: Path) -> None:
    """Make a folder of mode 0700, and its parents; whose they are tells :func:`hand_over`. Raises OSError."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for each in reversed(missing):
        hand_over(each)


def hand_over(path: Path) -> None:
    """Give what root has made to the owner of the folder in which it lies, as whom the agent runs. Raises OSError."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def sync_folder(folder: Path) -> None:
    """Make new, renamed and deleted names in ``folder`` durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_text(path: Path) -> str:
    """Read a UTF-8 file.

    Raises:
        FileNotFoundError: there is no such file; the caller says what it is for.
        ConfigError: it cannot be read, or is not UTF-8; says how to convert it.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder: name the file in it") from None
    except PermissionError:
        raise ConfigError(f"{path} may not be read by this user: check its owner and mode with 'ls -l'") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if content.startswith(_UTF16_MARKS) or b"\0" in content.strip(b"\0 \t\r\n"):
        raise ConfigError(f"{path} must be UTF-8 and looks like UTF-16: {_convert(path, 'UTF-16')}")
    try:
        return content.decode("utf-8").lstrip("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: must be UTF-8: {_convert(path, 'ISO-8859-1')}") from None


def read_secret(path: Path, what: str) -> str:
    """Read the first line of a file that holds a secret; errors call it ``what``.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError:
        raise ConfigError(f"{what} cannot be read: {path}: no such file") from None
    except ConfigError as error:
        raise ConfigError(f"{what} cannot be read: {error}") from None
    return lines[0].strip() if lines else ""


def _convert(path: Path, encoding: str) -> str:
    return f"convert it with 'iconv -f {encoding} -t UTF-8 {path} > {path}.new' and put that in its place"
