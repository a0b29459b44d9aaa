"""Streams that answer each message with what was found in it: ``/ws/face`` takes base64 pictures, ``/ws/audio-stream``
base64 PCM or sound files; both also as JSON, ``{"data": "…"}``, the latter with its ``rate``. Who may connect is
decided by the server around these routes. Errors are ``{"error": …}``, and the stream goes on.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from edge_agent.api import (
    EVERY_FRAME,
    MIN_SIDE,
    EdgeAgentError,
    Event,
    MediaError,
    Session,
    TrackedFace,
    VisionReport,
)
from edge_agent.capture import iter_media, read_media
from edge_agent.capture.formats import names, sniff_bytes
from edge_agent.capture.sound import Samples, to_float
from edge_agent.domain.media import AUDIO_RATE, AudioBlock, Frame
from edge_agent.domain.observation import IDENTITY
from edge_agent.plugin.sound import dbfs
from edge_agent.web import words
from edge_agent.web.body import ProblemError, in_memory, too_large
from edge_agent.web.conversation import Conversation, Limits, from_base64

SECONDS = 10.0
"""Longest sound in one message."""
_RATES = (8_000, 192_000)
_STEP_S = 0.05
_WORD_S, _WORTH_S = 0.3, 1.0
"""Seconds of sound that may hold a word, and that are awaited before a recognizer is loaded."""
_TELLING = 2000
"""Bytes of sound that are enough to tell noise from it."""
SOUNDS = (
    "accepted are signed 16-bit little-endian mono samples, or whole files, one a message, of "
    f"{names('sound')}, {names('film')}"
)
"""What may be sent for sound."""


IDLE_S = 600.0
"""Seconds of silence after which a connection is closed: clients of this protocol may be idle for minutes."""


def routes(
    open_session: Callable[..., Session] = Session,
    limits: Limits | None = None,
    reader: words.Reader | None = None,
    transcriber: words.Transcriber | None = None,
    *,
    recognises: bool = False,
) -> list[BaseRoute]:
    """The endpoints as routes for a Starlette application. ``open_session`` is called as :class:`Session` is.
    ``reader`` judges written words, here and elsewhere; ``transcriber`` has the turns of who is transcribed.
    ``recognises``: the config has people recognised."""
    bounds = limits or Limits(idle_s=IDLE_S)
    faces = Conversation(lambda: FaceTalk(open_session, time.monotonic), bounds)
    # What is heard spans messages and cannot be put aside; the models of sound are small.
    turns = transcriber or words.Transcriber(open_session)
    sound = Conversation(lambda: SoundTalk(open_session, turns), replace(bounds, awake=bounds.connections))
    known = (lambda: RecognitionTalk(open_session, time.monotonic)) if recognises else Unrecognised
    people = Conversation(known, bounds)
    return [
        WebSocketRoute("/ws/face", faces.serve),
        WebSocketRoute("/ws/audio-stream", sound.serve),
        WebSocketRoute("/ws/face-recognition", people.serve),
        *([] if recognises else [Route("/video-stream/face-recognition", _unrecognised, methods=["POST"])]),
        *words.routes(reader or words.Reader(open_session), bounds),
    ]


IMAGE, AUDIO = ("data", "image", "frame"), ("data", "audio")
"""Names under which clients send pictures and sound in JSON."""
_END = ("flush", "end")
"""Fields that say that a sound ends here."""


class _RefusedError(Exception):
    """What is wrong with a message."""


NO_IDENTITY = (
    "this device recognises nobody: analyzers.identity is off; /ws/face and /video-stream/emotion tell faces apart "
    "without knowing them"
)


class Unrecognised:
    """Answers requests to recognise people where no analyzer can, with the fields that clients read."""

    def answer(self, text: str | bytes) -> dict[str, Any]:
        """Say so, after the same checks of the picture as everywhere."""
        try:
            _picture(_bytes(_message(text, IMAGE)))
        except _RefusedError as error:
            return {"type": "error", "error": str(error), "message": str(error)}
        return {"type": "error", "error": NO_IDENTITY, "message": NO_IDENTITY, "recognized": None}

    def rest(self) -> None:
        """Hold nothing, and so free nothing."""

    def close(self) -> None:
        """Hold nothing, and so free nothing."""


async def _unrecognised(_request: Request) -> Response:
    return ProblemError(501, f"{NO_IDENTITY[0].upper()}{NO_IDENTITY[1:]}.").response()


class FaceTalk:
    """Pictures of one camera; people keep their track from picture to picture."""

    _analyzers: tuple[str, ...] = ("face", "emotion")

    def __init__(self, open_session: Callable[..., Session], now: Callable[[], float]) -> None:
        self._open = open_session
        self._now = now
        self._started = now()
        self._last = 0.0
        self._session: Session | None = None

    def answer(self, text: str | bytes) -> dict[str, Any]:
        """``time`` in seconds since the connection began, and ``faces`` with boxes in pixels."""
        try:
            frame, report = self._look(text)
        except _RefusedError as error:
            return {"error": str(error)}
        readings = {o.track: dict(o.values) for o in report.observations if o.name == "emotion"} if report else {}
        faces = [
            {
                "track": f.track,
                "probability": round(f.face.score, 6),
                "box": _pixels(asdict(f.face.box), frame),
                "emotions": readings.get(f.track),
            }
            for f in (report.faces if report else ())
            if not f.coasting
        ]
        return {"time": round(self._last, 3), "faces": faces}

    def _look(self, text: str | bytes) -> tuple[Frame, VisionReport | None]:
        """The picture of a message and what is in it. Raises _RefusedError."""
        frame = _picture(_bytes(_message(text, IMAGE)))
        if self._session is None:
            self._session = self._open(list(self._analyzers), fps=EVERY_FRAME, stills=True, live=True)
        self._last = max(self._now() - self._started, self._last + _STEP_S)
        report = self._session.frame(frame.data, self._last)
        self._session.take()
        return frame, report

    def rest(self) -> None:
        """Free the models; people get new tracks afterwards."""
        self.close()
        self._session = None

    def close(self) -> None:
        """Free the models."""
        if self._session is not None:
            self._session.close()


class RecognitionTalk(FaceTalk):
    """Pictures of one camera, and who of the enrolled people is in them. A name needs several pictures."""

    _analyzers = ("face", "identity")

    def answer(self, text: str | bytes) -> dict[str, Any]:
        """``recognized``: names of enrolled people in the picture; ``faces``: each with its ``name`` or None, and the
        ``status`` known, unknown or undecided."""
        try:
            frame, report = self._look(text)
        except _RefusedError as error:
            return {"type": "error", "error": str(error), "message": str(error)}
        who = (
            {o.track: next(iter(o.values.items())) for o in report.observations if o.name == IDENTITY} if report else {}
        )
        faces = [self._who(f, frame, who.get(f.track)) for f in (report.faces if report else ()) if not f.coasting]
        names = sorted(face["name"] for face in faces if face["name"])
        return {"type": "recognition", "time": round(self._last, 3), "recognized": names, "faces": faces}

    def _who(self, face: TrackedFace, frame: Frame, found: tuple[str, float] | None) -> dict[str, Any]:
        key, alike = found or ("", 0.0)
        name = self._session.person(key) if self._session is not None and key else None
        return {
            "track": face.track,
            "name": name,
            "status": "undecided" if not key else "unknown" if name is None else "known",
            "confidence": round(alike, 3),
            "box": _pixels(asdict(face.face.box), frame),
        }


class SoundTalk:
    """One microphone: signed 16-bit little-endian mono PCM, chunk after chunk at one rate, 16 kHz unless told; or sound
    files of any known format, each message a whole one. What the first message holds decides.
    """

    def __init__(self, open_session: Callable[..., Session], transcriber: words.Transcriber) -> None:
        self._open = open_session
        self._transcriber = transcriber
        self._turn: int | None = None
        """Samples before its turn to be transcribed; None while it has none."""
        self._unheard = np.zeros(0, np.float32)
        self._note: dict[str, str] = {}
        self._session: Session | None = None
        self._rate = 0
        self._files = False
        self._samples = 0

    def answer(self, text: str | bytes) -> dict[str, Any]:
        """``time`` heard so far, the chunk's ``loudness`` in dB of full scale (null: silence), finished ``bursts``; the
        ``text`` of utterances that have ended, and the ``emotion`` it expresses, or a ``note`` why there are no words.

        With ``flush`` the sound ends with this chunk, if there is one: bursts and utterances are finished that would
        wait for more.
        """
        try:
            message = _message(text, AUDIO)
            end = any(message.get(name) is True for name in _END)
            if end and "data" not in message:
                return self._told(None) | self._spoken(np.zeros(0, np.float32), end=True)
            samples, rate = self._chunk(message)
        except _RefusedError as error:
            return {"error": str(error)}
        if self._session is None:
            self._session, self._rate = self._open(["burst"]), rate
        self._session.sound(samples, rate)
        # A file ends its sound: nothing of what was said in it is left open.
        spoken = self._spoken(samples, end=end or self._files)
        self._samples += len(samples)
        loudness = dbfs(samples)
        return self._told(round(loudness, 1) if math.isfinite(loudness) else None, end=end) | spoken

    def _spoken(self, samples: Samples, *, end: bool) -> dict[str, Any]:
        """What was said. A recognizer is loaded only for sound that is long enough to hold a word."""
        self._unheard = np.concatenate([self._unheard, samples])
        seconds = len(self._unheard) / (self._rate or AUDIO_RATE)
        if self._turn is None and seconds < (_WORD_S if end else _WORTH_S):
            self._unheard = self._unheard[:0] if end else self._unheard
            return words.transcript(()) | self._note
        unheard, self._unheard = self._unheard, samples[:0]
        turn = self._samples + len(samples) - len(unheard) if self._turn is None else self._turn
        try:
            said, _observations = self._transcriber.hear(self, unheard, self._rate, end=end)
        except EdgeAgentError as error:
            self._note = {"note": str(error)}
            return words.transcript(()) | self._note
        self._turn, self._note = turn, {}
        return words.transcript(said, turn / self._rate)

    def _told(self, loudness: float | None, *, end: bool = True) -> dict[str, Any]:
        """The answer; with ``end`` the sound so far is over."""
        events: tuple[Event, ...] = ()
        if self._session is not None:
            if end:
                self._session.flush()
            _windows, events = self._session.take()
        return {
            "time": round(self._samples / (self._rate or AUDIO_RATE), 3),
            "loudness": loudness,
            "bursts": [
                {"label": e.label, "score": e.score, "start": round(e.start, 3), "seconds": round(e.seconds, 3)}
                for e in events
                if e.kind == "burst"
            ],
        }

    def _chunk(self, message: dict[str, Any]) -> tuple[Samples, int]:
        content = _bytes(message)
        if self._session is None:
            self._files = sniff_bytes(content) is not None
        if self._files:
            return _sound(content), AUDIO_RATE
        rate = message.get("rate", self._rate or AUDIO_RATE)
        if not isinstance(rate, int) or not _RATES[0] <= rate <= _RATES[1]:
            raise _RefusedError(f"rate: a number of samples per second from {_RATES[0]} to {_RATES[1]}")
        if self._rate and rate != self._rate:
            raise _RefusedError(f"rate: must stay {self._rate}; open another connection to change it")
        if not content or len(content) % 2:
            raise _RefusedError("data: 16-bit samples take two bytes each, and there must be some")
        if len(content) > 2 * rate * SECONDS:
            raise _RefusedError(f"data: at most {SECONDS:.0f} s in a message")
        if (other := _no_pcm(content)) is not None:
            raise _RefusedError(f"data: {other}; {SOUNDS}")
        return to_float(np.frombuffer(content, "<i2")), rate

    def rest(self) -> None:
        """Go on: what was heard so far belongs to what comes next."""

    def close(self) -> None:
        """Free the models, and the turn to be transcribed."""
        self._transcriber.leave(self)
        if self._session is not None:
            self._session.close()


def _message(text: str | bytes, keys: Sequence[str]) -> dict[str, Any]:
    """The fields of a message, what is under one of ``keys`` as its ``data``; plain base64 is ``data``, and so are the
    bytes of a binary message that is neither."""
    if text[:1] in ("{", b"{"):
        try:
            value = dict(json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            if isinstance(text, bytes):  # sound may begin with any byte
                return {"data": text}
            raise _RefusedError(f'the message is no JSON; {{"{keys[0]}": "<base64>"}} is wanted') from error
        given = next((key for key in keys if key in value), None)
        return value if given is None else {**value, "data": value[given]}
    if isinstance(text, str):
        return {"data": text}
    try:
        return {"data": _base64(text.decode("ascii"))}
    except (_RefusedError, UnicodeDecodeError):
        return {"data": text}


def _bytes(message: dict[str, Any]) -> bytes:
    data = message.get("data")
    if isinstance(data, bytes):
        return data
    if not isinstance(data, str):
        raise _RefusedError("data: base64 text is needed")
    return _base64(data)


def _base64(text: str) -> bytes:
    try:
        return from_base64(text)
    except ValueError as error:
        raise _RefusedError(f"data: {error}") from error


def _picture(content: bytes) -> Frame:
    form = sniff_bytes(content)
    if form is None:
        raise _RefusedError(f"data: no picture in a known format; known are {names('picture')}")
    with in_memory(content) as path:
        try:
            info = read_media(path)
            if info.video is None:
                raise _RefusedError(f"data: {form.name} without a picture; pictures are {names('picture')}")
            if (why := too_large(info.video.width, info.video.height)) is not None:
                raise _RefusedError(f"data: {why}")
            frame = next(item for item in iter_media(path) if isinstance(item, Frame))
        except (MediaError, StopIteration) as error:
            raise _RefusedError(f"data: no picture in a known format that can be decoded ({form.name})") from error
    if min(frame.width, frame.height) < MIN_SIDE:
        raise _RefusedError(f"data: no picture of at least {MIN_SIDE} x {MIN_SIDE}")
    return frame


def _sound(content: bytes) -> Samples:
    """The sound of a whole file."""
    form = sniff_bytes(content)
    if form is None:
        raise _RefusedError(f"data: the first message was a sound file, and this one is none; {SOUNDS}")
    parts = []
    with in_memory(content) as path:
        try:
            if read_media(path).audio is None:
                raise _RefusedError(f"data: {form.name} without sound; {SOUNDS}")
            for item in iter_media(path):
                if item.time > SECONDS:
                    raise _RefusedError(f"data: at most {SECONDS:.0f} s in a message")
                if isinstance(item, AudioBlock):
                    parts.append(item.samples)
        except MediaError as error:
            raise _RefusedError(f"data: {form.name} that cannot be decoded; {SOUNDS}") from error
    if not parts:
        raise _RefusedError(f"data: {form.name} without sound; {SOUNDS}")
    return np.concatenate(parts)


def _no_pcm(content: bytes) -> str | None:
    """What bytes are that were taken for 16-bit samples and cannot be: noise as loud as can be is compressed data."""
    if len(content) < _TELLING:
        return None
    words = np.frombuffer(content[: len(content) // 4 * 4], "<i2")
    with np.errstate(invalid="ignore"):
        wide = np.abs(words.view("<f4"))
        told = wide[wide != 0]
        floats = len(told) > len(wide) / 4 and np.mean((told > 1e-6) & (told <= 1.0)) > 0.9
    if floats and len(np.unique(words[::2])) >= 8:
        return "these look like 32-bit float samples"
    samples = words.astype(np.float64) / 32768
    power = float(np.mean(samples**2))
    alike = abs(float(np.mean(samples[1:] * samples[:-1])))
    uniform = abs(power - 1 / 3) < 0.03 and alike < 0.1 * power
    return "this looks like compressed sound without the beginning that tells its format" if uniform else None


def _pixels(box: dict[str, float], frame: Frame) -> dict[str, float]:
    scale = {"x": frame.width, "w": frame.width, "y": frame.height, "h": frame.height}
    return {name: round(value * scale[name], 1) for name, value in box.items()}
