"""Tell English from other languages by pieces of words, and say why a text cannot be judged.

Letters of another script, words without an English look, program text and strings of random letters are not English. A
small linear model over hashed pieces of words (``english.npz``, made by :mod:`training.language.english`) decides; one
word alone is taken for English only when the vocabulary knows it.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

Reason = Literal["empty", "not_english", "too_short"]

BUCKETS = 1 << 14
"""Number of weights of the linear model."""
LATIN = 0.7
"""Share of letters that must be Latin."""
KNOWN = 0.34
"""Share of the words that the vocabulary must know."""
_CODE = re.compile(r"[{}\\|]|[=!<>+-]=|\w\s?=\s?\S|\w_\w|\w\[\w+\]|\w\(\w*\)|;\s*(?:\n|\}|$)|</?\w+>")
_STATEMENT = re.compile(
    r"import [\w.]+(?: as \w+)?|from [\w.]+ import [\w, *]+|#include\s*[<\"][\w./]+[>\"]|(?:async )?def \w+\(.*"
    r"|(?:const|let|var) \w+\s?=.*|[\w.]+\(['\"].*\);?|(?:if|while|for|elif) [^.!?]*:\s*(?:pass|break|continue)",
)
"""Lines that are a program by themselves; longer ones than :data:`_LINE` are not looked at."""
_LINE = 200
_ENOUGH = 64
"""Words that are looked at, spread over the text."""


def pieces(word: str) -> Iterator[str]:
    """The word, in lower case, and its pieces of 1 to 4 letters, ends marked."""
    marked = f"<{word[:24]}>"
    yield marked
    for size in (1, 2, 3, 4):
        for begin in range(len(marked) - size + 1):
            yield marked[begin : begin + size]


def buckets(word: str) -> list[int]:
    """Places of a word's pieces in the weights; the whole word apart from a piece that reads the same."""
    whole, *rest = pieces(word)
    return [_place(f"={whole}"), *map(_place, rest)]


def _place(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "replace")) % BUCKETS


@dataclass(frozen=True, slots=True, eq=False)
class English:
    """``weights`` float32 [16384]; a text is English when the mean of its words' sums is above ``-bias``."""

    weights: npt.NDArray[np.float32]
    bias: float

    @classmethod
    def bundled(cls) -> Self:
        """As trained."""
        with resources.files(__package__).joinpath("english.npz").open("rb") as file, np.load(file) as kept:
            return cls(kept["weights"].astype(np.float32) * np.float32(kept["scale"]), float(kept["bias"]))

    def score(self, words: Sequence[str]) -> float:
        """Log odds that ``words``, in lower case and at least one, are English."""
        return self.bias + sum(float(self.weights[buckets(word)].sum()) for word in words) / len(words)


def doubt(words: Sequence[str], known: Sequence[bool], english: English) -> Reason | None:
    """Why a text cannot be judged, None when it can.

    ``words`` are its words in lower case, without signs and numbers; ``known`` says which the vocabulary has.
    """
    if sum(map(len, words)) < 2:
        return "too_short"
    letters = [letter for word in words for letter in word if letter.isalpha()]
    latin = sum(map(_is_latin, letters))
    if latin < LATIN * len(letters):
        return "not_english"
    step = max(1, len(words) // _ENOUGH)
    sample, familiar = words[::step], known[::step]
    share = sum(familiar) / len(familiar)
    if share < KNOWN or (len(sample) == 1 and not familiar[0]):
        return "not_english"
    return None if english.score(sample) + 2 * (share - 0.8) > 0 else "not_english"


def is_code(text: str, words: int) -> bool:
    """Whether a text with so many ``words`` has the signs of a program."""
    signs = len(_CODE.findall(text)) + 2 * sum(map(_is_statement, text.splitlines()))
    return signs >= 2 and 6 * signs >= words


def _is_statement(line: str) -> bool:
    return len(line) <= _LINE and _STATEMENT.fullmatch(line.strip()) is not None


def _is_latin(letter: str) -> bool:
    return letter < "\u0250" or unicodedata.name(letter, "").startswith("LATIN")
