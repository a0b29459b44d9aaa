"""Cut sound into utterances by the probability of a voice in each of its chunks, and judge what was recognised. Pure.

An utterance opens with a chunk above the threshold and closes after a pause. It keeps a little of the sound before and
after, because consonants at the edges are no voice yet. One that grows too long is split where the voice was least.
Sound outside of an utterance is forgotten after :data:`LEAD_S`.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass, field
from difflib import SequenceMatcher

import numpy as np
import numpy.typing as npt

from edge_agent.domain.media import AUDIO_RATE

Samples = npt.NDArray[np.float32]

CHUNK = 512
"""Samples per chunk: 32 ms, the only size that the voice detector takes."""
CHUNK_S = CHUNK / AUDIO_RATE
LEAD_S = 0.3
"""Seconds of sound kept before the first and after the last chunk with a voice."""
_HYSTERESIS = 0.15
"""An open utterance continues down to this much below the threshold, as Silero's own segmenter does."""
_SMOOTH = 7
"""Chunks, 0.2 s, over which the voice is averaged to find the place to split."""


@dataclass(frozen=True, slots=True)
class SegmentPolicy:
    """When an utterance begins and ends, seconds, and what is one: ``shortest`` seconds of voice, on average ``sure``.

    ``threshold`` and ``sure`` are probabilities. Coughs, cries and groans have bits of voice, few of them as surely.
    """

    threshold: float = 0.5
    sure: float = 0.7
    pause: float = 0.6
    shortest: float = 0.3
    longest: float = 15.0


@dataclass(frozen=True, slots=True, eq=False)
class SpeechSegment:
    """Sound of one utterance: float32 [n] at 16 kHz, of which ``start`` is the position of the first sample.

    ``voiced`` is how many seconds of it have a voice, ``voice`` the mean probability in them.
    """

    samples: Samples = field(repr=False)
    start: int
    voiced: float
    voice: float

    @property
    def end(self) -> int:
        """Position just after the last sample."""
        return self.start + len(self.samples)

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / AUDIO_RATE


class Segmenter:
    """State machine over chunks. Positions count samples since the last reset."""

    def __init__(self, policy: SegmentPolicy) -> None:
        self._policy = policy
        self._lead = round(LEAD_S / CHUNK_S)
        self._kept: deque[tuple[Samples, float]] = deque()
        self._next = 0
        self._open = False
        self._silent = 0

    def feed(self, chunk: Samples, voice: float) -> SpeechSegment | None:
        """Take the next chunk, float32 [512], and its probability of a voice; the utterance that it completes."""
        policy = self._policy
        self._kept.append((chunk, voice))
        self._next += CHUNK
        if not self._open:
            self._open, self._silent = voice >= policy.threshold, 0
            while not self._open and len(self._kept) > self._lead:
                self._kept.popleft()
            return None
        self._silent = 0 if voice >= self._off else self._silent + 1
        if self._silent * CHUNK_S >= policy.pause:
            return self._close()
        if len(self._kept) * CHUNK_S >= policy.longest:
            return self._split()
        return None

    def finish(self) -> SpeechSegment | None:
        """Complete what is open, and start afresh."""
        found = self._close() if self._open else None
        self.reset()
        return found

    def reset(self) -> None:
        """Forget all sound."""
        self._kept.clear()
        self._next = self._silent = 0
        self._open = False

    @property
    def _off(self) -> float:
        return self._policy.threshold - min(_HYSTERESIS, self._policy.threshold / 2)

    def _close(self) -> SpeechSegment | None:
        """The open utterance without most of the pause, which stays as the lead of the next."""
        keep = len(self._kept) - max(0, self._silent - self._lead)
        found = self._take(keep)
        while len(self._kept) > self._lead:
            self._kept.popleft()
        self._open, self._silent = False, 0
        return found

    def _split(self) -> SpeechSegment | None:
        """The beginning of an utterance that is too long; the rest stays open. Never within its first half."""
        voices = np.array([voice for _, voice in self._kept])
        smooth = np.convolve(voices, np.full(_SMOOTH, 1 / _SMOOTH), "same")
        first = len(voices) // 2
        keep = first + int(np.argmin(smooth[first : -_SMOOTH // 2]))
        return self._take(keep)

    def _take(self, count: int) -> SpeechSegment | None:
        start = self._next - CHUNK * len(self._kept)
        taken = [self._kept.popleft() for _ in range(count)]
        voices = [voice for _, voice in taken if voice >= self._off]
        voiced = len(voices) * CHUNK_S
        if voiced < self._policy.shortest or (voice := float(np.mean(voices))) < self._policy.sure:
            return None
        return SpeechSegment(np.concatenate([chunk for chunk, _ in taken]), start, voiced, voice)


# ---------------------------------------------------------------------- what was recognised


_INTERJECTIONS = frozenset(
    ("ah", "aha", "eh", "er", "erm", "ha", "haha", "hm", "hmm", "huh", "mhm", "mm", "mmm", "oh", "ooh", "ow", "ugh",
     "uh", "um", "whoa")
)  # fmt: skip
"""What laughter, groans and coughs are written as; they are no words to judge."""
_FASTEST = 7.0
"""Words a second that nobody exceeds: auctioneers speak about 4."""
_SURE = 0.9
"""Mean probability of a voice that coughs, cries and groans hardly reach."""
_SHORT, _FEW = 2, 6
"""Words that need a sure voice, and below which they must be heard again in any case."""


def plausible(text: str, voiced: float, voice: float = 1.0) -> bool:
    """Whether ``voiced`` seconds of voice, of mean probability ``voice``, can have said ``text`` in English, in words.

    Recognizers answer noise, music and laughter with punctuation, interjections, a few words over and over, or more
    words than anybody could say.
    """
    words = _words(text)
    if not words or any(word[0] > "\u024f" for word in words):  # beyond the Latin letters
        return False
    if _INTERJECTIONS.issuperset(words) or _loops(words):
        return False
    if len(words) <= _SHORT and voice < _SURE:  # groans are heard as "Yeah", "You" or "So", time and again
        return False
    return len(words) <= _FASTEST * voiced + 2


def doubtful(text: str, segment: SpeechSegment) -> bool:
    """Whether ``text`` of ``segment`` is to be confirmed by another hearing: short, or hardly a sure voice."""
    return segment.voice < _SURE or len(_words(text)) < _FEW


HEARINGS = (10 / 9, 9 / 10)
"""How much longer the sound is when it is heard again: its pitch and tempo are still those of a voice."""
CONFIRMED = 0.5
"""Mean agreement of the other hearings with the first from which the first is believed."""


def stretched(samples: Samples, factor: float) -> Samples:
    """Make sound longer by ``factor`` and its pitch as much lower."""
    places = np.arange(int(len(samples) * factor)) / factor
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)


def agreement(first: str, second: str) -> float:
    """Share of the words of two hearings that they have in common, in order; 0 to 1.

    Real words come back when the same sound is heard a little slower; invented ones are others each time. A number
    is the same in digits and in letters.
    """
    one, other = ([_NUMBERS.get(word, word) for word in _words(text)] for text in (first, second))
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


_NUMBERS = {
    str(number): word
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    )
}


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower().replace("’", "'"))


def _loops(words: list[str]) -> bool:
    """Whether one to three words make up most of at least six."""
    if len(words) < 6:
        return False
    for size in (1, 2, 3):
        runs = Counter(tuple(words[k : k + size]) for k in range(len(words) - size + 1))
        if runs.most_common(1)[0][1] * size > 0.6 * len(words):
            return True
    return False
