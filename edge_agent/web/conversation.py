"""A WebSocket on which each message of a client is answered by one, in order, and one at a time over all connections
of an endpoint: the device has few cores and its own work to do. Connections take turns, one message each. Silence,
size, number and reading speed are bounded.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote

import anyio
import anyio.to_thread
from starlette.websockets import WebSocket, WebSocketDisconnect

from edge_agent.api import EdgeAgentError

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


class Talker(Protocol):
    """The work of one connection. Blocking; not for two threads at once."""

    def answer(self, text: str | bytes) -> dict[str, Any]:
        """The answer to a message; what is wrong with it is an answer too. Raises EdgeAgentError to end it all."""
        ...

    def close(self) -> None:
        """The connection is over."""
        ...


def from_base64(text: str) -> bytes:
    """The bytes of base64, of either alphabet, in lines or not, padded or not; or of a data URL that holds it.

    Raises:
        ValueError: it is none.
    """
    head, comma, rest = text.partition(",") if text[:5].lower() == "data:" else ("", "", text)
    if head and not (comma and head.lower().rstrip().endswith(";base64")):
        raise ValueError("a data URL must be base64: data:image/jpeg;base64,…")
    if head and "%" in rest[-12:]:
        rest = unquote(rest)
    text = rest.translate(_PLAIN).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:  # binascii's own, or for letters outside of ASCII
        raise ValueError("could not be decoded as base64") from error


_PLAIN = str.maketrans("-_", "+/", " \t\r\n")


class _Shared:
    """A talker that may be closed while it is at work: it is when that is done."""

    def __init__(self, talker: Talker) -> None:
        self._talker = talker
        self._busy = threading.Lock()
        self.over = self._closed = False

    def answer(self, text: str | bytes) -> dict[str, Any]:
        try:
            with self._busy:
                return self._talker.answer(text)
        finally:
            if self.over:
                self._shut()

    def close(self) -> None:
        self.over = True
        self._shut()

    def _shut(self) -> None:
        if self._busy.acquire(blocking=False):
            try:
                if not self._closed:
                    self._closed = True
                    self._talker.close()
            finally:
                self._busy.release()


class Conversation:
    """An endpoint; ``meet`` makes who answers a new connection."""

    def __init__(self, meet: Callable[[], Talker], limits: Limits) -> None:
        self._meet = meet
        self._limits = limits
        self._connected = 0
        self._turn = asyncio.Lock()
        """First come, first served; a connection waits with one message at most, so this is round robin. anyio's own
        limiter lets newcomers pass those who wait."""

    async def serve(self, socket: WebSocket) -> None:
        """Answer one client until it leaves or a limit is reached."""
        await socket.accept()
        if self._connected >= self._limits.connections:
            await socket.close(TRY_LATER, "too many connections; try again later")
            return
        talker = _Shared(self._meet())
        self._connected += 1
        try:
            await self._converse(socket, talker)
        except WebSocketDisconnect:
            pass  # the client has what it wanted
        except EdgeAgentError as error:
            log.warning("web socket: %s", error)
            await socket.close(BROKEN, "the models of this device cannot be used; see its log")
        except asyncio.CancelledError:  # the server stops: there is no time for another thread
            talker.close()
        finally:
            self._connected -= 1
            if not talker.over:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(talker.close)

    async def _converse(self, socket: WebSocket, talker: _Shared) -> None:
        while True:
            try:
                text = await asyncio.wait_for(_message(socket), self._limits.idle_s)
            except TimeoutError:
                await socket.close(IDLE, "no message for too long")
                return
            if len(text) > self._limits.message:
                await socket.close(TOO_BIG, f"a message may have {self._limits.message} characters")
                return
            async with self._turn:
                told = await anyio.to_thread.run_sync(talker.answer, text)
            try:
                await asyncio.wait_for(socket.send_text(json.dumps(told)), self._limits.send_s)
            except TimeoutError:
                log.info("web socket: a client that does not read was dropped")
                return


async def _message(socket: WebSocket) -> str | bytes:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    text: str | bytes = message.get("text") or message.get("bytes") or ""
    return text
