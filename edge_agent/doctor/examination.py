"""The order of the checks. Those that need a configuration are left out when there is none that can be used."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_agent.app import PipelineBuilder
from edge_agent.control.schedule import Schedule
from edge_agent.control.state import FILE as CHOICES
from edge_agent.control.state import OverridesFile
from edge_agent.doctor import access, broker, devices, disk, host, parts, software, web
from edge_agent.doctor.result import CheckResult, fail, ok, warn
from edge_agent.domain.clock import SystemClock
from edge_agent.domain.errors import ConfigError
from edge_agent.domain.text import Redactor
from edge_agent.runtime.timesync import sync_probe
from edge_agent.settings import ConfigText, Settings, read
from edge_agent.settings.secrets import known_secrets


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found. ``settings``: None when the configuration cannot be used."""

    results: tuple[CheckResult, ...]
    settings: Settings | None
    redactor: Redactor


def examine(path: Path | None, *, try_devices: bool = True) -> Examination:
    """Check this machine with the config file ``path`` (None: all defaults).

    ``try_devices``: open the camera and the microphone; they stay closed while the service holds them, and while
    privacy is on. Every text in the result has secrets taken out.
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
        remedy = "edge-agent config check; 'edge-agent config init -' prints every option"
        return text, None, fail("config", str(error), remedy)


def _configured(
    path: Path | None, text: ConfigText, settings: Settings, *, try_devices: bool, busy: bool
) -> Iterator[CheckResult]:
    yield from access.check_secrets(settings, path)
    yield access.check_state(settings)
    yield software.judge_context(settings.privacy)
    yield software.judge_zone(settings, Schedule(settings, SystemClock(sync_probe(settings.device.trust_clock))))
    yield disk.check_space(settings)
    yield disk.check_wear(settings)
    builder = PipelineBuilder(text, settings)
    try:
        yield from _plugins(text, builder)
        yield from _devices(settings, builder, try_devices=try_devices, busy=busy)
    finally:
        builder.close()
    yield from web.check_web(settings, busy=busy)
    yield from broker.check_broker(settings)


def _devices(settings: Settings, builder: PipelineBuilder, *, try_devices: bool, busy: bool) -> Iterator[CheckResult]:
    """What was chosen over MQTT holds here, too: a camera that was switched off is not opened by a check."""
    both = "camera and microphone"
    file = OverridesFile(settings.device.state_dir / CHOICES)
    chosen = file.read()
    scheduled = Schedule(settings, SystemClock(sync_probe(settings.device.trust_clock)))
    if not try_devices:
        yield warn(both, "not tried: --no-devices")
    elif busy:
        remedy = f"sudo systemctl stop {software.UNIT}, and run this again"
        yield warn(both, "not tried: the running service holds them", remedy)
    elif chosen.privacy:
        yield warn(both, f"not tried: {file.problem or 'privacy is on'}", "switch privacy off in the running agent")
    elif scheduled.private():
        yield warn(both, f"not tried: {scheduled.why}", "try again when it is over, or set privacy.schedule = []")
    else:
        off = "not tried: it was switched off over MQTT"
        video, audio = builder.video_plugins(), builder.audio_plugins()
        yield devices.check_camera(settings, video) if chosen.camera else warn("camera", off)
        yield devices.check_microphone(settings, audio) if chosen.microphone else warn("microphone", off)


def _plugins(text: ConfigText, builder: PipelineBuilder) -> Iterator[CheckResult]:
    try:
        builder.check()  # the tables of sinks and sources, too: what 'run' would refuse
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
    """No log lines meanwhile: every failure that they would tell is in a result."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
