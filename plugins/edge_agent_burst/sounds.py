"""Sound events that YAMNet tells: a doorbell, a dog, breaking glass, an alarm. The analyzer ``sound``.

A sound here is a group of AudioSet's classes; the highest score of the group counts. Sounds do not compete: a bark is a
dog, too. YAMNet (Google, Apache-2.0) judges 0.975 s at a time and is not asked while all is quiet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import PluginError
from edge_agent.domain.event import Event
from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.plugin.sound import HighPass
from edge_agent.plugin.spec import AudioAnalyzer
from edge_agent_burst import SOUND, Sound
from edge_agent_burst.events import Arbiter, Envelope, LabelPolicy, Reading, Segment
from edge_agent_burst.yamnet import WINDOW, Network, Windows

CLASSES: Mapping[Sound, Sequence[int]] = {
    "alarm": (382, 389, 392, 393, 394),
    "applause": (58, 62),
    "baby_cry": (20,),
    "bark": (70, 71, 73),
    "bird": (106, 107, 108, 109),
    "car": (301, 308),
    "car_alarm": (304,),
    "car_horn": (302, 303),
    "cat": (76, 77, 78, 80),
    "cheering": (61,),
    "chicken": (94, 95, 96),
    "dishes": (358, 359),
    "dog": (69, 70, 71, 72, 73, 74, 75),
    "door": (348, 351, 352),
    "doorbell": (349, 350),
    "explosion": (420, 430),
    "fire_alarm": (393, 394),
    "fireworks": (426, 427),
    "footsteps": (48,),
    "glass_breaking": (437, 463, 464),
    "gunshot": (421, 422, 423, 424),
    "helicopter": (333,),
    "knock": (353,),
    "music": (132,),
    "power_tool": (341, 414, 418, 419),
    "rain": (283, 284, 285),
    "scream": (11,),
    "siren": (317, 318, 319, 390, 391),
    "smoke_alarm": (393,),
    "snoring": (38,),
    "speech": (0, 1, 2, 3),
    "telephone": (383, 384, 385),
    "thunder": (280, 281),
    "toilet_flush": (368,),
    "train": (323, 324, 325, 326),
    "vacuum_cleaner": (371,),
    "water_tap": (364, 365, 366),
    "whistling": (35,),
    "yell": (6, 7, 9, 10),
}
"""Indices into YAMNet's scores, which are in the order of its class map."""

HOP = 7_680
"""Samples between two windows: half a window, so that each sound is whole in one of them."""
_QUIET = 10 ** (-65 / 20)
"""Root mean square of a window, full scale 1, below which YAMNet is not asked."""
_LONGEST_S = 30.0
_PAUSE_S = 1.0


class SoundAnalyzer(AudioAnalyzer):
    """Reports ``sounds`` whose score reaches their threshold in two of three windows."""

    def __init__(self, network: Network, sounds: Sequence[Sound], threshold: Callable[[Sound], float]) -> None:
        self._network = network
        self._sounds = tuple(dict.fromkeys(sounds))
        self._policies = {
            sound: LabelPolicy(on=threshold(sound), off=0.6 * threshold(sound), longest=_LONGEST_S, release=_PAUSE_S)
            for sound in self._sounds
        }
        self._origin = 0.0
        self._reset()

    def _reset(self) -> None:
        self._windows = Windows(WINDOW, HOP)
        self._high_pass = HighPass()
        self._envelope = Envelope()
        self._heard = 0
        # One arbiter each: two sounds at a time are two events.
        self._arbiters = [Arbiter({sound: policy}, self._refine) for sound, policy in self._policies.items()]

    def analyze(self, block: AudioBlock) -> Sequence[Event]:
        """Events that ended within this block."""
        events = list(self.finish()) if block.gap > 0.0 else []
        self._origin = block.time - self._heard / AUDIO_RATE
        samples = self._high_pass.feed(np.nan_to_num(block.samples, nan=0.0, posinf=1.0, neginf=-1.0))
        self._heard += len(samples)
        self._envelope.feed(samples)
        return events + self._judge(self._windows.feed(samples))

    def finish(self) -> Sequence[Event]:
        """Judge what is left, end what is open, forget the sound."""
        events = self._judge(self._windows.drain())
        events += [self._event(segment) for arbiter in self._arbiters for segment in arbiter.flush()]
        self._reset()
        return events

    def self_check(self) -> None:
        """A second of silence through the network must give a score for every class.

        Raises:
            PluginError: the network gives something else.
        """
        scores = np.asarray(self._network(np.zeros(WINDOW, np.float32))[0])
        if scores.size != 521 or not np.isfinite(scores).all():
            raise PluginError("sound: YAMNet gave no score for each of its 521 classes: pull it again")

    def close(self) -> None:
        """Nothing is held that the network's disposal does not free."""

    def _judge(self, windows: Iterable[tuple[int, npt.NDArray[np.float32]]]) -> list[Event]:
        readings = [self._read(begin, window) for begin, window in windows]
        return [
            self._event(segment)
            for reading in readings
            for arbiter in self._arbiters
            for segment in arbiter.push(reading)
        ]

    def _read(self, begin: int, window: npt.NDArray[np.float32]) -> Reading:
        start = begin / AUDIO_RATE
        if np.sqrt(np.mean(np.square(window))) < _QUIET:
            return Reading(start, start + WINDOW / AUDIO_RATE, dict.fromkeys(self._sounds, 0.0))
        scores = np.asarray(self._network(window)[0]).reshape(-1)
        heard: dict[str, float] = {sound: float(scores[list(CLASSES[sound])].max()) for sound in self._sounds}
        return Reading(start, start + WINDOW / AUDIO_RATE, heard)

    def _refine(self, segment: Segment) -> Segment:
        end = min(segment.end, self._heard / AUDIO_RATE)
        start, end = self._envelope.edges(segment.start, min(segment.sure, end), end, _PAUSE_S)
        # Rain does not stand out of itself: then the windows tell when it was.
        return replace(segment, start=start, end=end) if end > start else segment

    def _event(self, segment: Segment) -> Event:
        seconds = round(segment.end - segment.start, 3)
        return Event(SOUND, segment.label, round(segment.score, 3), self._origin + segment.start, seconds)
