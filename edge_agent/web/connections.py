"""How many connections there may be and how long each may keep the server waiting; uvicorn itself has no such limits.

A client that connects and says nothing, half of a request, or does not read its answer is cut off. When all places are
taken, a newcomer gets that of whoever has kept its request back longest, so that idle connections keep nobody out.
Nothing more is read from a WebSocket whose client does not read, so that no answers pile up (to pings, above all).
Of uvicorn it knows ``transport``, ``cycle`` and ``read_paused`` of a connection, and its HTTP by h11: the faster one
keeps whatever a header or trailer brings, without end.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

WAIT_S = 10.0
"""Seconds that a request may take to arrive (without its body, see :mod:`edge_agent.web.body`), or an answer to be
read a bit further."""
UNREAD = 8 * 1024 * 1024
"""Bytes that may wait for a client to read them; more than any answer has."""

MESSAGE = 64 * 1024
"""Bytes of a message to a WebSocket where nobody needs more."""


@dataclass(frozen=True, slots=True)
class _Seen:
    cycle: object
    unread: int
    since: float


class Connections:
    """Holds the connections of one server to the limits; ``most`` at a time. All on the server's event loop.

    A WebSocket takes messages of :data:`MESSAGE` bytes; at the paths ``roomy`` as many as uvicorn is told.
    """

    def __init__(self, most: int, roomy: Collection[str] = ()) -> None:
        self._most = most
        self._roomy = roomy
        self._seen: dict[Any, _Seen] = {}

    def protocol(self) -> type[asyncio.Protocol]:
        """What uvicorn makes of every connection."""
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
        """uvicorn's ``protocol`` for a WebSocket, which listens only while it is listened to."""

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
        """``config`` for the WebSocket that ``target`` of a request asks for."""
        if target.partition(b"?")[0].decode("latin-1") in self._roomy:
            return config
        small = copy.copy(config)
        small.ws_max_size = min(config.ws_max_size, MESSAGE)
        return small

    def admit(self, new: Any, among: Collection[Any]) -> None:
        """``new`` is now ``among`` the connections: one has to go when there are too many."""
        present = [connection for connection in among if not connection.transport.is_closing()]
        self._seen[new] = _Seen(None, 0, time.monotonic())
        if len(present) > self._most:
            idle = [connection for connection in present if connection in self._seen and _asks(connection)]
            min(idle, key=lambda connection: self._seen[connection].since).transport.abort()

    def look(self, among: Collection[Any]) -> None:
        """Cut off who kept the server waiting for too long; call it a few times a second."""
        now = time.monotonic()
        seen: dict[Any, _Seen] = {}
        for connection in among:
            found = _progress(self._seen.get(connection), connection, now)
            seen[connection] = found
            if found.unread > UNREAD or (now - found.since > WAIT_S and (found.unread or _asks(connection))):
                connection.transport.abort()
        self._seen = seen


def _asks(connection: Any) -> bool:
    """Whether a request is awaited; never of a WebSocket."""
    return hasattr(connection, "cycle") and (connection.cycle is None or connection.cycle.response_complete)


def _progress(before: _Seen | None, connection: Any, now: float) -> _Seen:
    """``since`` is when the client last read something or began another request."""
    cycle, unread = getattr(connection, "cycle", None), connection.transport.get_write_buffer_size()
    if before is None or before.cycle is not cycle or unread < before.unread or (unread and not before.unread):
        return _Seen(cycle, unread, now)
    return before
