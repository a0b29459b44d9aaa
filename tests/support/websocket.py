"""A WebSocket front of a broker, as nginx or a cloud broker has one; Debian's mosquitto comes without its own."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve


class WebSocketFront:
    """Carries MQTT from WebSockets on ``path`` to ``upstream``, a loopback port. Use as a context manager.

    Frames of the broker's are cut to ``slice`` bytes (0: as they come), so that packets and frames do not coincide.
    """

    def __init__(
        self, upstream: int, *, path: str = "/mqtt", tls: ssl.SSLContext | None = None, slice_: int = 0
    ) -> None:
        self._upstream = upstream
        self._path = path
        self._slice = slice_ or 65_536
        self._server: Server = serve(
            self._carry, "127.0.0.1", 0, ssl=tls, subprotocols=["mqtt"], process_request=self._route, compression=None
        )  # type: ignore[arg-type]
        self.port: int = self._server.socket.getsockname()[1]

    def __enter__(self) -> WebSocketFront:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _route(self, connection: ServerConnection, request: Request) -> Response | None:
        return None if request.path == self._path else connection.respond(404, "not here\n")

    def _carry(self, outside: ServerConnection) -> None:
        with socket.create_connection(("127.0.0.1", self._upstream)) as inside:
            threading.Thread(target=self._back, args=(inside, outside), daemon=True).start()
            with contextlib.suppress(ConnectionClosed, OSError):
                for frame in outside:
                    inside.sendall(frame if isinstance(frame, bytes) else frame.encode())
            with contextlib.suppress(OSError):
                inside.shutdown(socket.SHUT_RDWR)

    def _back(self, inside: socket.socket, outside: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed, OSError):
            while data := inside.recv(65_536):
                for k in range(0, len(data), self._slice):
                    outside.send(data[k : k + self._slice])
        outside.close()
