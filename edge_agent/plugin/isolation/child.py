"""The child's side: builds one analyzer and answers questions about it until the agent closes the channel or dies.

Started by :mod:`edge_agent.plugin.isolation.process`. It leaves nothing behind: no core dump, which would hold pictures
of people, and no orphan, since the kernel ends it with SIGIO when the agent is gone, whatever it is doing.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import fcntl
import importlib.metadata
import os
import resource
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from edge_agent.domain.errors import ModelError
from edge_agent.plugin.hookspecs import PROJECT, registered_analyzers
from edge_agent.plugin.isolation import wire
from edge_agent.plugin.isolation.process import View
from edge_agent.plugin.running import check_output, check_shape, explain
from edge_agent.plugin.spec import Analyzer, AnalyzerContext, AnalyzerSpec

LONGEST = 1 << 18
"""Bytes of a message; the kernel's own limit for one is below."""
_OOM_SCORE = 500
_NO_CORE = 1
"""Byte: at 0 the kernel makes no core file, but would pipe all memory to a crash reporter; at 1 it does neither."""
_PR_SET_NAME = 15


def main(name: str, control: int, lifeline: int, memory: int) -> None:
    """Serve on the inherited descriptors."""
    _behave(name, lifeline)
    with socket.socket(fileno=control) as channel:
        _serve(channel, View(memory))


def _behave(name: str, lifeline: int) -> None:
    """Die with the agent, or before it when memory is short; leave no trace; and do not mind the agent's signals."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # they are meant for the agent, which then tells us
    signal.signal(signal.SIGIO, signal.SIG_DFL)  # ends the process, also in the middle of native code
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGIO])
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # it died before we asked to be told
        sys.exit(1)
    with contextlib.suppress(OSError):  # where it is forbidden, the kernel chooses by size
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    with contextlib.suppress(OSError, ValueError):  # our unit forbids the call, and has set the limit itself
        resource.setrlimit(resource.RLIMIT_CORE, (_NO_CORE, _NO_CORE))
    ctypes.CDLL(None).prctl(_PR_SET_NAME, f"ea-{name}"[:15].encode(), 0, 0, 0)
    faulthandler.enable()


class _Models:
    """Asks the agent where a model is; it checks the file, too."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def locate(self, name: str) -> Path:
        self._channel.send(wire.answer(locate=name))
        path, problem = wire.unpack(self._channel.recv(LONGEST))
        if problem is not None:
            raise ModelError(problem)
        return Path(path)


def _serve(channel: socket.socket, view: View) -> None:
    order: wire.Order = wire.unpack(channel.recv(LONGEST))
    try:
        spec = _spec(order)
        settings = spec.settings.model_validate(dict(order.options))
        analyzer = spec.factory(settings, AnalyzerContext(_Models(channel), order.threads))
        check_shape(spec.kind, analyzer)
    except BaseException as error:  # noqa: BLE001 - a stranger's code may raise anything
        channel.send(wire.answer(failed=explain(error)))
        return
    channel.send(wire.answer(ready=True))
    while message := channel.recv(LONGEST):
        asked: wire.Question = wire.unpack(message)
        try:
            reply = _reply(spec, analyzer, asked, view)
        except BaseException as error:  # noqa: BLE001 - likewise
            reply = wire.answer(failed=explain(error))
        send(channel, reply)
        if asked.verb == "close":
            break


def send(channel: socket.socket, reply: bytes) -> None:
    """Answer; what the kernel does not take as one message is refused by name instead."""
    try:
        channel.send(reply)
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        channel.send(wire.answer(failed=f"an answer of {len(reply)} bytes does not fit into a message"))


def _reply(spec: AnalyzerSpec, analyzer: Analyzer, asked: wire.Question, view: View) -> bytes:
    method = getattr(analyzer, asked.verb)
    if asked.medium is not None:
        medium = wire.with_array(asked.medium, view.take(asked.shape, asked.dtype))
        return wire.answer(found=wire.found(check_output(spec.kind, method(medium, *asked.more))))
    result: Any = method()
    return wire.answer(found=wire.found(check_output(spec.kind, result)) if asked.verb == "finish" else [])


def _spec(order: wire.Order) -> AnalyzerSpec:
    plugin = importlib.metadata.EntryPoint(order.name, order.entry_point, PROJECT).load()
    return next(spec for spec in registered_analyzers(plugin) if spec.name == order.name)
