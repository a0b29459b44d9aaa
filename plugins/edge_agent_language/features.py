"""Features of a text: its words in order, and a bag of word pairs and pieces of words, as rows of the model's tables.

A feature is known by the CRC-32 of its name; :class:`Vocabulary` maps those that occurred often enough in training to
rows. Row 0 of either table is zero and stands for nothing, row 1 of the words for a word that is not known.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

WORDS = 48
"""Words that the model reads at once."""
GRAMS = 384
"""Pairs and pieces of words that it reads at once."""
UNKNOWN = 1
"""Row of a word that is not in the vocabulary."""

_URL = re.compile(r"(?:https?://|www\.)\S+|\b[\w.+-]+@[\w-]+\.[\w.]+|(?<!\w)[/@][ur]?/?\w{2,}")
_PLACEHOLDER = re.compile(r"\[[A-Z]{2,}\]")
_TOKEN = re.compile(r"<unk>|[^\W\d_]+(?:'[^\W\d_]+)*|\d+|([^\w\s])\1*|_+")
_LONG = re.compile(r"(\w)\1{2,}")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "`": "'", "“": '"', "”": '"', "…": "...", "\x00": " ", "\u200b": " "})


def normalized(text: str) -> str:
    """``text`` without addresses, control and formatting characters, its quotation marks made plain."""
    plain = unicodedata.normalize("NFC", text.translate(_QUOTES))
    kept = "".join(c if unicodedata.category(c) not in _SILENT else " " if c in "\t\r\n\f\v" else "" for c in plain)
    return _PLACEHOLDER.sub(" <unk> ", _URL.sub(" ", kept))


_SILENT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
"""Unicode categories of characters that are not read: controls, direction marks, joiners, halves of pairs."""


def tokens(text: str) -> list[str]:
    """Words, numbers and runs of a sign in normalized ``text``, as they are written."""
    return [match[0] for match in _TOKEN.finditer(text)]


_NEGATIONS = frozenset((
    "aint", "arent", "cannot", "cant", "couldnt", "didnt", "doesnt", "dont", "hardly", "hasnt", "havent", "isnt",
    "neither", "never", "no", "nobody", "none", "nor", "not", "shouldnt", "wasnt", "werent", "without", "wont",
    "wouldnt",
))  # fmt: skip
_BETWEEN = frozenset((
    "a", "about", "all", "am", "an", "any", "anymore", "are", "at", "be", "been", "being", "exactly", "feel",
    "feeling", "feels", "felt", "find", "for", "get", "gets", "getting", "going", "gonna", "got", "had", "has", "have",
    "he", "her", "him", "his", "i", "in", "is", "it", "look", "looks", "made", "make", "makes", "making", "me", "my",
    "of", "our", "particularly", "quite", "really", "say", "seem", "seems", "she", "so", "sound", "sounds", "that",
    "the", "their", "them", "they", "this", "to", "too", "us", "very", "was", "we", "were", "with", "you", "your",
))  # fmt: skip
"""Words between a negation and what it denies: "not so very happy", "never made me happy"."""
_IDIOMS = frozenset((
    "believe", "better", "doubt", "even", "haha", "hahaha", "help", "just", "lmao", "lol", "matter", "more", "only",
    "stop", "sure", "wait", "wonder",
))  # fmt: skip
"""A negation before these denies nothing of what follows, or says it all the more: "cannot wait", "not only"."""
_REACH = 7


def negated(written: Sequence[str]) -> set[int]:
    """Places of words that a negation before them denies: "happy" in "not happy", "thanks" in "no thanks".

    A comparison ("never happier", "never been so happy") and a question to agree with ("isn't it funny?") deny nothing.
    """
    words = [token.lower() for token in written]
    denied = set()
    for place, name in enumerate(words):
        if name in _NEGATIONS or name.endswith("n't"):
            following = words[place + 1 : place + 1 + _REACH]
            asks = name.endswith("n't") and following[:1] and following[0] in _SUBJECTS and "?" in words[place:]
            if not asks and (distance := _denied(following)) is not None:
                denied.add(place + 1 + distance)
    return denied


_SUBJECTS = frozenset(("he", "i", "it", "she", "that", "they", "this", "we", "you"))


def _denied(following: Sequence[str]) -> int | None:
    """Which of the words after a negation it denies."""
    for distance, name in enumerate(following):
        compared = name in ("so", "this", "that") and "been" in following[:distance]
        if not name[0].isalpha() or name in _IDIOMS or name.endswith(("ier", "n't")) or compared:
            return None
        if name not in _BETWEEN:
            return distance
    return None


def key(name: str) -> int:
    """The number by which a feature is known."""
    return zlib.crc32(name.encode("utf-8", "replace"))


def word(token: str) -> str:
    """A token as the vocabulary has it: lower case, letters at most twice in a row, signs at most thrice."""
    if token[0].isalnum():
        return "#" if token.isdigit() else _LONG.sub(r"\1\1", token.lower())
    return token[:3] if token != "<unk>" else token


def grams(written: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    """Names of the bag's features: pairs, capitals and long-drawn words, pieces of 3 to 5 letters, ends marked."""
    for first, second in zip(["<", *words], [*words, ">"], strict=True):
        yield f"{first} {second}"
    for first, _, third in zip(words, words[1:], words[2:], strict=False):
        yield f"{first} _ {third}"
    for token, plain in zip(written, words, strict=True):
        if not plain[0].isalpha():
            continue
        if len(token) > 2 and token.isupper():
            yield "A"
            yield f"A {plain}"
        if _LONG.search(token.lower()):
            yield "oo"
        marked = f"<{plain[:24]}>"
        for size in (3, 4, 5):
            for begin in range(len(marked) - size + 1):
                yield marked[begin : begin + size]


class RowKeys:
    """Row of each key, in two arrays: a dict of as many takes thirty times the memory. ``keys`` are in the order of the
    rows, which begin at ``first``."""

    def __init__(self, keys: npt.NDArray[np.uint32], first: int) -> None:
        self._rows = np.argsort(keys, kind="stable").astype(np.int32)
        self._keys = keys[self._rows]
        self._rows += first

    def find(self, names: Iterable[str], missing: int) -> npt.NDArray[np.int32]:
        """The row of each name; ``missing`` where there is none."""
        keys = np.fromiter(map(key, names), np.uint32)
        if not len(self._keys) or not len(keys):
            return np.full(len(keys), missing, np.int32)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[places] == keys, self._rows[places], np.int32(missing))


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Rows of words, from 2, and of grams, from 1, by :func:`key`."""

    words: RowKeys
    grams: RowKeys

    @classmethod
    def of(cls, words: npt.NDArray[np.uint32], grams: npt.NDArray[np.uint32]) -> Vocabulary:
        """From the keys in the order of the rows."""
        return cls(RowKeys(words, 2), RowKeys(grams, 1))

    def rows(self, written: Sequence[str]) -> Features:
        """What the model reads of a text's tokens, at most :data:`WORDS` of them and :data:`GRAMS` of their grams."""
        written = written[:WORDS]
        plain = [word(token) for token in written]
        bag = self.grams.find(grams(written, plain), 0)
        return Features(self.words.find(plain, UNKNOWN), bag[bag > 0][:GRAMS])

    def known(self, names: Iterable[str]) -> list[bool]:
        """Which words there are."""
        return list((self.words.find(names, UNKNOWN) != UNKNOWN).tolist())


@dataclass(frozen=True, slots=True)
class Features:
    """Rows of the words in order, and of the grams."""

    words: npt.NDArray[np.int32]
    grams: npt.NDArray[np.int32]

    def inputs(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """The model's inputs: int32 [1, 48] and [1, 384], rows and then 0; float32 [1, 384], weights of grams."""
        words, bag = np.zeros((1, WORDS), np.int32), np.zeros((1, GRAMS), np.int32)
        words[0, : len(self.words)] = self.words
        bag[0, : len(self.grams)] = self.grams
        return words, bag, np.full((1, GRAMS), weight(len(self.grams)), np.float32)


def weight(count: Any) -> Any:
    """How much each of ``count`` grams counts."""
    return 1 / np.sqrt(np.maximum(count, 1))
