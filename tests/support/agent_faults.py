"""Faults of the machine around a whole agent, FAULTS rows 21 to 32, as rows of ``docs/faults.md``.

Each works on the installed ``edge-agent run`` with a real broker under a fake service manager. ``scripts/torture`` is
the command line for the long runs; ``tests/faults/test_agent_faults.py`` runs each once. ``lost`` counts the runs in
which what is promised did not happen.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_agent.capture import ReplayGroup, make_video
from edge_agent.delivery.flow_control import NEVER_REACHED_S
from edge_agent.domain.clock import SystemClock
from edge_agent.models import cache_dir
from edge_agent.settings import CameraSettings
from tests.support.cameras import MjpegCamera, jpeg, wait_for
from tests.support.live_agent import BASE, Live, live
from tests.support.outboxes import MQTT, make_outbox
from tests.support.reliability import Finding
from tests.support.soak import family
from tests.support.sound_server import PACKAGES, SoundServer

REOPEN_S = 30.0
REPLACE_S = 20.0
STOP_S = 5.0
PING_S = 30.0
"""What FAULTS promises, in seconds."""


def _seen(summary: dict[str, Any]) -> bool:
    return bool(summary["quality"]["video_fps"] > 0)


def _heard_only(summary: dict[str, Any]) -> bool:
    return not _seen(summary) and _heard(summary)


def _heard(summary: dict[str, Any]) -> bool:
    return bool(summary["quality"]["coverage"]["audio"] > 0.5)


def _somebody(summary: dict[str, Any]) -> bool:
    return bool((summary["faces"]["max"] or 0) > 0 and not summary["quality"]["flags"])


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
    waits, broken = list[float](), 0
    try:
        with live(folder, camera.url) as agent:
            agent.summary(_seen)
            for _ in range(runs):
                camera.stop()
                heard = agent.wait(_heard_only)
                camera = MjpegCamera(camera.picture, port=camera.port)
                waits.append(agent.wait(_seen, 2 * REOPEN_S))
                broken += heard == inf or waits[-1] > REOPEN_S
    finally:
        camera.stop()
    note = f"sound went on; pictures in a summary again after at most {max(waits):.1f} s"
    return Finding("21 camera lost and back", "network camera stopped, started", runs, broken, note, broken == 0)


def silent(folder: Path, runs: int) -> Finding:
    """Row 22: the camera keeps its connection and sends nothing; the agent hangs up and connects again."""
    pictures = _pictures()
    waits: list[float] = []
    broken = 0
    with MjpegCamera(lambda n: pictures[n % len(pictures)]) as camera, live(folder, camera.url) as agent:
        for _ in range(runs):
            agent.summary(_seen)
            before, began = camera.connections, time.monotonic()
            camera.stalled.set()
            heard = agent.wait(_heard_only)
            while camera.connections == before and time.monotonic() - began < 2 * REPLACE_S:
                time.sleep(0.05)
            waits.append(time.monotonic() - began)
            camera.stalled.clear()
            broken += heard == inf or waits[-1] > REPLACE_S or agent.wait(_seen) == inf
    note = f"sound went on; another connection after at most {max(waits):.1f} s, then pictures again"
    return Finding("22 camera falls silent", "connection kept, nothing sent", runs, broken, note, broken == 0)


def blinded(folder: Path, runs: int) -> Finding:
    """Row 23: somebody is in view, then the camera shows black, then grey, then the same picture for ever."""
    pictures = _pictures()
    blank = [cv2.imencode(".jpg", np.full((240, 320, 3), level, np.uint8))[1].tobytes() for level in (0, 128)]
    blind = {"dark": blank[0], "covered": blank[1], "frozen": pictures[0]}
    waits: list[float] = []
    with MjpegCamera(lambda n: pictures[n % len(pictures)]) as camera, live(folder, camera.url) as agent:
        lively = camera.picture
        for _ in range(runs):
            for flag, picture in blind.items():
                camera.picture = lively
                agent.summary(lambda s: s["emotion"] is not None, 60.0)
                camera.picture = lambda _n, same=picture: same
                waits.append(agent.wait(lambda s, f=flag: f in s["quality"]["flags"] and s["emotion"] is None))
        camera.picture = lively
        broken = sum(wait == inf for wait in waits) + (agent.wait(lambda s: s["emotion"] is not None) == inf)
    note = f"flagged and no emotion reported after at most {max(waits):.1f} s, read again afterwards"
    return Finding("23 black, grey, frozen camera", "network camera", runs * len(blind), broken, note, broken == 0)


def damaged(folder: Path, runs: int) -> Finding:
    """Row 24: every fifth picture is cut in half, and the size changes all the time."""
    sizes = [_pictures(), [jpeg(n, 320, 240) for n in range(5)], [jpeg(n, 640, 360) for n in range(5)]]

    def send(n: int) -> bytes:
        pictures = sizes[n // 40 % len(sizes)]
        whole = pictures[n % len(pictures)]
        return whole[: len(whole) // 2] if n % 5 == 0 else whole

    with MjpegCamera(send) as camera, live(folder, camera.url) as agent:
        broken = sum(agent.wait(lambda s: s["quality"]["dropped"] > 0 and _seen(s)) == inf for _ in range(runs))
    note = "dropped and counted in a summary, the others seen"
    return Finding("24 cut pictures, changing sizes", "network camera", runs, broken, note, broken == 0)


def deaf(folder: Path, runs: int) -> Finding:
    """Row 25: the only device of the sound server is taken away and brought back; the camera goes on."""
    if not SoundServer.available():
        raise RuntimeError(f"needs a sound server: {PACKAGES}")
    server = SoundServer(folder / "sound")
    server.start()
    waits, broken = list[float](), 0
    try:
        with live(folder, sound=server) as agent:
            agent.summary(_heard, 60.0)
            for _ in range(runs):
                server.unplug()
                seen = agent.wait(lambda s: _seen(s) and not _heard(s))
                server.plug()
                waits.append(agent.wait(_heard, 2 * REOPEN_S))
                broken += seen == inf or waits[-1] > REOPEN_S
    finally:
        server.stop()
    note = f"pictures went on; sound in a summary again after at most {max(waits):.1f} s"
    return Finding("25 microphone unplugged, plugged in", "device of a sound server", runs, broken, note, broken == 0)


def flipped(folder: Path, runs: int) -> Finding:
    """Row 27: one bit of the face model's file is wrong."""
    broken = 0
    for number in range(runs):
        home = folder / str(number)
        models = shutil.copytree(cache_dir(), home / "models")
        for file in models.glob("blazeface*.tflite"):
            content = bytearray(file.read_bytes())
            content[(number * 7919) % len(content)] ^= 1 << number % 8
            file.write_bytes(content)
        more = f'[models]\ndir = "{models}"\nauto_pull = false\n'
        with live(home, more=more) as agent:
            assert agent.subscriber
            info = agent.subscriber.wait_for(f"{BASE}/info").json
            agent.summary(_seen)
            fine = {info["analyzers"][name] for name in ("emotion", "burst")} == {"enabled"}
            broken += not (info["analyzers"]["face"] == "load-error" and fine)
    note = "refused before it was loaded; the other analyzers ran"
    return Finding("27 model with a flipped bit", "one bit of the file", runs, broken, note, broken == 0)


def child_killed(folder: Path, runs: int) -> Finding:
    """Row 26: the process of the face detector is ended by a segmentation fault."""
    waits, broken = list[float](), 0
    with live(folder, more='[analyzers.face]\nisolation = "process"\n') as agent:
        for _ in range(runs):
            agent.summary(_somebody, 60.0)
            os.kill(_child(agent), signal.SIGSEGV)
            told = agent.wait(lambda s: "no_detector" in s["quality"]["flags"])
            waits.append(told + agent.wait(_somebody))
            broken += waits[-1] > REOPEN_S or agent.process.poll() is not None
    note = f"told as not watched; faces in a summary again after at most {max(waits):.1f} s"
    return Finding("26 an analyzer's process crashes", "SIGSEGV to it", runs, broken, note, broken == 0)


def hung(folder: Path, runs: int) -> Finding:
    """Row 26: a plugin hangs in the agent's own process, which does not call itself alive any more."""
    flag, site = folder / "hang", folder / "site"
    info = site / "hanging-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "hanging.py").write_text(_HANGING.format(flag=str(flag)))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hanging\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edge_agent]\nhanging = hanging\n")
    waits, broken = list[float](), 0
    with live(folder, more='[plugins]\nallow = ["*"]\n', python_path=site) as agent:
        for _ in range(runs):
            agent.summary(_seen)
            began = time.monotonic()
            flag.touch()
            while agent.pings(2.0) and time.monotonic() - began < 2 * PING_S:
                pass  # it listens all the time, so that the moment of the last ping is known
            waits.append(agent.notify.pings[-1] - began)
            wait_for(lambda: "vision: no heartbeat" in _problems(agent), 2 * PING_S, "health to tell of it")
            silent = agent.pings(1.0) == 0
            flag.unlink()
            broken += not (silent and waits[-1] < PING_S + 2.0 and agent.wait(_seen) < inf and agent.pings(2.0))
    note = (
        f"told on the health topic; the last watchdog ping after at most {max(waits):.1f} s, and again when it went on"
    )
    return Finding("26 a plugin hangs in the agent", "it waits for a file to go", runs, broken, note, broken == 0)


_HANGING = """
import time
from pathlib import Path
from edge_agent.plugin import AnalyzerSpec, Kind, SceneAnalyzer, hookimpl

class Hanging(SceneAnalyzer):
    def analyze(self, frame):
        while Path({flag!r}).exists():
            time.sleep(0.05)
        return []

@hookimpl
def edge_agent_register_analyzers():
    return [AnalyzerSpec("hanging", Kind.SCENE, "hangs on demand", lambda settings, context: Hanging())]
"""


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
    """Row 31: one core for the agent and eight busy loops; shorter when it is done only once, as a test."""
    seconds = 10.0 if runs > 1 else 4.0
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
                agent.notify.listen(seconds)
                silence = agent.notify.longest(time.monotonic(), start)
            _pin(agent.process.pid, free)
            slowest = max(slowest, silence)
            broken += silence > PING_S or agent.wait(_seen) == inf or agent.process.poll() is not None
    note = f"at most {slowest:.1f} s between watchdog pings, summaries went on"
    how = f"pinned to a core with 8 busy loops for {seconds:.0f} s"
    return Finding("31 processor starved", how, runs, broken, note, broken == 0)


def _pin(pid: int, cores: set[int]) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            os.sched_setaffinity(int(thread.name), cores)


def no_descriptors(folder: Path, runs: int) -> Finding:
    """Row 31: not one more file or socket can be opened, and the connection to the broker is lost meanwhile.

    A new agent each time: after five short connections it would suspect another client, and rightly wait for minutes.
    """
    waits, broken = list[float](), 0
    for number in range(runs):
        with live(folder / str(number)) as agent:
            assert agent.broker
            agent.summary(_seen)
            pid, limit = agent.process.pid, resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limit[1]))
            agent.broker.restart()
            pings = agent.pings(35.0 if number % 2 else 5.0)  # health is looked at every 30 s
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
            waits.append(agent.wait(_seen, NEVER_REACHED_S + 30.0))  # it may just have begun to wait for the broker
            broken += pings == 0 or waits[-1] == inf or agent.process.poll() is not None
    note = f"heartbeat kept; with descriptors, connected again after at most {max(waits):.1f} s (back-off)"
    how = "prlimit for 5 or 35 s, and the broker started anew"
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
    "silent": (silent, 5),
    "blinded": (blinded, 5),
    "damaged": (damaged, 20),
    "deaf": (deaf, 5),
    "child": (child_killed, 4),
    "hung": (hung, 2),
    "flipped": (flipped, 10),
    "stopped": (stopped, 20),
    "terminated": (terminated, 10),
    "starved": (starved, 5),
    "descriptors": (no_descriptors, 6),
    "reload": (bad_reload, 5),
}
"""By name: the run, and how often it is repeated for ``docs/faults.md``."""
