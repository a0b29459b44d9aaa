"""The agent's web side, for the commands that may have one: only here is the extra ``edge-agent[web]`` imported."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from edge_agent.app import Agent
from edge_agent.domain.errors import ConfigError
from edge_agent.runtime.supervisor import Component
from edge_agent.settings import Settings

MISSING = "the web side needs {name}: install it with pip install 'edge-agent[web]', or set web.enabled = false"


def web_side(config: Path | None, settings: Settings) -> Callable[[Agent], Component]:
    """Makes the web side of an agent with ``settings``; what is uploaded is analysed as ``config`` says.

    Raises:
        ConfigError: the extra is not installed, or the token cannot be used.
    """
    try:
        from edge_agent.api import Session
        from edge_agent.web.server import component, token_of
    except ModuleNotFoundError as error:
        raise ConfigError(MISSING.format(name=error.name)) from None
    return partial(component, token=token_of(settings), open_session=partial(Session, config=config, pull=False))


def sign_in(settings: Settings) -> str:
    """The address that opens the dashboard with its token.

    Raises:
        ConfigError: as :func:`web_side`.
    """
    try:
        from edge_agent.web.server import token_of
    except ModuleNotFoundError as error:
        raise ConfigError(MISSING.format(name=error.name)) from None
    return f"http://{settings.web.host}:{settings.web.port}/?token={token_of(settings)}"
