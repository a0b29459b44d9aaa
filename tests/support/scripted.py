"""Scripted MQTT broker that refuses, limits and misbehaves as mosquitto cannot be configured to."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Publish:
    """A PUBLISH as it arrived; ``connection`` counts from 1."""

    connection: int
    topic: str
    payload: bytes
    retain: bool


class ScriptedBroker:
    """Speaks MQTT 5 (or 3.1.1 with ``only_311``) to clients that publish. Use as a context manager.

    ``puback(publish)`` gives the reason code, None for no answer, or raises ConnectionAbortedError to hang up.
    ``suback(topic filter, how often it was asked for)`` gives the reason code of a subscription, None for no answer.
    ``hold``: acknowledge only when this many publishes wait, or nothing more arrives for 50 ms.
    """

    def __init__(
        self,
        *,
        puback: Callable[[Publish], int | None] = lambda _: 0,
        suback: Callable[[str, int], int | None] = lambda _filter, _times: 1,
        receive_maximum: int | None = None,
        maximum_packet: int | None = None,
        connack: int = 0,
        only_311: bool = False,
        hold: int = 1,
    ) -> None:
        self.publishes: list[Publish] = []
        self.connections = 0
        self.most_unacknowledged = 0
        self.protocols: list[int] = []
        self.subscriptions: list[str] = []
        self._puback = puback
        self._suback = suback
        self._receive_maximum = receive_maximum
        self._maximum_packet = maximum_packet
        self._connack = connack
        self._only_311 = only_311
        self._hold = hold
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []

    def __enter__(self) -> ScriptedBroker:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for sock in self._open:
            sock.close()

    def on(self, topic: str) -> list[Publish]:
        """Publishes whose topic ends with ``topic``."""
        return [publish for publish in list(self.publishes) if publish.topic.endswith(topic)]

    def disconnect(self, reason: int) -> None:
        """Send DISCONNECT with a reason code to whoever is connected, and close the connection."""
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.sendall(bytes([0xE0, 2, reason, 0]))
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        waiting: list[tuple[int, Publish]] = []
        level = 5
        try:
            while True:
                sock.settimeout(0.05 if waiting else None)
                try:
                    kind, body = _packet(sock)
                except TimeoutError:
                    self._answer(sock, waiting, level)
                    continue
                if kind >> 4 == 1:
                    level = body[6]
                    if not self._accept_client(sock, level):
                        return
                elif kind >> 4 == 3:
                    waiting.append(self._record(kind, body, number, level))
                    self.most_unacknowledged = max(self.most_unacknowledged, len(waiting))
                    if len(waiting) >= self._hold:
                        self._answer(sock, waiting, level)
                elif kind >> 4 == 8:
                    self._grant(sock, body, level)
                elif kind >> 4 == 12:
                    sock.sendall(b"\xd0\x00")
                else:
                    return
        except (OSError, EOFError):
            pass  # the client left
        finally:
            sock.close()

    def _accept_client(self, sock: socket.socket, level: int) -> bool:
        self.protocols.append(level)
        if self._only_311:
            sock.sendall(bytes([0x20, 2, 0, 0 if level == 4 else 1]))
            return level == 4
        properties = b""
        if self._receive_maximum is not None:
            properties += b"\x21" + struct.pack("!H", self._receive_maximum)
        if self._maximum_packet is not None:
            properties += b"\x27" + struct.pack("!I", self._maximum_packet)
        sock.sendall(bytes([0x20, 3 + len(properties), 0, self._connack, len(properties)]) + properties)
        return self._connack < 0x80

    def _grant(self, sock: socket.socket, body: bytes, level: int) -> None:
        rest = body[3 + body[2] :] if level == 5 else body[2:]
        topic_filter = rest[2 : 2 + struct.unpack("!H", rest[:2])[0]].decode()
        self.subscriptions.append(topic_filter)
        code = self._suback(topic_filter, self.subscriptions.count(topic_filter))
        if code is not None:
            properties = b"\x00" if level == 5 else b""
            sock.sendall(bytes([0x90, 3 + len(properties)]) + body[:2] + properties + bytes([code]))

    def _record(self, kind: int, body: bytes, number: int, level: int) -> tuple[int, Publish]:
        length = struct.unpack("!H", body[:2])[0]
        topic = body[2 : 2 + length].decode()
        mid = struct.unpack("!H", body[2 + length : 4 + length])[0]
        rest = body[4 + length :]
        payload = rest[1 + rest[0] :] if level == 5 else rest
        publish = Publish(number, topic, payload, bool(kind & 1))
        self.publishes.append(publish)
        return mid, publish

    def _answer(self, sock: socket.socket, waiting: list[tuple[int, Publish]], level: int) -> None:
        for mid, publish in waiting:
            code = self._puback(publish)
            if code is not None and level == 5:
                sock.sendall(bytes([0x40, 3]) + struct.pack("!H", mid) + bytes([code]))
            elif code is not None:
                sock.sendall(bytes([0x40, 2]) + struct.pack("!H", mid))
        waiting.clear()


def _packet(sock: socket.socket) -> tuple[int, bytes]:
    kind = _exactly(sock, 1)[0]
    sock.settimeout(5)
    length, shift = 0, 0
    while True:
        byte = _exactly(sock, 1)[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return kind, _exactly(sock, length)


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data
