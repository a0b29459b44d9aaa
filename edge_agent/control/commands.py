"""Command handlers: validate the value of a named command, call the control, answer. MQTT and the web share them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edge_agent.control.state import Control
from edge_agent.delivery.commands import Command, Outcome, Status
from edge_agent.domain.commands import REGISTRY, CommandSpec
from edge_agent.domain.errors import RefusedError

RELEASE_S = 3.0
"""How long an answer waits for a device to be released."""

_VALUES: Mapping[str, TypeAdapter[Any]] = {
    spec.name: TypeAdapter(spec.value) for spec in REGISTRY.values() if spec.value is not None
}


@dataclass(frozen=True, slots=True)
class Actions:
    """What commands do that is no override.

    ``state`` returns the document of the ``state`` topic; ``report`` publishes health now; ``settle`` waits, at most so
    many seconds, until every device that is switched off is released, and returns whether it is; ``resets`` restart
    things by name; ``reload`` is None where there is no config file to read again.
    """

    state: Callable[[], Mapping[str, Any]]
    report: Callable[[], None]
    settle: Callable[[float], bool]
    resets: Mapping[str, Callable[[], None]]
    reload: Callable[[], None] | None = None


class CommandHandlers:
    """Perform commands by name; refuse with RefusedError, whose message says what to do instead."""

    def __init__(self, control: Control, actions: Actions) -> None:
        self._control = control
        self._actions = actions
        self._handlers: Mapping[str, Callable[[Any], Status]] = {
            "status": self._status,
            "pause": self._pause,
            "resume": self._resume,
            "reset": self._reset,
            "reload": self._reload,
            **{spec.name: self._setter(spec) for spec in REGISTRY.values() if spec.override},
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Every command there is."""
        return tuple(REGISTRY)

    def state(self) -> Mapping[str, Any]:
        """The document of the ``state`` topic as it is now."""
        return self._actions.state()

    def perform(self, command: Command) -> Outcome:
        """Carry out a command of the registry. ``accepted``: a device is not released yet, or the result is published
        elsewhere."""
        spec = REGISTRY[command.name]
        status = self._handlers[spec.name](_valid(spec, command.value))
        if spec.releases and not self._actions.settle(RELEASE_S):
            status = "accepted"
        return Outcome(status, {"state": dict(self.state())})

    def _setter(self, spec: CommandSpec) -> Callable[[Any], Status]:
        choose: Callable[[Any], None] = getattr(self._control, f"set_{spec.name}")

        def handle(value: Any) -> Status:
            choose(value)
            return "done"

        return handle

    def _status(self, _value: None) -> Status:
        self._actions.report()
        return "done"

    def _pause(self, seconds: float) -> Status:
        self._control.pause(seconds)
        return "done"

    def _resume(self, _value: None) -> Status:
        self._control.resume()
        return "done"

    def _reset(self, what: str) -> Status:
        self._actions.resets[what]()
        return "accepted"

    def _reload(self, _value: None) -> Status:
        if self._actions.reload is None:
            raise RefusedError("there is no config file to read again")
        self._actions.reload()
        return "accepted"


def _valid(spec: CommandSpec, value: object) -> Any:
    """``value`` as the command needs it. Raises RefusedError."""
    if spec.value is None:
        return None
    try:
        return _VALUES[spec.name].validate_python(spec.default if value is None else value)
    except ValidationError as error:
        raise RefusedError(f"value: {spec.expects or error.errors()[0]['msg'].lower()}") from None
