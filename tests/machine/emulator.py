"""Run a virtual machine with QEMU: start it, pull its cable or power cord, photograph its disk while it runs."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from tests.support.mosquitto import free_port

Suite = Literal["bookworm", "trixie"]
Architecture = Literal["amd64", "arm64"]

PYTHONS: Mapping[str, str] = {"bookworm": "3.11", "trixie": "3.13"}
HARDWARE_KVM = ("kvm_intel", "kvm_amd")
"""Kernel modules of a KVM that runs any kernel. Others (kvm_pvm of some cloud machines) need one made for them."""


SAVED = "settled"
"""Name of the state, memory and all, that is stored in a machine's disk once the agent has settled."""
BROKER_PORT = 18831
"""Of the broker on this host, which the guest knows as 10.0.2.2: it stands in the image's configuration."""


def patience(seconds: float, load: float | None = None) -> float:
    """How long to wait for what takes ``seconds`` on an idle host: more under a load, at most four times as long."""
    load = os.getloadavg()[0] if load is None else load
    return seconds * min(4.0, max(1.0, load / (2 * (os.cpu_count() or 1))))


def cache() -> Path:
    """The folder of images, packages and results, outside of the repository."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edge-agent-machine"


@dataclass(frozen=True)
class Target:
    """Which Debian, on which processor."""

    suite: Suite = "bookworm"
    arch: Architecture = "amd64"

    @property
    def name(self) -> str:
        """As folders and reports call it, such as ``bookworm-amd64``."""
        return f"{self.suite}-{self.arch}"

    @property
    def folder(self) -> Path:
        """Where its images lie."""
        return cache() / self.name

    @property
    def python(self) -> str:
        """The minor version of its Python, such as ``3.11``."""
        return PYTHONS[self.suite]


@dataclass(frozen=True)
class Boot:
    """How a machine is started; checks with the same one can share a machine.

    ``disk`` is the image below the overlay: ``agent`` (the package is installed and enabled) or ``base`` (it is not).
    ``append`` goes to the kernel's command line. ``clock`` is what the battery-backed clock says. ``memory`` is in MiB.
    """

    disk: str = "agent"
    append: str = ""
    clock: str | None = None
    memory: int = 1024
    cache: Literal["none", "writeback"] = "writeback"
    online: bool = True
    processor: str | None = None


def accelerator(arch: Architecture, host: str | None = None, modules: Path = Path("/sys/module")) -> str:
    """``kvm`` where the host's processor can run the guest's code under a stock kernel, else ``tcg`` (emulation)."""
    host = host or platform.machine()
    if not os.access("/dev/kvm", os.W_OK):
        return "tcg"
    if (arch, host) == ("arm64", "aarch64"):
        return "kvm"
    hardware = any((modules / name).exists() for name in HARDWARE_KVM)
    return "kvm" if (arch, host) == ("amd64", "x86_64") and hardware else "tcg"


def command(target: Target, boot: Boot, overlay: Path, ssh_port: int, accel: str, *, resume: bool = False) -> list[str]:
    """The command line of QEMU; ``resume``: from the state that :meth:`Emulator.save` stored in the overlay.

    Two networks: ``console`` carries ssh alone and always works; ``cable`` is the one that the agent uses.
    """
    at = target.folder
    if target.arch == "amd64":
        # Emulating AVX is slow: one look for faces takes a minute with it, half a second without.
        qemu, machine, console, emulated = "qemu-system-x86_64", "pc", "ttyS0", "Nehalem"
    else:
        qemu, machine, console, emulated = "qemu-system-aarch64", "virt", "ttyAMA0", "cortex-a72"
    processor = boot.processor or ("host" if accel == "kvm" else emulated)
    kernel = f"root=/dev/vda rw console={console} net.ifnames=0 mitigations=off {boot.append}".strip()
    restrict = "off" if boot.online else "on"
    drive = f"file={overlay},if=none,id=disk,format=qcow2,cache={boot.cache},discard=unmap"
    media = f"file={cache() / 'media.raw'},if=none,id=media,format=raw,readonly=on"
    sound = ["-audiodev", "none,id=silence", "-device", "intel-hda,id=card"]
    sound += ["-device", "hda-micro,id=codec,bus=card.0,audiodev=silence"]
    return [
        *("nice", "-n", "10", qemu, "-M", f"{machine},accel={accel}", "-cpu", processor),
        *("-smp", "1", "-m", str(boot.memory), "-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(at / "vmlinuz"), "-initrd", str(at / "initrd"), "-append", kernel),
        *("-drive", drive, "-device", "virtio-blk-pci,drive=disk"),
        *("-drive", media, "-device", "virtio-blk-pci,drive=media"),
        *("-netdev", f"user,id=console,net=10.0.9.0/24,restrict=on,hostfwd=tcp:127.0.0.1:{ssh_port}-:22"),
        *("-device", "virtio-net-pci,netdev=console"),
        *("-netdev", f"user,id=cable,net=10.0.2.0/24,restrict={restrict}", "-device", "virtio-net-pci,netdev=cable"),
        *(sound if target.arch == "amd64" else ()),
        *(("-rtc", f"base={boot.clock}") if boot.clock else ()),
        *(("-loadvm", SAVED) if resume else ()),
        *("-device", "virtio-rng-pci", "-serial", f"file:{overlay.with_suffix('.console')}"),
        *("-qmp", f"unix:{overlay.with_suffix('.qmp')},server=on,wait=off"),
    ]


class Qmp:
    """A connection to QEMU's machine protocol."""

    def __init__(self, path: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(60)
        self._connection.connect(str(path))
        self._lines = self._connection.makefile("rw", encoding="utf-8")
        self._lines.readline()
        self.execute("qmp_capabilities")

    def execute(self, name: str, /, **arguments: object) -> Any:
        """Run one command and return its answer; raise ``RuntimeError`` with QEMU's words when it is refused."""
        self._lines.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self._lines.flush()
        while "event" in (answer := json.loads(self._lines.readline())):
            pass
        if "error" in answer:
            raise RuntimeError(f"{name}: {answer['error']['desc']}")
        return answer["return"]

    def close(self) -> None:
        """End the connection."""
        self._lines.close()
        self._connection.close()


class Emulator:
    """One virtual machine with a disk of its own over the target's image; a context manager that pulls the plug."""

    def __init__(self, target: Target, boot: Boot) -> None:
        self.target = target
        self.boot = boot
        # The guest cannot see how the host caches its disk, so a saved state fits either way.
        same = replace(boot, cache="writeback")
        self.overlay = target.folder / f"vm-{zlib.crc32(repr(same).encode()):08x}.qcow2"
        self.ssh_port = free_port()
        self.started = 0.0
        self._layers = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: Qmp | None = None
        self._below = target.folder / f"{boot.disk}.raw"
        self._socket = self.overlay.with_suffix(".ssh")

    def __enter__(self) -> Emulator:
        self.power_on()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pull_plug()

    def power_on(self, *, keep_disk: bool = False, fresh: bool = False) -> bool:
        """Start the machine; returns whether it goes on from the state of :meth:`save` instead of booting.

        ``keep_disk``: boot with the disk as it was left, as after a power cut. ``fresh``: boot from the image.
        """
        qmp = self.overlay.with_suffix(".qmp")
        qmp.unlink(missing_ok=True)
        accel = accelerator(self.target.arch)
        resume = self.saved and not (keep_disk or fresh)
        if not (resume or keep_disk):
            self._create()
        words = command(self.target, self.boot, self.overlay, self.ssh_port, accel, resume=resume)
        log = self.overlay.with_suffix(".log").open("ab")
        with log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.started = time.monotonic()
        while not qmp.exists():
            if self._process.poll() is not None:
                raise RuntimeError(f"QEMU ended: {self.overlay.with_suffix('.log').read_text()[-500:]}")
            time.sleep(0.05)
        self._qmp = Qmp(qmp)
        return resume

    @property
    def saved(self) -> bool:
        """Whether :meth:`save` has stored a state, and the image below is still the one that it came from."""
        mark = self.overlay.with_suffix(".saved")
        return mark.exists() and self.overlay.exists() and mark.stat().st_mtime > self._below.stat().st_mtime

    def save(self) -> None:
        """Store the machine's memory and disk as they are: the next one goes on from here, and need not boot."""
        said = self.qmp("human-monitor-command", **{"command-line": f"savevm {SAVED}"})
        if said:
            raise RuntimeError(f"savevm: {said}")
        self.overlay.with_suffix(".saved").touch()

    def pull_plug(self) -> None:
        """Kill QEMU at once: what it had not been told to write is gone. Nothing happens when it is off."""
        subprocess.run([*self._ssh("-O", "exit")], capture_output=True, check=False)
        if self._qmp is not None:
            self._qmp.close()
            self._qmp = None
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    @property
    def running(self) -> bool:
        """Whether QEMU lives."""
        return self._process is not None and self._process.poll() is None

    def qmp(self, command_: str, /, **arguments: object) -> Any:
        """Run a command of QEMU's machine protocol."""
        assert self._qmp is not None
        return self._qmp.execute(command_, **arguments)

    def cable(self, *, plugged: bool) -> None:
        """Pull or plug in the network cable; ssh has one of its own."""
        self.qmp("set_link", name="cable", up=plugged)

    def photograph(self) -> Path:
        """Freeze the disk as it is at this moment and go on in a new layer; returns the frozen image.

        This is what the disk would hold had the power gone now: nothing is flushed for it, neither the guest's
        cache nor SQLite's files.
        """
        frozen = self.overlay if self._layers == 0 else self._layer(self._layers)
        self._layers += 1
        node = self._disk_node()
        target = self._layer(self._layers)
        target.unlink(missing_ok=True)
        self.qmp("blockdev-snapshot-sync", device=node, **{"snapshot-file": str(target), "format": "qcow2"})
        return frozen

    def forget_photographs(self) -> None:
        """Delete the layers of :meth:`photograph`; the machine must be off."""
        for path in self.target.folder.glob(f"{self.overlay.stem}.layer*.qcow2"):
            path.unlink()
        self._layers = 0

    def run(self, text: str, *, timeout: float = 180, check: bool = True, feed: bytes | None = None) -> str:
        """What ``text`` prints when the guest's root shell runs it; fails with both streams when it does."""
        done = subprocess.run(
            [*self._ssh(), text],
            check=False,
            input=feed,
            stdin=None if feed else subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{text!r} ended with {done.returncode}: {(done.stdout + done.stderr).decode()[-1500:]}"
            )
        return done.stdout.decode(errors="replace").strip()

    def put(self, source: Path, target: str) -> None:
        """Copy a file into the guest."""
        self.run(f"cat > {target}", feed=source.read_bytes(), timeout=600)

    def wait(self, seconds: float = 420) -> float:
        """Wait until ssh answers, for ``seconds`` on an idle host; returns the seconds since power on."""
        begun = time.monotonic()
        while time.monotonic() < begun + patience(seconds):
            if not self.running:
                raise AssertionError(f"the machine switched itself off: {self.console()[-800:]}")
            if self._answers():
                return time.monotonic() - self.started
            time.sleep(0.5)
        raise AssertionError(
            f"no ssh after {time.monotonic() - begun:.0f} s; the console ends with: {self.console()[-800:]}"
        )

    def _answers(self) -> bool:
        try:
            words = [*self._ssh(), "true"]
            done = subprocess.run(words, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=90)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def console(self) -> str:
        """What the guest's serial console showed."""
        path = self.overlay.with_suffix(".console")
        return path.read_text(errors="replace") if path.exists() else ""

    def _layer(self, number: int) -> Path:
        return self.overlay.with_suffix(f".layer{number}.qcow2")

    def _disk_node(self) -> str:
        return next(str(block["device"]) for block in self.qmp("query-block") if block["device"] == "disk")

    def shell(self) -> Sequence[str]:
        """The command of an interactive shell in the guest."""
        return self._ssh("-t")

    def _ssh(self, *options: str) -> Sequence[str]:
        known = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")
        once = ("-o", "ControlMaster=auto", "-o", "ControlPersist=900", "-o", f"ControlPath={self._socket}")
        quick = ("-o", "ConnectTimeout=40", "-o", "BatchMode=yes", "-i", str(self.target.folder / "id_ed25519"))
        return ["ssh", *known, *once, *quick, *options, "-p", str(self.ssh_port), "root@127.0.0.1"]

    def _create(self) -> None:
        self.overlay.with_suffix(".saved").unlink(missing_ok=True)
        self.overlay.unlink(missing_ok=True)
        words = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(self._below), str(self.overlay)]
        subprocess.run(words, check=True)
