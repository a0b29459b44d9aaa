"""Keep the baseline, what this place usually shows, in the state directory over restarts."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from edge_agent.domain.clock import Clock
from edge_agent.domain.files import replace_durably
from edge_agent.summary.baseline import Baseline

log = logging.getLogger(__name__)

BASELINE = "baseline.json"
"""Name of the baseline's file in the state directory."""

EVERY_S = 600.0
"""The baseline is a matter of hours; writing it more often would only wear the SD card."""


class BaselineFile:
    """Keeps a baseline in ``path``; losing it costs only the time to learn it again."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._kept = Baseline()
        self._due = 0.0

    def read(self) -> Baseline:
        """What was learned before; a fresh one when there is none that can be used."""
        try:
            self._kept = Baseline.parse(json.loads(self._path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return Baseline()
        except (OSError, ValueError) as error:
            log.warning("%s: %s: learning anew what is usual here", self._path, error)
            return Baseline()
        self._due = self._clock.monotonic() + EVERY_S
        return self._kept

    def keep(self, baseline: Baseline, *, now: bool = False) -> None:
        """Write ``baseline`` when it is time to, or ``now``; not when it is what was kept last."""
        time = self._clock.monotonic()
        if baseline == self._kept or not (now or time >= self._due):
            return
        self._due = time + EVERY_S
        try:
            replace_durably(self._path, json.dumps(baseline.document()).encode())
        except OSError as error:
            log.warning("%s: cannot be written: %s", self._path, error.strerror)
        else:
            self._kept = baseline
