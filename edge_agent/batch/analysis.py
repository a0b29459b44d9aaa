"""Analyse one recording of a job: each model that is asked for looks, listens or reads, and answers for itself.

A model that this device lacks, that cannot be used now, or for which there is nothing in the recording, is told as an
error beside what the others found. An archive (zip, tar) is analysed file by file. Blocking; nothing is sent.
"""

from __future__ import annotations

import logging
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from lzma import LZMAError
from pathlib import Path
from typing import IO, Any

from edge_agent.api import ConfigError, CustomModels, EdgeAgentError, MediaError, ModelError, PluginError, Session
from edge_agent.batch.custom import CustomModelChoice, judge
from edge_agent.batch.finders import FINDERS, Finder, Medium, OpenSession, Setting
from edge_agent.batch.jobs import BatchError, BatchRequest, Findings, Task, file_name
from edge_agent.capture import MediaInfo, iter_blocks, iter_media, read_media
from edge_agent.capture.formats import ACCEPTED, sniff
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.domain.text import printable
from edge_agent.settings.batch import BatchSettings

log = logging.getLogger(__name__)

PIXELS = 8192 * 8192
"""Most pixels of a picture: 200 MB when decoded."""
_DAMAGE = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError)
"""What reading a damaged or encrypted archive raises."""
MEMBERS = 1000
"""Most files of an archive."""
_TEXT_BYTES = 1_000_000

Progress = Callable[[float], None]
"""Called with the share that is done, 0 to 1, with every picture and block of sound; it may raise to end the work."""


# ---------------------------------------------------------------------- one recording


@dataclass(slots=True)
class _Found:
    """What was found in the files of a source so far."""

    predictions: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    count: int = 0

    def outcome(self) -> Findings:
        results = {"predictions": self.predictions, "errors": self.errors}
        return Findings(results, self.count, len(self.errors))


class Analyser:
    """Analyses recordings with the models of this device. ``withheld``: analyzers that the config switches off.

    ``open_custom``: opens the custom models; called when a job asks for one, and kept.
    """

    def __init__(
        self,
        limits: BatchSettings,
        open_session: OpenSession = Session,
        withheld: frozenset[str] = frozenset(),
        open_custom: Callable[[], CustomModels] = CustomModels,
    ) -> None:
        self._limits = limits
        self._open = open_session
        self._withheld = withheld
        self._open_custom = open_custom
        self._custom: CustomModels | None = None

    def analyse(self, path: Path, task: Task, progress: Progress = lambda _share: None) -> Findings:
        """Analyse the recording, archive or text in the file ``path``.

        Raises:
            BatchError: nothing in it can be analysed; says why.
        """
        found = _Found()
        name = file_name(task.source)
        if task.source.kind == "text" and task.request.custom_model is None:
            self._read(path, name, task.request, found, told_as_text=True)
        elif (members := _members(path)) is not None:
            self._archive(members, task, found, progress)
        else:
            self._file(path, name, task.request, found, progress)
        if not found.predictions and found.errors:
            raise BatchError(found.errors[0]["message"])
        return found.outcome()

    def _archive(self, members: Iterator[Member], task: Task, found: _Found, progress: Progress) -> None:
        most = round(self._limits.max_file_mb * 1e6)
        for number, member in enumerate(members):
            if number >= MEMBERS:
                found.errors.append(
                    _error(file_name(task.source), f"an archive may have {MEMBERS} files: the rest is left")
                )
                return
            try:
                with member.unpacked(most) as path:
                    self._file(path, member.name, task.request, found, lambda _share: progress(0.0))
            except BatchError as error:
                found.errors.append(_error(member.name, str(error)))
        if not (found.predictions or found.errors):
            raise BatchError("this archive holds no files")

    def _file(self, path: Path, name: str, request: BatchRequest, found: _Found, progress: Progress) -> None:
        """Analyse one file; what is wrong with it is one of its errors."""
        try:
            with path.open("rb") as file:
                form = sniff(file)
            if request.custom_model is not None:
                self._judge(path, name, request.custom_model, found, progress)
            elif form is not None:
                self._media(path, name, request, found, progress)
            else:
                self._read(path, name, request, found)
        except (BatchError, MediaError) as error:
            found.errors.append(_error(name, str(error).removeprefix(f"{path}: ")))
        except OSError as error:
            found.errors.append(_error(name, f"cannot be read: {error.strerror}"))

    def _media(self, path: Path, name: str, request: BatchRequest, found: _Found, progress: Progress) -> None:
        info = read_media(path)
        self._check_media(info)
        streams: dict[Medium, object] = {"picture": info.video, "sound": info.audio}
        there = {medium for medium, stream in streams.items() if stream}
        with self._finders(name, request, there, found, still=info.still) as finders:
            looks = any("picture" in finder.media for finder in finders)
            if not finders:
                return
            source = iter_media(path) if looks else iter_blocks(path)
            with closing(source) as items:
                for item in items:
                    self._check_length(item.time)
                    progress(min(1.0, item.time / info.duration) if info.duration else 0.0)
                    self._give(finders, item, name, found)
            self._finish(finders, name, found)

    def _judge(self, path: Path, name: str, choice: CustomModelChoice, found: _Found, progress: Progress) -> None:
        """Judge a file by a custom model."""
        if choice.analyzer in self._withheld:
            raise BatchError(f"this device's config switches {choice.analyzer} off")
        with path.open("rb") as file:
            form = sniff(file)
        content: Path | str = path
        kind, duration = "text", 0.0
        if form is None:
            content = _checked_text(path)
        else:
            info = read_media(path)
            self._check_media(info)
            kind = {"picture": "image", "film": "video", "sound": "audio"}[form.medium]
            duration = info.duration or 0.0

        def watch(seconds: float) -> None:
            self._check_length(seconds)
            progress(min(1.0, seconds / duration) if duration else 0.0)

        try:
            self._custom = self._custom or self._open_custom()
            told = judge(self._custom, choice, content, watch)
        except (ConfigError, MediaError) as error:
            raise BatchError(str(error)) from None
        except (ModelError, PluginError) as error:
            log.warning("batch: %s: %s", choice.analyzer, error)
            raise BatchError("this custom model cannot be used now; the device's log says why") from None
        found.count += 1
        found.predictions.append({"file": name, "file_type": kind, "models": {}, "custom_models": told})

    def _read(self, path: Path, name: str, request: BatchRequest, found: _Found, *, told_as_text: bool = False) -> None:
        text = _checked_text(path)
        with self._finders(name, request, {"text"}, found, still=False) as finders:
            self._give(finders, text, name, found)
            self._finish(finders, name, found)
            if told_as_text and not finders and not found.errors:
                found.errors.append(_error(name, "this device has no model that reads text"))

    @contextmanager
    def _finders(
        self, name: str, request: BatchRequest, there: set[Medium], found: _Found, *, still: bool
    ) -> Iterator[list[Finder]]:
        """The models at work on a file in which ``there`` is; why an asked one is not among them becomes an error."""
        setting = Setting(self._open, request, still, self._withheld, frozenset(there))
        finders: list[Finder] = []
        try:
            for model in request.asked or tuple(FINDERS):
                try:
                    finders += self._finder(model, setting, there, quiet=not request.asked)
                except BatchError as error:
                    found.errors.append(_error(name, f"{model}: {error}"))
            yield finders
        finally:
            for finder in finders:
                finder.close()

    def _finder(self, model: str, setting: Setting, there: set[Medium], *, quiet: bool) -> list[Finder]:
        kind = FINDERS.get(model)
        if kind is None:
            raise BatchError(f"this device has no model for {model}")
        media = kind.media if not quiet or kind.unasked is None else kind.unasked
        if not media & there:
            if quiet:
                return []
            raise BatchError(kind.nothing)
        if any(name in self._withheld for name in kind.needs):
            if quiet:
                return []
            raise BatchError(f"this device's config switches {' and '.join(kind.needs)} off")
        try:
            return [kind(setting)]
        except ConfigError as error:  # the plugin is not installed
            if quiet:
                return []
            log.info("batch: %s: %s", model, error)
            raise BatchError(f"this device has no model for {model}") from None
        except EdgeAgentError as error:
            log.warning("batch: %s: %s", model, error)
            raise BatchError("this model cannot be used now; the device's log says why") from None

    def _give(self, finders: list[Finder], item: Frame | AudioBlock | str, name: str, found: _Found) -> None:
        for finder in list(finders):
            self._try(finders, finder, name, found, partial(finder.take, item))

    def _finish(self, finders: list[Finder], name: str, found: _Found) -> None:
        models: dict[str, Any] = {}

        def finish(finder: Finder) -> None:
            models[finder.name] = finder.finish()
            found.errors += [_error(name, f"{finder.name}: {warning}") for warning in finder.warnings()]

        for finder in list(finders):
            self._try(finders, finder, name, found, partial(finish, finder))
        if models:
            found.count += sum(len(g["predictions"]) for told in models.values() for g in told["grouped_predictions"])
            found.predictions.append({"file": name, "models": models})

    @staticmethod
    def _try(finders: list[Finder], finder: Finder, name: str, found: _Found, step: Callable[[], None]) -> None:
        """Do a step of one model; when it fails, the others go on without it."""
        try:
            step()
        except EdgeAgentError as error:
            log.warning("batch: %s: %s", finder.name, error)
            found.errors.append(_error(name, f"{finder.name}: this model has failed; the device's log says why"))
            finders.remove(finder)
            finder.close()

    def _check_media(self, info: MediaInfo) -> None:
        if info.video and info.video.width * info.video.height > PIXELS:
            raise BatchError(f"pictures may have {PIXELS / 1e6:.0f} million pixels")
        self._check_length(info.duration)

    def _check_length(self, seconds: float) -> None:
        """Called for every item as well: a file may say that it is shorter than it is."""
        if seconds > 60 * self._limits.max_minutes:
            raise BatchError(f"a recording may last {self._limits.max_minutes:g} minutes (batch.max_minutes)")


def _error(name: str, message: str) -> dict[str, str]:
    return {"message": message, "file": name}


def _checked_text(path: Path) -> str:
    """The text in a file. Raises BatchError."""
    content = path.read_bytes()[: _TEXT_BYTES + 1]
    text = _text(content)
    if text is None:
        raise BatchError(f"this is no text in UTF-8 and no media in a known format: {ACCEPTED}")
    if len(content) > _TEXT_BYTES:
        raise BatchError(f"a text may have {_TEXT_BYTES} bytes")
    return text


def _text(content: bytes) -> str | None:
    """A text, None when the bytes are none."""
    try:
        text = (
            content.decode("utf-8-sig")
            if len(content) <= _TEXT_BYTES
            else content[:_TEXT_BYTES].decode(errors="ignore")
        )
    except UnicodeDecodeError:
        return None
    return None if "\0" in text or not text.strip() else text


# ---------------------------------------------------------------------- archives


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive."""

    name: str
    open: Callable[[], IO[bytes]]

    @contextmanager
    def unpacked(self, most: int) -> Iterator[Path]:
        """The file, unpacked for a while, at most ``most`` bytes of it. Raises BatchError."""
        with tempfile.NamedTemporaryFile(prefix="upload-") as file:
            try:
                with self.open() as packed:
                    size = 0
                    while chunk := packed.read(1 << 16):
                        size += len(chunk)
                        if size > most:
                            raise BatchError(f"a file in an archive may have {most / 1e6:g} MB (batch.max_file_mb)")
                        file.write(chunk)
            except _DAMAGE as error:
                raise BatchError(f"this archive is damaged or protected: {error}") from None
            file.flush()
            yield Path(file.name)


def _members(path: Path) -> Iterator[Member] | None:
    """The files of an archive; None when it is none."""
    with path.open("rb") as file:
        head = file.read(262)
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return _zipped(path)
    packed = head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"))
    return _tarred(path) if packed or head[257:262] == b"ustar" else None


def _zipped(path: Path) -> Iterator[Member]:
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir() and not _hidden(info.filename):
                    yield Member(_shown(info.filename), partial(archive.open, info))
    except _DAMAGE as error:
        raise BatchError(f"this archive is damaged: {error}") from None


def _tarred(path: Path) -> Iterator[Member]:
    try:
        with tarfile.open(path) as archive:
            for info in archive:
                if info.isreg() and not _hidden(info.name):
                    yield Member(_shown(info.name), partial(_extracted, archive, info))
    except _DAMAGE as error:
        raise BatchError(f"this archive is damaged: {error}") from None


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    if file is None:
        raise tarfile.TarError(f"{info.name} is no file")
    return file


def _hidden(name: str) -> bool:
    """Whether it is one of the files that other systems add to archives."""
    return "__MACOSX" in name or name.replace("\\", "/").rpartition("/")[2].startswith(".")


def _shown(name: str) -> str:
    return printable(name.replace("\\", "/"), lines=False)[-200:]
