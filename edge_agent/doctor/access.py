"""Checks of permissions: account, device nodes, state directory, files with secrets.

They hold for the user that runs the doctor; for the service, run ``sudo -u edge-agent edge-agent doctor``.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edge_agent.doctor.host import existing
from edge_agent.doctor.result import CheckResult, fail, ok, warn
from edge_agent.settings import Settings

SERVICE_USER = "edge-agent"

_NODES = ("video*", "media*", "snd/pcm*c", "snd/control*")
_PI_NODES = ("dma_heap/*",)
"""Additional nodes that picamera2 needs; on other machines they belong to root and are not needed."""


@dataclass(frozen=True, slots=True)
class Node:
    """A device node and its group. ``allowed``: this process may read and write it."""

    path: Path
    group: str
    allowed: bool


def check_account() -> CheckResult:
    """Check that the doctor runs as the user of the service."""
    try:
        pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return judge_account(_user(), service_user=False)
    return judge_account(_user(), service_user=True)


def judge_account(user: str, *, service_user: bool) -> CheckResult:
    """Judge the account. ``service_user``: this machine has the service's account."""
    if service_user and user != SERVICE_USER:
        detail = f"this is {user}; the service is {SERVICE_USER}, who may see other devices, models and secrets"
        return warn("account", detail, f"sudo -u {SERVICE_USER} edge-agent doctor")
    return ok("account", user)


def check_devices() -> CheckResult:
    """Check access to the cameras and sound cards of this machine."""
    return judge_devices(_user(), list(read_nodes(Path("/dev"), picamera=find_spec("picamera2") is not None)))


def read_nodes(dev: Path, may_use: Callable[[Path], bool] | None = None, *, picamera: bool = False) -> Iterable[Node]:
    """Yield the camera and sound nodes in ``dev``; with ``picamera`` also those that picamera2 needs."""
    allowed = may_use or (lambda path: os.access(path, os.R_OK | os.W_OK))
    for path in sorted(path for pattern in _NODES + _PI_NODES * picamera for path in dev.glob(pattern)):
        yield Node(path, _group(path.stat().st_gid), allowed(path))


def judge_devices(user: str, nodes: list[Node]) -> CheckResult:
    """Judge access to ``nodes``, usable or not."""
    barred = [node for node in nodes if not node.allowed]
    if barred:
        names = ", ".join(str(node.path) for node in barred)
        groups = sorted({node.group for node in barred} - {"root", "0"})  # members of group root could do anything
        join = f"sudo usermod -aG {','.join(groups)} {user}, then log in again"
        remedy = join if groups else f"ls -l {barred[0].path}; give it a group of its own with a udev rule"
        return fail("devices", f"{user} may not use {names}", remedy)
    if not nodes:
        return ok("devices", "no camera and no sound card is connected to this machine")
    return ok("devices", f"{user} may use all {len(nodes)} camera and sound nodes")


def check_state(settings: Settings) -> CheckResult:
    """Check that the state directory is writable."""
    state = settings.device.state_dir
    folder = existing(state)
    return judge_state(state, folder, folder.is_dir() and os.access(folder, os.W_OK | os.X_OK), _user())


def judge_state(state: Path, folder: Path, writable: bool, user: str) -> CheckResult:
    """Judge the state directory. ``folder``: ``state``, or its closest parent that exists."""
    if not writable:
        remedy = f"sudo install -d -m 750 -o {user} {state}, or set device.state_dir"
        purpose = "" if folder == state else f" to create {state}"
        return fail("state", f"{user} cannot write to {folder}{purpose}", remedy)
    return ok("state", f"{state}{'' if folder == state else ' will be created'}")


def check_secrets(settings: Settings, config: Path | None) -> list[CheckResult]:
    """Check the permissions of files with secrets. ``config``: the config file, which may hold secrets itself."""
    mqtt, web = settings.mqtt, settings.web
    told = {"EDGE_AGENT__MQTT__PASSWORD": mqtt.password, "EDGE_AGENT__WEB__TOKEN": web.token}
    in_config = any(secret is not None and name not in os.environ for name, secret in told.items())
    places = (config if in_config else None, mqtt.password_file, mqtt.tls.key_file, web.token_file)
    files = [path for path in places if path is not None]
    return [judge_secret(path, _mode(path)) for path in files]


def judge_secret(path: Path, mode: int | None) -> CheckResult:
    """Judge a file with secrets. ``mode``: its permission bits, None when it cannot be read."""
    if mode is None:
        return fail("secrets", f"{path} does not exist, or may not be read", f"ls -l {path}")
    if mode & (stat.S_IRWXO):
        return warn("secrets", f"{path} can be read by everyone on this machine", f"sudo chmod o= {path}")
    return ok("secrets", f"{path} is private")


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _mode(path: Path) -> int | None:
    try:
        with path.open("rb"):
            return path.stat().st_mode
    except OSError:
        return None
