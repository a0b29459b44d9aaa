"""Run all checks, and write the support bundle.

Checks that need settings are left out when the configuration is not valid. The bundle is a tar.gz with the results, the
settings in effect, versions and the counters of the outbox. It never holds pictures, sound, payloads, logs or model
files; of the settings it holds what is known to be harmless, and known secrets are removed from every text.
"""

from __future__ import annotations

import io
import json
import logging
import os
import platform
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from edge_agent import __version__
from edge_agent.app.builder import PipelineBuilder
from edge_agent.control.schedule import Schedule
from edge_agent.control.state import FILE as CHOICES
from edge_agent.control.state import OverridesFile
from edge_agent.delivery.outbox import directory
from edge_agent.delivery.service import outbox_folder
from edge_agent.doctor import access, broker, devices, host, parts, software
from edge_agent.doctor.result import CheckResult, fail, ok, warn
from edge_agent.domain.clock import SystemClock
from edge_agent.domain.errors import ConfigError, EdgeAgentError
from edge_agent.domain.text import Redactor
from edge_agent.runtime.machine import board, sync_probe, system_name
from edge_agent.settings import ConfigText, Settings, read
from edge_agent.settings.secrets import known_secrets, shown_settings

BUNDLE_FOLDER = "edge-agent-support"

BUNDLE_README = """\
Written by 'edge-agent doctor --bundle'. Inside: the results of the checks, the settings in effect, versions, and the
counters of the outbox. Passwords and tokens are replaced by ***. Not inside: pictures, sound, summaries, logs.
Host names, user names and the device's id are not masked: check the content before you publish it.
"""


@dataclass(frozen=True, slots=True)
class Examination:
    """Results of all checks. ``settings``: None when the configuration is not valid."""

    results: tuple[CheckResult, ...]
    settings: Settings | None
    redactor: Redactor


def examine(path: Path | None, *, try_devices: bool = True) -> Examination:
    """Check this machine with the config file ``path`` (None: all defaults).

    ``try_devices``: open camera and microphone; they stay closed while the service uses them, and while privacy is on.
    Secrets are masked in all results.
    """
    text, settings, problem = _configuration(path)
    redactor = Redactor(known_secrets(text.text if text else "", settings))
    found = [software.check_versions(), software.check_distribution()]
    service = software.read_service()
    found.append(software.judge_service(service))
    found += [
        access.check_account(),
        access.check_devices(),
        software.check_policy(),
        host.check_clock(),
        host.check_heat(),
        host.check_swap(),
    ]
    with _quiet():
        found += parts.check_parts()
    if problem is not None:
        found.append(problem)
    if text is not None and settings is not None:
        busy = service is not None and service.active == "active"
        with _quiet():
            found += _configured(path, text, settings, try_devices=try_devices, busy=busy)
    redacted = (CheckResult(r.name, r.status, redactor.text(r.detail), redactor.text(r.remedy)) for r in found)
    return Examination(tuple(redacted), settings, redactor)


def _configuration(path: Path | None) -> tuple[ConfigText | None, Settings | None, CheckResult | None]:
    text = None
    try:
        text = read(path)
        return text, text.settings(), None
    except ConfigError as error:
        remedy = "edge-agent config check; 'edge-agent config init' prints every option"
        return text, None, fail("config", str(error), remedy)


def _configured(
    path: Path | None, text: ConfigText, settings: Settings, *, try_devices: bool, busy: bool
) -> Iterator[CheckResult]:
    yield from access.check_secrets(settings, path)
    yield access.check_state(settings)
    yield software.judge_context(settings.privacy)
    yield software.judge_zone(settings, Schedule(settings, SystemClock(sync_probe(settings.device.trust_clock))))
    yield host.check_space(settings)
    yield host.check_wear(settings)
    builder = PipelineBuilder(text, settings)
    try:
        yield from _plugins(text, builder)
        yield from _devices(settings, builder, try_devices=try_devices, busy=busy)
    finally:
        builder.close()
    yield from software.check_custom(settings)
    yield from software.check_web(settings, busy=busy)
    yield from broker.check_broker(settings)


def _devices(settings: Settings, builder: PipelineBuilder, *, try_devices: bool, busy: bool) -> Iterator[CheckResult]:
    """Check the devices. A camera or microphone that is switched off over MQTT is not opened."""
    both = "camera and microphone"
    file = OverridesFile(settings.device.state_dir / CHOICES)
    chosen = file.read()
    scheduled = Schedule(settings, SystemClock(sync_probe(settings.device.trust_clock)))
    if not try_devices:
        yield warn(both, "not tried: --no-devices")
    elif busy:
        remedy = f"sudo systemctl stop {software.UNIT}, and run this again"
        yield warn(both, "not tried: the running service uses them", remedy)
    elif chosen.privacy:
        yield warn(both, f"not tried: {file.problem or 'privacy is on'}", "switch privacy off in the running agent")
    elif scheduled.private():
        yield warn(both, f"not tried: {scheduled.why}", "try again when it is over, or set privacy.schedule = []")
    else:
        off = "not tried: switched off over MQTT"
        video, audio = builder.video_plugins(), builder.audio_plugins()
        yield devices.check_camera(settings, video) if chosen.camera else warn("camera", off)
        yield devices.check_microphone(settings, audio) if chosen.microphone else warn("microphone", off)


def _plugins(text: ConfigText, builder: PipelineBuilder) -> Iterator[CheckResult]:
    try:
        builder.check()  # also tables of sinks and sources, as 'run' does
        yield ok("config", f"{text.name} is valid")
    except ConfigError as error:
        yield fail("config", "; ".join(str(error).splitlines()), "edge-agent config check")
    needed, by_analyzer = builder.plugins.required_models(), builder.plugins.models_by_analyzer()
    statuses = builder.store.status(needed) if needed else ()
    auto_pull = builder.settings.models.auto_pull
    yield from software.check_models(statuses, auto_pull=auto_pull)
    builder.activate(try_out=True)
    to_come = software.to_come(statuses) if auto_pull else frozenset()
    waiting = {name: sorted(to_come.intersection(models)) for name, models in by_analyzer.items()}
    yield from software.check_plugins(builder.plugins.reports(), waiting)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress log lines: the results contain every failure."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


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
            _add(archive, "README.txt", BUNDLE_README)
            for name, document in documents.items():
                _add(archive, f"{name}.json", json.dumps(redactor.texts(document), indent=2))
    except OSError as error:
        path.unlink(missing_ok=True)
        raise BundleError(f"{path}: cannot be written: {error.strerror}") from error


def documents(settings: Settings | None, results: Sequence[CheckResult]) -> dict[str, Any]:
    """Collect the content of a bundle. ``settings``: None when the configuration is not valid."""
    found: dict[str, Any] = {"doctor": [result.as_dict() for result in results], "versions": versions()}
    if settings is not None:
        found["config"] = shown_settings(settings)
        found["outbox"] = _outbox(settings)
    return found


def versions() -> dict[str, Any]:
    """Collect versions of the program, Python, installed packages and the system."""
    return {
        "edge-agent": __version__,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "system": system_name(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "board": board(),
        "processors": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000,
        "packages": dict(sorted({(d.name, d.version) for d in metadata.distributions()})),
    }


def _outbox(settings: Settings) -> Any:
    try:
        return directory.figures(outbox_folder(settings))
    except EdgeAgentError as error:
        return {"error": str(error)}


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(f"{BUNDLE_FOLDER}/{name}")
    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
    archive.addfile(entry, io.BytesIO(content))
