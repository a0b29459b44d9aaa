"""Choices: what may be chosen, what follows from it, and that it survives a restart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent.control.state import Control, ControlState, OverridesFile
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.commands import LONGEST_PAUSE_S
from edge_agent.domain.errors import RefusedError
from edge_agent.settings import Settings


def make(folder: Path, clock: ManualClock | None = None, **tables: Any) -> Control:
    return Control(Settings(**tables), clock or ManualClock(), OverridesFile(folder / "choices.json"))


def test_without_a_choice_everything_is_as_configured(tmp_path: Path) -> None:
    control = make(tmp_path, pacing={"profile": "monitor", "max_fps": 1.5}, log={"level": "warning"})
    assert control.state == ControlState(False, True, True, "monitor", 1.5, None, "warning")
    assert control.state.watching
    assert control.state.listening
    assert not (tmp_path / "choices.json").exists()


def test_overrides_are_published_and_survive_a_restart(tmp_path: Path) -> None:
    control, told = make(tmp_path), []
    control.listen(told.append)
    control.set_microphone(False)
    control.set_profile("detail")
    control.set_max_fps(4)
    control.set_log_level("debug")
    control.set_privacy(True)
    assert len(told) == 6
    assert told[-1] == control.state
    assert not told[-1].watching
    again = make(tmp_path).state
    assert again == ControlState(True, True, False, "detail", 4.0, None, "debug")


def test_a_changed_config_replaces_the_override(tmp_path: Path) -> None:
    control = make(tmp_path)
    control.set_profile("detail")
    control.set_max_fps(4)
    control.set_privacy(True)
    edited = make(tmp_path, pacing={"profile": "monitor"}).state
    assert (edited.profile, edited.max_fps, edited.privacy) == ("monitor", 4.0, True)
    assert make(tmp_path, pacing={"max_fps": 3}).state.max_fps == 3.0


def test_setting_back_to_the_configured_is_no_choice_any_more(tmp_path: Path) -> None:
    control = make(tmp_path)
    control.set_profile("detail")
    control.set_profile("standard")
    control.set_max_fps(2)
    assert (control.state.max_fps, control.state.auto_fps) == (2.0, False)
    control.set_max_fps(None)
    assert json.loads((tmp_path / "choices.json").read_text()) == {}
    assert (control.state.max_fps, control.state.auto_fps) == (8.0, True)  # what is told is never exceeded


def test_what_the_config_forbids_is_refused(tmp_path: Path) -> None:
    control = make(tmp_path, microphone={"source": "none"}, pacing={"min_fps": 1, "max_fps": 5})
    assert not control.state.listening
    for wish in (
        lambda: control.set_microphone(True),
        lambda: control.set_max_fps(5.1),
        lambda: control.set_max_fps(0.9),
    ):
        with pytest.raises(RefusedError):
            wish()
    control.set_microphone(False)
    control.set_max_fps(5)
    assert control.bounds().busy == 5


def test_a_choice_that_a_new_config_forbids_is_dropped(tmp_path: Path) -> None:
    make(tmp_path, pacing={"max_fps": 5}).set_max_fps(4)
    stored = json.loads((tmp_path / "choices.json").read_text())
    stored["over"] = {}  # as if written by a version that did not know what was overridden
    (tmp_path / "choices.json").write_text(json.dumps(stored))
    assert make(tmp_path, pacing={"max_fps": 3}).state.max_fps == 3


def test_a_device_stays_off_under_privacy(tmp_path: Path) -> None:
    control = make(tmp_path)
    control.set_privacy(True)
    with pytest.raises(RefusedError, match="privacy"):
        control.set_camera(True)
    control.set_camera(False)
    control.set_privacy(False)
    assert (control.state.watching, control.state.listening) == (False, True)


def test_a_pause_ends_by_itself(tmp_path: Path) -> None:
    clock = ManualClock()
    control = make(tmp_path, clock)
    control.pause(60)
    assert control.state.paused_until == clock.wall() + 60
    assert not control.state.watching
    clock.set_wall(clock.wall() + 1e8)
    control.tick()
    assert not control.state.listening
    clock.advance(60)
    control.tick()
    assert control.state.listening
    assert control.state.paused_until is None


@pytest.mark.parametrize("seconds", [0, -1, LONGEST_PAUSE_S + 1, float("nan")])
def test_absurd_pauses_are_refused(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(RefusedError):
        make(tmp_path).pause(seconds)


@pytest.mark.parametrize(("jump", "left"), [(0.0, 40.0), (1e9, 0.0), (-1e9, 60.0)])
def test_a_pause_goes_on_after_a_restart_and_never_gets_longer(tmp_path: Path, jump: float, left: float) -> None:
    clock = ManualClock()
    make(tmp_path, clock).pause(60)
    clock.advance(20)
    clock.set_wall(clock.wall() + jump)
    control = make(tmp_path, clock)
    clock.advance(max(0.0, left - 1))
    control.tick()
    assert control.state.watching == (left == 0)
    clock.advance(1)
    control.tick()
    assert control.state.watching


@pytest.mark.parametrize("text", ["", "{", "[]", '{"privacy": "perhaps"}', '{"profile": "wild"}', "\x00\x00"])
def test_a_file_that_is_not_understood_means_privacy(tmp_path: Path, text: str) -> None:
    (tmp_path / "choices.json").write_text(text)
    control = make(tmp_path)
    assert control.state.privacy
    assert "not understood" in control.problem
    control.set_privacy(False)
    assert control.problem == ""
    assert not make(tmp_path).state.privacy


def test_a_choice_that_cannot_be_kept_still_holds(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    control = make(tmp_path / "file")
    control.set_privacy(True)
    assert control.state.privacy
    assert "cannot be written" in control.problem


def test_a_device_stays_off_during_a_pause_and_that_is_said(tmp_path: Path) -> None:
    """C6: it answered "done" while the camera stayed off."""
    control = make(tmp_path)
    control.pause(60)
    for wish in (control.set_camera, control.set_microphone):
        with pytest.raises(RefusedError, match=r"until the pause ends at .*Z: end the pause first"):
            wish(True)
    control.set_camera(False)
    control.resume()
    assert (control.state.why_off("camera"), control.state.why_off("microphone")) == ("off", "")


def test_the_reason_why_a_device_is_off(tmp_path: Path) -> None:
    control = make(tmp_path)
    assert control.state.why_off("camera") == ""
    control.set_camera(False)
    assert control.state.why_off("camera") == "off"
    control.pause(60)
    assert control.state.why_off("camera") == "paused"
    control.set_privacy(True)
    assert control.state.why_off("camera") == "privacy"
    assert replace(control.state, scheduled=True).why_off("camera") == "schedule"
