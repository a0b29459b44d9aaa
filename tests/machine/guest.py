"""The system inside of a virtual machine as a check sees it, and what the agent says to a subscriber outside."""

from __future__ import annotations

import json
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.machine.emulator import BROKER_PORT, Boot, Emulator, Target
from tests.machine.emulator import patience as under_load
from tests.support.mosquitto import Mosquitto
from tests.support.subscriber import Received, Subscriber

PREFIX = "edge-agent/edge-vm"
PATIENCE = 420.0
"""Seconds that a summary may take: a starved emulator with other work beside it needs minutes."""


class Guest:
    """A machine that is on, a broker outside of it, and a subscriber that has heard everything since power on.

    Used as a context manager: leaving pulls the plug. ``fresh``: it boots even where a settled state is saved.
    """

    def __init__(self, target: Target, boot: Boot, *, fresh: bool = False) -> None:
        self.emulator = Emulator(target, boot)
        self._fresh = fresh
        self.target = target
        self._folder = tempfile.TemporaryDirectory(prefix="edge-agent-machine-")
        self.broker = Mosquitto(Path(self._folder.name, "broker"), port=BROKER_PORT, persistent=True)
        self.subscriber = Subscriber(BROKER_PORT, f"{PREFIX}/#", client_id="machine-test")

    def __enter__(self) -> Guest:
        with socket.socket() as probe:  # another broker there would answer with what another machine has said
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", BROKER_PORT))
        self.broker.start()
        self.subscriber.__enter__()
        if self.emulator.power_on(fresh=self._fresh):
            self.emulator.wait()
            self.run(f"date -s @{time.time():.0f}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.emulator.pull_plug()
        self.subscriber.__exit__()
        self.broker.stop()
        self._folder.cleanup()

    def run(self, text: str, *, timeout: float = 180, check: bool = True) -> str:
        """What the guest's root shell prints for ``text``."""
        return self.emulator.run(text, timeout=timeout, check=check)

    def helper(self, *words: str, timeout: float = 240) -> str:
        """Run a command of guest.sh."""
        return self.run(" ".join(("guest", *(f"'{word}'" for word in words))), timeout=timeout)

    def settle(self) -> None:
        """Wait for the boot and the first summary; a machine that booted is saved: the next one goes on from here."""
        self.emulator.wait()
        self.summary()
        if not self.emulator.saved:
            self.emulator.save()

    # What it says to the world.

    def messages(self, since: float = 0.0) -> Iterator[tuple[str, Any, Received]]:
        """Topic below the device's prefix, JSON (or text), and the message itself, of all received since then.

        A summary that the broker repeats because it is retained, as after a restart, is left out.
        """
        known: set[bytes] = set()
        for message in list(self.subscriber.messages):
            topic = message.topic.removeprefix(f"{PREFIX}/")
            again = topic == "summary" and message.payload in known
            known.add(message.payload)
            if message.at >= since and not again:
                try:
                    body = message.json
                except ValueError:
                    body = message.payload.decode(errors="replace")
                yield topic, body, message

    def heard(
        self, topic: str, where: Callable[[Any], object] = bool, *, since: float = 0.0, patience: float = PATIENCE
    ) -> Any:
        """The first body on ``topic`` since then for which ``where`` holds; fails after ``patience`` seconds.

        On a loaded host it waits longer.
        """
        begun = time.monotonic()
        while True:
            got = [body for name, body, _ in self.messages(since) if name == topic]
            found = next((body for body in got if where(body)), None)
            if found is not None:
                return found
            if time.monotonic() >= begun + under_load(patience):
                words = json.dumps(got[-1])[:600] if got else "nothing on it"
                waited = time.monotonic() - begun
                raise AssertionError(
                    f"not heard on {topic} within {waited:.0f} s; {len(got)} others, the last: {words}"
                )
            time.sleep(0.5)

    def summary(self, where: Callable[[Any], object] = bool, *, since: float = 0.0, patience: float = PATIENCE) -> Any:
        """The first live summary since then for which ``where`` holds."""
        return self.heard("summary", where, since=since, patience=patience)

    def sees_faces(self, *, since: float | None = None, patience: float = PATIENCE) -> Any:
        """The first live summary, from now unless said otherwise, that counts a face."""
        since = time.monotonic() if since is None else since
        return self.summary(lambda body: (body["faces"]["max"] or 0) > 0, since=since, patience=patience)

    def numbers(self) -> Mapping[str, set[int]]:
        """Per start of the agent (``boot_id``) the numbers of summaries and events received, live or late."""
        seen: dict[str, set[int]] = {}
        for topic, body, _ in self.messages():
            kind = topic.removeprefix("backfill/").split("/")[0]
            if kind in ("summary", "event") and isinstance(body, dict) and "seq" in body:
                seen.setdefault(body["boot_id"], set()).add(body["seq"])
        return seen

    # What systemd and the kernel say.

    def show(self, name: str) -> str:
        """A property of the agent's unit."""
        return self.run(f"systemctl show edge-agent -P {name}")

    def pid(self) -> int:
        """The agent's process; waits while there is none, as between two starts: 0 would mean the asking shell."""
        return int(self.until("pid=$(systemctl show edge-agent -P MainPID); test $pid -ne 0 && echo $pid"))

    def until(self, text: str, *, patience: float = 120) -> str:
        """Wait until the shell command ``text`` succeeds; returns what it printed."""
        deadline = time.monotonic() + patience
        while True:
            try:
                return self.run(text)
            except AssertionError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(1)

    def restart(self, *settings: tuple[str, str]) -> float:
        """Change settings of the configuration, restart the agent, and return the moment before it."""
        since = self.configure(*settings)
        self.run("systemctl restart edge-agent", timeout=400)
        return since

    def configure(self, *settings: tuple[str, str]) -> float:
        """Change settings of the configuration, which the agent notices by itself; returns the moment before it."""
        since = time.monotonic()
        self.run("; ".join(f"guest set '{name}' '{value}'" for name, value in settings) or "true")
        return since

    def journal(self, *, since: str = "") -> str:
        """The agent's lines of this boot; ``since`` is a cursor of :meth:`cursor`."""
        after = f"--after-cursor='{since}'" if since else ""
        return self.run(f"journalctl -b -u edge-agent -o cat --no-pager {after}")

    def cursor(self) -> str:
        """The journal's present end."""
        text = self.run("journalctl -b -n 1 -o cat --show-cursor --no-pager")
        return text.rpartition("-- cursor: ")[2].strip()

    def memory(self) -> float:
        """MiB that the agent's control group holds in anonymous pages, which swap or the OOM killer would concern."""
        text = self.run("cat /sys/fs/cgroup/system.slice/edge-agent.service/memory.stat")
        found = re.search(r"^anon (\d+)", text, re.MULTILINE)
        return int(found[1]) / (1 << 20) if found else 0.0

    def outbox(self) -> Any:
        """``edge-agent outbox stats`` as data."""
        return json.loads(self.run("sudo -u edge-agent edge-agent outbox stats --json"))
