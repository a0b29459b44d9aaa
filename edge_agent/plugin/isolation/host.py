"""Agent side of isolation: a proxy for an analyzer, which replaces its child within a restart budget.

While a new child starts, calls return nothing and do not wait. When the budget is used up the proxy raises, and the
analyzer becomes ``crashed`` like any other that raised.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edge_agent.domain.errors import PluginError
from edge_agent.domain.face import TrackedFace
from edge_agent.domain.retry import Budget, Failures, Patience
from edge_agent.plugin.isolation import wire
from edge_agent.plugin.isolation.process import Area, Child, ChildError
from edge_agent.plugin.spec import Analyzer, AnalyzerContext, AnalyzerSettings, AnalyzerSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """Time limits in seconds for a child to start, to answer and to close, and its restart budget.

    ``answer`` grows with how long the self-check took, on a machine that is slow. ``start`` is the most it grows to.
    """

    start: float = 30.0
    answer: float = 5.0
    close: float = 1.0
    budget: Budget = field(default_factory=Budget)


def isolate(
    spec: AnalyzerSpec,
    entry_point: str,
    limits: ChildLimits | None = None,
    now: Callable[[], float] = time.monotonic,
    replaced: Callable[[], None] = lambda: None,
) -> AnalyzerSpec:
    """Return ``spec`` with analyzers that run in child processes.

    ``entry_point`` (``module:object``) is where the child finds the plugin that registers ``spec``; ``replaced`` is
    called when a child has failed and another is to come.
    """

    def make(settings: AnalyzerSettings, context: AnalyzerContext) -> IsolatedAnalyzer:
        options = settings.model_dump(exclude_unset=True)
        order = wire.Order(entry_point, spec.name, options, context.threads)
        return IsolatedAnalyzer(order, context, limits or ChildLimits(), now, replaced)

    return replace(spec, factory=make)


class IsolatedAnalyzer(Analyzer):
    """Proxy for an analyzer of any kind.

    Raises:
        PluginError: the child cannot build the analyzer, at first; later, it failed too often.
    """

    def __init__(
        self,
        order: wire.Order,
        context: AnalyzerContext,
        limits: ChildLimits,
        now: Callable[[], float],
        replaced: Callable[[], None],
    ) -> None:
        self._order, self._context, self._limits, self._now = order, context, limits, now
        self._replaced = replaced
        self._failures = Failures(limits.budget)
        self._patience = limits.answer
        self._area = Area()
        self._due = self._late = 0.0
        self.answered = True
        """Whether a child answered the last call; when not, an empty result carries no information."""
        self._child: Child | None = None
        self._reap: weakref.finalize[..., Any] | None = None
        self._closed = weakref.finalize(self, self._area.close)
        try:
            child = self._start()
            if not child.attend(limits.start):
                raise ChildError(f"not built within {limits.start:g} s")
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int | None:
        """Process id of the child; None while there is none."""
        return self._child.pid if self._child else None

    # ------------------------------------------------------------------ analyzer interface

    def detect(self, frame: wire.Medium) -> Sequence[Any]:
        """Detect faces in the child."""
        return self._ask("detect", frame)

    def analyze(self, medium: wire.Medium, *faces: Sequence[TrackedFace]) -> Sequence[Any]:
        """Analyse a frame (with its faces), a block or an utterance in the child."""
        return self._ask("analyze", medium, *(tuple(group) for group in faces))

    def finish(self) -> Sequence[Any]:
        """End the sound in the child."""
        return self._use(wire.Question("finish"))

    def self_check(self) -> None:
        """Run the self-check in the child. Raises PluginError; it is not repeated."""
        if self._child is None:
            raise PluginError("closed, or between two processes")
        limits, began = self._limits, self._now()
        self._child.ask(wire.Question("self_check"), limits.start)
        # A call may run the model several times, and a loaded machine is slower.
        self._patience = Patience(limits.answer, times=20.0, longest=limits.start).after(self._now() - began)

    def close(self) -> None:
        """Close the analyzer in the child, and end the child in any case."""
        child, self._child = self._child, None
        if child is not None and child.ready:
            try:
                child.ask(wire.Question("close"), self._limits.close)
            except ChildError as error:
                log.warning("analyzer %s failed to close: %s", self._order.name, error)
        self._end_child()
        self._closed()

    # ------------------------------------------------------------------ the child

    def _ask(self, verb: str, medium: wire.Medium, *more: Any) -> Sequence[Any]:
        if not self._closed.alive:
            raise PluginError("it is closed")
        self._area.put(wire.array_of(medium))
        return self._use(wire.question(verb, medium, *more))

    def _use(self, question: wire.Question) -> Sequence[Any]:
        """Call the child; an empty result while none is ready."""
        self.answered = False
        try:
            child = self._child or (self._start() if self._now() >= self._due else None)
            if child is None or not self._is_ready(child):
                return ()
            found = tuple(child.ask(question, self._patience))
            self.answered = True
            return found
        except ChildError as error:
            self._failed(error)
            return ()

    def _is_ready(self, child: Child) -> bool:
        if child.ready:
            return True
        if child.attend(0.0):
            log.info("analyzer %s: runs again", self._order.name)
        elif self._now() > self._late:
            raise ChildError(f"not built within {self._limits.start:g} s")
        return child.ready

    def _start(self) -> Child:
        child = Child(self._order, self._area, self._context)
        # Also when the proxy is garbage-collected without close, or the interpreter ends.
        self._child, self._reap = child, weakref.finalize(self, child.kill)
        self._late = self._now() + self._limits.start
        return child

    def _end_child(self) -> None:
        if self._reap is not None:
            self._reap()
        self._child = self._reap = None

    def _failed(self, error: ChildError) -> None:
        self._end_child()
        now, budget = self._now(), self._limits.budget
        pause = self._failures.note(now)
        if pause is None:
            raise PluginError(f"{error}; more than {budget.restarts} failures in {budget.window:g} s") from error
        self._due = now + pause
        self._replaced()
        log.warning("analyzer %s: %s; a new process in %.1f s", self._order.name, error, pause)
