"""The Debian package, built from this checkout, installed into a clean Debian root, booted there by a real systemd.

Root and, once, a Debian mirror are needed: the clean root is made by debootstrap and kept in the user's cache; every
test sees it through an overlay of its own. Booting takes minutes more, so that runs only with ``PACKAGING_TESTS=1``.
Debian packages: debootstrap, and systemd-container for that.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.outboxes import make_outbox, query
from tests.support.windows import summary_draft

SUITE = "bookworm"
PACKAGES = "python3,libportaudio2,systemd,procps,ca-certificates"
MIRROR = os.environ.get("MIRROR", "http://deb.debian.org/debian")
UNIT = "edge-agent.service"

pytestmark = pytest.mark.timeout(900)


def needs(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} (Debian: apt install debootstrap systemd-container)")
    if os.geteuid() != 0:
        pytest.skip("needs root to make a chroot")


@pytest.fixture(scope="module")
def package(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    script = repository / "scripts" / "build-deb"
    subprocess.run([sys.executable, str(script), "--out", str(folder), "--compression", "none"], check=True)
    return next(folder.glob("edge-agent_*.deb"))


@pytest.fixture(scope="module")
def clean_root() -> Path:
    """A minimal Debian, made once."""
    needs("debootstrap", "mount", "dpkg-deb")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edge-agent-tests"
    root = cache / f"{SUITE}-root"
    if not (cache / f"{SUITE}-ready").exists():
        shutil.rmtree(root, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root), MIRROR]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no clean Debian root can be made here: {(done.stdout + done.stderr)[-300:]}")
        (cache / f"{SUITE}-ready").touch()
    return root


@dataclass(frozen=True)
class Root:
    """A Debian root that may be changed."""

    path: Path

    def __call__(self, *command: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "COLUMNS": "200"}
        done = subprocess.run(
            ["chroot", str(self.path), *command],
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
        return done


@pytest.fixture
def root(clean_root: Path, package: Path, tmp_path: Path) -> Iterator[Root]:
    """The clean root with the package file at /edge-agent.deb; what a test changes is gone afterwards."""
    upper, work, merged = (tmp_path / name for name in ("upper", "work", "merged"))
    for folder in (upper, work, merged):
        folder.mkdir()
    options = f"lowerdir={clean_root},upperdir={upper},workdir={work}"
    if subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(merged)], check=False).returncode != 0:
        pytest.skip("needs to mount an overlay")
    try:
        subprocess.run(["mount", "-t", "proc", "proc", str(merged / "proc")], check=True)
        shutil.copy(package, merged / "edge-agent.deb")
        yield Root(merged)
    finally:
        subprocess.run(["umount", "-l", str(merged / "proc")], check=False)
        subprocess.run(["umount", "-l", str(merged)], check=True)


def with_version(package: Path, version: str, target: Path) -> None:
    """Copy a package under another version: its content is the same, and only its control file is packed again."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        subprocess.run(["ar", "x", package, "--output", scratch], check=True)
        control = next(Path(scratch).glob("control.tar*"))
        subprocess.run(["dpkg-deb", "--control", package, f"{scratch}/control"], check=True)
        file = Path(scratch, "control/control")
        file.write_text(re.sub(r"(?m)^Version: .*", f"Version: {version}", file.read_text()))
        subprocess.run(["tar", "-C", f"{scratch}/control", "--owner=0", "--group=0", "-caf", control, "."], check=True)
        data = next(Path(scratch).glob("data.tar*"))
        subprocess.run(["ar", "rc", target, f"{scratch}/debian-binary", control, data], check=True)


def backlog(folder: Path) -> int:
    """Fill the outbox in ``folder`` until it merges; the number of rows."""
    outbox = make_outbox(folder, max_mb=4.0)
    outbox.put([summary_draft(10.0 * number) for number in range(2000)])
    rows = outbox.stats().pending
    outbox.close()
    return rows


def test_install_use_upgrade_remove_purge(root: Root, package: Path) -> None:
    with_version(package, "0.0.1", root.path / "older.deb")
    installed = root("dpkg", "-i", "/older.deb")
    assert "systemctl enable --now edge-agent" in installed.stdout
    assert root("edge-agent", "--version").stdout.startswith("edge-agent ")
    assert "ok" in root("edge-agent", "config", "check").stdout
    plugins = root("edge-agent", "plugins", "list", "--json").stdout
    assert '"emotion"' in plugins
    examples = root.path / "usr/share/doc/edge-agent/examples/home-assistant"
    assert {path.name for path in examples.iterdir()} == {"laughter_scene.yaml", "waiting_notify.yaml", "view.yaml"}
    assert root("dpkg", "-V", "edge-agent").stdout == ""
    assert root("stat", "-c", "%U %G %a", "/var/lib/edge-agent").stdout == "edge-agent edge-agent 750\n"
    assert root("stat", "-c", "%U %G %a", "/etc/edge-agent/config.toml").stdout == "root edge-agent 640\n"
    assert root("id", "-nG", "edge-agent").stdout.split() == ["edge-agent", "audio", "video", "render"]
    assert not (root.path / "etc/systemd/system/multi-user.target.wants" / UNIT).exists(), "not enabled by itself"

    config = root.path / "etc/edge-agent/config.toml"
    config.write_text("# mine\n")
    outbox = root.path / "var/lib/edge-agent/outbox"
    rows = backlog(outbox)
    root("dpkg", "-i", "/edge-agent.deb", EDGE_AGENT_COMPILE="no")
    assert config.read_text() == "# mine\n"
    assert json.loads(root("edge-agent", "outbox", "stats", "--json").stdout)["pending"] == rows

    downgraded = root("dpkg", "-i", "/older.deb", EDGE_AGENT_COMPILE="no")
    assert "downgrading edge-agent" in downgraded.stdout + downgraded.stderr
    assert config.read_text() == "# mine\n"
    assert json.loads(root("edge-agent", "outbox", "stats", "--json").stdout)["pending"] == rows
    query(outbox, "PRAGMA user_version = 999")  # what a version with another schema leaves behind
    before = (outbox / "outbox.db").read_bytes()
    refused = root("timeout", "60", "edge-agent", "run", check=False)
    assert refused.returncode not in (0, 124)
    assert "written by a newer edge-agent" in refused.stderr
    assert (outbox / "outbox.db").read_bytes() == before, "a newer outbox is left as it is"

    root("dpkg", "--remove", "edge-agent")
    assert not (root.path / "opt/edge-agent").exists()
    assert config.exists()
    root("dpkg", "--purge", "edge-agent")
    assert not config.exists()
    assert not (root.path / "var/lib/edge-agent").exists()


def test_the_package_does_not_mix_with_the_install_script(root: Root) -> None:
    (root.path / "opt/edge-agent").mkdir()
    (root.path / "opt/edge-agent/bin").symlink_to("venv-1/bin")
    done = root("dpkg", "-i", "/edge-agent.deb", check=False)
    assert done.returncode != 0
    assert "install.sh --uninstall" in done.stderr


CONFIG = """
[device]
id = "booted"
[camera]
source = "/srv/clip.mp4"
loop = true
[microphone]
source = "none"
[plugins]
allow = ["emotion"]
[models]
auto_pull = false
"""


class Booted:
    """``root`` as a running system without a network."""

    def __init__(self, root: Root) -> None:
        options = ["-q", "-b", "--register=no", "--keep-unit", "--private-network", "-D", str(root.path)]
        self._nspawn = subprocess.Popen(
            ["systemd-nspawn", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )

    def __call__(self, *command: str) -> subprocess.CompletedProcess[str]:
        leader = self._leader()
        inside = ["nsenter", "-t", leader, "-m", "-u", "-i", "-n", "-p", "-C", *command]
        return subprocess.run(inside, capture_output=True, text=True, timeout=120, check=False)

    def wait_for(self, prop: str, value: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while (found := self.show(prop)) != value:
            assert time.monotonic() < deadline, (
                f"{prop} is {found}: {self('journalctl', '-u', UNIT, '-n', '30').stdout}"
            )
            time.sleep(0.5)

    def wait_for_line(self, pattern: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not re.search(pattern, log := self("journalctl", "-u", UNIT, "-o", "cat").stdout):
            assert time.monotonic() < deadline, f"no line {pattern!r} in {log}"
            time.sleep(0.5)

    def show(self, prop: str) -> str:
        return self("systemctl", "show", UNIT, "--value", "-p", prop).stdout.strip()

    def _leader(self) -> str:
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        deadline = time.monotonic() + 30
        while not (found := children.read_text().split()):
            assert self._nspawn.poll() is None, "systemd-nspawn ended"
            assert time.monotonic() < deadline, "systemd-nspawn did not start"
            time.sleep(0.1)
        return found[0]

    def stop(self) -> None:
        self._nspawn.terminate()
        self._nspawn.wait(60)


@pytest.fixture
def installed(root: Root) -> Root:
    """The package installed, with a film for a camera."""
    needs("systemd-nspawn", "nsenter", "ffmpeg")
    root("dpkg", "-i", "/edge-agent.deb")
    picture = "testsrc=size=320x240:rate=10:duration=5"
    clip = str(root.path / "srv/clip.mp4")
    subprocess.run(["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", picture, clip], check=True)
    subprocess.run(["umount", str(root.path / "proc")], check=True)
    return root


@pytest.fixture
def booted(installed: Root) -> Iterator[Booted]:
    (installed.path / "etc/edge-agent/config.toml").write_text(CONFIG)
    wants = installed.path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / UNIT).symlink_to(f"/usr/lib/systemd/system/{UNIT}")
    system = Booted(installed)
    yield system
    system.stop()


@pytest.mark.skipif(os.environ.get("PACKAGING_TESTS") != "1", reason="slow: set PACKAGING_TESTS=1")
def test_the_service_runs_under_its_protection_and_its_rules(booted: Booted, root: Root) -> None:
    booted.wait_for("ActiveState", "active")
    pid = booted.show("MainPID")
    status = booted("cat", f"/proc/{pid}/status").stdout
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert "CapEff:\t0000000000000000" in status
    booted.wait_for_line(r"package \S+\+py3\.11, newest that apt knows: none")  # apt can be asked from inside the unit

    assert booted("systemctl", "reload", UNIT).returncode == 0
    config = root.path / "etc/edge-agent/config.toml"
    config.write_text(CONFIG + "[mqtt]\nhots = 1\n")
    assert booted("systemctl", "reload", UNIT).returncode != 0, "a bad file fails in front of the operator"
    assert booted.show("MainPID") == pid, "and the service goes on"

    booted("kill", "-9", pid)
    booted.wait_for("ActiveState", "failed")
    assert booted.show("ExecMainStatus") == "2", "a bad file is not tried again and again"
    config.write_text(CONFIG)
    assert booted("systemctl", "restart", UNIT).returncode == 0
    booted("kill", "-9", booted.show("MainPID"))
    booted.wait_for("NRestarts", "1")
    booted.wait_for("ActiveState", "active")

    began = time.monotonic()
    assert booted("systemctl", "stop", UNIT).returncode == 0
    assert time.monotonic() - began < 9, "the unit's patience is 10 s, then it kills"
    assert booted.show("Result") == "success"


@pytest.mark.skipif(os.environ.get("PACKAGING_TESTS") != "1", reason="slow: set PACKAGING_TESTS=1")
def test_setup_writes_the_config_and_starts_the_service(installed: Root) -> None:
    """As root on a machine that systemd runs, with nobody to answer questions."""
    system = Booted(installed)
    try:
        system.wait_for("LoadState", "loaded")
        assert system.show("ActiveState") == "inactive", "the package does not start it"
        options = ("--yes", "--name", "Hall", "--camera", "/srv/clip.mp4", "--microphone", "none", "--broker", "none")
        done = system("edge-agent", "setup", *options, "--context", "exhibition")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "is enabled and started" in done.stdout
        system.wait_for("ActiveState", "active")
        assert system.show("UnitFileState") == "enabled"
        assert system("stat", "-c", "%U %G %a", "/etc/edge-agent/config.toml").stdout == "root edge-agent 640\n"
    finally:
        system.stop()
