"""The support bundle: a tar.gz with the findings, the settings in effect, versions and the outbox's counters.

It never holds pictures, sound, payloads, logs or model files. Of the settings it holds what is known to be harmless
(:func:`~edge_agent.settings.secrets.shown_settings`), and known secrets are taken out of every text.
"""

from __future__ import annotations

import io
import json
import os
import platform
import tarfile
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from edge_agent import __version__
from edge_agent.delivery.outbox import directory
from edge_agent.delivery.service import outbox_folder
from edge_agent.doctor.result import CheckResult
from edge_agent.domain.errors import EdgeAgentError
from edge_agent.domain.text import Redactor
from edge_agent.settings import Settings
from edge_agent.settings.secrets import shown_settings

FOLDER = "edge-agent-support"

README = """\
Made by 'edge-agent doctor --bundle'. Inside: what the doctor found, the settings in effect, versions, and the counters
of the outbox. Passwords, tokens and the like were replaced by ***. Not inside: pictures, sound, summaries, logs.
Host names, user names and the device's id are still there: look through it before you show it to the world.
"""


class BundleError(EdgeAgentError):
    """The bundle cannot be written."""


def write_bundle(path: Path, documents: Mapping[str, Any], redactor: Redactor) -> None:
    """Write ``documents`` (JSON-like, by name) to the new file ``path``, readable by its owner only.

    Raises:
        BundleError: the file exists or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise BundleError(f"{path} exists; give another name") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            _add(archive, "README.txt", README)
            for name, document in documents.items():
                _add(archive, f"{name}.json", json.dumps(redactor.texts(document), indent=2))
    except OSError as error:
        path.unlink(missing_ok=True)
        raise BundleError(f"{path}: cannot be written: {error.strerror}") from error


def documents(settings: Settings | None, results: Sequence[CheckResult]) -> dict[str, Any]:
    """What goes into a bundle. ``settings``: None when the configuration cannot be used."""
    found: dict[str, Any] = {"doctor": [result.as_dict() for result in results], "versions": versions()}
    if settings is not None:
        found["config"] = shown_settings(settings)
        found["outbox"] = _outbox(settings)
    return found


def versions() -> dict[str, Any]:
    """Of the program, Python, every installed package, and the system."""
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        system = ""
    return {
        "edge-agent": __version__,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "system": system,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "board": _board(Path("/proc/device-tree/model")),
        "processors": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000,
        "packages": dict(sorted({(d.name, d.version) for d in metadata.distributions()})),
    }


def _outbox(settings: Settings) -> Any:
    try:
        return directory.figures(outbox_folder(settings))
    except EdgeAgentError as error:
        return {"error": str(error)}


def _board(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\0")
    except OSError:
        return ""


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(f"{FOLDER}/{name}")
    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
    archive.addfile(entry, io.BytesIO(content))
