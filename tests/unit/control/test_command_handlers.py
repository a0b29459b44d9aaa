"""Commands by name: values in every sensible spelling, refusals that say what to do."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import get_args

import pytest

from edge_agent.control.commands import Actions, CommandHandlers
from edge_agent.control.state import Control, OverridesFile
from edge_agent.delivery.commands import Command
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.commands import REGISTRY, CommandName
from edge_agent.domain.errors import RefusedError
from edge_agent.settings import Settings


class Bench:
    def __init__(self, folder: Path, *, settles: bool = True, reload: bool = True) -> None:
        self.did: list[str] = []
        self.control = Control(Settings(), ManualClock(), OverridesFile(folder / "choices.json"))
        actions = Actions(
            state=lambda: {"privacy": self.control.state.privacy},
            report=lambda: self.did.append("report"),
            settle=lambda _seconds: settles,
            resets={"stream": lambda: self.did.append("reset")},
            reload=(lambda: self.did.append("reload")) if reload else None,
        )
        self.handlers = CommandHandlers(self.control, actions)

    def __call__(self, name: str, value: object = None) -> str:
        return self.handlers.perform(Command(name, value=value)).status


def test_every_command_that_the_config_can_allow_is_registered_and_handled(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.handlers.names == tuple(REGISTRY) == get_args(CommandName)
    for name in bench.handlers.names:
        with suppress(RefusedError):  # a value is missing
            bench(name)


@pytest.mark.parametrize("value", [True, "ON", "on", "true", 1, "1"])
def test_switches_take_every_spelling(tmp_path: Path, value: object) -> None:
    bench = Bench(tmp_path)
    assert bench("privacy", value) == "done"
    assert bench.control.state.privacy


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("privacy", None),
        ("privacy", "perhaps"),
        ("camera", [True]),
        ("profile", "fast"),
        ("profile", None),
        ("max_fps", "many"),
        ("max_fps", 1e9),
        ("max_fps", float("inf")),
        ("max_fps", 10**400),
        ("pause", "PRESS"),
        ("pause", -1),
        ("reset", None),
        ("reset", ["stream"]),
        ("reset", "world"),
        ("log_level", "chatty"),
    ],
)
def test_senseless_values_are_refused_and_change_nothing(tmp_path: Path, name: str, value: object) -> None:
    bench = Bench(tmp_path)
    before = bench.control.state
    with pytest.raises(RefusedError):
        bench(name, value)
    assert bench.control.state == before
    assert bench.did == []


def test_each_command_does_its_work(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert [bench("camera", "OFF"), bench("microphone", "off"), bench("profile", "detail")] == ["done"] * 3
    assert [bench("max_fps", "2.5"), bench("log_level", "debug"), bench("pause")] == ["done"] * 3
    state = bench.control.state
    assert (state.camera, state.microphone, state.profile, state.max_fps) == (False, False, "detail", 2.5)
    assert state.paused_until == ManualClock().wall() + 900
    assert [bench("resume"), bench("max_fps", "auto")] == ["done"] * 2
    assert (bench.control.state.paused_until, bench.control.state.max_fps) == (None, 10.0)
    assert [bench("status"), bench("reset", "stream"), bench("reload")] == ["done", "accepted", "accepted"]
    assert bench.did == ["report", "reset", "reload"]


def test_a_device_that_is_slow_to_be_released_is_accepted_only(tmp_path: Path) -> None:
    assert Bench(tmp_path, settles=False)("privacy", True) == "accepted"


def test_without_a_config_file_there_is_nothing_to_reload(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="no config file"):
        Bench(tmp_path, reload=False)("reload")
