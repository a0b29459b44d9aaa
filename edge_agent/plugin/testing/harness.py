"""Common parts of the contract suites: settings and import rules, deadlines, and a watch over side effects."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache, wraps
from typing import Any, Protocol, TypeVar
from unittest import mock

from pydantic import BaseModel

HEAVY = (
    "ai_edge_litert", "av", "cv2", "matplotlib", "onnxruntime", "pandas", "PIL", "scipy", "skimage", "sounddevice",
    "tensorflow", "tflite_runtime", "torch",
)  # fmt: skip
"""Libraries that only a factory may import: plugins are loaded to list them, too."""

_EXPECTED_OPTIONS = {"frozen": True, "extra": "forbid"}


Check = Callable[[Any], None]
"""One rule of a contract: takes the subject under test and raises when it breaks the rule."""


class ContractError(AssertionError):
    """A plugin breaks a rule of its contract."""


class Timed(Protocol):
    """A subject whose checks have a deadline in seconds."""

    @property
    def deadline(self) -> float: ...


S = TypeVar("S", bound=Timed)


def require(condition: object, message: str) -> None:
    """Raise ContractError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ContractError(message)


def in_time(check: Callable[[S], None]) -> Callable[[S], None]:
    """Run ``check`` in a thread of its own within the subject's deadline; a check that hangs is left behind."""

    @wraps(check)
    def run(subject: S) -> None:
        done: Future[None] = Future()

        def work() -> None:
            try:
                check(subject)
            except BaseException as error:  # noqa: BLE001 - it is raised again where the check was asked for
                done.set_exception(error)
            else:
                done.set_result(None)

        threading.Thread(target=work, name=check.__name__, daemon=True).start()
        try:
            done.result(subject.deadline)
        except FutureTimeout:
            if not done.done():
                raise ContractError(f"{check.__name__} is not over after {subject.deadline:g} s") from None
            raise

    return run


def require_settings(model: type[BaseModel], base: type[BaseModel]) -> None:
    """Settings are frozen, refuse unknown keys, describe every option and have a default for each."""
    require(issubclass(model, base), f"{model.__name__} is no subclass of {base.__name__}")
    for option, value in _EXPECTED_OPTIONS.items():
        require(model.model_config.get(option) == value, f"{model.__name__}: model_config needs {option}={value!r}")
    silent = [name for name, field in model.model_fields.items() if not field.description]
    require(not silent, f"{model.__name__}: {', '.join(silent)} need Field(description=…)")
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    require(not required, f"{model.__name__}: {', '.join(required)} need a default, for who writes no table")
    json.dumps(model().model_dump(mode="json"))


def require_name(name: str, summary: str) -> None:
    """A spec describes itself in one line, under a name that can be a table of the configuration."""
    require(re.fullmatch(r"[a-z][a-z0-9_]*", name), f"name {name!r}: use lower-case letters, digits and _")
    require(bool(summary) and "\n" not in summary, "summary must be one line")


def require_cheap_import(entry_point: str, hook: str) -> None:
    """Loading the plugin and reading its specs imports nothing heavy: that is the factory's job."""
    code = _IMPORT.format(entry_point=entry_point, hook=hook, heavy=HEAVY)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    require(done.returncode == 0, f"loading {entry_point} fails: {done.stderr.strip()}")
    require(done.stdout.strip() == "", f"loading the plugin imports {done.stdout.strip()}: do it in the factory")


_IMPORT = """
import importlib.metadata, sys
plugin = importlib.metadata.EntryPoint("plugin", {entry_point!r}, "edge_agent").load()
for spec in plugin.{hook}():
    if hasattr(spec, "models"):
        spec.models(spec.settings())
print(*sorted(set({heavy!r}).intersection(sys.modules)), sep=", ")
"""

Listener = Callable[[str, tuple[Any, ...]], None]

_NETWORK = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo")
_PROCESS = ("subprocess.Popen", "os.system", "os.fork", "os.posix_spawn")


@contextmanager
def watched() -> Iterator[list[str]]:
    """Collect the threads, sleeps, network use, programs and written files of this thread's Python code."""
    deeds: list[str] = []
    here = threading.get_ident()

    def note(deed: str) -> None:
        if threading.get_ident() == here:
            deeds.append(deed)

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NETWORK:
            note("uses the network")
        elif event in _PROCESS:
            note("starts another program")
        elif event == "open" and _writes(arguments[0], arguments[2]):
            note(f"writes the file {arguments[0]}")

    start, sleep = threading.Thread.start, time.sleep

    def started(thread: threading.Thread) -> None:
        note(f"starts a thread ({thread.name})")
        start(thread)

    def slept(seconds: float) -> None:
        note(f"sleeps for {seconds} s")
        sleep(seconds)

    listeners = _audit()
    listeners.append(listen)
    try:
        with mock.patch.object(threading.Thread, "start", started), mock.patch.object(time, "sleep", slept):
            yield deeds
    finally:
        listeners.remove(listen)


@contextmanager
def told() -> Iterator[list[str]]:
    """Collect what is printed, warned of and logged at any level."""
    lines: list[str] = []

    class _Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    printed, listener, root = io.StringIO(), _Listener(), logging.getLogger()
    level = root.level
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(listener)
        lines += printed.getvalue().splitlines()


@cache
def _audit() -> list[Listener]:
    """Listeners of the process's one audit hook: a hook cannot be removed again, a listener can."""
    listeners: list[Listener] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        for listener in listeners:
            listener(event, arguments)

    sys.addaudithook(hook)
    return listeners


def _writes(path: object, flags: int) -> bool:
    """Whether an ``open`` is for writing; byte code that an import leaves behind does not count."""
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) and "__pycache__" not in str(path)
