"""Catalogue of known models: accepted files by sha256, licence, and where to download them.

Read from ``catalogue.toml`` in this folder.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from edge_agent.domain.errors import ModelError
from edge_agent.domain.text import did_you_mean


@dataclass(frozen=True, slots=True)
class ModelFile:
    """An accepted file, identified by its content."""

    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef") or self.bytes <= 0:
            raise ValueError(f"needs a lower-case sha256 and a size in bytes, got {self.sha256!r}, {self.bytes!r}")


@dataclass(frozen=True, slots=True)
class WheelMember:
    """A file inside a wheel of the package index.

    ``python`` and ``platform`` select one of the version's wheels. They need not match this machine: nothing in the
    wheel is installed or run.
    """

    project: str
    version: str
    python: str
    platform: str
    member: str

    @property
    def requirement(self) -> str:
        """Requirement specifier for pip."""
        return f"{self.project}=={self.version}"


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A file inside a ``.tar.gz`` of at most ``bytes`` bytes, such as a package of the npm registry."""

    url: str
    member: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model. ``bundled`` is ``package:file``; a bundled model is never downloaded and has no other source.

    ``named_only``: never fetched unless an analyzer needs it or somebody names it. ``suffix``: of the installed file.
    ``provenance``: what an operator should know about where the weights come from, beyond the licence.
    """

    name: str
    title: str
    licence: str
    files: tuple[ModelFile, ...]
    url: str | None = None
    wheel: WheelMember | None = None
    archive: ArchiveMember | None = None
    provenance: str = ""
    named_only: bool = False
    suffix: str = ".tflite"
    bundled: str | None = None

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("accepts no file")
        if self.url is not None and not self.url.startswith(("https://", "http://")):
            raise ValueError(f"url must begin with https:// or http://, got {self.url!r}")
        if self.bundled is not None and (self.url, self.wheel, self.archive) != (None, None, None):
            raise ValueError("is bundled and has another source")
        if self.bundled is not None and self.bundled.count(":") != 1:
            raise ValueError(f"bundled must be 'package:file', got {self.bundled!r}")

    @property
    def max_bytes(self) -> int:
        """Size of the largest accepted file."""
        return max(file.bytes for file in self.files)

    def accepts(self, content: bytes) -> bool:
        """Whether ``content`` is one of the accepted files."""
        return self.describe_mismatch(content) is None

    def describe_mismatch(self, content: bytes) -> str | None:
        """Say why ``content`` is not an accepted file; None when it is one."""
        sizes = sorted({file.bytes for file in self.files})
        if len(content) not in sizes:
            return f"it has {len(content)} bytes instead of {' or '.join(map(str, sizes))}"
        digest = hashlib.sha256(content).hexdigest()
        if digest not in {file.sha256 for file in self.files}:
            return f"its sha256 {digest[:12]}… is not a known one"
        return None


class Catalogue:
    """Known models by name, in the order of the file."""

    def __init__(self, entries: Iterable[ModelEntry]) -> None:
        self._entries: Mapping[str, ModelEntry] = {entry.name: entry for entry in entries}

    @classmethod
    def load(cls) -> Catalogue:
        """Load the catalogue that is part of the agent."""
        text = resources.files(__package__).joinpath("catalogue.toml").read_text(encoding="utf-8")
        return cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> Catalogue:
        """Parse a catalogue from TOML ``text``.

        Raises:
            ModelError: the text is not a catalogue; names the entry.
        """
        try:
            tables = tomllib.loads(text).get("models", {})
        except tomllib.TOMLDecodeError as error:
            raise ModelError(f"model catalogue: not valid TOML: {error}") from error
        return cls(_entry(name, table) for name, table in tables.items())

    def __iter__(self) -> Iterator[ModelEntry]:
        return iter(self._entries.values())

    def __getitem__(self, name: str) -> ModelEntry:
        """Return the entry called ``name``.

        Raises:
            ModelError: there is none; suggests the closest name.
        """
        try:
            return self._entries[name]
        except KeyError:
            hint = did_you_mean(name, self._entries, "known: {}")
            raise ModelError(f"there is no model called {name!r}{hint}") from None


def _entry(name: str, table: dict[str, Any]) -> ModelEntry:
    fields = dict(table)
    try:
        files = tuple(ModelFile(**file) for file in fields.pop("files"))
        wheel = fields.pop("wheel", None)
        archive = fields.pop("archive", None)
        return ModelEntry(
            name=name,
            files=files,
            wheel=WheelMember(**wheel) if wheel else None,
            archive=ArchiveMember(**archive) if archive else None,
            **fields,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"model catalogue: entry {name!r}: {error}") from error
