"""``/v0/stream/models``: the WebSocket of Hume's Expression Measurement streaming API, answered by this device.

A client changes its URL only. Who may connect is decided by the server around these routes.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.routing import BaseRoute, WebSocketRoute

from edge_agent.api import EVERY_FRAME, MIN_SIDE, ConfigError, EdgeAgentError, MediaError, Session, VisionReport
from edge_agent.batch.custom import CustomAnswers
from edge_agent.batch.finders import POINTS, facemeshes
from edge_agent.batch.wording import undecided as why_undecided
from edge_agent.capture import MediaInfo, iter_blocks, iter_media, read_media
from edge_agent.capture.formats import ACCEPTED, sniff_bytes
from edge_agent.domain.media import AUDIO_RATE, AudioBlock, Frame
from edge_agent.domain.observation import VOICE
from edge_agent.web import hume_messages as messages
from edge_agent.web import words
from edge_agent.web.body import in_memory, too_large
from edge_agent.web.conversation import Conversation, Limits, SwitchedOffError
from edge_agent.web.hume_messages import FaceModel, Models, Request, StreamError

log = logging.getLogger(__name__)

SECONDS = 5.0
"""Longest film or sound in one payload."""
FPS = 3.0
"""Pictures per second of a film when ``fps_pred`` is not given."""
_UNKNOWN = f"The media could not be parsed into a known format. Known are {ACCEPTED}."
_SLACK_S = 0.25
_STEP_S = 0.05
_PAUSE_S = 1.5
"""Silence that follows a payload's sound, longer than the pause that ends a turn."""
_NO_CATEGORIES = (
    "prosody: this device measures how a voice sounds ('voice', experimental), arousal from the third turn on, and "
    "no emotions."
)


Samples = npt.NDArray[np.float32]


class Stream:
    """``open_session`` makes sessions with the models of this device; ``now`` is a monotonic clock in seconds;
    ``reader`` judges written words for all connections, ``transcriber`` finds spoken ones for one at a time, ``custom``
    answers for custom models."""

    def __init__(
        self,
        open_session: Callable[..., Session],
        now: Callable[[], float],
        reader: words.Reader,
        transcriber: words.Transcriber,
        custom: CustomAnswers,
    ) -> None:
        self._open = open_session
        self._custom = custom
        self._reader = reader
        self._transcriber, self._transcribed = transcriber, 0.0
        self._now = now
        self._started = now()
        self._job = uuid.uuid4().hex
        self._faces: dict[bool, Session] = {}
        """Sessions that look at pictures, by whether they also find the points of faces."""
        self._voices: Session | None = None
        self._spoken = 0.0
        self._last = -1.0
        self._heard = np.zeros(0, np.float32)

    def answer(self, text: str | bytes) -> dict[str, Any]:
        """Answer a message; an invalid one with an error."""
        value: dict[str, Any] = {}
        try:
            value = messages.parse(text)
            request = messages.check(value)
            told = self._serve(request)
        except StreamError as error:
            told = {"error": str(error), "code": error.code}
        name = value.get("payload_id")
        if isinstance(name, str) and len(name) <= 256:
            told["payload_id"] = name
        if value.get("job_details") is True:
            told["job_details"] = {"job_id": self._job}
        return told

    def rest(self) -> None:
        """Free the models; faces get new ids afterwards."""
        self.close()
        self._faces = {}
        self._forget_voice()

    def close(self) -> None:
        """Free the models, and the turn to be transcribed."""
        self._transcriber.leave(self)
        self._transcribed = 0.0
        for session in (*self._faces.values(), self._voices):
            if session is not None:
                session.close()

    def _forget_voice(self) -> None:
        if self._voices is not None:
            self._voices.close()
        self._voices, self._spoken = None, 0.0

    def _serve(self, request: Request) -> dict[str, Any]:
        if request.reset_stream:
            self._heard = self._heard[:0]
            self._forget_voice()
        if request.data is None:
            if request.reset_stream or request.job_details:
                return {}
            raise StreamError(messages.BAD_REQUEST, "data: missing")
        models = request.models or Models()
        if (text := messages.text(request)) is not None:
            return self._read(text, models)
        missing: dict[str, Callable[[], dict[str, Any]]] = {name: partial(_no_model, name) for name in models.missing}
        sounding = any(model is not None for model in (models.burst, models.prosody, models.language))
        meshed = models.facemesh is not None and self._meshed()
        missing |= {"facemesh": partial(_no_model, "facemesh")} if models.facemesh is not None and not meshed else {}
        seeing = models.face is not None or meshed
        if not seeing and not sounding and models.custom_models is None:
            if not missing:
                raise StreamError(messages.BAD_REQUEST, "models: ask for face, burst, prosody or language")
            return {name: _answer(name, find) for name, find in missing.items()}
        look = _Look(partial(self._look, meshed), models.face or FaceModel()) if seeing else None
        content = messages.media(request)
        samples = decode(content, look, listen=sounding)
        finders: dict[str, Callable[[], dict[str, Any]]] = {}
        if look is not None:
            finders |= {"face": look.outcome} if models.face is not None else {}
            finders |= {"facemesh": look.meshes} if meshed else {}
        finders |= self._others(models, content, samples, request.stream_window_ms or 0.0) | missing
        if len(finders) == 1:
            return {name: find() for name, find in finders.items()}
        return {name: _answer(name, find) for name, find in finders.items()}

    def _others(
        self, models: Models, content: bytes, samples: Samples, window_ms: float
    ) -> dict[str, Callable[[], dict[str, Any]]]:
        """What answers for each requested model that does not look at pictures alone."""
        finders: dict[str, Callable[[], dict[str, Any]]] = {}
        if models.burst is not None:
            finders["burst"] = partial(self._listen, samples, window_ms)
        if models.language is not None:
            finders["language"] = partial(self._transcribe, samples, models.language)
        if models.prosody is not None:
            finders["prosody"] = partial(self._attend, samples)
        if models.custom_models is not None:
            finders["custom_models"] = partial(self._judge_media, content, models.custom_models)
        return finders

    def _read(self, text: str, models: Models) -> dict[str, Any]:
        """The answer to written words: only ``language`` and custom models have a use for them."""
        if not models.asked:
            raise StreamError(messages.BAD_REQUEST, "models: ask for language")
        finders: dict[str, Callable[[], dict[str, Any]]] = {
            name: partial(_unfit, f"{name}: there is no picture and no sound in text.") for name in models.asked
        }
        if models.language is not None:
            finders["language"] = partial(self._judge, text, models.language)
        if models.custom_models is not None:
            finders["custom_models"] = partial(self._custom.answer, models.custom_models, text)
        if len(finders) == 1:
            return {name: find() for name, find in finders.items()}
        return {name: _answer(name, find) for name, find in finders.items()}

    # ------------------------------------------------------------------ the models

    def _judge(self, text: str, options: words.LanguageModel) -> dict[str, Any]:
        try:
            readings = self._reader.read(text, options.cut)
        except SwitchedOffError as error:
            raise StreamError(messages.WRONG_MODEL, f"language: {error}") from error
        except ConfigError as error:
            raise StreamError(messages.WRONG_MODEL, "This device has no model for language.") from error
        found, undecided = words.predictions(readings), why_undecided(readings)
        told = messages.outcome(found, f"No language could be judged: {undecided}.", messages.NO_LANGUAGE)
        notes = options.lacking + ([undecided] if undecided else [])
        if found and notes:
            code = messages.NO_LANGUAGE if undecided else messages.WRONG_MODEL
            told |= {"warning": f"{'; '.join(notes)}.", "code": code}
        return told

    def _judge_media(self, content: bytes, asked: Iterable[str]) -> dict[str, Any]:
        with in_memory(content) as path:
            return self._custom.answer(asked, path)

    def _transcribe(self, samples: Samples, options: words.LanguageModel) -> dict[str, Any]:
        """The answer to what is said in a payload, utterance by utterance."""
        if not len(samples):
            raise StreamError(messages.WRONG_MODEL, "language: there is no text and no sound in this media.")
        try:
            said, _observations = self._transcriber.hear(self, samples, AUDIO_RATE, end=True)
        except EdgeAgentError as error:
            raise StreamError(messages.WRONG_MODEL, f"language: {error}") from error
        found = words.spoken(said, self._transcribed)
        self._transcribed += len(samples) / AUDIO_RATE
        silent = "no utterance could be judged" if said else "no speech"
        told = messages.outcome(found, f"No language could be judged: {silent}.", messages.NO_LANGUAGE)
        notes = [
            *options.lacking_of_speech,
            *(["some utterances could not be judged"] if len(found) < len(said) else []),
        ]
        return told | ({"warning": f"{'; '.join(notes)}.", "code": messages.WRONG_MODEL} if found and notes else {})

    def _opened(self, analyzers: Sequence[str] | Mapping[str, Any], **options: Any) -> Session:
        try:
            return self._open(analyzers, **options)
        except SwitchedOffError as error:
            raise StreamError(messages.WRONG_MODEL, str(error)) from error

    def _look(self, meshed: bool, frame: Frame, since: float) -> VisionReport | None:
        """Look at a picture that comes ``since`` seconds after the last one."""
        if meshed not in self._faces:
            self._faces[meshed] = self._opened(["face", "emotion"], fps=EVERY_FRAME, stills=True)
        self._last = self._last + since if since > 0 else max(self._now() - self._started, self._last + _STEP_S)
        report = self._faces[meshed].frame(frame.data, self._last)
        self._faces[meshed].take()
        return report

    def _meshed(self) -> bool:
        """Whether this device finds the points of faces; from then on their session is open."""
        if True not in self._faces:
            try:
                session = self._opened({"face": {}, "emotion": {}, "gaze": POINTS}, fps=EVERY_FRAME, stills=True)
            except EdgeAgentError as error:
                log.info("web socket: no facemesh: %s", error)
                return False
            if session.analyzers.get("gaze") != "enabled":  # the config rules it out
                session.close()
                return False
            self._faces[True] = session
        return True

    def _listen(self, heard: Samples, window_ms: float) -> dict[str, Any]:
        if not len(heard):
            raise StreamError(messages.NO_AUDIO, "burst: there is no sound in this media.")
        wanted = int(window_ms / 1000 * AUDIO_RATE)
        context = self._heard[len(self._heard) - max(0, min(wanted - len(heard), len(self._heard))) :]
        samples = np.concatenate([context, heard])
        self._heard = samples[max(0, len(samples) - wanted) :] if wanted else samples[:0]
        with self._opened(["burst"]) as session:  # a session of its own, so that bursts are complete and immediate
            session.sound(samples, AUDIO_RATE)
            events = session.finish().events
        found = messages.bursts(events, len(context) / AUDIO_RATE)
        return messages.outcome(found, "No vocal bursts detected.", messages.NO_BURSTS)

    def _attend(self, heard: Samples) -> dict[str, Any]:
        """How the turns in this payload were spoken; what is usual for the voice is learnt from payload to payload."""
        if not len(heard):
            raise StreamError(messages.NO_AUDIO, "prosody: there is no sound in this media.")
        if self._voices is None:
            try:
                self._voices = self._opened(["voice"])
            except ConfigError as error:
                raise StreamError(messages.WRONG_MODEL, "This device has no model for prosody.") from error
        begin = self._spoken
        samples = np.concatenate([heard, np.zeros(int(_PAUSE_S * AUDIO_RATE), np.float32)])  # ends the last turn
        self._spoken += len(samples) / AUDIO_RATE
        reports = self._voices.sound(samples, AUDIO_RATE)
        self._voices.take()
        turns = [o for report in reports for o in report.observations if o.name == VOICE]
        found = messages.prosody(turns, begin, len(heard) / AUDIO_RATE)
        told = messages.outcome(found, "No speech detected.", messages.NO_SPEECH)
        return {**told, "warning": _NO_CATEGORIES, "code": messages.WRONG_MODEL} if found else told


def _answer(name: str, find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Answer of one model; its error does not affect the answers of the others."""
    try:
        return find()
    except StreamError as error:
        return {"warning": str(error), "code": error.code}
    except EdgeAgentError as error:
        log.warning("web socket: %s: %s", name, error)
        return {
            "warning": f"{name}: this model cannot be used now; the device's log says why.",
            "code": messages.WRONG_MODEL,
        }


def _unfit(why: str) -> dict[str, Any]:
    raise StreamError(messages.WRONG_MODEL, why)


def _no_model(name: str) -> dict[str, Any]:
    raise StreamError(messages.WRONG_MODEL, f"This device has no model for {name}.")


class _Look:
    """Sample pictures at the requested rate, beginning with the first, and collect the predictions."""

    def __init__(self, look: Callable[[Frame, float], VisionReport | None], options: FaceModel) -> None:
        self._look = look
        self._options = options
        self._first = self._before = 0.0
        self._looked = 0
        self._found: list[dict[str, Any]] = []
        self._meshes: list[dict[str, Any]] = []
        self.failure: StreamError | EdgeAgentError | None = None
        """Error after which no further picture is analysed."""

    def expect(self, width: int, height: int) -> None:
        """Check the size in the header of the file, before anything is decoded."""
        try:
            _check_pixels(width, height)
        except StreamError as error:
            self.failure = error

    def offer(self, frame: Frame) -> None:
        try:
            _check_pixels(frame.width, frame.height)
            self._offer(frame)
        except (StreamError, EdgeAgentError) as error:
            self.failure = error

    def _offer(self, frame: Frame) -> None:
        if not self._looked:
            self._first = self._before = frame.time
        elif frame.time < self._first + self._looked / (self._options.fps_pred or FPS) - 1e-6:
            return
        small = min(frame.width, frame.height) < MIN_SIDE
        report = None if small else self._look(frame, frame.time - self._before)
        self._looked, self._before = self._looked + 1, frame.time
        if report is not None:
            self._found += messages.faces(
                report,
                (frame.width, frame.height),
                (frame.index, frame.time),
                identify=bool(self._options.identify_faces),
                threshold=self._options.prob_threshold or 0.0,
                smallest=self._options.min_face_size or 0.0,
            )
            self._meshes += facemeshes(report, (frame.index, frame.time))

    def outcome(self) -> dict[str, Any]:
        """Return the answer. Raises StreamError without any picture, or the error of the pictures."""
        return messages.outcome(self._checked(self._found, "face"), "No faces detected.", messages.NO_FACES)

    def meshes(self) -> dict[str, Any]:
        """Return the answer for ``facemesh``. Raises as :meth:`outcome`."""
        found = self._checked(self._meshes, "facemesh")
        return messages.outcome(found, "No faces detected that are near enough for a mesh.", messages.NO_FACES)

    def _checked(self, found: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
        if self.failure is not None:
            raise self.failure
        if not self._looked:
            raise StreamError(messages.WRONG_MODEL, f"{name}: there is no picture in this media.")
        return found


def decode(content: bytes, look: _Look | None, *, listen: bool = True) -> Samples:
    """Pass every picture to ``look``; return the sound when ``listen`` is set. Raises StreamError."""
    if sniff_bytes(content) is None:
        raise StreamError(messages.UNKNOWN_FORMAT, _UNKNOWN)
    blocks = [np.zeros(0, np.float32)]
    with in_memory(content) as path:
        try:
            info = read_media(path)
            _check_length(info, info.duration)
            if look is not None and info.video is not None:
                look.expect(info.video.width, info.video.height)
            for item in _wanted(info, look, listen):
                _check_length(info, item.time)
                if isinstance(item, AudioBlock):
                    blocks.append(item.samples)
                elif look is not None:
                    look.offer(item)
        except MediaError as error:
            raise StreamError(messages.UNKNOWN_FORMAT, _UNKNOWN) from error
    return np.concatenate(blocks)


def _wanted(info: MediaInfo, look: _Look | None, listen: bool) -> Iterator[Frame | AudioBlock]:
    """Items to decode: no pictures when they are not analysed."""
    if info.video is not None and look is not None and look.failure is None:
        yield from iter_media(info.path)
    elif listen and info.audio is not None:
        yield from iter_blocks(info.path)


def _check_length(info: MediaInfo, seconds: float) -> None:
    if seconds > SECONDS + _SLACK_S:
        kind, code = ("film", messages.VIDEO_TOO_LONG) if info.video else ("sound", messages.AUDIO_TOO_LONG)
        raise StreamError(code, f"The {kind} is too long: the limit is {1000 * SECONDS:.0f} milliseconds.")


def _check_pixels(width: int, height: int) -> None:
    if (why := too_large(width, height)) is not None:
        raise StreamError(messages.PICTURE_TOO_LARGE, f"{why[0].upper()}{why[1:]}.")


__all__ = ["Limits", "routes"]


def routes(
    open_session: Callable[..., Session] = Session,
    limits: Limits | None = None,
    reader: words.Reader | None = None,
    transcriber: words.Transcriber | None = None,
    custom: CustomAnswers | None = None,
) -> list[BaseRoute]:
    """Return the routes of the endpoint for Starlette. ``open_session`` is called as :class:`Session` is.
    ``reader`` judges written words, here and elsewhere; ``transcriber`` has the turns of who is transcribed; ``custom``
    answers for custom models."""
    reads, turns = reader or words.Reader(open_session), transcriber or words.Transcriber(open_session)
    answers = custom or CustomAnswers()
    talk = Conversation(lambda: Stream(open_session, time.monotonic, reads, turns, answers), limits or Limits())
    return [WebSocketRoute("/v0/stream/models", talk.serve)]
