"""Sound stages of the daemon: the audio lane, and the speech lane on a thread of its own, which may fall behind.

Recognition takes seconds at a time and runs at its own pace: blocks of sound wait in a bounded queue, and what does not
fit is lost and counted. When the microphone is switched off (privacy, a schedule, a pause), what waits or is being
recognised at that moment is dropped, with everything the analyzers remember of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from math import inf

from edge_agent.analysis.sound import AudioLane, SpeechLane
from edge_agent.app.builder import PipelineBuilder
from edge_agent.capture import ReplayGroup, make_audio
from edge_agent.control.sources import SourceController
from edge_agent.domain.clock import Clock
from edge_agent.domain.media import AudioBlock
from edge_agent.domain.observation import AudioReport, SpeechReport, VisionReport
from edge_agent.runtime.lifecycle import Stop
from edge_agent.runtime.supervisor import Beat, Closed, Component, Mailbox
from edge_agent.settings import Settings

BACKLOG = 300
"""Blocks of sound that wait at most, half a minute of those of a microphone."""

SPEECH_STALE_S = 60.0
"""Seconds without progress after which recognition counts as hung, at least; one utterance may take this long."""


SOUND_BACKLOG = 100
SOUND_STALE_S = 30.0
"""Seconds without progress after which the audio lane counts as hung, at least; more on a machine that is slow."""

Reports = Mailbox[VisionReport | AudioReport | SpeechReport]
"""Queue of what the lanes report to the summary stage."""


class SpeechStage:
    """Run the speech lane on the sound that the audio stage passes on. ``put`` receives the reports.

    ``expected_s``: seconds that one call may usually take on this machine; ``backlog``: blocks that may wait.
    """

    def __init__(
        self,
        lane: SpeechLane,
        clock: Clock,
        put: Callable[[SpeechReport], None],
        expected_s: float = 0.0,
        backlog: int = BACKLOG,
    ) -> None:
        self._lane = lane
        self.wanted = lane.wanted
        """Whether any analyzer of speech is active, so that sound is of use."""
        self._clock = clock
        self._put = put
        self._expected_s = expected_s
        self._blocks: Mailbox[tuple[AudioBlock, bool]] = Mailbox(backlog)
        self._since = -inf
        """Sound from before this moment is not to be heard; infinity while nothing is."""
        self._queued = self._done = 0.0
        self._lost_s = 0.0
        self._rejected = 0

    def hear(self, block: AudioBlock, *, after_loss: bool = False) -> None:
        """Queue the next block of sound; ``after_loss``: blocks before it were dropped. Never waits."""
        if self.wanted and block.time >= self._since:
            self._queued = block.end
            self._blocks.put((block, after_loss))

    def apply(self, *, on: bool) -> None:
        """Listen, or drop what is waiting or under way and listen to nothing."""
        if on == (self._since == inf):
            self._since = self._clock.monotonic() if on else inf

    def close(self) -> None:
        """End the sound: the thread ends once it has heard what is waiting."""
        self._blocks.close()

    def document(self) -> Mapping[str, float] | None:
        """Seconds of sound that wait and that were lost, utterances rejected; None without an analyzer of speech."""
        if not self.wanted:
            return None
        waiting = max(0.0, self._queued - self._done) if self._done else 0.0
        return {"waiting_s": round(waiting, 1), "lost_s": round(self._lost_s, 1), "rejected": self._rejected}

    def components(self) -> list[Component]:
        """The lane's thread."""
        if not self.wanted:
            return []
        return [Component("speech", self._run, self.close, SPEECH_STALE_S, expected=self._expected_s)]

    def _run(self, beat: Beat, stop: Stop) -> None:
        self._lane.on_step = beat
        since = self._since
        while not stop.requested:
            beat()
            try:
                waiting = self._blocks.get(1.0)
            except Closed:
                self._tell(self._lane.finish(), since)
                return
            if since != self._since:  # switched off in between
                since = self._since
                self._lane.forget()
            if waiting is None:
                continue
            block, after_loss = waiting
            lost = self._blocks.take_lost() > 0 or after_loss
            self._done = block.end
            if block.time >= since:
                self._tell(self._lane.offer(block, after_loss=lost), since)

    def _tell(self, report: SpeechReport, since: float) -> None:
        """Pass on the report, unless the microphone was switched off meanwhile."""
        self._lost_s += report.lost
        self._rejected += report.rejected
        if since == self._since:
            self._put(report)


class AudioStage:
    """Run the audio lane on blocks of the microphone, and pass them on to the speech stage.

    ``source`` is None without a microphone or an analyzer of sound or speech.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        builder: PipelineBuilder,
        lane: AudioLane,
        replays: ReplayGroup,
        reports: Reports,
        speech: SpeechStage,
    ) -> None:
        self._lane = lane
        self._reports = reports
        self._speech = speech
        self._silenced = threading.Event()
        self._blocks: Mailbox[AudioBlock] = Mailbox(SOUND_BACKLOG)
        self._expected_s = builder.expected_s
        wanted = lane.wanted or speech.wanted
        audio = make_audio(settings.microphone, clock, builder.audio_plugins(), replays) if wanted else None
        self.source = SourceController("microphone", audio, self._blocks) if audio else None

    def apply(self, *, on: bool) -> None:
        """Open or release the microphone; when it is released, the analyzers forget the voices they know."""
        if self.source is not None:
            if self.source.on and not on:
                self._silenced.set()
            self.source.turn(on)
            self._speech.apply(on=on)

    def components(self) -> list[Component]:
        """The lane's thread and the microphone's, downstream first."""
        if self.source is None:
            return []
        lane = Component("audio", self._run, self._blocks.close, SOUND_STALE_S, expected=self._expected_s)
        return [lane, self.source.component()]

    def _run(self, beat: Beat, stop: Stop) -> None:
        self._lane.on_step = beat
        while not stop.requested:
            beat()
            try:
                block = self._blocks.get(1.0)
            except Closed:
                break
            if self._silenced.is_set():
                self._silenced.clear()
                self._lane.forget()
            if block is not None:
                lost = self._blocks.take_lost() > 0  # blocks dropped from the queue are a gap like any other
                self._speech.hear(block, after_loss=lost)
                self._reports.put(self._lane.offer(block, after_loss=lost))
        if not stop.requested:  # else nobody waits for what is still to be recognised
            self._speech.close()
        self._reports.put(self._lane.finish())
