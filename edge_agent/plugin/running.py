"""Run an analyzer guarded, timed and closed once: what lanes call, whoever wrote the analyzer.

The first failure closes it and marks it crashed; how long its calls take is kept, so that the one that holds up the
others can be named.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from edge_agent.domain.media import AudioBlock
from edge_agent.plugin.isolation import IsolatedAnalyzer
from edge_agent.plugin.output import check_output
from edge_agent.plugin.reason import reason, where
from edge_agent.plugin.spec import Analyzer, AnalyzerSpec, Kind

log = logging.getLogger(__name__)

T = TypeVar("T")

_BUSY_S = 1.0
"""Seconds that closing an analyzer waits for a call in another thread."""
_RECENT_S = 30.0
"""Calls further back do not count."""


@dataclass(frozen=True, slots=True)
class Use:
    """Of the last half minute: ``calls``, their ``mean_s`` and ``slowest_s``, and their ``share`` of the time."""

    calls: int = 0
    mean_s: float = 0.0
    slowest_s: float = 0.0
    share: float = 0.0


class Timing:
    """Remembers when an analyzer was called and for how long. One thread calls, others may ask."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._began = now()
        self._calls: deque[tuple[float, float]] = deque(maxlen=2_000)
        self._open: float | None = None

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around one call."""
        self._open = begin = self._now()
        try:
            yield
        finally:
            end, self._open = self._now(), None
            self._calls.append((end, end - begin))

    def use(self) -> Use:
        """What it took lately; a call that is not over counts so far."""
        now, begin = self._now(), self._open
        took = [min(took, end - (now - _RECENT_S)) for end, took in tuple(self._calls) if end > now - _RECENT_S]
        if begin is not None:
            took.append(min(now - begin, _RECENT_S))
        if not took:
            return Use()
        whole = max(min(_RECENT_S, now - self._began), 1e-6)
        return Use(len(took), sum(took) / len(took), max(took), min(1.0, sum(took) / whole))


class ActiveAnalyzer:
    """An analyzer that runs, guarded: the first failure closes it and marks it crashed.

    One thread calls it; another may close it.
    """

    def __init__(
        self,
        spec: AnalyzerSpec,
        analyzer: Analyzer,
        on_crash: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self.timing = Timing(now)
        """How long its calls take."""
        self.where = ""
        """File and line where it crashed."""
        self.check_s = 0.0
        """Seconds that its self-check took: how fast it is on this machine."""
        self._analyzer: Analyzer | None = analyzer
        self._on_crash = on_crash
        self._busy = threading.RLock()

    @property
    def alive(self) -> bool:
        """False after a crash or close."""
        return self._analyzer is not None

    @property
    def answered(self) -> bool:
        """Whether the last call was really answered: not after a crash, nor while a child process is being replaced."""
        analyzer = self._analyzer
        return analyzer is not None and (not isinstance(analyzer, IsolatedAnalyzer) or analyzer.answered)

    def call(self, use: Callable[[Any], Sequence[T]], default: Sequence[T]) -> Sequence[T]:
        """What ``use(analyzer)`` finds, or ``default`` when the analyzer is gone, fails now or finds nonsense."""
        with self._busy:
            if self._analyzer is None:
                return default
            try:
                with self.timing.call():
                    found = use(self._analyzer)
                return check_output(self.spec.kind, found)
            except BaseException as error:  # a stranger's code may raise anything; see reason()
                why, self.where = reason(error), where(error)
                log.exception("analyzer %s crashed", self.spec.name)
            self.close()
            self._on_crash(why)
            return default

    def self_check(self) -> None:
        """The analyzer's own; what it raises is passed on."""
        if self._analyzer is not None:
            began = time.monotonic()
            self._analyzer.self_check()
            self.check_s = time.monotonic() - began

    def try_out(self) -> None:
        """Ask it about one picture or one second of sound, as a lane would; nonsense marks it crashed.

        For an analyzer that is only looked at, and closed afterwards: what it remembers is no longer that of a stream.
        """
        from edge_agent.plugin.testing.inputs import everyday

        question = everyday(self.spec.kind)[0]
        if isinstance(question, AudioBlock):
            self.call(lambda a: a.analyze(question), ())
        elif self.spec.kind is Kind.FACE:
            self.call(lambda a: a.analyze(*question), ())
        else:
            verb = "detect" if self.spec.kind is Kind.DETECTOR else "analyze"
            self.call(lambda a: getattr(a, verb)(question[0]), ())

    def close(self) -> None:
        """Close the analyzer once; a failing close is logged only."""
        if not self._busy.acquire(timeout=_BUSY_S):
            # Freeing a model in use would end the whole process; the call that hangs keeps it.
            log.warning("analyzer %s is stuck in a call and was not closed", self.spec.name)
            self._analyzer = None
            return
        try:
            analyzer, self._analyzer = self._analyzer, None
            if analyzer is not None:
                analyzer.close()
        except BaseException as error:  # noqa: BLE001 - nothing can be done about a stranger's failing close
            log.warning("analyzer %s failed to close: %s", self.spec.name, reason(error))
        finally:
            self._busy.release()
