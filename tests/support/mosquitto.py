"""A real mosquitto of the test's own, on a free loopback port, restartable on the same port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.support.certificates import Certificate


def free_port() -> int:
    """A loopback port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Mosquitto:
    """``password``: the only user, ``agent``, must give it. ``tls``: the server's certificate. ``options``: more lines
    for the configuration. Retained messages survive :meth:`restart` when ``persistent``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        password: str | None = None,
        tls: Certificate | None = None,
        client_ca: Path | None = None,
        persistent: bool = False,
        port: int | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None
        # As root mosquitto would become another user, who may not read the test's folder.
        lines = ["user root"] if os.geteuid() == 0 else []
        lines += [
            "per_listener_settings false",
            "connection_messages true",
            "log_dest stderr",
            f"listener {self.port} 127.0.0.1",
        ]
        if password is None:
            lines.append("allow_anonymous true")
        else:
            users = folder / "users"
            users.write_text(f"agent:{password}\n", encoding="utf-8")
            subprocess.run(["mosquitto_passwd", "-U", str(users)], check=True, capture_output=True)
            users.chmod(0o644)
            lines += ["allow_anonymous false", f"password_file {users}"]
        if tls is not None:
            lines += [f"certfile {tls.cert}", f"keyfile {tls.key}"]
        if client_ca is not None:
            lines += [f"cafile {client_ca}", "require_certificate true"]
        if persistent:
            lines += [
                "persistence true",
                f"persistence_location {folder}/",
                "autosave_interval 1",
                "autosave_on_changes true",
            ]
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join([*lines, *options]) + "\n", encoding="utf-8")

    @staticmethod
    def available() -> bool:
        """Whether mosquitto is installed."""
        return shutil.which("mosquitto") is not None

    def start(self) -> Mosquitto:
        """Start and wait until the port answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(["mosquitto", "-c", str(self._config)], stdout=log, stderr=log)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"mosquitto ended: {self.log()}")
            try:
                socket.create_connection((self.host, self.port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"mosquitto does not answer: {self.log()}")

    def stop(self, *, kill: bool = False) -> None:
        """End it, in order or not; idempotent."""
        if self._process is not None:
            (self._process.kill if kill else self._process.terminate)()
            self._process.wait(10)
            self._process = None

    def restart(self, *, kill: bool = False) -> None:
        """Stop and start on the same port."""
        self.stop(kill=kill)
        self.start()

    def pause(self) -> None:
        """Freeze the process: connections stay open and nothing answers."""
        assert self._process
        self._process.send_signal(19)

    def resume(self) -> None:
        """Undo :meth:`pause`."""
        assert self._process
        self._process.send_signal(18)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process
        return self._process.pid

    def log(self) -> str:
        """What it has written."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Mosquitto:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
