"""Spoken and written words, for analyzers of speech and text only; they reach no disk, log or message by themselves.

Their ``repr`` does not show the text, so that a log line or a traceback with local variables does not either.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Word:
    """A word and when it was spoken, in the time of its :class:`Utterance`; ``confidence`` 0 to 1, None if unknown."""

    text: str = field(repr=False)
    start: float
    end: float
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """A stretch of speech, or a passage of written text.

    ``start`` and ``end`` are monotonic seconds (in a recording: the position; 0 for written text). ``confidence`` of
    the recognition, 0 to 1; None when unknown or written. ``words`` with their times, when the recognizer tells them.
    """

    text: str = field(repr=False)
    start: float = 0.0
    end: float = 0.0
    confidence: float | None = None
    words: tuple[Word, ...] = ()

    @property
    def seconds(self) -> float:
        """Length of the speech."""
        return self.end - self.start

    @property
    def count(self) -> int:
        """Number of words."""
        return len(self.words) or len(self.text.split())


_SENTENCE_ENDS = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|\s*\n\s*\n\s*|(?<=[。！？])")


def sentences(text: str) -> list[str]:
    """Split a passage into its sentences, by marks at their ends and blank lines; without any, it is one sentence."""
    return [part for piece in _SENTENCE_ENDS.split(text) if (part := " ".join(piece.split()))]
