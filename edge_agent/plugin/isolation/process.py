"""Start, question and end an analyzer's child process, and share one array at a time with it.

A new interpreter is started rather than forked, because the agent has threads. It inherits a channel that keeps
messages apart, the shared memory, and a lifeline whose other end only the agent holds. The shared memory is a sealed
memfd: it has no name, so it vanishes with the last process that has it open, and the kernel keeps it from shrinking, so
a broken child cannot take it away from under the agent.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import ModelError, PluginError
from edge_agent.plugin.isolation import wire
from edge_agent.plugin.spec import AnalyzerContext

# ---------------------------------------------------------------------- shared memory


class Area:
    """Agent end of the shared memory."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("edge-agent-analyzer", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        self._map: mmap.mmap | None = None

    def put(self, data: npt.NDArray[Any]) -> None:
        """Copy an array of any shape and layout to the beginning."""
        if data.nbytes == 0:
            return
        if self._map is None or len(self._map) < data.nbytes:
            os.ftruncate(self.fd, data.nbytes)
            self._map = mmap.mmap(self.fd, data.nbytes)
        np.copyto(np.frombuffer(self._map, data.dtype, data.size).reshape(data.shape), data)

    def close(self) -> None:
        """Release the memory; call once."""
        self._map = None
        os.close(self.fd)


class View:
    """Child end of the shared memory; ``fd`` is the inherited descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._map: mmap.mmap | None = None

    def take(self, shape: Sequence[int], dtype: str) -> npt.NDArray[Any]:
        """Copy the array out, so that an analyzer may keep it."""
        found = np.empty(shape, dtype)
        if found.nbytes == 0:
            return found
        if self._map is None or len(self._map) < found.nbytes:
            self._map = mmap.mmap(self._fd, os.fstat(self._fd).st_size, prot=mmap.PROT_READ)
        np.copyto(found, np.frombuffer(self._map, found.dtype, found.size).reshape(found.shape))
        return found


# ---------------------------------------------------------------------- child process


_BOOT = """\
import json, sys
sys.path[:] = json.loads(sys.argv[5])
from edge_agent.plugin.isolation.child import main
main(sys.argv[1], *map(int, sys.argv[2:5]))
"""
_WITHHELD = ("EDGE_AGENT__", "NOTIFY_SOCKET", "WATCHDOG_", "CREDENTIALS_DIRECTORY", "LISTEN_")
"""Prefixes of environment variables that are withheld from the child, as they may hold secrets."""
_REAP_S = 1.0


class ChildError(PluginError):
    """The child failed and has to be replaced."""


class Child:
    """Child process, started at once; :attr:`ready` once its analyzer is built, which :meth:`attend` awaits."""

    def __init__(self, order: wire.Order, area: Area, context: AnalyzerContext) -> None:
        self.ready: bool = False
        self._context = context
        self._buffer = bytearray(1 << 18)
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        their_end, self._lifeline = os.pipe2(os.O_CLOEXEC)
        inherited = (theirs.fileno(), their_end, area.fd)
        command = [sys.executable, "-P", "-c", _BOOT, order.name, *map(str, inherited), json.dumps(sys.path)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(_WITHHELD)}
        try:
            # Its standard output goes to our standard error, since our standard output may carry data.
            self._process = subprocess.Popen(
                command, pass_fds=inherited, stdin=subprocess.DEVNULL, stdout=2, env=environment
            )
        except OSError as error:
            self._let_go()
            raise ChildError(f"its process cannot be started: {error}") from error
        finally:
            theirs.close()
            os.close(their_end)
        try:
            self._send(wire.pack(order), within=1.0)
        except ChildError:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def attend(self, within: float) -> bool:
        """Serve the starting child for at most ``within`` seconds; return whether it is :attr:`ready`.

        Raises:
            ChildError: the analyzer cannot be built.
        """
        message = self._listen(time.monotonic() + within)
        self.ready = message is not None
        return self.ready

    def ask(self, question: wire.Question, within: float) -> Any:
        """Call the analyzer and return what it found.

        Raises:
            ChildError: it died, raised, sent an invalid answer, or none within ``within`` seconds.
        """
        self._send(wire.pack(question), within)
        message = self._listen(time.monotonic() + within)
        if message is None:
            raise ChildError(f"no answer within {within:g} s")
        try:
            return wire.read_found(message["found"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ChildError(f"it answered nonsense: {error!r}") from error

    def _listen(self, deadline: float) -> dict[str, Any] | None:
        """Wait for the next message, answering requests for models; None when there is none before ``deadline``."""
        while True:
            self._channel.settimeout(max(0.0, deadline - time.monotonic()))
            try:
                count = self._channel.recv_into(self._buffer)
            except (TimeoutError, BlockingIOError):
                return None
            except OSError as error:
                raise ChildError(self._death()) from error
            if count == 0:
                raise ChildError(self._death())
            message = _read(bytes(self._buffer[:count]))
            if "failed" in message:
                raise ChildError(str(message["failed"]))
            if "locate" not in message:
                return message
            self._send(wire.pack(self._locate(str(message["locate"]))), within=1.0)

    def _locate(self, name: str) -> tuple[str, str | None]:
        try:
            return str(self._context.models.locate(name)), None
        except ModelError as error:
            return "", str(error)

    def _send(self, message: bytes, within: float) -> None:
        try:
            self._channel.settimeout(within)
            self._channel.send(message)
        except OSError as error:
            raise ChildError(self._death()) from error

    def _death(self) -> str:
        try:
            code = self._process.wait(_REAP_S)
        except subprocess.TimeoutExpired:
            return "its process closed the channel"
        if code >= 0:
            return f"its process ended itself with exit code {code}"
        name = signal.Signals(-code).name
        return f"its process died of {name}" + (" (is memory short?)" if code == -signal.SIGKILL else "")

    def kill(self) -> None:
        """Kill and reap the process; idempotent."""
        self._let_go()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in a driver: it ends when the call returns
            self._process.wait(_REAP_S)

    def _let_go(self) -> None:
        self._channel.close()
        lifeline, self._lifeline = self._lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)


def _read(message: bytes) -> dict[str, Any]:
    try:
        return wire.read_answer(message)
    except ValueError as error:
        raise ChildError(f"it answered nonsense: {error!r}") from error
