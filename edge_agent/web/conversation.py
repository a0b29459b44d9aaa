"""WebSocket endpoints that answer each message with one, and limits of the connections of the server.

Messages are answered in order and one at a time over all connections of an endpoint, because the device has few cores
and the agent needs them. Connections take turns, the least recently served one first. Idle time, size, number, memory
and reading speed are bounded.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote

import anyio
import anyio.to_thread
import h11
import uvicorn
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge_agent.api import EdgeAgentError

log = logging.getLogger(__name__)

W = TypeVar("W")

TOO_BIG, TRY_LATER, IDLE, BROKEN = 1009, 1013, 1000, 1011


SESSION_MB = 7.0
"""Megabytes of the models of one connection (faces and emotions)."""


class SwitchedOffError(EdgeAgentError):
    """The config of this device switches off what a client asks for."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``idle_s``: a connection without a message for so long is closed; ``message``: most characters of a message;
    ``connections``: most at a time; ``awake``: most that hold models at a time; ``send_s``: who does not read an answer
    within it is dropped."""

    idle_s: float = 60.0
    message: int = 12 * 1024 * 1024
    connections: int = 100
    awake: int = 16
    send_s: float = 10.0

    @classmethod
    def for_memory(cls, total_mb: float, connections: int) -> Limits:
        """Limits of a process that may use ``total_mb``: a sixteenth of it for the models of one endpoint."""
        return cls(connections=connections, awake=min(connections, max(4, int(total_mb / 16 / SESSION_MB))))


class Talker(Protocol):
    """Handler of the messages of one connection. Blocking, not thread-safe."""

    def answer(self, text: str | bytes) -> dict[str, Any]:
        """Answer a message; an invalid one with an error. Raises EdgeAgentError to close the connection."""
        ...

    def rest(self) -> None:
        """Free the models for other connections, when this one has been idle for longest."""
        ...

    def close(self) -> None:
        """Free everything at the end of the connection."""
        ...


def from_base64(text: str) -> bytes:
    """Decode base64 of either alphabet, with or without line breaks and padding, or a data URL that contains it.

    Raises:
        ValueError: not base64.
    """
    head, comma, rest = text.partition(",") if text[:5].lower() == "data:" else ("", "", text)
    if head and not (comma and head.lower().rstrip().endswith(";base64")):
        raise ValueError("a data URL must be base64: data:image/jpeg;base64,…")
    if head and "%" in rest[-12:]:
        rest = unquote(rest)
    text = rest.translate(_PLAIN).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:  # from binascii, or for characters outside ASCII
        raise ValueError("could not be decoded as base64") from error


_PLAIN = str.maketrans("-_", "+/", " \t\r\n")


class _Shared:
    """Talker that may be closed during a call: it is closed when the call returns."""

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

    def rest(self) -> None:
        with self._busy:
            if not self._closed:
                self._talker.rest()

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


class ServingOrder:
    """Who is served next: of those that wait, the one whose last turn was longest ago. Pure.

    In the order of arrival, a client whose next message takes some turns to come would be served so many turns later in
    every round. One that comes anew counts as just served, so that nobody gets ahead by connecting again.
    """

    def __init__(self) -> None:
        self._turns: dict[object, int] = {}
        self._count = 0

    def serve(self, who: object) -> None:
        """Note that ``who`` has its turn, or has come."""
        self._count += 1
        self._turns[who] = self._count

    def leave(self, who: object) -> None:
        """Forget ``who``."""
        self._turns.pop(who, None)

    def first(self, waiting: Iterable[W]) -> W:
        """The next of those that wait, all of whom have come; at least one."""
        return min(waiting, key=self._turns.__getitem__)


class Turns:
    """A lock that is given to connections in their :class:`ServingOrder`. For one event loop."""

    def __init__(self) -> None:
        self._order = ServingOrder()
        self._waiting: dict[object, asyncio.Future[None]] = {}
        self._taken = False

    def join(self, who: object) -> None:
        """A connection has come."""
        self._order.serve(who)

    def leave(self, who: object) -> None:
        """A connection has ended; it neither waits nor has its turn."""
        self._order.leave(who)

    @asynccontextmanager
    async def of(self, who: object) -> AsyncIterator[None]:
        """The turn of ``who``, which waits for one turn at a time."""
        if self._taken:
            await self._wait(who)
        self._taken = True
        self._order.serve(who)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, who: object) -> None:
        turn = self._waiting[who] = asyncio.get_running_loop().create_future()
        try:
            await turn
        except asyncio.CancelledError:
            if self._waiting.pop(who, None) is None:  # it was given the turn a moment before
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        self._taken = bool(self._waiting)
        if self._waiting:
            self._waiting.pop(self._order.first(self._waiting)).set_result(None)


class Conversation:
    """Endpoint; ``meet`` makes the :class:`Talker` of a new connection."""

    def __init__(self, meet: Callable[[], Talker], limits: Limits) -> None:
        self._meet = meet
        self._limits = limits
        self._connected = 0
        self._awake: dict[_Shared, None] = {}
        """Talkers with models, least recently used first."""
        self._turns = Turns()

    async def serve(self, socket: WebSocket) -> None:
        """Answer one client until it disconnects or a limit is reached."""
        await socket.accept()
        if self._connected >= self._limits.connections:
            await socket.close(TRY_LATER, "too many connections; try again later")
            return
        talker = _Shared(self._meet())
        self._connected += 1
        self._turns.join(talker)
        try:
            await self._converse(socket, talker)
        except WebSocketDisconnect:
            pass  # the client has what it wanted
        except SwitchedOffError as error:
            await socket.close(BROKEN, str(error))
        except EdgeAgentError as error:
            log.warning("web socket: %s", error)
            await socket.close(BROKEN, "the models of this device cannot be used; see its log")
        except asyncio.CancelledError:  # the server stops: there is no time for another thread
            talker.close()
        finally:
            self._connected -= 1
            self._turns.leave(talker)
            self._awake.pop(talker, None)
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
            async with self._turns.of(talker):
                await self._make_room(talker)
                told = await anyio.to_thread.run_sync(talker.answer, text)
            try:
                await asyncio.wait_for(socket.send_text(json.dumps(told)), self._limits.send_s)
            except TimeoutError:
                log.info("web socket: a client that does not read was dropped")
                return

    async def _make_room(self, talker: _Shared) -> None:
        """Let ``talker`` load models; above the limit, the models of the least recently used one are freed."""
        self._awake.pop(talker, None)
        self._awake[talker] = None
        while len(self._awake) > self._limits.awake:
            sleeper = next(iter(self._awake))
            del self._awake[sleeper]
            await anyio.to_thread.run_sync(sleeper.rest)


async def _message(socket: WebSocket) -> str | bytes:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    text: str | bytes = message.get("text") or message.get("bytes") or ""
    return text


WAIT_S = 10.0
"""Seconds that a request may take to arrive (without its body, see :mod:`edge_agent.web.body`), or an answer to be
read a bit further."""
UNREAD = 8 * 1024 * 1024
"""Bytes that may wait for a client to read them; larger than any answer."""

MESSAGE = 64 * 1024
"""Bytes of a message to a WebSocket, except at the paths ``roomy``."""


@dataclass(frozen=True, slots=True)
class _Seen:
    cycle: object
    unread: int
    since: float


class Connections:
    """Enforce the limits of the connections of one server; ``most`` at a time. Runs on the event loop of the server.

    A WebSocket takes messages of :data:`MESSAGE` bytes; at the paths ``roomy`` as many as uvicorn allows.
    """

    def __init__(self, most: int, roomy: Collection[str] = ()) -> None:
        self._most = most
        self._roomy = roomy
        self._seen: dict[Any, _Seen] = {}

    def protocol(self) -> type[asyncio.Protocol]:
        """Return the protocol class that uvicorn instantiates for every connection."""
        limits = self

        class Limited(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                limits.admit(self, self.server_state.connections)

            def handle_websocket_upgrade(self, event: h11.Request) -> None:
                self.config = limits.config_at(event.target, self.config)
                super().handle_websocket_upgrade(event)

        return Limited

    @staticmethod
    def attentive(protocol: type[Any]) -> type[asyncio.Protocol]:
        """WebSocket ``protocol`` of uvicorn that reads only while the application reads (back-pressure)."""

        class Attentive(protocol):  # type: ignore[misc]
            def pause_writing(self) -> None:
                super().pause_writing()
                self.transport.pause_reading()

            def resume_writing(self) -> None:
                super().resume_writing()
                if not getattr(self, "read_paused", False):
                    self.transport.resume_reading()

        return Attentive

    def config_at(self, target: bytes, config: uvicorn.Config) -> uvicorn.Config:
        """Return ``config`` with the message limit of the path ``target``."""
        if target.partition(b"?")[0].decode("latin-1") in self._roomy:
            return config
        small = copy.copy(config)
        small.ws_max_size = min(config.ws_max_size, MESSAGE)
        return small

    def admit(self, new: Any, among: Collection[Any]) -> None:
        """Add ``new`` to ``among``, and close one connection when there are too many."""
        present = [connection for connection in among if not connection.transport.is_closing()]
        self._seen[new] = _Seen(None, 0, time.monotonic())
        if len(present) > self._most:
            idle = [connection for connection in present if connection in self._seen and _asks(connection)]
            min(idle, key=lambda connection: self._seen[connection].since).transport.abort()

    def look(self, among: Collection[Any]) -> None:
        """Close connections that exceeded a time limit; to be called a few times a second."""
        now = time.monotonic()
        seen: dict[Any, _Seen] = {}
        for connection in among:
            found = _progress(self._seen.get(connection), connection, now)
            seen[connection] = found
            if found.unread > UNREAD or (now - found.since > WAIT_S and (found.unread or _asks(connection))):
                connection.transport.abort()
        self._seen = seen


def _asks(connection: Any) -> bool:
    """Whether a request is awaited on the connection; False for a WebSocket."""
    return hasattr(connection, "cycle") and (connection.cycle is None or connection.cycle.response_complete)


def _progress(before: _Seen | None, connection: Any, now: float) -> _Seen:
    """Update ``since``, the time at which the client last read something or began another request."""
    cycle, unread = getattr(connection, "cycle", None), connection.transport.get_write_buffer_size()
    if before is None or before.cycle is not cycle or unread < before.unread or (unread and not before.unread):
        return _Seen(cycle, unread, now)
    return before
