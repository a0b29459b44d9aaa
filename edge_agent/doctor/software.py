"""Checks of the installation: versions, systemd service, privacy context, plugins, models, web server."""

from __future__ import annotations

import importlib.util
import os
import platform
import resource
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from edge_agent import __version__
from edge_agent.control.schedule import Schedule
from edge_agent.doctor.access import read_nodes
from edge_agent.doctor.result import CheckResult, CheckStatus, fail, ok, warn
from edge_agent.domain.distribution import DISTRIBUTION, foreign_distribution
from edge_agent.domain.errors import ConfigError, EdgeAgentError
from edge_agent.models import ModelState, ModelStatus
from edge_agent.plugin.manager import PluginReport, Status
from edge_agent.settings import PrivacySettings, Settings, WebSettings
from edge_agent.settings.privacy import FORBIDDEN
from edge_agent.settings.web import TOKEN_FILE

UNIT = "edge-agent.service"

WEB_PACKAGES = (
    "uvicorn",
    "starlette",
    "fastapi",
    "fastapi_offline",
    "websockets",
    "prometheus_client",
    "python_multipart",
)
"""Packages of the extra ``web``."""

_FINE = (Status.ENABLED, Status.DISABLED)


@dataclass(frozen=True, slots=True)
class Service:
    """State of the systemd unit. ``active``: systemd's ActiveState (active, failed, inactive …)."""

    active: str
    restarts: int
    status: str = ""


@dataclass(frozen=True, slots=True)
class DevicePolicy:
    """The unit's ``DevicePolicy=`` and ``DeviceAllow=``: ``char-NAME``, ``char-NUMBER`` or paths."""

    policy: str
    allowed: tuple[str, ...]

    def allows(self, *names: str) -> bool:
        """Whether a device with one of ``names`` may be opened. Without ``DeviceAllow=``, the policy decides."""
        if self.policy == "auto" and not self.allowed:
            return True
        return any(fnmatchcase(name, pattern) for pattern in self.allowed for name in names)


UNKNOWN = Service("unknown", 0)
"""systemd does not answer, e.g. without a message bus."""


def check_versions() -> CheckResult:
    """Report the versions of the program and Python."""
    return ok("version", f"edge-agent {__version__}, Python {platform.python_version()}, {platform.machine()}")


def check_distribution() -> CheckResult:
    """Check that no other distribution installs into this program's package."""
    problem = foreign_distribution()
    if problem is None:
        return ok("distribution", f"{DISTRIBUTION}, and no other that writes into its package")
    detail, _, remedy = problem.partition("; ")
    return fail("distribution", detail, remedy)


def read_service() -> Service | None:
    """Read the unit's state; None where it is not installed or systemd does not run."""
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
    """Parse the output of ``systemctl show``; None when the unit is not installed."""
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
    """Judge the service; None when it is not installed."""
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
    """Check that the time zone of the schedules is known."""
    if not (settings.privacy.schedule or settings.pacing.schedule):
        return ok("time zone", "not needed: there is no schedule")
    if schedule.problem:
        private = "; privacy is on until it is known" if settings.privacy.schedule else ""
        remedy = "set device.timezone, e.g. Europe/Berlin; 'timedatectl list-timezones' lists what is there"
        return fail("time zone", f"{schedule.problem}{private}", remedy)
    return ok("time zone", f"schedules use {schedule.zone_name}")


def read_policy() -> DevicePolicy | None:
    """Read which devices the unit may open; None where it is not installed."""
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
    """Parse the output of ``systemctl show``; None when the unit is not installed."""
    pairs = [line.partition("=")[::2] for line in answer.splitlines()]
    if ("LoadState", "loaded") not in pairs:
        return None
    words = [word for key, value in pairs if key == "DeviceAllow" for word in value.split()]
    return DevicePolicy(
        dict(pairs).get("DevicePolicy", "auto"), tuple(w for w in words if w.startswith(("char-", "/")))
    )


def check_policy() -> CheckResult:
    """Check that the unit's device policy allows the cameras and sound cards of this machine."""
    policy = read_policy()
    if policy is None:
        return ok("unit devices", "not installed as a systemd service")
    nodes = [(node.path, os.major(node.path.stat().st_rdev)) for node in read_nodes(Path("/dev"))]
    return judge_policy(policy, nodes, _majors(Path("/proc/devices")))


def judge_policy(policy: DevicePolicy, nodes: Sequence[tuple[Path, int]], majors: Mapping[int, str]) -> CheckResult:
    """Judge the device policy. ``nodes``: device nodes and major numbers; ``majors``: kernel names of the numbers."""
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
    """Read the character devices in ``/proc/devices``."""
    try:
        lines = devices.read_text().partition("Block devices")[0].splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines]
    return {int(w[0]): w[1] for w in words if len(w) == 2 and w[0].isdigit()}


def judge_context(privacy: PrivacySettings) -> CheckResult:
    """Check that privacy.context is declared and lawful: inferring emotions is prohibited in some places."""
    if privacy.context == "undeclared":
        remedy = 'declare where the device is: [privacy] context = "home", "public" …; see docs/privacy.md'
        return warn("privacy", "privacy.context is not declared", remedy)
    if privacy.context in FORBIDDEN:
        return warn("privacy", f"{privacy.context}, overridden: {privacy.override_reason}", "have a lawyer check it")
    return ok("privacy", privacy.context)


def to_come(statuses: Sequence[ModelStatus]) -> frozenset[str]:
    """Return the models that the next start downloads."""
    return frozenset(s.entry.name for s in statuses if s.state is ModelState.MISSING)


def check_plugins(
    reports: Sequence[PluginReport], waiting: Mapping[str, Sequence[str]] | None = None
) -> list[CheckResult]:
    """Check the status of plugins. ``reports``: after activation and self-check.

    ``waiting``: by analyzer, missing models that the next start downloads; these are no failures.
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
    """Check the models that the enabled analyzers need; the self-check of the plugins runs them."""
    results = []
    for status in statuses:
        name = status.entry.name
        if status.problem is None:
            continue
        remedy = _pull(name)
        if status.state is ModelState.MISSING and auto_pull:
            results.append(warn("models", f"{name} is not installed yet: the next start downloads it", remedy))
        else:
            results.append(fail("models", status.problem, remedy))
    good = [status.entry.name for status in statuses if status.problem is None]
    if good:
        results.append(ok("models", f"{', '.join(good)}: sha256 verified"))
    return results or [ok("models", "no model is needed")]


def check_custom(settings: Settings) -> Iterator[CheckResult]:
    """Check the custom models, where there are any."""
    from edge_agent.app.custom import custom_store
    from edge_agent.custom.embedding import check_use

    store = custom_store(settings)
    names = store.names()
    for name in names:
        try:
            check_use(store.load(name))
        except EdgeAgentError as error:
            yield fail("custom models", str(error), f"edge-agent custom train {name} …, or custom delete {name}")
    trains = importlib.util.find_spec("sklearn") is not None
    here = "can be trained here" if trains else "training needs the extra [custom], which is not installed"
    if names:
        yield ok("custom models", f"{', '.join(names)}; {here}")


def check_web(settings: Settings, *, busy: bool) -> Iterator[CheckResult]:
    """Check the web server, if it is enabled. ``busy``: the service runs and uses the port."""
    if not settings.web.enabled:
        return
    missing = [name for name in WEB_PACKAGES if importlib.util.find_spec(name) is None]
    yield judge_needs(missing)
    if not missing:
        yield _token(settings)
    yield judge_address(settings.web, "" if busy else _taken(settings.web))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    yield from judge_descriptors(settings.web, None if hard == resource.RLIM_INFINITY else hard)


def judge_needs(missing: Sequence[str]) -> CheckResult:
    """Judge the extra ``web``. ``missing``: its packages that are not installed."""
    if missing:
        remedy = "pip install 'edge-emotion-agent[web]', or set web.enabled = false"
        return fail("web", f"the web side needs {', '.join(missing)}", remedy)
    return ok("web", "the packages of the web server are installed")


def judge_descriptors(web: WebSettings, hard: int | None) -> Iterator[CheckResult]:
    """Judge the ``hard`` limit of open files (None: there is none); it bounds what the agent gives itself."""
    if hard is not None and hard < web.descriptors:
        yield warn(
            "web connections",
            f"{hard} files may be open here; {web.connections} connections need {web.descriptors}",
            f"LimitNOFILE={web.descriptors} in the service, ulimit -Hn in a shell, or lower web.analysis_clients",
        )


def judge_address(web: WebSettings, taken: str) -> CheckResult:
    """Judge the address. ``taken``: why it cannot listen there, or empty."""
    where = f"{web.host}:{web.port}"
    if taken:
        return fail(
            "web address", f"cannot listen on {where}: {taken}", f"ss -ltnp 'sport = :{web.port}'; set web.port"
        )
    if not web.loopback:
        return warn(
            "web address",
            f"{where} can be reached from other machines, without encryption",
            'put a proxy with TLS in front and set web.host = "127.0.0.1"',
        )
    return ok("web address", f"{where}, for this machine only")


def _token(settings: Settings) -> CheckResult:
    from edge_agent.web.server import token_of

    generated: Path = settings.device.state_dir / TOKEN_FILE
    if settings.web.token is None and settings.web.token_file is None and not generated.exists():
        return ok("web token", f"will be generated and kept in {generated}")
    try:
        token_of(settings)
    except ConfigError as error:
        return fail("web token", str(error), "openssl rand -hex 16, into that file")
    return ok("web token", "it can be read")


def _taken(web: WebSettings) -> str:
    try:
        family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
        socket.create_server((web.host, web.port), family=family).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
