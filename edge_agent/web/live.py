"""Live stream of the messages of the event bus to any number of clients: ``/api/v1/live`` (WebSocket) and
``/stream-emotion-feed`` (server-sent events).

The threads of the agent only enqueue a message. Each client has a bounded queue; a client that does not read is
disconnected, without any effect on the agent and the other clients.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from edge_agent.live.bus import BusMessage, EventBus
from edge_agent.web.body import ProblemError

QUEUE = 64
"""Messages that may wait for a slow client; with more it is disconnected."""
PING_S = 15.0
"""Seconds without a message after which a ping is sent: it reveals dead connections on both sides."""
SEND_S = 10.0
EVENTS = "text/event-stream"
TRY_LATER, TOO_SLOW, STOPPING = 1013, 1008, 1012


class Client:
    """Queue of one client; ``over``: code and reason of the end of its WebSocket, when it is closed."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str] = asyncio.Queue(QUEUE)
        self.over: tuple[int, str] | None = None

    def put(self, text: str) -> None:
        """Enqueue ``text``; disconnect a client that does not keep up."""
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            self.end(TOO_SLOW, "you do not read fast enough")

    def end(self, code: int, reason: str) -> None:
        """Close the queue, and wake up a waiting reader."""
        self.over = self.over or (code, reason)
        if self._queue.empty():
            self._queue.put_nowait("")

    async def get(self) -> str | None:
        """Return the next text; None after :data:`PING_S` without one, or when the queue is closed."""
        try:
            async with asyncio.timeout(PING_S):
                return await self._queue.get() or None
        except TimeoutError:
            return None


class Hub:
    """Distribute the messages of ``bus`` to the clients of one event loop; ``most`` clients at a time."""

    def __init__(self, bus: EventBus, most: int) -> None:
        self.bus = bus
        self._most = most
        self._clients: set[Client] = set()
        self._leave: Callable[[], None] | None = None

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Add a client. Raises ProblemError when there are too many."""
        if len(self._clients) >= self._most:
            raise ProblemError(503, "too many live connections; try again later", {"retry-after": "30"})
        client = Client()
        if not self._clients:
            self._leave = self.bus.subscribe(self._handed_to(asyncio.get_running_loop()))
        self._clients.add(client)
        try:
            yield client
        finally:
            self._clients.discard(client)
            if not self._clients and self._leave is not None:
                self._leave()
                self._leave = None

    def _handed_to(self, loop: asyncio.AbstractEventLoop) -> Callable[[BusMessage], None]:
        def subscriber(posting: BusMessage) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._spread, posting)

        return subscriber

    def _spread(self, posting: BusMessage) -> None:
        text = message(posting.kind, posting.document)
        for client in self._clients:
            client.put(text)

    def end(self) -> None:
        """Disconnect all clients, on the event loop, when the server stops."""
        for client in self._clients:
            client.end(STOPPING, "the agent stops, or begins anew")

    def now(self) -> list[str]:
        """Return the first messages of a new client: the states and the latest summary."""
        found = [(kind, self.bus.state(kind)) for kind in ("state", "health", "pacing", "presence")]
        latest = self.bus.summaries()[-1:]
        return [message(k, d) for k, d in found if d is not None] + [message("summary", d) for d in latest]


def message(kind: str, document: Any) -> str:
    """``{"type": kind, "data": document}``."""
    return json.dumps({"type": kind, "data": document}, separators=(",", ":"))


def routes(hub: Hub) -> list[BaseRoute]:
    """Return the routes of ``hub``."""

    async def socket(socket: WebSocket) -> None:
        await socket.accept()
        try:
            with hub.client() as client:
                await _talk(socket, hub, client)
        except ProblemError as error:
            await socket.close(TRY_LATER, str(error))

    async def feed(request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type=EVENTS)
        events = _events(request, hub)
        await anext(events)  # raises before the response has begun
        return StreamingResponse(events, media_type=EVENTS)

    return [WebSocketRoute("/api/v1/live", socket), Route("/stream-emotion-feed", feed, methods=["GET"])]


async def _talk(socket: WebSocket, hub: Hub, client: Client) -> None:
    """Send until the client disconnects or does not keep up."""
    tasks = [asyncio.create_task(_tell(socket, hub, client)), asyncio.create_task(_until_gone(socket))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tell(socket: WebSocket, hub: Hub, client: Client) -> None:
    try:
        for text in hub.now():
            await _send(socket, text)
        while client.over is None:
            text = await client.get() or message("ping", None)
            if client.over is None:
                await _send(socket, text)
        async with asyncio.timeout(1.0):
            await socket.close(*client.over)
    except (TimeoutError, WebSocketDisconnect, RuntimeError):
        return  # the client disconnected or does not read: nothing more can be sent


async def _send(socket: WebSocket, text: str) -> None:
    async with asyncio.timeout(SEND_S):
        await socket.send_text(text)


async def _until_gone(socket: WebSocket) -> None:
    """Discard what the client sends, until it disconnects."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _events(request: Request, hub: Hub) -> AsyncIterator[str]:
    """Server-sent events; the first chunk is empty and confirms the connection. A client that does not read blocks
    only this generator, until it is disconnected."""
    with hub.client() as client:
        yield ""
        for text in hub.now():
            yield f"data: {text}\n\n"
        while not await request.is_disconnected():
            heard = await client.get()
            if client.over is not None:
                return
            yield f"data: {heard}\n\n" if heard is not None else ": still here\n\n"
