"""``/v0/stream/models``: the WebSocket of Hume's Expression Measurement streaming API, answered by this device.

A client changes its URL only. Who may connect is decided by the server around these routes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.routing import BaseRoute, WebSocketRoute

from edge_agent.api import Session
from edge_agent.web.conversation import Conversation, Limits
from edge_agent.web.hume_stream import Stream

__all__ = ["Limits", "routes"]


def routes(open_session: Callable[..., Session] = Session, limits: Limits | None = None) -> list[BaseRoute]:
    """The endpoint as routes for a Starlette application. ``open_session`` is called as :class:`Session` is."""
    talk = Conversation(lambda: Stream(open_session, time.monotonic), limits or Limits())
    return [WebSocketRoute("/v0/stream/models", talk.serve)]
