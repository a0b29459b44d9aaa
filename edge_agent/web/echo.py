"""Streams that answer each message with what was found in it: ``/ws/face`` takes base64 pictures, ``/ws/audio-stream``
base64 PCM; both also as JSON, ``{"data": "…"}``, the latter with its ``rate``. Who may connect is decided by the server
around these routes. Errors are ``{"error": …}``, and the stream goes on.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from starlette.routing import BaseRoute, WebSocketRoute

from edge_agent.api import EVERY_FRAME, MIN_SIDE, MediaError, Session
from edge_agent.capture import iter_media, read_media
from edge_agent.domain.media import Frame
from edge_agent.web.conversation import Conversation, Limits
from edge_agent.web.memory import holds_media, in_memory

SIDE = 3000
"""Largest width and height of a picture in pixels."""
SECONDS = 10.0
"""Longest sound in one message."""
_RATES = (8_000, 192_000)
_STEP_S = 0.05


def routes(open_session: Callable[..., Session] = Session, limits: Limits | None = None) -> list[BaseRoute]:
    """The endpoints as routes for a Starlette application. ``open_session`` is called as :class:`Session` is."""
    bounds = limits or Limits()
    faces = Conversation(lambda: FaceTalk(open_session, time.monotonic), bounds)
    sound = Conversation(lambda: SoundTalk(open_session), bounds)
    return [WebSocketRoute("/ws/face", faces.serve), WebSocketRoute("/ws/audio-stream", sound.serve)]


class _RefusedError(Exception):
    """What is wrong with a message."""


class FaceTalk:
    """Pictures of one camera; people keep their track from picture to picture."""

    def __init__(self, open_session: Callable[..., Session], now: Callable[[], float]) -> None:
        self._open = open_session
        self._now = now
        self._started = now()
        self._last = 0.0
        self._session: Session | None = None

    def answer(self, text: str | bytes) -> dict[str, Any]:
        """``time`` in seconds since the connection began, and ``faces`` with boxes in pixels."""
        try:
            frame = _picture(_bytes(_message(text)))
        except _RefusedError as error:
            return {"error": str(error)}
        if self._session is None:
            self._session = self._open(["face", "emotion"], fps=EVERY_FRAME, stills=True)
        self._last = max(self._now() - self._started, self._last + _STEP_S)
        report = self._session.frame(frame.data, self._last)
        self._session.take()
        readings = {o.track: dict(o.values) for o in report.observations if o.name == "emotion"} if report else {}
        faces = [
            {
                "track": f.track,
                "probability": f.face.score,
                "box": _pixels(asdict(f.face.box), frame),
                "emotions": readings.get(f.track),
            }
            for f in (report.faces if report else ())
            if not f.coasting
        ]
        return {"time": round(self._last, 3), "faces": faces}

    def close(self) -> None:
        """Free the models."""
        if self._session is not None:
            self._session.close()


class SoundTalk:
    """One microphone: signed 16-bit little-endian mono PCM, chunk after chunk at one rate, 16 kHz unless told."""

    def __init__(self, open_session: Callable[..., Session]) -> None:
        self._open = open_session
        self._session: Session | None = None
        self._rate = 0
        self._samples = 0

    def answer(self, text: str | bytes) -> dict[str, Any]:
        """``time`` heard so far, the chunk's ``loudness`` in dB of full scale (null: silence), finished ``bursts``."""
        try:
            samples, rate = self._chunk(_message(text))
        except _RefusedError as error:
            return {"error": str(error)}
        if self._session is None:
            self._session, self._rate = self._open(["burst"]), rate
        self._session.sound(samples, rate)
        self._samples += len(samples)
        _windows, events = self._session.take()
        power = float(np.mean((samples.astype(np.float64) / 32768) ** 2))
        return {
            "time": round(self._samples / rate, 3),
            "loudness": round(10 * math.log10(power), 1) if power > 0 else None,
            "bursts": [
                {"label": e.label, "score": e.score, "start": round(e.start, 3), "seconds": round(e.seconds, 3)}
                for e in events
                if e.kind == "burst"
            ],
        }

    def _chunk(self, message: dict[str, Any]) -> tuple[np.ndarray[Any, np.dtype[np.int16]], int]:
        rate = message.get("rate", self._rate or 16_000)
        if not isinstance(rate, int) or not _RATES[0] <= rate <= _RATES[1]:
            raise _RefusedError(f"rate: a number of samples per second from {_RATES[0]} to {_RATES[1]}")
        if self._rate and rate != self._rate:
            raise _RefusedError(f"rate: must stay {self._rate}; open another connection to change it")
        content = _bytes(message)
        if not content or len(content) % 2:
            raise _RefusedError("data: 16-bit samples take two bytes each, and there must be some")
        if len(content) > 2 * rate * SECONDS:
            raise _RefusedError(f"data: at most {SECONDS:.0f} s in a message")
        return np.frombuffer(content, "<i2").astype(np.int16), rate

    def close(self) -> None:
        """Free the models."""
        if self._session is not None:
            self._session.close()


def _message(text: str | bytes) -> dict[str, Any]:
    """The fields of a message; plain base64 is its ``data``."""
    if not text[:1] or text[:1] not in ("{", b"{"):
        return {"data": text.decode("ascii", "replace") if isinstance(text, bytes) else text}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _RefusedError("the message is no JSON") from error
    return dict(value)


def _bytes(message: dict[str, Any]) -> bytes:
    data = message.get("data")
    if not isinstance(data, str):
        raise _RefusedError("data: base64 text is needed")
    if data.startswith("data:"):
        data = data.partition(",")[2]
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _RefusedError("data: could not be decoded as base64") from error


def _picture(content: bytes) -> Frame:
    if not holds_media(content):
        raise _RefusedError("data: no picture in a known format")
    with in_memory(content) as path:
        try:
            info = read_media(path)
            if info.video is None:
                raise _RefusedError("data: no picture in a known format")
            if max(info.video.width, info.video.height) > SIDE:
                raise _RefusedError(f"data: the picture is larger than {SIDE} x {SIDE}")
            frame = next(item for item in iter_media(path) if isinstance(item, Frame))
        except (MediaError, StopIteration) as error:
            raise _RefusedError("data: no picture in a known format") from error
    if min(frame.width, frame.height) < MIN_SIDE:
        raise _RefusedError(f"data: no picture of at least {MIN_SIDE} x {MIN_SIDE}")
    return frame


def _pixels(box: dict[str, float], frame: Frame) -> dict[str, float]:
    scale = {"x": frame.width, "w": frame.width, "y": frame.height, "h": frame.height}
    return {name: round(value * scale[name], 1) for name, value in box.items()}
