"""Child side of isolation: build one analyzer and answer calls until the agent closes the channel or dies.

Started by :mod:`edge_agent.plugin.isolation.host`. It writes no core dump, which would hold pictures of people, and
leaves no orphan, since the kernel ends it with SIGIO when the agent is gone, even inside native code.
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

from edge_agent.domain.errors import ModelError, explain
from edge_agent.plugin.isolation import wire
from edge_agent.plugin.isolation.host import View
from edge_agent.plugin.running import ask, check_output, check_shape
from edge_agent.plugin.spec import PROJECT, Analyzer, AnalyzerContext, AnalyzerSpec, registered_analyzers

LONGEST = 1 << 18
"""Largest message in bytes, above the kernel's own limit."""
_OOM_SCORE = 500
_NO_CORE = 1
"""Core limit in bytes: at 0 the kernel may still pipe all memory to a crash reporter; at 1 it does neither."""
_PR_SET_NAME = 15


def main(name: str, control: int, lifeline: int, memory: int) -> None:
    """Serve on the inherited descriptors."""
    _behave(name, lifeline)
    with socket.socket(fileno=control) as channel:
        _serve(channel, View(memory))


def _behave(name: str, lifeline: int) -> None:
    """Set up the process: end with the agent, or before it when memory is short; no core dump; ignore its signals."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # meant for the agent, which then closes the channel
    signal.signal(signal.SIGIO, signal.SIG_DFL)  # ends the process, also inside native code
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGIO])
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    died = select.poll()  # select() cannot look at descriptors above 1023, of which an agent with many clients has some
    died.register(lifeline, select.POLLIN)
    if died.poll(0):  # the agent died before SIGIO was set up
        sys.exit(1)
    with contextlib.suppress(OSError):  # where it is forbidden, the kernel chooses by size
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    with contextlib.suppress(OSError, ValueError):  # the systemd unit forbids the call and sets the limit itself
        resource.setrlimit(resource.RLIMIT_CORE, (_NO_CORE, _NO_CORE))
    ctypes.CDLL(None).prctl(_PR_SET_NAME, f"ea-{name}"[:15].encode(), 0, 0, 0)
    faulthandler.enable()


class _Models:
    """Model locator that asks the agent, which also checks the file."""

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
    except BaseException as error:  # noqa: BLE001 - plugin code may raise anything
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
    """Send a reply; one that is too long for a message is replaced by an error."""
    try:
        channel.send(reply)
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        channel.send(wire.answer(failed=f"an answer of {len(reply)} bytes does not fit into a message"))


def _reply(spec: AnalyzerSpec, analyzer: Analyzer, asked: wire.Question, view: View) -> bytes:
    arguments = list(asked.more)
    if asked.medium is not None:
        arguments.insert(0, wire.with_array(asked.medium, view.take(asked.shape, asked.dtype)))
    elif asked.verb != "finish":
        getattr(analyzer, asked.verb, lambda: None)()
        return wire.answer(found=[])
    found = ask(spec.kind, analyzer, lambda a: getattr(a, asked.verb)(*arguments))
    return wire.answer(found=wire.found(check_output(spec.kind, found)))


def _spec(order: wire.Order) -> AnalyzerSpec:
    plugin = importlib.metadata.EntryPoint(order.name, order.entry_point, PROJECT).load()
    return next(spec for spec in registered_analyzers(plugin) if spec.name == order.name)
