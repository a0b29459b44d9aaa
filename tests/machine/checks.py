"""What an installed release must show on a whole machine, one function a check.

Each takes a :class:`~tests.machine.guest.Guest` that has booted with the agent enabled, makes one fault of the field,
asserts what must be seen from outside of the machine, leaves the machine as it was, and returns what it saw in a few
words: they stand in the table of docs/machine.md.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.machine.emulator import Architecture, Boot, Suite, Target, cache
from tests.machine.guest import Guest
from tests.machine.image import FILM_FILE, GUEST_FILM
from tests.machine.power import power_cuts
from tests.machine.upgrade import first_start_cuts, upgrade_cuts

EXPOSURE = 1.6
"""Most that ``systemd-analyze security`` may rate the unit."""
BOTH: tuple[Architecture, ...] = ("amd64", "arm64")
"""For checks that need no camera of the kernel's: an arm64 machine has none here."""
OUTBOX = "/var/lib/edge-agent/outbox/outbox.db"
NO_CAMERA = "modprobe.blacklist=v4l2loopback,vivid,videodev"


@dataclass(frozen=True)
class Check:
    """One check. ``shows``: what must be seen. ``row``: of the list of findings. ``minutes``: about so long, emulated.

    ``settles``: wait for the first summary before it runs. ``own_boot``: it leaves the machine changed, so no other
    check may use it. ``bare``: it boots no machine, and ``run`` is given the :class:`Target` instead of a guest.
    ``arches``: where its devices are.
    """

    name: str
    shows: str
    run: Callable[[Any], str]
    row: str = ""
    boot: Boot = field(default_factory=Boot)
    minutes: int = 3
    suites: tuple[Suite, ...] = ("bookworm", "trixie")
    settles: bool = True
    own_boot: bool = False
    bare: bool = False
    arches: tuple[Architecture, ...] = ("amd64",)

    def suits(self, target: Target) -> bool:
        """Whether ``target`` has what the check needs."""
        return target.suite in self.suites and target.arch in self.arches


CHECKS: dict[str, Check] = {}


def check(
    shows: str,
    *,
    row: str = "",
    boot: Boot | None = None,
    minutes: int = 3,
    suites: tuple[Suite, ...] = ("bookworm", "trixie"),
    settles: bool = True,
    own_boot: bool = False,
    bare: bool = False,
    arches: tuple[Architecture, ...] = ("amd64",),
) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
    """Declare the decorated function as a check, under its name with dashes."""

    def declare(function: Callable[[Any], str]) -> Callable[[Any], str]:
        name = function.__name__.replace("_", "-")
        CHECKS[name] = Check(
            name, shows, function, row, boot or Boot(), minutes, suites, settles, own_boot, bare, arches
        )
        return function

    return declare


# Starting


@check("After power on, without anybody's help, a subscriber outside receives a summary", settles=False, arches=BOTH)
def boots_to_a_summary(guest: Guest) -> str:
    booted = guest.emulator.wait()
    guest.summary()
    first = next(message.at for topic, _, message in guest.messages() if topic == "summary")
    return f"ssh after {booted:.0f} s, first summary {first - guest.emulator.started:.0f} s after power on"


@check("Two people in front of the camera are counted", row="M3")
def people_are_seen(guest: Guest) -> str:
    body = guest.summary(lambda body: (body["faces"]["max"] or 0) >= 2)
    return f"{body['faces']['max']} people, coverage {body['quality']['coverage']['video']}"


@check("People in a recording are counted, which needs no camera", arches=BOTH, minutes=6)
def people_in_a_film(guest: Guest) -> str:
    since = guest.configure(("camera.source", f'"{GUEST_FILM}"'), ("camera.loop", "true"))
    try:
        body = guest.sees_faces(since=since)
    finally:
        guest.configure(("camera.source", '"/dev/video10"'))
    dominant = (body["emotion"] or {}).get("dominant")
    quality = body["quality"]
    return (
        f"{body['faces']['max']} people, expression {dominant}, {quality['analysed_fps']} looks a second, coverage"
        f" {quality['coverage']['video']}"
    )


@check("Health names no problem once the agent runs, and calls a device that is being opened starting", row="M5")
def first_health(guest: Guest) -> str:
    since = guest.restart(("microphone.source", '"Loopback"'))
    try:
        guest.run("systemctl start film-microphone")
        first = guest.heard("health", since=since)
        wrong = [text for text in first["problems"] if "not available" in text]
        assert not wrong, f"the first health after a start says {wrong}"
        later = guest.heard("health", lambda body: body["uptime_s"] > 45, since=since)
        wrong = [text for text in later["problems"] if "not available" in text]
        assert not wrong, wrong
    finally:
        guest.configure(("microphone.source", '"none"'))
        guest.run("systemctl stop film-microphone")
    return (
        f"first health {first['problems'] or 'without problems'}; after 45 s {later['problems'] or 'without problems'}"
    )


@check(
    "Doctor, run with the unit's own user, devices and protections, fails nothing and names no group root",
    row="M4",
    arches=BOTH,
)
def doctor_in_the_unit(guest: Guest) -> str:
    guest.run("systemctl stop edge-agent")
    try:
        results = json.loads(guest.helper("doctor", timeout=600))
    finally:
        guest.run("systemctl start edge-agent")
    results = results["checks"] if isinstance(results, dict) else results
    failed = [f"{one['name']}: {one['detail']}" for one in results if one["status"] == "fail"]
    assert not failed, failed
    bad = [one for one in results if re.search(r"-aG\s+\S*root", one["remedy"] + one["detail"])]
    assert not bad, bad
    warned = [one["name"] for one in results if one["status"] == "warn"]
    return f"{len(results)} checks, none failed, warnings: {', '.join(warned) or 'none'}"


@check(f"systemd rates the running unit's exposure at most {EXPOSURE}", arches=BOTH)
def exposure(guest: Guest) -> str:
    text = guest.run("systemd-analyze security edge-agent --no-pager")
    level = float(re.findall(r"Overall exposure level for \S+: ([\d.]+)", text)[-1])
    assert level <= EXPOSURE, text
    return f"{level}"


def _naming(health: dict[str, list[str]], word: str) -> str:
    """The first problem of a health document in which ``word`` stands; empty when there is none."""
    return next((text for text in health["problems"] if word in text), "")


@check("Without a face model nobody is unknown, not absent: people null, reason no_detector", row="M2", arches=BOTH)
def missing_face_model(guest: Guest) -> str:
    guest.run("mkdir -p /var/lib/away && mv /var/lib/edge-agent/models/*.tflite /var/lib/away/")
    try:
        before = set(guest.numbers())
        since = guest.restart()
        body = guest.summary(lambda body: body["boot_id"] not in before, since=since)
        assert body["faces"]["max"] is None, body
        assert "no_detector" in body["unknown"]["people"] or "no_detector" in body["quality"]["flags"], body
        health = guest.heard("health", lambda body: _naming(body, "face"), since=since)
    finally:
        guest.run("mv /var/lib/away/*.tflite /var/lib/edge-agent/models/")
        since = guest.restart()
    guest.sees_faces(since=since)
    return f"faces.max null, {body['unknown']['people']}; health: {_naming(health, 'face')[:90]}"


@check(
    "kiosk.mp4 through the V4L2 device: as many people at most, and on average within .35, as in the file itself",
    minutes=5,
)
def truth_through_v4l2(guest: Guest) -> str:
    words = [sys.executable, "-m", "edge_agent", "analyze", "--fps", "1", "--format", "json", cache() / FILM_FILE]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True)
    windows = json.loads(done.stdout)["windows"]
    length = sum(one["seconds"] for one in windows)
    expected = sum(one["faces"]["person_seconds"] or 0 for one in windows) / length
    try:
        guest.helper("film", "kiosk")
        since = time.monotonic()
        time.sleep(2 * length + 15)  # the film twice, and the window in which it began
        seen = [body for topic, body, _ in guest.messages(since + 12) if topic == "summary"]
    finally:
        guest.helper("film", "pair")
    covered = sum(one["seconds"] * (one["quality"]["coverage"]["video"] or 0) for one in seen)
    assert covered > length / 4, f"{covered:.0f} s of {2 * length:.0f} were looked at"
    mean = sum(one["faces"]["person_seconds"] or 0 for one in seen) / covered
    most = [max(one["faces"]["max"] or 0 for one in some) for some in (seen, windows)]
    assert abs(mean - expected) <= 0.35, f"{mean:.2f} people on average, {expected:.2f} in the file"
    assert most[0] == most[1], f"{most[0]} people at most, {most[1]} in the file"
    return f"{mean:.2f} people on average ({expected:.2f} in the file), {most[0]} at most, {covered:.0f} s looked at"


# Devices


@check(
    "The only camera, plugged in long after the start, is opened without a restart",
    row="M1",
    boot=Boot(append=NO_CAMERA),
)
def camera_plugged_late(guest: Guest) -> str:
    before = guest.show("NRestarts"), guest.pid()
    body = guest.summary()
    assert body["faces"]["max"] is None, body
    guest.run("sed -i '/^blacklist/d' /etc/modprobe.d/*.conf; ls /dev/video* 2>/dev/null", check=False)
    since = time.monotonic()
    guest.helper("camera-on")
    guest.sees_faces(since=since)
    took = time.monotonic() - since
    assert (guest.show("NRestarts"), guest.pid()) == before, "it was restarted"
    return f"faces {took:.0f} s after plugging in, same process"


@check("A camera whose driver goes while in use is missing, not an empty room, and used again when it is back")
def camera_unplugged_in_use(guest: Guest) -> str:
    guest.run("modprobe vivid n_devs=1 node_types=0x1 vid_cap_nr=20 && udevadm settle")
    since = guest.configure(("camera.source", '"/dev/video20"'))
    try:
        guest.summary(lambda body: (body["quality"]["coverage"]["video"] or 0) > 0.5, since=since)
        since, pid = time.monotonic(), guest.pid()
        guest.run("echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind", timeout=90)
        gone = guest.summary(lambda body: "missing" in (body.get("unknown", {}).get("people") or {}), since=since)
        guest.summary(lambda body: body["faces"]["max"] is None, since=since)
        since = time.monotonic()
        guest.run("echo vivid.0 > /sys/bus/platform/drivers/vivid/bind && udevadm settle")
        guest.summary(lambda body: (body["quality"]["coverage"]["video"] or 0) > 0.5, since=since)
        took = time.monotonic() - since
        assert guest.pid() == pid, "it was restarted"
    finally:
        guest.configure(("camera.source", '"/dev/video10"'))
        guest.run("for i in $(seq 20); do rmmod vivid 2>/dev/null && break; sleep 0.5; done", check=False)
    return f"{gone['unknown']['people']}; a covered window {took:.0f} s after it was back, same process"


@check("A camera that stays but gives no pictures is told as missing, and people are seen when the pictures go on")
def camera_starves(guest: Guest) -> str:
    guest.sees_faces()
    since = time.monotonic()
    guest.run("systemctl stop film-camera")
    gone = guest.summary(lambda body: "missing" in (body.get("unknown", {}).get("people") or {}), since=since)
    since = time.monotonic()
    guest.run("systemctl start film-camera")
    guest.sees_faces(since=since)
    return f"{gone['unknown']['people']}; faces {time.monotonic() - since:.0f} s after the pictures went on"


@check("A virtual camera that nothing feeds is told as such, and used once something does")
def camera_that_nothing_feeds(guest: Guest) -> str:
    guest.run("systemctl stop film-camera")
    since = guest.restart()
    try:
        said = _naming(guest.heard("health", lambda body: _naming(body, "nothing feeds"), since=since), "nothing feeds")
    finally:
        guest.run("systemctl start film-camera")
    since = time.monotonic()
    guest.sees_faces(since=since)
    return f"{said}; faces {time.monotonic() - since:.0f} s after it was fed"


@check(
    "Without a network from power on the agent starts, stores, and delivers all once the cable is plugged in",
    settles=False,
    own_boot=True,
    minutes=9,
)
def boots_without_a_network(guest: Guest) -> str:
    guest.emulator.cable(plugged=False)
    guest.emulator.wait()
    guest.until(f"test $(sqlite3 {OUTBOX} 'SELECT count(*) FROM items') -ge 3", patience=420)
    assert not list(guest.messages()), "something came without a cable"
    guest.emulator.cable(plugged=True)
    since = time.monotonic()
    guest.summary(since=since)
    return f"{_nothing_lost(guest)}; live {time.monotonic() - since:.0f} s after plugging in"


@check(
    "A camera that gives MJPEG, an odd size or 30 pictures a second after it gave YUYV is read all the same", minutes=6
)
def camera_changes_format(guest: Guest) -> str:
    seen = []
    try:
        for format_, size, fps in (
            ("mjpeg", "640x480", "5"),
            ("yuyv422", "322x242", "5"),
            ("yuyv422", "320x240", "30"),
        ):
            guest.run("systemctl stop film-camera")
            guest.run("sleep 10")  # longer than camera.timeout_s: the device is closed and can take another format
            since = time.monotonic()
            guest.helper("feed", format_, size, fps)
            guest.sees_faces(since=since)
            seen.append(f"{format_} {size} at {fps}: faces after {time.monotonic() - since:.0f} s")
    finally:
        guest.run("systemctl stop film-camera; sleep 10; rm -f /etc/film.env; systemctl start film-camera")
    return "; ".join(seen)


@check("A sound card that is unbound in use is missing, and heard again when it is back", minutes=5)
def microphone_unplugged(guest: Guest) -> str:
    guest.run("systemctl stop film-camera; systemctl start film-microphone")
    since = guest.configure(("microphone.source", '"Loopback"'), ("camera.source", '"none"'))
    try:
        guest.summary(lambda body: (body["quality"]["coverage"]["audio"] or 0) > 0.05, since=since)
        pid = guest.pid()
        since = time.monotonic()
        guest.run("guest microphone-off", timeout=90, check=False)
        gone = guest.summary(lambda body: "missing" in (body.get("unknown", {}).get("sounds") or {}), since=since)
        since = time.monotonic()
        guest.helper("microphone-on")
        guest.summary(lambda body: (body["quality"]["coverage"]["audio"] or 0) > 0.05, since=since)
        took = time.monotonic() - since
        assert guest.pid() == pid, "it was restarted"
    finally:
        guest.run("systemctl stop film-microphone; systemctl start film-camera", check=False)
        guest.configure(("microphone.source", '"none"'), ("camera.source", '"/dev/video10"'))
    return f"{gone['unknown']['sounds']}; heard {took:.0f} s after it was back"


@check(
    "A sound card plugged in after the start, on a machine without one, is opened without a restart",
    row="M1",
    boot=Boot(append="modprobe.blacklist=snd_aloop,snd_hda_intel,snd"),
    minutes=5,
)
def microphone_plugged_late(guest: Guest) -> str:
    guest.run("systemctl stop film-camera")
    since = guest.configure(("microphone.source", '"Loopback"'), ("camera.source", '"none"'))
    gone = guest.summary(lambda body: "missing" in (body.get("unknown", {}).get("sounds") or {}), since=since)
    pid, since = guest.pid(), time.monotonic()
    guest.run("modprobe snd-aloop && udevadm settle && systemctl start film-microphone")
    guest.summary(lambda body: (body["quality"]["coverage"]["audio"] or 0) > 0.05, since=since)
    took = time.monotonic() - since
    assert guest.pid() == pid, "it was restarted"
    guest.run("systemctl stop film-microphone; systemctl start film-camera")
    guest.configure(("microphone.source", '"none"'), ("camera.source", '"/dev/video10"'))
    return f"{gone['unknown']['sounds']}; heard {took:.0f} s after plugging in, same process"


# Time, network, broker


@check(
    "With a clock of 2019 and no time server summaries are marked unsynced; what was buffered is corrected",
    own_boot=True,
    arches=BOTH,
)
def clock_of_2019(guest: Guest) -> str:
    guest.broker.stop()
    guest.configure(("device.trust_clock", "false"))
    guest.run("systemctl stop edge-agent; date -s 2019-01-01; systemctl start edge-agent", timeout=400)
    guest.run("sleep 50")  # five windows
    guest.helper("clock", str(int(time.time())))
    since = time.monotonic()
    guest.run("sleep 15")
    guest.broker.start()
    live = guest.summary(lambda body: body["clock"] == "synced", since=since)
    boot = live["boot_id"]
    early = [
        body
        for topic, body, _ in guest.messages(since)
        if topic in ("summary", "backfill/summary") and body["boot_id"] == boot
    ]
    wrong = [body["start"] for body in early if not body["start"].startswith(live["start"][:4])]
    assert not wrong, wrong
    kinds = sorted({str(body["clock"]) for body in early})
    return f"{len(early)} summaries of that start, none dated before {live['start'][:10]}; clock {', '.join(kinds)}"


@check("While the broker is gone summaries are kept; back again, all arrive, each once", arches=BOTH)
def broker_gone(guest: Guest) -> str:
    guest.summary(since=time.monotonic())
    guest.broker.stop()
    guest.run("sleep 60")  # six windows
    since = time.monotonic()
    guest.broker.start()
    guest.summary(since=since)
    return _nothing_lost(guest)


@check("While the network cable is out summaries are kept; plugged in again, all arrive", minutes=4, arches=BOTH)
def cable_pulled(guest: Guest) -> str:
    guest.summary(since=time.monotonic())
    guest.emulator.cable(plugged=False)
    guest.run("sleep 60")
    guest.emulator.cable(plugged=True)
    since = time.monotonic()
    guest.summary(since=since)
    return f"{_nothing_lost(guest)}; live again {time.monotonic() - since:.0f} s after plugging in"


def _nothing_lost(guest: Guest, patience: float = 240) -> str:
    """Assert that no number is missing between the first and the last of each start; wait for late ones."""
    deadline = time.monotonic() + patience
    while True:
        numbers = guest.numbers()
        missing = {boot: sorted(set(range(min(got), max(got) + 1)) - got) for boot, got in numbers.items()}
        if not any(missing.values()):
            break
        if time.monotonic() > deadline:
            raise AssertionError(f"never received: {missing}")
        time.sleep(2)
    late = sum(topic.startswith("backfill/") for topic, _, _ in guest.messages())
    return f"{sum(map(len, numbers.values()))} messages of {len(numbers)} starts, {late} of them late, none missing"


# Disk and memory


def _storage_problem(health: dict[str, list[str]]) -> str:
    return _naming(health, "outbox:")


@check("With a full disk the agent goes on live; with room again it stores, and health says what was wrong", minutes=5)
def disk_full(guest: Guest) -> str:
    pid = guest.pid()
    guest.run(
        "fallocate -l $(df --output=avail -B1 / | tail -1) /filler; cat /dev/zero > /filler2 2>/dev/null", check=False
    )
    since = time.monotonic()
    try:
        guest.summary(lambda body: body["seq"] > 0, since=since)
        said = _storage_problem(guest.heard("health", _storage_problem, since=since))
    finally:
        guest.run("rm -f /filler /filler2")
    since = time.monotonic()
    guest.summary(since=since)
    guest.heard("health", lambda body: not _storage_problem(body), since=since)
    assert guest.pid() == pid, "it was restarted"
    return f"live summaries went on; health: {said}; {_nothing_lost(guest)}"


@check("On a file system that turns read-only in use the agent goes on live and says so", own_boot=True)
def disk_read_only(guest: Guest) -> str:
    pid = guest.pid()
    guest.run("echo u > /proc/sysrq-trigger")
    since = time.monotonic()
    guest.summary(since=since + 15)
    said = _storage_problem(guest.heard("health", _storage_problem, since=since))
    assert guest.pid() == pid, "it was restarted"
    return f"live summaries went on; health: {said}"


@check("An agent that the kernel ends for want of memory (MemoryMax) is started again, and works once there is enough")
def out_of_memory(guest: Guest) -> str:
    before = int(guest.show("NRestarts"))
    limit = int(guest.memory() * 0.6)
    guest.run(f"systemctl set-property --runtime edge-agent MemoryMax={limit}M", timeout=90)
    try:
        guest.until(f"test $(systemctl show edge-agent -P NRestarts) -gt {before}", patience=300)
    finally:
        guest.run("systemctl set-property --runtime edge-agent MemoryMax=infinity")
    since = time.monotonic()
    guest.summary(since=since)
    result = guest.journal()
    assert "oom" in result.lower() or "signal" in result.lower() or "KILL" in result, result[-500:]
    return f"ended at {limit} MiB, summaries again {time.monotonic() - since:.0f} s after the limit was gone"


@check("With a tenth of the processor the watchdog does not restart the agent, and summaries come", row="M6", minutes=6)
def starved_processor(guest: Guest) -> str:
    before = guest.show("NRestarts")
    guest.run("systemctl set-property --runtime edge-agent CPUQuota=10%")
    since = time.monotonic()
    try:
        guest.summary(since=since + 100)
        assert guest.show("NRestarts") == before, guest.journal()[-1500:]
    finally:
        guest.run("systemctl set-property --runtime edge-agent CPUQuota=")
    return f"no restart, summaries for {time.monotonic() - since:.0f} s"


# Crashes


@check(
    "An agent that hangs (SIGSTOP) is ended by the watchdog and started again; what was stored is not lost",
    minutes=5,
    arches=BOTH,
)
def hangs(guest: Guest) -> str:
    pid, since = guest.pid(), time.monotonic()
    guest.run(f"kill -STOP {pid}")
    guest.until(
        f"test $(systemctl show edge-agent -P MainPID) -ne {pid} -a $(systemctl show edge-agent -P MainPID) -ne 0",
        patience=240,
    )
    took = time.monotonic() - since
    guest.summary(since=time.monotonic())
    return f"another process after {took:.0f} s; {_nothing_lost(guest)}"


@check("An agent that crashes (SIGSEGV) is started again, and leaves no core dump", row="M7", arches=BOTH)
def crashes(guest: Guest) -> str:
    pid, cursor = guest.pid(), guest.cursor()
    guest.run("sysctl -qw kernel.core_pattern=/var/tmp/core.%p")
    guest.run(f"kill -SEGV {pid}")
    guest.until(
        f"test $(systemctl show edge-agent -P MainPID) -ne {pid} -a $(systemctl show edge-agent -P MainPID) -ne 0"
    )
    since = time.monotonic()
    guest.summary(since=since)
    dumps = guest.run("find /var/tmp -name 'core.*' -size +1")
    assert not dumps, dumps
    lines = guest.journal(since=cursor).splitlines()
    return f"no core dump, {len(lines)} lines in the journal, {_nothing_lost(guest)}"


@check("In a minute of normal work, and in one without broker and camera, the journal gets few lines")
def journal_is_quiet(guest: Guest) -> str:
    guest.sees_faces()
    cursor = guest.cursor()
    guest.run("sleep 60")
    normal = [line for line in guest.journal(since=cursor).splitlines() if line]
    guest.broker.stop()
    guest.run("systemctl stop film-camera")
    try:
        cursor = guest.cursor()
        guest.run("sleep 75")
        faulty = [line for line in guest.journal(since=cursor).splitlines() if line]
    finally:
        guest.run("systemctl start film-camera")
        guest.broker.start()
    assert len(normal) <= 5, normal
    assert len(faulty) <= 20, faulty
    raw = [line for line in faulty + normal if "VIDIOC" in line or "global cap" in line or "ALSA lib" in line]
    assert not raw, raw
    return f"{len(normal)} lines in a normal minute, {len(faulty)} in 75 s without broker and camera"


@check("With a journal of 8 MB (SystemMaxUse) the agent goes on and the journal stays below")
def journal_limit(guest: Guest) -> str:
    guest.run(
        "mkdir -p /etc/systemd/journald.conf.d; printf '[Journal]\\nSystemMaxUse=8M\\nSystemMaxFileSize=2M\\n'"
        " > /etc/systemd/journald.conf.d/small.conf; systemctl restart systemd-journald"
    )
    since = time.monotonic()
    guest.run(
        "for i in $(seq 300); do head -c 40000 /dev/urandom | base64 -w 1000 | systemd-cat -t flood; done", timeout=400
    )
    guest.summary(since=since)
    size = int(guest.run("journalctl --sync; du -sb /var/log/journal | cut -f1"))
    guest.run("rm /etc/systemd/journald.conf.d/small.conf; systemctl restart systemd-journald")
    assert size <= 9 << 20, size
    assert guest.show("ActiveState") == "active"
    return f"{size / 1e6:.1f} MB after 16 MB of other messages"


@check(
    "After the machine slept (suspend to idle) summaries come again and nobody is counted for the time asleep",
    minutes=5,
)
def suspend_and_resume(guest: Guest) -> str:
    guest.summary(since=time.monotonic())
    pid = guest.pid()
    guest.run("(sleep 1; rtcwake -m freeze -s 30 > /run/rtcwake 2>&1) > /dev/null 2>&1 &")
    time.sleep(60)
    since = time.monotonic()
    guest.emulator.wait()
    said = guest.run("cat /run/rtcwake; journalctl -b -k -o cat | grep -c 'PM: suspend exit'", check=False)
    assert said.strip().endswith("1"), f"it did not sleep: {said}"
    guest.summary(since=since)
    return f"summaries again, {'same process' if guest.pid() == pid else 'restarted'}"


# Power cuts, and packages


@check(
    "Cut at random moments, half with a backlog: the next boot finds a sound outbox, and every row in it or received",
    own_boot=True,
    minutes=6,
)
def power_cuts_writeback(guest: Guest) -> str:
    return power_cuts(guest)


@check("The same on a disk without a cache", own_boot=True, minutes=6, boot=Boot(cache="none"))
def power_cuts_direct(guest: Guest) -> str:
    return power_cuts(guest)


@check(
    "An upgrade of the last release with a backlog, cut at random moments: installed again, nothing stored is lost; a"
    " downgrade keeps or refuses the backlog, purge leaves nothing",
    bare=True,
    minutes=15,
)
def power_cuts_in_an_upgrade(target: Target) -> str:
    return upgrade_cuts(target)


@check(
    "The first models and the first start, cut at random moments: the next start finds sound files and works",
    bare=True,
    minutes=10,
)
def power_cuts_in_the_first_start(target: Target) -> str:
    return first_start_cuts(target)


@check(
    "Really switched off in mid work and on again, the machine goes on by itself and nobody misses a message",
    own_boot=True,
    minutes=10,
    arches=BOTH,
)
def power_off_and_on(guest: Guest) -> str:
    took = []
    for number in range(2):
        guest.emulator.cable(plugged=number % 2 == 1)
        guest.run("sleep 25")
        guest.emulator.pull_plug()
        since = time.monotonic()
        guest.emulator.power_on(keep_disk=True)
        guest.summary(since=since)
        took.append(f"{time.monotonic() - since:.0f} s")
    return f"summaries {', '.join(took)} after power on; {_nothing_lost(guest)}"


# Memory of small boards


def _memory_of(guest: Guest) -> str:
    guest.sees_faces()
    guest.run("sleep 60")
    total = guest.run('free -m | awk \'/^Mem/{print $3 "/" $2 " MiB used, " $7 " available"}\'')
    kills = guest.run("journalctl -b -k -o cat | grep -ci 'out of memory'; true")
    assert kills == "0", kills
    return f"agent {guest.memory():.0f} MiB anonymous; machine {total}"


@check(
    "On a machine with 512 MiB, as a Zero 2 W, the agent sees faces and nothing is ended for want of memory",
    boot=Boot(memory=512),
    arches=BOTH,
)
def memory_of_512(guest: Guest) -> str:
    return _memory_of(guest)


@check("On a machine with 1 GiB, as a Pi 3, likewise", arches=BOTH)
def memory_of_1024(guest: Guest) -> str:
    return _memory_of(guest)
