"""What was chosen while running and must survive a restart, in one small file that is replaced as a whole.

A choice that overrides an option of the config holds until that option is changed there: the newer word wins. A file
that cannot be understood means privacy, because nobody knows any more what was asked for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from edge_agent.analysis.pacing import Profile
from edge_agent.domain.files import replace_durably

log = logging.getLogger(__name__)

FILE = "choices.json"
"""Name of the file in the state directory."""

LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause of ``seconds`` that ends at wall time ``until``."""

    until: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Choices:
    """``None``: as configured. ``over`` holds, by option, the configured value that was overridden."""

    privacy: bool = False
    camera: bool = True
    microphone: bool = True
    profile: Profile | None = None
    max_fps: float | None = None
    log_level: LogLevel | None = None
    pause: Pause | None = None
    over: dict[str, str | float | None] = field(default_factory=dict)


_CHOICES: TypeAdapter[Choices] = TypeAdapter(Choices)


class ChoiceFile:
    """The file ``path``. :attr:`problem` says what is wrong with it, or is empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problem = ""

    def read(self) -> Choices:
        """What was chosen; the defaults when there is no file, privacy when it is unreadable."""
        try:
            return _CHOICES.validate_json(self._path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return Choices()
        except (OSError, ValidationError) as error:
            why = error.strerror if isinstance(error, OSError) else "not understood"
            self.problem = f"{self._path}: {why}: privacy is on until it is switched off, or this file is deleted"
            log.error("%s", self.problem)
            return Choices(privacy=True)

    def write(self, choices: Choices) -> None:
        """Replace the file; survives a power cut. The choice holds also when that fails; see :attr:`problem`."""
        try:
            replace_durably(self._path, _CHOICES.dump_json(choices, exclude_defaults=True))
        except OSError as error:
            self.problem = f"{self._path}: cannot be written ({error.strerror}): choices end with this process"
            log.warning("%s", self.problem)
        else:
            self.problem = ""
