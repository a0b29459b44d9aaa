"""A real PostgreSQL of the test's own on a socket in a folder, restartable; nobody else can reach it.

PostgreSQL refuses to run as root: then it runs as the user ``postgres`` (or ``nobody``).
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

FAST = (
    "fsync = off",  # what survives here is a killed process, not a power cut
    "shared_buffers = 32MB",
    "max_connections = 60",
    "listen_addresses = ''",
    "log_min_messages = warning",
    "log_timezone = UTC",
    "timezone = UTC",
)


def binaries() -> Path | None:
    """The folder of the newest installed server's programs; None without one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def _unprivileged() -> pwd.struct_passwd | None:
    """The user to become; None: stay who we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("neither postgres nor nobody exists")


class Postgres:
    """A cluster with the database ``test`` and the superuser ``agent``; use it as a context manager.

    It lives in a short folder below the system's temporary one: the path of a socket holds 107 characters at most.
    """

    def __init__(self, options: tuple[str, ...] = ()) -> None:
        bin_ = binaries()
        if bin_ is None:
            raise RuntimeError("PostgreSQL is not installed")
        self._bin = bin_
        self._user = _unprivileged()
        self._root = Path(tempfile.mkdtemp(prefix="pg-"))
        self._data = self._root / "data"
        self._options = (*FAST, f"unix_socket_directories = '{self._root}'", *options)
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            os.chown(self._root, self._user.pw_uid, self._user.pw_gid)

    @staticmethod
    def available() -> bool:
        """Whether a server is installed."""
        return binaries() is not None

    def dsn(self, database: str = "test", user: str = "agent") -> str:
        """Connection string of ``database``."""
        return f"host={self._root} dbname={database} user={user}"

    def create(self, database: str) -> str:
        """Make an empty database; its connection string."""
        self._run("createdb", "-h", str(self._root), "-U", "agent", database)
        return self.dsn(database)

    def copy(self, template: str, database: str) -> None:
        """Make ``database`` a copy of ``template``, which nobody may use meanwhile."""
        self._run("createdb", "-h", str(self._root), "-U", "agent", "-T", template, database)

    def start(self) -> Postgres:
        """Start, the first time with a new cluster, and wait until it answers."""
        if not self._data.exists():
            self._run("initdb", "-D", str(self._data), "-U", "agent", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
            with (self._data / "postgresql.conf").open("a", encoding="utf-8") as config:
                config.write("\n".join(self._options) + "\n")
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", str(self._data)], stdout=log, stderr=log, cwd="/", **self._as_user()
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL ended: {self.log()}")
            asked = subprocess.run(
                [self._bin / "pg_isready", "-q", "-h", str(self._root), "-U", "agent", "-d", "postgres"], check=False
            )
            if asked.returncode == 0:
                return self
            time.sleep(0.05)
        raise RuntimeError(f"PostgreSQL does not answer: {self.log()}")

    def stop(self, *, kill: bool = False) -> None:
        """End it: at once without a checkpoint if ``kill``, else in order, breaking connections; idempotent."""
        if self._process is not None:
            # SIGQUIT is the immediate shutdown. After SIGKILL the children would live on for a while.
            self._process.send_signal(signal.SIGQUIT if kill else signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def log(self) -> str:
        """What it has written."""
        return (self._root / "log").read_text(encoding="utf-8", errors="replace")

    def _as_user(self) -> dict[str, int]:
        return {} if self._user is None else {"user": self._user.pw_uid, "group": self._user.pw_gid}

    def _run(self, program: str, *args: str) -> None:
        subprocess.run([self._bin / program, *args], check=True, capture_output=True, cwd="/", **self._as_user())

    def __enter__(self) -> Postgres:
        self.start()
        self.create("test")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(kill=True)
        shutil.rmtree(self._root, ignore_errors=True)
