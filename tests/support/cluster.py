"""A cluster of three real nats-servers with JetStream and MQTT (3.1.1), on free loopback ports."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests.support.mosquitto import free_port

NODES = 3

CONFIG = """
server_name: n{number}
listen: 127.0.0.1:{client}
http: 127.0.0.1:{monitor}
jetstream {{ store_dir: "{store}" }}
mqtt {{ listen: 127.0.0.1:{mqtt} }}
cluster {{ name: fleet, listen: 127.0.0.1:{route}, routes: [{routes}] }}
"""


class NatsCluster:
    """Three nodes that share their sessions and retained messages. Use as a context manager; ``ports`` speak MQTT."""

    def __init__(self, folder: Path) -> None:
        routes = [free_port() for _ in range(NODES)]
        self.ports = [free_port() for _ in range(NODES)]
        self._monitors = [free_port() for _ in range(NODES)]
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * NODES
        folder.mkdir(parents=True, exist_ok=True)
        others = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        for n in range(NODES):
            text = CONFIG.format(
                number=n,
                client=free_port(),
                monitor=self._monitors[n],
                store=folder / f"store{n}",
                mqtt=self.ports[n],
                route=routes[n],
                routes=others,
            )
            (folder / f"node{n}.conf").write_text(text, encoding="utf-8")

    @staticmethod
    def available() -> bool:
        """Whether nats-server is installed."""
        return shutil.which("nats-server") is not None

    def start(self, node: int) -> None:
        """Start one node."""
        with (self._folder / f"node{node}.log").open("ab") as log:
            config = str(self._folder / f"node{node}.conf")
            self._processes[node] = subprocess.Popen(["nats-server", "-c", config], stdout=log, stderr=log)

    def kill(self, node: int) -> None:
        """Kill one node with SIGKILL."""
        process, self._processes[node] = self._processes[node], None
        if process is not None:
            process.kill()
            process.wait(10)

    def __enter__(self) -> NatsCluster:
        for n in range(NODES):
            self.start(n)
        deadline = time.monotonic() + 60
        while not all(map(self._healthy, range(NODES))):
            if time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError(f"the cluster does not get ready: {self.log()}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        for n in range(NODES):
            self.kill(n)

    def log(self) -> str:
        """The last lines that each node has written."""
        files = sorted(self._folder.glob("node*.log"))
        return "\n".join(file.read_text(encoding="utf-8", errors="replace")[-2000:] for file in files)

    def _healthy(self, node: int) -> bool:
        with suppress(OSError, ValueError):
            socket.create_connection(("127.0.0.1", self.ports[node]), 1).close()
            with urllib.request.urlopen(f"http://127.0.0.1:{self._monitors[node]}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        return False
