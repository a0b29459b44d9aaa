"""The installed ``edge-agent run`` with real models, a real broker and a fake service manager, as tests see it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from tests.support.cameras import free_port
from tests.support.mosquitto import Mosquitto
from tests.support.soak import NotifySocket, installed
from tests.support.sound_server import SoundServer
from tests.support.subscriber import Subscriber

BASE = "edge-agent/kiosk-1"


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

    def wait(self, condition: Callable[[dict[str, Any]], object], within: float = 40.0) -> float:
        """How long it took until a new summary met ``condition``; infinity when none did."""
        try:
            return self.summary(condition, within)[0]
        except TimeoutError:
            return inf

    def pings(self, seconds: float) -> int:
        """Watchdog pings of the next ``seconds``."""
        before = len(self.notify.pings)
        self.notify.listen(seconds)
        return len(self.notify.pings) - before


@contextmanager
def live(
    folder: Path,
    camera: str = "demo",
    more: str = "",
    *,
    broker: bool = True,
    window_s: int = 1,
    sound: SoundServer | None = None,
    python_path: Path | None = None,
) -> Iterator[Live]:
    """An agent that has said READY, with ``more`` in its configuration.

    Without ``broker`` nobody listens where it publishes. ``sound`` is its microphone; in ``python_path`` are more
    plugins.

    Raises:
        RuntimeError: it did not start; with the end of its log.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Mosquitto(folder / "mosquitto")) if broker else None
        port = server.port if server else free_port()
        subscriber = stack.enter_context(Subscriber(port, f"{BASE}/#")) if server else None
        notify = NotifySocket(folder / "notify")
        stack.callback(notify.close)
        config, log = folder / "config.toml", folder / "agent.log"
        text = _CONFIG.format(camera=camera, microphone="auto" if sound else "demo", port=port, window_s=window_s)
        config.write_text(text + more, encoding="utf-8")
        command = [str(Path(sys.executable).with_name("edge-agent")), "run", "--config", str(config)]
        environment = {**installed(folder).environment, "NOTIFY_SOCKET": str(notify.path)}
        environment |= sound.changed if sound else {}
        environment |= {"PYTHONPATH": str(python_path)} if python_path else {}
        if "[models]" in more:  # the environment outranks the file
            del environment["EDGE_AGENT__MODELS__DIR"]
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
source = "{microphone}"
[summary]
window_s = {window_s}
[mqtt]
host = "127.0.0.1"
port = {port}
keepalive_s = 5
"""
