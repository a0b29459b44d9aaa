"""``edge-agent run``: the daemon in the foreground."""

from __future__ import annotations

import faulthandler
import threading
from functools import partial

from edge_agent.app import ConfigFile, Daemon
from edge_agent.cli.common import ConfigOption
from edge_agent.cli.progress import pull_showing_progress
from edge_agent.cli.side import web_side
from edge_agent.domain.text import Redactor
from edge_agent.runtime.logs import configure
from edge_agent.runtime.stop import Stop, stop_on_signals
from edge_agent.settings import Settings, default_path
from edge_agent.settings.secrets import known_secrets


def run(config: ConfigOption = None) -> None:
    """Watch, listen and publish until told to stop (SIGTERM or Ctrl-C); SIGHUP or a changed file reloads the config."""
    faulthandler.enable()  # the watchdog ends a hung agent with SIGABRT: that shows where it hung
    stop, hangup = Stop(), threading.Event()
    path = config or default_path()
    with stop_on_signals(stop, hangup):
        Daemon(ConfigFile(path), stop, hangup, pull_showing_progress, _log_as_told, partial(web_side, path)).run()


def _log_as_told(settings: Settings) -> None:
    configure(settings.log.level, settings.log.format, Redactor(known_secrets("", settings)).text)
