"""Daemon: run one agent after another, a new one whenever the config changed.

A reload is asked for by SIGHUP or by a changed file. The new config is checked completely, plugins included, before the
running agent is touched; a bad one is reported on the health topic and the old one stays in force. One that loosens
privacy is obeyed, logged and told on the health topic for as long as that agent runs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from edge_agent.app.agent import Agent
from edge_agent.app.builder import PipelineBuilder, Pull, pull_quietly
from edge_agent.control.commands import CommandHandlers
from edge_agent.domain.errors import EdgeAgentError
from edge_agent.domain.retry import Patience
from edge_agent.live import EventBus, Live
from edge_agent.runtime.lifecycle import Notifier, Stop
from edge_agent.runtime.supervisor import Component
from edge_agent.settings import ConfigText, Settings, loosened, read

log = logging.getLogger(__name__)

RELOAD = "reload"

PULL_S = 300.0
"""Longest wait for models at a start; models that come later are used by the next start."""

START_S = 600.0
"""Longest wait for plugins to load and models to warm up: a Raspberry Pi needs seconds, an emulated one minutes."""

BUSY_S = 120.0
"""Seconds by which each ping during long work extends systemd's start timeout: on a starved machine pings come late."""

T = TypeVar("T")

SETTLE_S = 2.0
"""Seconds without a write to a config file before it is read again (debounce)."""

MakeCompanion = Callable[[Live, CommandHandlers], Component]
Web = Callable[[Settings], MakeCompanion]
"""Prepares the web side of an agent with these settings; raises ConfigError. Two results are equal when nothing differs
between them, the token in the token file included."""
Background = Callable[[Settings], Sequence[Component]]
"""Makes the components that work beside an agent with these settings without reading it."""


class ComponentError(EdgeAgentError):
    """A component failed more often than its restart budget allows."""


class ConfigFile:
    """Watch and read a config file (None: defaults only).

    Editors, copies and deployment tools write in place, and most beginnings of a TOML file are valid TOML with fewer
    options. So a change counts only after ``SETTLE_S`` seconds of ``monotonic`` without another write.
    """

    def __init__(self, path: Path | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._seen = self._latest = self._stamp()
        self._since = monotonic()

    def read(self) -> tuple[ConfigText, Settings]:
        """Read the text and the settings in it. Raises ConfigError."""
        self._seen = self._latest = self._stamp()
        config = read(self._path)
        return config, config.settings()

    def changed(self) -> bool:
        """Whether the file differs from the one last read; a missing file has not changed."""
        stamp = self._watch()
        return stamp is not None and stamp != self._seen

    def settled(self) -> bool:
        """Whether the last write to the file was long enough ago."""
        stamp = self._watch()
        return stamp == self._seen or self._monotonic() - self._since >= SETTLE_S

    def _watch(self) -> tuple[int, int, int] | None:
        stamp = self._stamp()
        if stamp != self._latest:
            self._latest, self._since = stamp, self._monotonic()
        return stamp

    def _stamp(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


class Daemon:
    """Run agents until ``stop`` is requested or the recordings are over.

    ``on_settings`` is called with the settings in force, ``web`` prepares the web side where the config enables it,
    ``background`` what works beside the agent.
    """

    def __init__(
        self,
        file: ConfigFile,
        stop: Stop,
        hangup: threading.Event,
        pull: Pull = pull_quietly,
        on_settings: Callable[[Settings], None] = lambda _settings: None,
        web: Web | None = None,
        background: Background = lambda _settings: (),
    ) -> None:
        self._file = file
        self._stop = stop
        self._hangup = hangup
        self._pull = pull
        self._on_settings = on_settings
        self._web = web
        self._background = background
        self._notifier = Notifier()
        self._longest_step = 0.0
        self._next: tuple[ConfigText, Settings] | None = None
        self._loosened: tuple[str, ...] = ()

    def run(self) -> None:
        """Run until the end.

        Raises:
            EdgeAgentError: the start is impossible, or a component failed too often.
        """
        self._next = self._file.read()
        while self._next is not None:
            (config, settings), self._next = self._next, None
            self._on_settings(settings)
            web = self._web_of(settings)
            builder = self._beside_pings("loading plugins", partial(PipelineBuilder, config, settings), START_S)
            if builder is not None:
                self._beside_pings("fetching models", partial(builder.pull_missing, self._pull), PULL_S, give_up=True)
                self._beside_pings("warming up models", builder.activate, START_S)
            if builder is None or self._stop.requested:
                self._notifier.stopping()
                return
            self._fit_watchdog()
            inner = Stop()
            agent = self._agent(settings, builder, web)
            agent.run(inner, self._notifier, lambda: self._tick(agent, inner, settings, web))  # noqa: B023 - ends with run
            if inner.failure:
                raise ComponentError(inner.reason)
            if inner.reason != RELOAD:
                return

    def _beside_pings(self, what: str, work: Callable[[], T], limit_s: float, *, give_up: bool = False) -> T | None:
        """Do ``work``, which may take minutes on a slow card or network, in a thread, and ping systemd meanwhile.

        None when a stop was requested meanwhile, or after ``limit_s`` when ``give_up`` says so; the thread is left
        behind then. Otherwise the pings end after ``limit_s``, and the watchdog handles what still hangs.
        """
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:  # noqa: BLE001 - raised again by the caller
                errors.append(error)

        thread = threading.Thread(target=run, name=what, daemon=True)
        thread.start()
        begun = time.monotonic()
        deadline = begun + limit_s
        while thread.is_alive() and not self._stop.requested:
            late = time.monotonic() >= deadline
            if late and give_up:
                log.warning("%s takes longer than %.0f s; going on without waiting for it", what, limit_s)
                return None
            if not late:
                self._notifier.busy(what, BUSY_S)
            thread.join(1.0)
        if errors:
            raise errors[0]
        if not give_up:  # a download says nothing about the machine
            self._longest_step = max(self._longest_step, time.monotonic() - begun)
        return results[0] if results else None

    def _fit_watchdog(self) -> None:
        """Let systemd wait longer for a ping where the start took minutes: there, a tick takes seconds, too."""
        usual = self._notifier.watchdog_s
        if usual is not None and (limit := Patience(usual).after(self._longest_step)) > usual:
            self._notifier.watchdog_limit(limit)

    def _web_of(self, settings: Settings) -> MakeCompanion | None:
        return self._web(settings) if self._web is not None and settings.web.enabled else None

    def _agent(self, settings: Settings, builder: PipelineBuilder, web: MakeCompanion | None) -> Agent:
        def companions(live: Live | None, handlers: CommandHandlers) -> list[Component]:
            return [*self._background(settings), *([web(live, handlers)] if web and live else [])]

        bus = None if web is None else EventBus()
        agent = Agent(settings, builder, reload=self._hangup.set, bus=bus, companions=companions)
        agent.health.notices = [f"privacy was loosened by the last config: {line}" for line in self._loosened]
        return agent

    def _tick(self, agent: Agent, inner: Stop, settings: Settings, web: object) -> None:
        """Forward a stop and check for a reload; called about twice a second."""
        if self._stop.requested:
            self._notifier.stopping()
            inner.request(self._stop.reason)
            return
        if not ((self._hangup.is_set() or self._file.changed()) and self._file.settled()):
            return
        self._hangup.clear()
        try:
            candidate = self._file.read()
            PipelineBuilder(*candidate).check()
            web_then = self._web_of(candidate[1])
        except EdgeAgentError as error:
            log.error("config not reloaded, the old one stays in force: %s", error)
            agent.health.config_problem = str(error)
            return
        agent.health.config_problem = ""
        if (candidate[1], web_then) != (settings, web):
            log.info("config changed; reloading")
            self._loosened = loosened(settings, candidate[1])
            for line in self._loosened:
                log.warning("privacy is loosened by the new config: %s", line)
            self._next = candidate
            self._notifier.reloading(time.monotonic_ns() // 1000)
            inner.request(RELOAD)
