"""Read text files that people write: config, passwords, tokens. A byte order mark is ignored."""

from __future__ import annotations

from pathlib import Path

from edge_agent.domain.errors import ConfigError

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


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
