"""The agent's web side, for the commands that may have one: only here is the extra ``web`` imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from edge_agent.app import Agent
from edge_agent.domain.errors import ConfigError
from edge_agent.runtime.supervisor import Component
from edge_agent.settings import Settings

MISSING = (
    "the web side needs {name}: install it with pip install 'edge-emotion-agent[web]', or do without it: "
    "web.enabled = false (in the demo: --no-web)"
)


@dataclass(frozen=True, slots=True)
class WebSide:
    """Makes the web side of an agent, for those who know ``token``; what is uploaded is analysed as ``config`` says."""

    config: Path | None
    token: str = field(repr=False)

    def __call__(self, agent: Agent) -> Component:
        """For an agent with a board."""
        from edge_agent.api import Session
        from edge_agent.web.server import component

        return component(agent, self.token, partial(Session, config=self.config, pull=False))


def web_side(config: Path | None, settings: Settings) -> WebSide:
    """The web side that ``settings`` ask for.

    Raises:
        ConfigError: the extra is not installed, or the token cannot be used.
    """
    return WebSide(config, _token(settings))


def sign_in(settings: Settings) -> str:
    """The address that opens the dashboard with its token.

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
