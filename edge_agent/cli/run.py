"""``edge-agent run``: the daemon in the foreground."""

from __future__ import annotations

import faulthandler
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edge_agent.app import Agent, ConfigFile, Daemon
from edge_agent.cli.common import ConfigOption
from edge_agent.cli.progress import pull_showing_progress
from edge_agent.domain.errors import ConfigError
from edge_agent.runtime.logs import configure
from edge_agent.runtime.stop import Stop, stop_on_signals
from edge_agent.runtime.supervisor import Component
from edge_agent.settings import Settings, default_path


def run(config: ConfigOption = None) -> None:
    """Watch, listen and publish until told to stop (SIGTERM or Ctrl-C); SIGHUP or a changed file reloads the config."""
    faulthandler.enable()  # the watchdog ends a hung agent with SIGABRT: that shows where it hung
    stop, hangup = Stop(), threading.Event()
    path = config or default_path()
    with stop_on_signals(stop, hangup):
        Daemon(ConfigFile(path), stop, hangup, pull_showing_progress, _log_as_told, partial(_web, path)).run()


def _web(path: Path | None, settings: Settings) -> Callable[[Agent], Component]:
    """The web side. Raises ConfigError without the extra, or when the token cannot be used."""
    try:
        from edge_agent.api import Session
        from edge_agent.web.server import component, token_of
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"web.enabled needs {error.name}: install it with pip install 'edge-agent[web]', or set web.enabled = false"
        ) from None
    return partial(component, token=token_of(settings), open_session=partial(Session, config=path, pull=False))


def _log_as_told(settings: Settings) -> None:
    configure(settings.log.level, settings.log.format)
