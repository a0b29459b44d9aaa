"""Words in the sound that clients send, and what they express, for one connection at a time.

A recognizer takes 200 MB and a core and follows one stream, so the first connection that sends sound has it until it
is closed. The words go to that client, who sent the sound, and nowhere else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.api import ConfigError, EdgeAgentError, Observation, Session, UtteranceRow
from edge_agent.batch.wording import UNKNOWN

Samples = npt.NDArray[np.float32]

BUSY = "speech is transcribed for one connection at a time, and another has that now"
RETRY_S = 60.0
"""Seconds after which a recognizer that could not be loaded is tried again."""
_ANALYZERS = (("speech", "language", "voice"), ("speech", "language"), ("speech", "voice"), ("speech",))
"""What listens, where it is installed: the first of these that are all known."""


class Transcriber:
    """Sessions with an analyzer of speech, one at a time. Safe to use from several threads."""

    def __init__(self, open_session: Callable[..., Session], now: Callable[[], float] = time.monotonic) -> None:
        self._open, self._now = open_session, now
        self._lock = threading.Lock()
        self._owner: object | None = None
        self._session: Session | None = None
        self._failure, self._again = "", 0.0

    def hear(
        self, owner: object, samples: Samples, rate: float, *, end: bool
    ) -> tuple[Sequence[UtteranceRow], Sequence[Observation]]:
        """Listen to the next sound of ``owner``; return what was said, and the observations about its sound.

        ``end``: no word is left open. Times count from the first sound that the owner could have heard.

        Raises:
            EdgeAgentError: another connection has its turn, or speech cannot be transcribed here; says why.
        """
        with self._lock:
            session = self._session_of(owner)
            try:
                reports = session.sound(samples, rate) if len(samples) else []
                reports += session.flush() if end else []
            except ValueError as error:  # a rate that changed, for one
                raise EdgeAgentError(str(error)) from error
            said = session.utterances
            session.take()
            return said, [found for report in reports for found in report.observations]

    def leave(self, owner: object) -> None:
        """End the turn of ``owner``, if it has it, and free the models."""
        if self._owner is not owner:  # nobody becomes the owner but by its own call; others need not wait
            return
        with self._lock:
            if self._session is not None:
                self._session.close()
            self._session = self._owner = None

    def _session_of(self, owner: object) -> Session:
        if self._session is None:
            self._session = self._opened()
            self._owner = owner
        elif self._owner is not owner:
            raise EdgeAgentError(BUSY)
        return self._session

    def _opened(self) -> Session:
        if self._failure and self._now() < self._again:
            raise EdgeAgentError(self._failure)
        try:
            for names in _ANALYZERS[:-1]:
                try:
                    return self._open(names)
                except ConfigError:  # one of them is not installed
                    continue
            return self._open(_ANALYZERS[-1])
        except EdgeAgentError as error:
            self._failure, self._again = str(error), self._now() + RETRY_S
            raise


def told(said: Sequence[UtteranceRow], offset: float = 0.0) -> dict[str, Any]:
    """What was said, as JSON: all ``text`` and its ``emotion``, null where there is none, and each of ``utterances``.

    ``offset``: seconds added to all times.
    """
    parts = []
    weights: dict[str, float] = {}
    for row in said:
        values = row.emotions
        for name, p in (values or {}).items():
            weights[name] = weights.get(name, 0.0) + p * len(row.text.split())
        part: dict[str, Any] = {
            "text": row.text,
            "start": round(row.start + offset, 3),
            "end": round(row.end + offset, 3),
            "emotion": max(values, key=values.__getitem__) if values else None,
            "emotions": {name: round(p, 4) for name, p in values.items()} if values else None,
        }
        parts.append(part | ({"message": UNKNOWN.get(row.unknown, row.unknown)} if row.unknown else {}))
    return {
        "text": " ".join(part["text"] for part in parts if part["text"]) or None,
        "emotion": max(weights, key=weights.__getitem__) if weights else None,
        "utterances": parts,
    }
