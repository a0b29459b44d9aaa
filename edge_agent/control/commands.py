"""Named commands as calls of the control: what each expects, and what it answers. MQTT and the web page share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from edge_agent.analysis.pacing import Profile
from edge_agent.control.state import LONGEST_PAUSE_S, Control, LogLevel
from edge_agent.delivery.commands import Command, Outcome, Status
from edge_agent.domain.errors import RefusedError

RELEASE_S = 3.0
"""How long an answer waits for a device to be released."""

DEFAULT_PAUSE_S = 900.0

_SWITCH: TypeAdapter[bool] = TypeAdapter(bool)
_PROFILE: TypeAdapter[Profile] = TypeAdapter(Profile)
_FPS: TypeAdapter[float | None] = TypeAdapter(Annotated[float | None, Field(allow_inf_nan=False)])
_PAUSE: TypeAdapter[float] = TypeAdapter(Annotated[float, Field(gt=0, le=LONGEST_PAUSE_S, allow_inf_nan=False)])
_LEVEL: TypeAdapter[LogLevel] = TypeAdapter(LogLevel)


@dataclass(frozen=True, slots=True)
class Actions:
    """What is not a choice but is done once.

    ``state`` is the document of the ``state`` topic; ``report`` has health published now; ``settle`` waits until what
    should be released is, at most so many seconds; ``resets`` are what can begin anew, by name; ``reload`` is None
    where there is no config to read again.
    """

    state: Callable[[], Mapping[str, Any]]
    report: Callable[[], None]
    settle: Callable[[float], bool]
    resets: Mapping[str, Callable[[], None]]
    reload: Callable[[], None] | None = None


class CommandHandlers:
    """Performs commands by name; raises :class:`RefusedError` with what to do instead."""

    def __init__(self, control: Control, actions: Actions) -> None:
        self._control = control
        self._actions = actions
        self._table: dict[str, Callable[[object], Status]] = {
            "status": self._status,
            "privacy": lambda value: self._device(control.set_privacy, value),
            "camera": lambda value: self._device(control.set_camera, value),
            "microphone": lambda value: self._device(control.set_microphone, value),
            "profile": lambda value: self._choose(control.set_profile, _PROFILE, value),
            "max_fps": lambda value: self._choose(control.set_max_fps, _FPS, None if value == "auto" else value),
            "pause": self._pause,
            "resume": self._resume,
            "reset": self._reset,
            "reload": self._reload,
            "log_level": lambda value: self._choose(control.set_log_level, _LEVEL, value),
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Every command there is."""
        return tuple(self._table)

    def state(self) -> Mapping[str, Any]:
        """The document of the ``state`` topic as it is now."""
        return self._actions.state()

    def perform(self, command: Command) -> Outcome:
        """Do it. ``accepted``: a device is not released yet, or the result is seen elsewhere."""
        status = self._table[command.name](command.value)
        return Outcome(status, {"state": dict(self.state())})

    def _choose(self, choose: Callable[[Any], None], expected: TypeAdapter[Any], value: object) -> Status:
        choose(_valid(expected, value))
        return "done"

    def _status(self, _value: object) -> Status:
        self._actions.report()
        return "done"

    def _device(self, switch: Callable[[bool], None], value: object) -> Status:
        switch(_valid(_SWITCH, value))
        return self._settled()

    def _pause(self, value: object) -> Status:
        self._control.pause(_valid(_PAUSE, DEFAULT_PAUSE_S if value is None else value))
        return self._settled()

    def _resume(self, _value: object) -> Status:
        self._control.resume()
        return "done"

    def _settled(self) -> Status:
        return "done" if self._actions.settle(RELEASE_S) else "accepted"

    def _reset(self, value: object) -> Status:
        reset = self._actions.resets.get(value) if isinstance(value, str) else None
        if reset is None:
            raise RefusedError(f"value: what to reset, one of: {', '.join(self._actions.resets)}")
        reset()
        return "accepted"

    def _reload(self, _value: object) -> Status:
        if self._actions.reload is None:
            raise RefusedError("there is no config file to read again")
        self._actions.reload()
        return "accepted"


def _valid(expected: TypeAdapter[Any], value: object) -> Any:
    """``value`` as the command needs it. Raises RefusedError."""
    try:
        return expected.validate_python(value)
    except ValidationError as error:
        raise RefusedError(f"value: {error.errors()[0]['msg'].lower()}") from None
