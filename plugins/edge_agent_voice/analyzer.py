"""The audio analyzer: sound in blocks of any length to one ``voice`` observation per turn of speech.

Sound is turned into frames at once and forgotten; the frames of a turn are kept until it ends. A turn that does not
sound like speech is not reported. Arousal is told once ``habit_turns`` turns are known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_agent.domain.errors import PluginError
from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.domain.observation import VOICE, Observation
from edge_agent.plugin.sound import HighPass
from edge_agent.plugin.spec import AudioAnalyzer
from edge_agent_voice import VoiceSettings
from edge_agent_voice.arousal import Arousal, Habit
from edge_agent_voice.frontend import HOP_S, Frontend
from edge_agent_voice.prosody import Prosody, measure
from edge_agent_voice.turns import SpokenTurn, TurnCutter

SPEECH_FROM = 0.4
"""Probability of speech from which a turn is reported."""


class VoiceAnalyzer(AudioAnalyzer):
    """See the module's docstring."""

    def __init__(self, settings: VoiceSettings, model: Arousal) -> None:
        self._settings = settings
        self._model = model
        self._high_pass = HighPass()
        self._frontend = Frontend()
        self._cutter = TurnCutter(settings.pause_s, settings.longest_s)
        self._habit = Habit(model)
        self._heard = 0
        self._origin = 0.0
        self._spoke: float | None = None

    def analyze(self, block: AudioBlock) -> Sequence[Observation]:
        """Observations of the turns that ended within this block. After a long gap the speaker's habit is unknown."""
        found = self._end_of_sound() if block.gap > 0.0 else []
        if self._spoke is not None and block.time - self._spoke > self._settings.forget_s:
            self._forget()
        # The microphone's clock is not ours: where sample 0 lies in our time is corrected with every block.
        self._origin = block.time - self._heard / AUDIO_RATE
        samples = self._high_pass.feed(np.clip(np.nan_to_num(block.samples, nan=0.0), -1.0, 1.0))
        self._heard += len(samples)
        found += self._judge(self._cutter.push(self._frontend.feed(samples)))
        return found

    def finish(self) -> Sequence[Observation]:
        """The turn that is still open; then the sound and the speaker's habit are forgotten."""
        found = self._end_of_sound()
        self._forget()
        return found

    def self_check(self) -> None:
        """Half a second of silence holds no speech, and the weights judge an average speaker as neither high nor low.

        Raises:
            PluginError: they do not.
        """
        if self._judge(TurnCutter(0.3, 3.0).push(Frontend().feed(np.zeros(AUDIO_RATE // 2, np.float32)))):
            raise PluginError("voice: speech is heard in silence; reinstall it")
        if not abs(self._model.judge(np.zeros_like(self._model.mean))) < 0.5:
            raise PluginError("voice: the weights are damaged; reinstall it")

    def close(self) -> None:
        """Forget everything."""
        self._end_of_sound()
        self._forget()

    def _end_of_sound(self) -> list[Observation]:
        found = self._judge(self._cutter.flush())
        self._frontend.reset()
        self._high_pass.reset()
        self._heard = 0
        return found

    def _forget(self) -> None:
        self._habit.forget()
        self._spoke = None

    def _judge(self, turns: Sequence[SpokenTurn]) -> list[Observation]:
        return [observation for turn in turns if (observation := self._observe(turn)) is not None]

    def _observe(self, turn: SpokenTurn) -> Observation | None:
        measured = measure(turn)
        if measured is None:
            return None
        figures, features = measured
        if figures.seconds < self._settings.shortest_s or self._model.speech(features) < SPEECH_FROM:
            return None
        start = self._origin + turn.begin * HOP_S
        self._spoke = start + turn.seconds
        self._habit.note(features, figures.seconds)
        arousal = None
        if self._habit.turns >= self._settings.habit_turns:
            arousal = self._model.judge(self._habit.deviation(features))
        return Observation(VOICE, _values(figures, arousal), start)


def _values(figures: Prosody, arousal: float | None) -> dict[str, float]:
    values = {
        "seconds": round(figures.seconds, 3),
        "turn_seconds": round(figures.turn_seconds, 3),
        "pitch_hz": round(figures.pitch_hz, 1),
        "loudness_db": round(figures.loudness_db, 1),
        "rate": round(figures.rate, 2),
        "pauses": float(figures.pauses),
    }
    return values if arousal is None else {**values, "arousal": round(arousal, 3)}
