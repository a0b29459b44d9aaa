"""``edge-agent run``: run the daemon in the foreground, with the web server if it is enabled.

The extra ``web`` is imported only when a configuration enables it.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from edge_agent.app.daemon import ConfigFile, Daemon
from edge_agent.cli.common import ConfigOption, pull_showing_progress
from edge_agent.control.commands import CommandHandlers
from edge_agent.domain.errors import ConfigError
from edge_agent.domain.text import Redactor
from edge_agent.live import Live
from edge_agent.runtime.lifecycle import Stop, stop_on_signals
from edge_agent.runtime.logs import configure
from edge_agent.runtime.machine import share_one_heap
from edge_agent.runtime.supervisor import Component
from edge_agent.settings import Settings, default_path
from edge_agent.settings.loader import echo_told
from edge_agent.settings.secrets import known_secrets

log = logging.getLogger(__name__)

MISSING = (
    "the web side needs {name}: install it with pip install 'edge-emotion-agent[web]', or do without it: "
    "web.enabled = false (in the demo: --no-web)"
)


def run(config: ConfigOption = None) -> None:
    """Run the agent until SIGTERM or Ctrl-C. SIGHUP or a change of the config file reloads the config."""
    faulthandler.enable()  # systemd's watchdog ends a hung agent with SIGABRT: print where it hung
    share_one_heap()
    stop, hangup = Stop(), threading.Event()
    path = config or default_path()
    with stop_on_signals(stop, hangup):
        web, background = partial(web_side, path), partial(background_work, path)
        Daemon(ConfigFile(path), stop, hangup, pull_showing_progress, _log_as_told, web, background).run()


def _log_as_told(settings: Settings) -> None:
    configure(settings.log.level, settings.log.format, Redactor(known_secrets("", settings)).text)


def background_work(config: Path | None, settings: Settings) -> list[Component]:
    """Make the components that work beside an agent with these settings: the worker of its batch jobs.

    A queue of several machines has workers of its own.
    """
    if not settings.batch.enabled or settings.batch.redis_url is not None:
        return []
    from edge_agent.batch.worker import component

    return [component(settings, config)]


@dataclass(frozen=True, slots=True)
class WebSide:
    """Factory of the web server, guarded by ``token``; uploads are analysed with the config file ``config``."""

    config: Path | None
    token: str = field(repr=False)

    def __call__(self, live: Live, handlers: CommandHandlers) -> Component:
        """Make the web server of the agent behind ``live``, whose commands go to ``handlers``."""
        from edge_agent.api import CustomModels, Session
        from edge_agent.web.server import component

        open_session = partial(Session, config=self.config, pull=False)
        return component(live, handlers, self.token, open_session, partial(CustomModels, self.config, pull=False))


def web_side(config: Path | None, settings: Settings) -> WebSide:
    """Make the factory of the web server for ``settings``.

    Raises:
        ConfigError: the extra is not installed, or the token cannot be used.
    """
    for line in echo_told(settings, os.environ):
        log.info("%s", line)
    return WebSide(config, _token(settings))


def sign_in(settings: Settings) -> str:
    """Return the address that opens the dashboard, token included.

    Raises:
        ConfigError: as :func:`web_side`.
    """
    return f"http://{settings.web.host}:{settings.web.port}/?token={_token(settings)}"


def _token(settings: Settings) -> str:
    try:
        from edge_agent.web.server import token_of
    except ModuleNotFoundError as error:
        raise ConfigError(MISSING.format(name=error.name)) from None
    return token_of(settings)
