"""Checks of the installation: versions, the service, where it stands, plugins and models."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from edge_agent import __version__
from edge_agent.control.schedule import Schedule
from edge_agent.doctor.access import read_nodes
from edge_agent.doctor.result import CheckResult, CheckStatus, fail, ok, warn
from edge_agent.domain.distribution import DISTRIBUTION, foreign_distribution
from edge_agent.models import ModelState, ModelStatus
from edge_agent.plugin.manager import PluginReport, Status
from edge_agent.settings import PrivacySettings, Settings
from edge_agent.settings.privacy import FORBIDDEN

UNIT = "edge-agent.service"

_FINE = (Status.ENABLED, Status.DISABLED)


@dataclass(frozen=True, slots=True)
class Service:
    """What systemd says about the unit. ``active`` is its word: active, failed, inactive …"""

    active: str
    restarts: int
    status: str = ""


@dataclass(frozen=True, slots=True)
class DevicePolicy:
    """The unit's ``DevicePolicy=``, and what its ``DeviceAllow=`` name: ``char-NAME``, ``char-NUMBER`` or a path."""

    policy: str
    allowed: tuple[str, ...]

    def allows(self, *names: str) -> bool:
        """Whether a device that goes by ``names`` may be opened. Without any line, only the policy decides."""
        if self.policy == "auto" and not self.allowed:
            return True
        return any(fnmatchcase(name, pattern) for pattern in self.allowed for name in names)


UNKNOWN = Service("unknown", 0)
"""systemd cannot be asked, for want of a message bus, say."""


def check_versions() -> CheckResult:
    """Which program runs on what."""
    return ok("version", f"edge-agent {__version__}, Python {platform.python_version()}, {platform.machine()}")


def check_distribution() -> CheckResult:
    """Whether another distribution writes into this program's package."""
    problem = foreign_distribution()
    if problem is None:
        return ok("distribution", f"{DISTRIBUTION}, and no other that writes into its package")
    detail, _, remedy = problem.partition("; ")
    return fail("distribution", detail, remedy)


def read_service() -> Service | None:
    """The unit's state; None where it is not installed or the machine was not started by systemd."""
    systemctl = shutil.which("systemctl")
    if systemctl is None or not Path("/run/systemd/system").is_dir():  # see sd_booted(3)
        return None
    fields = "LoadState,ActiveState,NRestarts,StatusText"
    try:
        answer = subprocess.run(
            [systemctl, "show", UNIT, "-p", fields], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return UNKNOWN
    return parse_service(answer.stdout)


def parse_service(answer: str) -> Service | None:
    """``answer``: lines of ``systemctl show``."""
    values: Mapping[str, str] = dict(line.partition("=")[::2] for line in answer.splitlines())
    if "LoadState" not in values:
        return UNKNOWN
    if values["LoadState"] != "loaded":
        return None
    restarts = values.get("NRestarts", "")
    return Service(
        values.get("ActiveState", ""), int(restarts) if restarts.isdigit() else 0, values.get("StatusText", "")
    )


def judge_service(service: Service | None) -> CheckResult:
    """``service``: None when the agent is not installed as one."""
    look = f"journalctl -u {UNIT} -n 50"
    if service is None:
        return ok("service", "not installed as a systemd service")
    if service == UNKNOWN:
        return warn("service", "systemd does not answer this user", f"sudo systemctl status {UNIT}")
    if service.active == "failed":
        return fail("service", "failed", f"{look}; then: sudo systemctl restart {UNIT}")
    if service.restarts:
        return warn("service", f"{service.active}, restarted {service.restarts} times by systemd", look)
    return ok("service", f"{service.active} {service.status}".strip())


def judge_zone(settings: Settings, schedule: Schedule) -> CheckResult:
    """Whether the time zone is known in which the config's schedules are kept."""
    if not (settings.privacy.schedule or settings.pacing.schedule):
        return ok("time zone", "no schedule needs one")
    if schedule.problem:
        private = "; privacy is on until it is known" if settings.privacy.schedule else ""
        remedy = "set device.timezone, e.g. Europe/Berlin; 'timedatectl list-timezones' lists what is there"
        return fail("time zone", f"{schedule.problem}{private}", remedy)
    return ok("time zone", f"schedules are kept in {schedule.zone_name}")


def read_policy() -> DevicePolicy | None:
    """Which devices the unit's processes may open; None where the unit is not installed."""
    systemctl = shutil.which("systemctl")
    if systemctl is None or not Path("/run/systemd/system").is_dir():
        return None
    command = [systemctl, "show", UNIT, "-p", "LoadState,DevicePolicy,DeviceAllow"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_policy(answer)


def parse_policy(answer: str) -> DevicePolicy | None:
    """``answer``: lines of ``systemctl show``; None when it does not speak of an installed unit."""
    pairs = [line.partition("=")[::2] for line in answer.splitlines()]
    if ("LoadState", "loaded") not in pairs:
        return None
    words = [word for key, value in pairs if key == "DeviceAllow" for word in value.split()]
    return DevicePolicy(
        dict(pairs).get("DevicePolicy", "auto"), tuple(w for w in words if w.startswith(("char-", "/")))
    )


def check_policy() -> CheckResult:
    """Whether the service, inside of its unit, may use the cameras and sound cards that are there."""
    policy = read_policy()
    if policy is None:
        return ok("unit devices", "not installed as a systemd service")
    nodes = [(node.path, os.major(node.path.stat().st_rdev)) for node in read_nodes(Path("/dev"))]
    return judge_policy(policy, nodes, _majors(Path("/proc/devices")))


def judge_policy(policy: DevicePolicy, nodes: Sequence[tuple[Path, int]], majors: Mapping[int, str]) -> CheckResult:
    """``nodes``: device nodes and their major numbers; ``majors``: the kernel's names of those numbers."""
    barred = [
        (path, major)
        for path, major in nodes
        if not policy.allows(str(path), f"char-{major}", f"char-{majors.get(major)}")
    ]
    if barred:
        names = ", ".join(str(path) for path, _ in barred)
        lines = "; ".join(dict.fromkeys(f"DeviceAllow=char-{major} rw" for _, major in barred))
        remedy = f"sudo systemctl edit {UNIT}: under [Service] {lines}; then restart it"
        return fail("unit devices", f"the unit's device policy keeps the service from {names}", remedy)
    return ok("unit devices", f"the service may use all {len(nodes)} camera and sound nodes")


def _majors(devices: Path) -> dict[int, str]:
    """The character devices in ``/proc/devices``."""
    try:
        lines = devices.read_text().partition("Block devices")[0].splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines]
    return {int(w[0]): w[1] for w in words if len(w) == 2 and w[0].isdigit()}


def judge_context(privacy: PrivacySettings) -> CheckResult:
    """Whether it was said where the device stands: in some places emotions must not be inferred."""
    if privacy.context == "undeclared":
        remedy = 'say where it stands: [privacy] context = "home", "public" …; see docs/privacy.md'
        return warn("privacy", "privacy.context is not declared", remedy)
    if privacy.context in FORBIDDEN:
        return warn("privacy", f"{privacy.context}, overridden: {privacy.override_reason}", "have a lawyer check it")
    return ok("privacy", privacy.context)


def to_come(statuses: Sequence[ModelStatus]) -> frozenset[str]:
    """Models that a start would download."""
    return frozenset(s.entry.name for s in statuses if s.state is ModelState.MISSING)


def check_plugins(
    reports: Sequence[PluginReport], waiting: Mapping[str, Sequence[str]] | None = None
) -> list[CheckResult]:
    """``reports``: after activation and self-check.

    ``waiting``: by analyzer, the models that it lacks only until the next start; it is not broken for that.
    """
    broken = [_judge_plugin(r, (waiting or {}).get(r.name, ())) for r in reports if r.status not in _FINE]
    enabled = [r.name for r in reports if r.status is Status.ENABLED]
    if not enabled and not any(result.status is CheckStatus.WARN for result in broken):
        broken.append(fail("plugins", "no analyzer is enabled", "see plugins.allow and the tables [analyzers.*]"))
    return broken or [ok("plugins", f"{', '.join(enabled)} passed their self-check")]


def _judge_plugin(report: PluginReport, waiting: Sequence[str]) -> CheckResult:
    if report.status is Status.LOAD_ERROR and waiting:
        detail = f"{report.name}: not tried: {' and '.join(waiting)} is downloaded at the next start"
        return warn("plugins", detail, _pull(*waiting))
    return fail("plugins", f"{report.name}: {report.status.value}: {report.told}", _plugin_remedy(report))


def _pull(*names: str) -> str:
    return f"sudo -u edge-agent edge-agent models pull {' '.join(names)}, or with --from DIR without internet"


def _plugin_remedy(report: PluginReport) -> str:
    if report.status is Status.CONFIG_ERROR:
        return f"correct [analyzers.{report.name}]; 'edge-agent config init -' prints its options"
    return "edge-agent plugins list; edge-agent models verify"


def check_models(statuses: Sequence[ModelStatus], *, auto_pull: bool) -> list[CheckResult]:
    """``statuses``: of the models that the enabled analyzers need; running them is the self-check's part."""
    results = []
    for status in statuses:
        name = status.entry.name
        if status.problem is None:
            continue
        remedy = _pull(name)
        if status.state is ModelState.MISSING and auto_pull:
            results.append(warn("models", f"{name} is not here yet: it is downloaded at the next start", remedy))
        else:
            results.append(fail("models", status.problem, remedy))
    good = [status.entry.name for status in statuses if status.problem is None]
    if good:
        results.append(ok("models", f"{', '.join(good)}: sha256 right"))
    return results or [ok("models", "none is needed")]
