"""Faults of the machine around a whole agent, FAULTS rows 21 to 32, as rows of ``docs/faults.md``.

Each works on the installed ``edge-agent run`` with a real broker under a fake service manager. ``scripts/torture`` is
the command line for the long runs; ``tests/faults/test_agent_faults.py`` runs each once. ``lost`` counts the runs in
which what is promised did not happen.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from edge_agent.capture import ReplayGroup, make_video
from edge_agent.domain.clock import SystemClock
from edge_agent.settings import CameraSettings
from tests.support.cameras import MjpegCamera, free_port, wait_for
from tests.support.mosquitto import Mosquitto
from tests.support.outboxes import MQTT, make_outbox
from tests.support.reliability import Finding
from tests.support.soak import NotifySocket, family, installed
from tests.support.subscriber import Subscriber

BASE = "edge-agent/kiosk-1"
REOPEN_S = 30.0
STOP_S = 5.0
PING_S = 30.0
"""What FAULTS promises, in seconds."""


@dataclass(frozen=True, slots=True)
class Live:
    """A running agent."""

    process: subprocess.Popen[bytes]
    notify: NotifySocket
    broker: Mosquitto | None
    subscriber: Subscriber | None
    config: Path

    def summary(
        self, condition: Callable[[dict[str, Any]], object], within: float = 40.0
    ) -> tuple[float, dict[str, Any]]:
        """How long it took until a new summary met ``condition``, and that summary."""
        assert self.subscriber
        began, seen = time.monotonic(), len(self.subscriber.on(f"{BASE}/summary"))
        while time.monotonic() - began < within:
            for message in self.subscriber.on(f"{BASE}/summary")[seen:]:
                if condition(message.json):
                    return time.monotonic() - began, message.json
            time.sleep(0.05)
        raise TimeoutError(f"no such summary within {within:g} s")

    def pings(self, seconds: float) -> int:
        """Watchdog pings of the next ``seconds``."""
        before = len(self.notify.pings)
        self.notify.listen(seconds)
        return len(self.notify.pings) - before


@contextmanager
def live(
    folder: Path, camera: str = "demo", more: str = "", *, broker: bool = True, window_s: int = 1
) -> Iterator[Live]:
    """An agent that has said READY; without ``broker`` nobody listens where it publishes."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Mosquitto(folder / "mosquitto")) if broker else None
        port = server.port if server else free_port()
        subscriber = stack.enter_context(Subscriber(port, f"{BASE}/#")) if server else None
        notify = NotifySocket(folder / "notify")
        stack.callback(notify.close)
        config, log = folder / "config.toml", folder / "agent.log"
        config.write_text(_CONFIG.format(camera=camera, port=port, window_s=window_s) + more, encoding="utf-8")
        command = [str(Path(sys.executable).with_name("edge-agent")), "run", "--config", str(config)]
        environment = {**installed(folder).environment, "NOTIFY_SOCKET": str(notify.path)}
        output = stack.enter_context(log.open("w"))
        agent = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        stack.callback(agent.wait, 10)
        stack.callback(agent.kill)
        deadline = time.monotonic() + 60
        while not notify.ready:
            if agent.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the agent did not start: {log.read_text()[-2000:]}")
            notify.listen(0.1)
        yield Live(agent, notify, server, subscriber, config)


_CONFIG = """
[device]
id = "kiosk-1"
[privacy]
context = "research"
[camera]
source = "{camera}"
[microphone]
source = "demo"
[summary]
window_s = {window_s}
[mqtt]
host = "127.0.0.1"
port = {port}
keepalive_s = 5
"""


def _seen(summary: dict[str, Any]) -> bool:
    return bool(summary["quality"]["video_fps"] > 0)


def _heard_only(summary: dict[str, Any]) -> bool:
    return not _seen(summary) and summary["quality"]["coverage"]["audio"] > 0.5


def _pictures() -> list[bytes]:
    """Two seconds of the demo camera as JPEG."""
    clock = SystemClock(lambda: True)
    source = make_video(CameraSettings(source="demo", width=320, height=240), clock, {}, ReplayGroup(clock))
    assert source
    source.open()
    frames = [source.read() for _ in range(30)]
    source.close()
    return [cv2.imencode(".jpg", frame.data)[1].tobytes() for frame in frames if frame is not None]


def camera_lost(folder: Path, runs: int) -> Finding:
    """Row 21: the camera's server is stopped and comes back; the microphone goes on."""
    pictures = _pictures()
    camera = MjpegCamera(lambda n: pictures[n % len(pictures)])
    waits: list[float] = []
    try:
        with live(folder, camera.url) as agent:
            agent.summary(_seen)
            for _ in range(runs):
                camera.stop()
                agent.summary(_heard_only)
                camera = MjpegCamera(camera.picture, port=camera.port)
                waits.append(agent.summary(_seen, 2 * REOPEN_S)[0])
    finally:
        camera.stop()
    late = sum(wait > REOPEN_S for wait in waits)
    note = f"sound went on; pictures in a summary again after at most {max(waits):.1f} s"
    return Finding("21 camera lost and back", "network camera stopped, started", runs, late, note, late == 0)


def child_killed(folder: Path, runs: int) -> Finding:
    """Row 26: the process of an isolated analyzer is ended by a segmentation fault."""
    waits: list[float] = []
    with live(folder, more='[analyzers.face]\nisolation = "process"\n') as agent:
        for _ in range(runs):
            agent.summary(_seen)
            began, first = time.monotonic(), _child(agent)
            os.kill(first, signal.SIGSEGV)
            wait_for(lambda old=first: _child(agent) not in (0, old), 30, "a new process")
            waits.append(time.monotonic() - began)
            time.sleep(2.0)
        alive = agent.process.poll() is None and agent.pings(2.0) > 0
    note = f"agent and other analyzers went on; a new process after at most {max(waits):.1f} s"
    broken = 0 if alive else runs
    return Finding("26 an analyzer's process crashes", "SIGSEGV to it", runs, broken, note, alive)


def _child(agent: Live) -> int:
    """The isolated face detector's process, or 0."""
    for pid in family(agent.process.pid)[1:]:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "ea-face\n":
                return pid
    return 0


def stopped(folder: Path, runs: int) -> Finding:
    """Row 29: the whole process stands still; the service manager hears nothing, and would start a new one."""
    broken = 0
    with live(folder) as agent:
        for _ in range(runs):
            before = agent.pings(2.0)
            agent.process.send_signal(signal.SIGSTOP)
            agent.pings(0.5)  # what was on its way
            silent = agent.pings(2.0) == 0
            agent.process.send_signal(signal.SIGCONT)
            broken += not (before > 0 and silent and agent.pings(2.0) > 0)
    note = "pings stop at once, and go on when it does"
    return Finding("29 main loop stands still", "SIGSTOP, SIGCONT", runs, broken, note, broken == 0)


def terminated(folder: Path, runs: int) -> Finding:
    """Row 30: SIGTERM while offline and as busy as it gets; the open window is in the outbox."""
    times: list[float] = []
    broken = 0
    for number in range(runs):
        home = folder / str(number)
        home.mkdir()
        more = '[pacing]\nprofile = "detail"\nmax_cpu = 1.0\n'
        with live(home, more=more, broker=False, window_s=600) as agent, _hogs(2):
            time.sleep(2.5)
            began = time.monotonic()
            agent.process.terminate()
            code = agent.process.wait(30)
            times.append(time.monotonic() - began)
        outbox = make_outbox(home / "state" / "outbox", boot_id="check")
        windows = [row.seconds for row in outbox.lease(MQTT, 100) if row.kind == "summary"]
        outbox.close()
        flushed = len(windows) == 1 and 1.0 < windows[0] < 600.0
        broken += not (code == 0 and times[-1] <= STOP_S and flushed)
    note = f"ended with 0 after at most {max(times):.1f} s, the open window in the outbox"
    return Finding("30 SIGTERM under load, offline", "no broker, 2 busy loops", runs, broken, note, broken == 0)


@contextmanager
def _hogs(count: int, core: int | None = None) -> Iterator[None]:
    """Busy loops, all on one core when it is given."""
    pin = f"import os; os.sched_setaffinity(0, [{core}]); " if core is not None else ""
    hogs = [subprocess.Popen([sys.executable, "-c", f"{pin}\nwhile True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait(10)


def starved(folder: Path, runs: int) -> Finding:
    """Row 31: one core for the agent and eight busy loops."""
    broken, slowest = 0, 0.0
    core = min(os.sched_getaffinity(0))
    with live(folder) as agent:
        agent.summary(_seen)
        free = os.sched_getaffinity(agent.process.pid)
        for _ in range(runs):
            _pin(agent.process.pid, {core})
            with _hogs(8, core):
                agent.pings(1.0)
                start = len(agent.notify.pings) - 1
                agent.notify.listen(10.0)
                slowest = max(slowest, agent.notify.longest(time.monotonic(), start))
            _pin(agent.process.pid, free)
            agent.summary(_seen)
            broken += agent.process.poll() is not None
        broken += slowest > PING_S
    note = f"at most {slowest:.1f} s between watchdog pings, summaries went on"
    return Finding(
        "31 processor starved", "pinned to a core with 8 busy loops for 10 s", runs, broken, note, broken == 0
    )


def _pin(pid: int, cores: set[int]) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            os.sched_setaffinity(int(thread.name), cores)


def no_descriptors(folder: Path, runs: int) -> Finding:
    """Row 31: not one more file or socket can be opened, and the connection to the broker is lost meanwhile."""
    broken = 0
    waits: list[float] = []
    with live(folder) as agent:
        assert agent.broker
        pid = agent.process.pid
        for _ in range(runs):
            agent.summary(_seen)
            limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limit[1]))
            agent.broker.restart()
            pings = agent.pings(5.0)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
            waits.append(agent.summary(_seen, 60.0)[0])
            broken += pings == 0 or agent.process.poll() is not None
    note = f"heartbeat kept, summaries again {max(waits):.1f} s after there were descriptors"
    how = "prlimit, and the broker started anew"
    return Finding("31 no descriptor left", how, runs, broken, note, broken == 0)


def bad_reload(folder: Path, runs: int) -> Finding:
    """Row 32: a config that cannot be used is written and announced; the old one stays in force and health says so."""
    broken = 0
    with live(folder) as agent:
        assert agent.subscriber
        good = agent.config.read_text(encoding="utf-8")
        for _ in range(runs):
            agent.config.write_text(good.replace("window_s = 1", "window_s = 0"), encoding="utf-8")
            agent.process.send_signal(signal.SIGHUP)
            wait_for(lambda: "summary.window_s" in _problems(agent), 20, "the refused config on the health topic")
            seconds = agent.summary(_seen)[1]["seconds"]
            agent.config.write_text(good, encoding="utf-8")
            agent.process.send_signal(signal.SIGHUP)
            wait_for(lambda: "summary.window_s" not in _problems(agent), 40, "a health topic without it")
            broken += seconds != 1 or agent.process.poll() is not None
    note = "told on the health topic with its line; the old one stayed in force"
    return Finding("32 bad config on reload", "window_s = 0, SIGHUP", runs, broken, note, broken == 0)


def _problems(agent: Live) -> str:
    assert agent.subscriber
    told = agent.subscriber.on(f"{BASE}/health")
    return " ".join(told[-1].json["problems"]) if told else ""


RUNS: dict[str, tuple[Callable[[Path, int], Finding], int]] = {
    "camera": (camera_lost, 10),
    "child": (child_killed, 4),
    "stopped": (stopped, 20),
    "terminated": (terminated, 10),
    "starved": (starved, 5),
    "descriptors": (no_descriptors, 10),
    "reload": (bad_reload, 5),
}
"""By name: the run, and how often it is repeated for ``docs/faults.md``."""
