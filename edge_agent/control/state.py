"""Runtime overrides of the config: privacy, devices, rate, pause, log level.

MQTT commands, Home Assistant and the web page all go through :class:`Control`, so none of them can do what the config
forbids, and all see the same state. Control decides; the agent, notified as a listener, releases devices and changes
rates. Overrides are kept over a restart in one small file that is replaced as a whole. One that cannot be understood
means privacy, because nobody knows any more what was asked for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from edge_agent.analysis.pacing import Bounds
from edge_agent.control.schedule import Schedule
from edge_agent.domain.clock import Clock
from edge_agent.domain.commands import LEAST_FPS, LONGEST_PAUSE_S, MOST_FPS, LogLevel, Profile
from edge_agent.domain.errors import RefusedError
from edge_agent.domain.files import replace_durably
from edge_agent.domain.summary import OFF, PAUSED, PRIVACY, SCHEDULE
from edge_agent.payloads.rendering import timestamp
from edge_agent.settings import PacingSettings, Settings

log = logging.getLogger(__name__)

FILE = "choices.json"
"""Name of the file in the state directory."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause of ``seconds`` that ends at wall time ``until``."""

    until: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Overrides:
    """What is overridden. ``None``: as configured.

    ``over`` holds, by option, the configured value that was overridden: an override holds until that option is changed
    in the config; then the newer word wins.
    """

    privacy: bool = False
    camera: bool = True
    microphone: bool = True
    profile: Profile | None = None
    max_fps: float | None = None
    log_level: LogLevel | None = None
    pause: Pause | None = None
    over: dict[str, str | float | None] = field(default_factory=dict)


_OVERRIDES: TypeAdapter[Overrides] = TypeAdapter(Overrides)


class OverridesFile:
    """File of the overrides. :attr:`problem` says what is wrong with it, or is empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problem = ""

    def read(self) -> Overrides:
        """Read the overrides: none when there is no file, privacy when it is unreadable."""
        try:
            return _OVERRIDES.validate_json(self._path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return Overrides()
        except (OSError, ValidationError) as error:
            why = error.strerror if isinstance(error, OSError) else "not understood"
            self.problem = f"{self._path}: {why}: privacy is on until it is switched off, or this file is deleted"
            log.error("%s", self.problem)
            return Overrides(privacy=True)

    def write(self, overrides: Overrides) -> None:
        """Replace the file, durably. The override holds also when that fails; see :attr:`problem`."""
        try:
            replace_durably(self._path, _OVERRIDES.dump_json(overrides, exclude_defaults=True))
        except OSError as error:
            self.problem = f"{self._path}: cannot be written ({error.strerror}): choices end with this process"
            log.warning("%s", self.problem)
        else:
            self.problem = ""


@dataclass(frozen=True, slots=True)
class ControlLimits:
    """What the config of this device forbids. ``camera`` and ``microphone`` say why it cannot be on, or are empty."""

    camera: str
    microphone: str
    least_fps: float
    most_fps: float

    @classmethod
    def of(cls, settings: Settings) -> ControlLimits:
        """The limits in ``settings``."""
        pacing = settings.pacing
        return cls(
            "camera.source is none" if settings.camera.source == "none" else "",
            "microphone.source is none" if settings.microphone.source == "none" else "",
            pacing.min_fps or LEAST_FPS,
            pacing.max_fps or MOST_FPS,
        )


@dataclass(frozen=True, slots=True)
class ControlState:
    """State in force: ``camera`` and ``microphone`` as chosen, :attr:`watching` and :attr:`listening` as they follow.

    ``max_fps``: the most looks a second that can come of it, bursts included; ``auto_fps``: nobody bounds them, the
    profile does. ``paused_until`` is a wall time or None. ``scheduled``: the config's schedule wants privacy now.
    """

    privacy: bool
    camera: bool
    microphone: bool
    profile: Profile
    max_fps: float
    paused_until: float | None
    log_level: LogLevel
    scheduled: bool = False
    auto_fps: bool = False

    @property
    def watching(self) -> bool:
        """Whether the camera may be open."""
        return not self.why_off("camera")

    @property
    def listening(self) -> bool:
        """Whether the microphone may be open."""
        return not self.why_off("microphone")

    def why_off(self, device: Literal["camera", "microphone"]) -> str:
        """Why ``device`` may not be open: a reason of :mod:`edge_agent.domain.summary`; empty: it may."""
        if self.private:
            return SCHEDULE if self.scheduled else PRIVACY
        if self.paused_until is not None:
            return PAUSED
        return "" if getattr(self, device) else OFF

    @property
    def private(self) -> bool:
        """Whether camera and microphone are to be released, by choice or by schedule."""
        return self.privacy or self.scheduled


Listener = Callable[[ControlState], None]


class Control:
    """Change overrides within :class:`ControlLimits`, from any thread. What is refused raises :class:`RefusedError`.

    Each command of :mod:`edge_agent.domain.commands` that is an override has a method ``set_NAME`` here.
    """

    def __init__(self, settings: Settings, clock: Clock, file: OverridesFile) -> None:
        self._pacing = settings.pacing
        self._level: LogLevel = settings.log.level
        self._clock = clock
        self._file = file
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []
        self.limits = ControlLimits.of(settings)
        self._overrides = self._still_valid(file.read())
        self._schedule = Schedule(settings, clock)
        self._scheduled = self._schedule.private()
        self._usual = self._schedule.pacing()
        self._resume_at: float | None = None
        if self._overrides.pause is not None:
            pause = self._overrides.pause
            # A wall clock that jumped may end a pause early, never make it longer than it was to be.
            left = min(max(pause.until - clock.wall(), 0.0), pause.seconds)
            self._resume_at = clock.monotonic() + left
        if self._overrides != Overrides():
            log.info("overrides of an earlier run are in force: %s", self._overrides)

    @property
    def state(self) -> ControlState:
        """What holds now."""
        chosen, bounds = self._overrides, self.bounds()
        return ControlState(
            privacy=chosen.privacy,
            camera=chosen.camera and not self.limits.camera,
            microphone=chosen.microphone and not self.limits.microphone,
            profile=chosen.profile or self._usual.profile,
            max_fps=bounds.top,
            paused_until=chosen.pause.until if chosen.pause else None,
            log_level=chosen.log_level or self._level,
            scheduled=self._scheduled,
            auto_fps=bounds.most is None,
        )

    @property
    def problem(self) -> str:
        """What is wrong with the file of the overrides, or empty."""
        return self._file.problem

    @property
    def schedule_problem(self) -> str:
        """Why the config's schedules cannot be followed, or empty."""
        return self._schedule.problem

    def bounds(self) -> Bounds:
        """The rates to work at: as chosen, else as scheduled, else as configured."""
        chosen, pacing = self._overrides, self._usual
        return Bounds.of(chosen.profile or pacing.profile, pacing.min_fps, chosen.max_fps or pacing.max_fps)

    def document(self) -> dict[str, Any]:
        """The part of the ``state`` topic that describes overrides."""
        state, limits = self.state, self.limits
        return {
            "paused_until": None if state.paused_until is None else timestamp(state.paused_until),
            "profile": state.profile,
            "max_fps": state.max_fps,
            "auto_fps": state.auto_fps,
            "fps_limits": [limits.least_fps, limits.most_fps],
            "log_level": state.log_level,
        }

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` now and after every change, one call at a time; it must be quick."""
        with self._lock:
            self._listeners.append(listener)
            listener(self.state)

    # -- overrides -------------------------------------------------------------------------------------------

    def set_privacy(self, on: bool) -> None:
        """Release camera and microphone, or use them again. The schedule of the config cannot be overruled."""
        if not on and self._scheduled:
            raise RefusedError(f"{self._schedule.why}: this cannot be overruled from here")
        self._change(privacy=on)

    def set_camera(self, on: bool) -> None:
        """Use the camera, or release it."""
        self._refuse_on(on, "camera", self.limits.camera)
        self._change(camera=on)

    def set_microphone(self, on: bool) -> None:
        """Use the microphone, or release it."""
        self._refuse_on(on, "microphone", self.limits.microphone)
        self._change(microphone=on)

    def set_profile(self, profile: Profile) -> None:
        """Work at the rates of ``profile``, within the configured bounds."""
        self._change(profile=None if profile == self._usual.profile else profile)

    def set_max_fps(self, fps: float | None) -> None:
        """Look at most ``fps`` times a second; None: as configured."""
        limits = self.limits
        if fps is not None and not limits.least_fps <= fps <= limits.most_fps:
            raise RefusedError(f"max_fps must be from {limits.least_fps:g} to {limits.most_fps:g} on this device")
        self._change(max_fps=fps)

    def pause(self, seconds: float) -> None:
        """Release both devices for ``seconds``."""
        if not 0 < seconds <= LONGEST_PAUSE_S:
            raise RefusedError(f"a pause lasts more than 0 and at most {LONGEST_PAUSE_S:g} seconds")
        with self._lock:
            self._resume_at = self._clock.monotonic() + seconds
            self._change(pause=Pause(self._clock.wall() + seconds, seconds))

    def resume(self) -> None:
        """End a pause."""
        with self._lock:
            self._resume_at = None
            self._change(pause=None)

    def set_log_level(self, level: LogLevel) -> None:
        """Log from ``level`` upwards."""
        self._change(log_level=None if level == self._level else level)

    def tick(self) -> None:
        """End a pause that is over and follow the schedules; to be called about once a second."""
        with self._lock:
            scheduled = self._schedule.private()
            if scheduled != self._scheduled:
                self._scheduled = scheduled
                log.info("%s", self._schedule.why if scheduled else "the scheduled privacy is over")
                self._tell()
            usual = self._schedule.pacing()
            if usual != self._usual:
                self._usual = usual
                log.info("rates by schedule: %s, min_fps %s, max_fps %s", usual.profile, usual.min_fps, usual.max_fps)
                self._tell()
            if self._resume_at is not None and self._clock.monotonic() >= self._resume_at:
                self.resume()

    # -- within -------------------------------------------------------------------------------------------------------

    def _refuse_on(self, on: bool, name: str, forbidden: str) -> None:
        if on and forbidden:
            raise RefusedError(f"the {name} cannot be switched on from here: {forbidden} in this device's config")
        if on and self.state.private:
            raise RefusedError(f"the {name} stays off while privacy is on: switch privacy off first")
        if on and self.state.paused_until is not None:
            until = timestamp(self.state.paused_until)
            raise RefusedError(f"the {name} stays off until the pause ends at {until}: end the pause first (resume)")

    def _change(self, **changes: object) -> None:
        with self._lock:
            chosen = replace(self._overrides, **changes)  # type: ignore[arg-type]
            chosen = replace(chosen, over=_overridden(chosen, self._configured()))
            if chosen == self._overrides and not self._file.problem:
                return
            self._overrides = chosen
            self._file.write(chosen)
            log.info("chosen: %s", self.state)
            self._tell()

    def _tell(self) -> None:
        state = self.state
        for listener in self._listeners:
            listener(state)

    def _configured(self) -> dict[str, str | float | None]:
        pacing: PacingSettings = self._pacing
        return {"profile": pacing.profile, "max_fps": pacing.max_fps, "log_level": self._level}

    def _still_valid(self, chosen: Overrides) -> Overrides:
        """Without what the config has overtaken since, or forbids now."""
        configured = self._configured()
        outdated: dict[str, None] = {
            name: None for name, value in chosen.over.items() if name in configured and configured[name] != value
        }
        if chosen.max_fps is not None and not self.limits.least_fps <= chosen.max_fps <= self.limits.most_fps:
            outdated["max_fps"] = None
        chosen = replace(chosen, **outdated)  # type: ignore[arg-type]
        return replace(chosen, over=_overridden(chosen, configured))


def _overridden(chosen: Overrides, configured: dict[str, str | float | None]) -> dict[str, str | float | None]:
    return {name: value for name, value in configured.items() if getattr(chosen, name) is not None}
