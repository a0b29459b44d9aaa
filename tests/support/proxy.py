"""TCP proxy on loopback that injects faults: latency, slicing, silence, closed and reset connections."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time


class FaultProxy:
    """Forwards to ``upstream`` (a loopback port) until told otherwise. Use as a context manager.

    ``latency`` seconds are added each way; ``slice`` is the most bytes written at a time (0: no limit); while ``hole``
    is set connections stay open and every byte is discarded, also on new ones; while ``away`` is set new connections
    are closed at once, as if the broker were down, so that a test's subscriber can connect before the agent.
    """

    def __init__(self, upstream: int) -> None:
        self.latency = 0.0
        self.slice = 0
        self.hole = False
        self.away = False
        self.accepted = 0
        self.turned_away = 0
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._closing = False

    def __enter__(self) -> FaultProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> int:
        """Close all connections in order; how many."""
        return self._end(reset=False)

    def reset(self) -> int:
        """End all connections with RST; how many."""
        return self._end(reset=True)

    def _end(self, *, reset: bool) -> int:
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for sock in pair:
                with contextlib.suppress(OSError):
                    if reset:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    else:
                        sock.shutdown(socket.SHUT_RDWR)
                sock.close()
        return len(pairs)

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
                if self.away:
                    self.turned_away += 1
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._upstream), timeout=5)
            except OSError:
                if self._closing:
                    return
                with contextlib.suppress(OSError, UnboundLocalError):
                    client.close()
                continue
            self.accepted += 1
            for sock in (client, server):
                sock.settimeout(None)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.add((client, server))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target, (client, server)), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        try:
            while data := source.recv(65_536):
                if self.hole:
                    continue
                if self.latency:
                    time.sleep(self.latency)
                for k in range(0, len(data), self.slice or len(data)):
                    target.sendall(data[k : k + (self.slice or len(data))])
                    if self.slice:
                        time.sleep(0.0005)
        except OSError:
            pass  # one side is gone: so is the other
        finally:
            with self._lock:
                self._pairs.discard(pair)
            for sock in pair:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
