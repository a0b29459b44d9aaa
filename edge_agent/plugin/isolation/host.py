"""Agent side of isolation: shared memory, the child process, and a proxy that replaces it within a restart budget.

While a new child starts, calls return nothing and do not wait. When the budget is used up the proxy raises, and the
analyzer becomes ``crashed`` like any other that raised.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import ModelError, PluginError
from edge_agent.domain.face import TrackedFace
from edge_agent.domain.retry import Budget, Failures, Patience
from edge_agent.plugin.isolation import wire
from edge_agent.plugin.spec import Analyzer, AnalyzerContext, AnalyzerSettings, AnalyzerSpec

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


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """Time limits in seconds for a child to start, to answer and to close, and its restart budget.

    ``answer`` grows with how long the self-check took, on a machine that is slow. ``start`` is the most it grows to.
    """

    start: float = 30.0
    answer: float = 5.0
    close: float = 1.0
    budget: Budget = field(default_factory=Budget)


def isolate(
    spec: AnalyzerSpec,
    entry_point: str,
    limits: ChildLimits | None = None,
    now: Callable[[], float] = time.monotonic,
    replaced: Callable[[], None] = lambda: None,
) -> AnalyzerSpec:
    """Return ``spec`` with analyzers that run in child processes.

    ``entry_point`` (``module:object``) is where the child finds the plugin that registers ``spec``; ``replaced`` is
    called when a child has failed and another is to come.
    """

    def make(settings: AnalyzerSettings, context: AnalyzerContext) -> IsolatedAnalyzer:
        options = settings.model_dump(exclude_unset=True)
        order = wire.Order(entry_point, spec.name, options, context.threads)
        return IsolatedAnalyzer(order, context, limits or ChildLimits(), now, replaced)

    return replace(spec, factory=make)


class IsolatedAnalyzer(Analyzer):
    """Proxy for an analyzer of any kind.

    Raises:
        PluginError: the child cannot build the analyzer, at first; later, it failed too often.
    """

    def __init__(
        self,
        order: wire.Order,
        context: AnalyzerContext,
        limits: ChildLimits,
        now: Callable[[], float],
        replaced: Callable[[], None],
    ) -> None:
        self._order, self._context, self._limits, self._now = order, context, limits, now
        self._replaced = replaced
        self._failures = Failures(limits.budget)
        self._patience = limits.answer
        self._area = Area()
        self._due = self._late = 0.0
        self.answered = True
        """Whether a child answered the last call; when not, an empty result carries no information."""
        self._child: Child | None = None
        self._reap: weakref.finalize[..., Any] | None = None
        self._closed = weakref.finalize(self, self._area.close)
        try:
            child = self._start()
            if not child.attend(limits.start):
                raise ChildError(f"not built within {limits.start:g} s")
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int | None:
        """Process id of the child; None while there is none."""
        return self._child.pid if self._child else None

    # ------------------------------------------------------------------ analyzer interface

    def detect(self, frame: wire.Medium) -> Sequence[Any]:
        """Detect faces in the child."""
        return self._ask("detect", frame)

    def analyze(self, medium: wire.Medium, *faces: Sequence[TrackedFace]) -> Sequence[Any]:
        """Analyse a frame (with its faces), a block or an utterance in the child."""
        return self._ask("analyze", medium, *(tuple(group) for group in faces))

    def finish(self) -> Sequence[Any]:
        """End the sound in the child."""
        return self._use(wire.Question("finish"))

    def forget(self) -> None:
        """Let the analyzer in the child forget; a new child has nothing to forget."""
        self._use(wire.Question("forget"))

    def self_check(self) -> None:
        """Run the self-check in the child. Raises PluginError; it is not repeated."""
        if self._child is None:
            raise PluginError("closed, or between two processes")
        limits, began = self._limits, self._now()
        self._child.ask(wire.Question("self_check"), limits.start)
        # A call may run the model several times, and a loaded machine is slower.
        self._patience = Patience(limits.answer, times=20.0, longest=limits.start).after(self._now() - began)

    def close(self) -> None:
        """Close the analyzer in the child, and end the child in any case."""
        child, self._child = self._child, None
        if child is not None and child.ready:
            try:
                child.ask(wire.Question("close"), self._limits.close)
            except ChildError as error:
                log.warning("analyzer %s failed to close: %s", self._order.name, error)
        self._end_child()
        self._closed()

    # ------------------------------------------------------------------ the child

    def _ask(self, verb: str, medium: wire.Medium, *more: Any) -> Sequence[Any]:
        if not self._closed.alive:
            raise PluginError("it is closed")
        self._area.put(wire.array_of(medium))
        return self._use(wire.question(verb, medium, *more))

    def _use(self, question: wire.Question) -> Sequence[Any]:
        """Call the child; an empty result while none is ready."""
        self.answered = False
        try:
            child = self._child or (self._start() if self._now() >= self._due else None)
            if child is None or not self._is_ready(child):
                return ()
            found = tuple(child.ask(question, self._patience))
            self.answered = True
            return found
        except ChildError as error:
            self._failed(error)
            return ()

    def _is_ready(self, child: Child) -> bool:
        if child.ready:
            return True
        if child.attend(0.0):
            log.info("analyzer %s: runs again", self._order.name)
        elif self._now() > self._late:
            raise ChildError(f"not built within {self._limits.start:g} s")
        return child.ready

    def _start(self) -> Child:
        child = Child(self._order, self._area, self._context)
        # Also when the proxy is garbage-collected without close, or the interpreter ends.
        self._child, self._reap = child, weakref.finalize(self, child.kill)
        self._late = self._now() + self._limits.start
        return child

    def _end_child(self) -> None:
        if self._reap is not None:
            self._reap()
        self._child = self._reap = None

    def _failed(self, error: ChildError) -> None:
        self._end_child()
        now, budget = self._now(), self._limits.budget
        pause = self._failures.note(now)
        if pause is None:
            raise PluginError(f"{error}; more than {budget.restarts} failures in {budget.window:g} s") from error
        self._due = now + pause
        self._replaced()
        log.warning("analyzer %s: %s; a new process in %.1f s", self._order.name, error, pause)
