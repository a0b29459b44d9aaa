"""Spoken and written words, and how written ones are cut; they reach no disk, log or message by themselves.

Their ``repr`` does not show the text, so that a log line or a traceback with local variables does not either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal


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
    Without text: sound for which the recognizer had no time, or, with confidence 0, in which it understood no words.
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


Granularity = Literal["sentence", "paragraph", "whole"]
"""How written text is cut; a paragraph ends with its line."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a text: its characters from ``begin`` to before ``end``."""

    text: str = field(repr=False)
    begin: int
    end: int


_STOP = re.compile(r"[.!?\u2026]+[\"'\u201d\u2019)\]]*(?=\s|$)|[\u3002\uff01\uff1f]+")
_SHORT = frozenset({
    "approx", "apr", "aug", "capt", "col", "dec", "dept", "dr", "e.g", "est", "feb", "fig", "gen", "hon", "i.e",
    "jan", "jr", "jul", "jun", "mr", "mrs", "ms", "nov", "oct", "prof", "rev", "sep", "sept", "sgt", "sr", "st",
    "vol", "vs",
})  # fmt: skip
"""Abbreviations that a sentence goes on after."""


def cut(text: str, granularity: Granularity = "sentence") -> tuple[Passage, ...]:
    """Cut ``text``, in order and without blanks around the parts; nothing but blanks gives none.

    A sentence ends at its mark, or with its line; not at the point of a common abbreviation, an initial or a number.
    """
    bounds = [(0, len(text))] if granularity == "whole" else list(_lines(text))
    if granularity == "sentence":
        bounds = [inner for begin, end in bounds for inner in _sentences(text, begin, end)]
    found = []
    for begin, end in bounds:
        part = text[begin:end]
        stripped = part.strip()
        if stripped:
            start = begin + len(part) - len(part.lstrip())
            found.append(Passage(stripped, start, start + len(stripped)))
    return tuple(found)


def sentences(text: str) -> list[str]:
    """The sentences of ``text``, each on one line."""
    return [" ".join(part.text.split()) for part in cut(text)]


def _lines(text: str) -> Iterator[tuple[int, int]]:
    begin = 0
    for line in text.splitlines(keepends=True):
        yield begin, begin + len(line)
        begin += len(line)


def _sentences(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    for mark in _STOP.finditer(text, begin, end):
        following = text[mark.end() : mark.end() + 2].strip()
        if len(mark[0]) > 1 and mark[0][-1] not in ".!?\u2026" and following[:1].islower():
            continue  # the end of what is quoted, not of the sentence
        if mark[0] == ".":
            before = text[max(begin, mark.start() - 12) : mark.start()].split()
            word = before[-1].lower().lstrip("(\"'") if before else ""
            initial = len(word) == 1 and word.isalpha() and word != "i"
            dotted = "." in word and following[:1].islower()  # p.m., etc.
            if (word in _SHORT and following) or initial or dotted:
                continue
        yield begin, mark.end()
        begin = mark.end()
    yield begin, end
