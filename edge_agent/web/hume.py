"""``/v0/stream/models``: the WebSocket of Hume's Expression Measurement streaming API, answered by this device.

A client changes its URL only. Who may connect is decided by the server around these routes. Messages are answered in
order, one at a time over all connections: the device has few cores and its own work to do.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import anyio.to_thread
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from edge_agent.api import EdgeAgentError, Session
from edge_agent.web.hume_stream import Stream

log = logging.getLogger(__name__)

TOO_BIG, TRY_LATER, IDLE, BROKEN = 1009, 1013, 1000, 1011


@dataclass(frozen=True, slots=True)
class Limits:
    """``idle_s``: a connection without a message for so long is closed; ``message``: most characters of a message;
    ``connections``: most at a time; ``send_s``: who does not read an answer within it is dropped."""

    idle_s: float = 60.0
    message: int = 12 * 1024 * 1024
    connections: int = 16
    send_s: float = 10.0


def routes(open_session: Callable[..., Session] = Session, limits: Limits | None = None) -> list[BaseRoute]:
    """The endpoint as routes for a Starlette application. ``open_session`` is called as :class:`Session` is."""
    endpoint = _Endpoint(open_session, limits or Limits())
    return [WebSocketRoute("/v0/stream/models", endpoint.serve)]


class _Endpoint:
    def __init__(self, open_session: Callable[..., Session], limits: Limits) -> None:
        self._open = open_session
        self._limits = limits
        self._connected = 0
        self._turn: anyio.CapacityLimiter | None = None

    async def serve(self, socket: WebSocket) -> None:
        await socket.accept()
        if self._connected >= self._limits.connections:
            await socket.close(TRY_LATER, "too many connections; try again later")
            return
        self._turn = self._turn or anyio.CapacityLimiter(1)
        stream = Stream(self._open, time.monotonic)
        self._connected += 1
        try:
            await self._converse(socket, stream)
        except WebSocketDisconnect:
            pass  # the client has what it wanted
        except EdgeAgentError as error:
            log.warning("hume stream: %s", error)
            await socket.close(BROKEN, "the models of this device cannot be used; see its log")
        finally:
            self._connected -= 1
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(stream.close)

    async def _converse(self, socket: WebSocket, stream: Stream) -> None:
        while True:
            try:
                text = await asyncio.wait_for(_message(socket), self._limits.idle_s)
            except TimeoutError:
                await socket.close(IDLE, "no message for too long")
                return
            if len(text) > self._limits.message:
                await socket.close(TOO_BIG, f"a message may have {self._limits.message} characters")
                return
            told = await anyio.to_thread.run_sync(stream.answer, text, limiter=self._turn)
            try:
                await asyncio.wait_for(socket.send_text(json.dumps(told)), self._limits.send_s)
            except TimeoutError:
                log.info("hume stream: a client that does not read was dropped")
                return


async def _message(socket: WebSocket) -> str | bytes:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    text: str | bytes = message.get("text") or message.get("bytes") or ""
    return text
