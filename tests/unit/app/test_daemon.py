"""When a changed config file is believed, and that a new config that loosens privacy says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.app.daemon import SETTLE_S, ConfigFile
from edge_agent.domain.errors import ConfigError
from edge_agent.settings import Settings, loosened
from edge_agent.settings.schedule import DAYS, Times

WHOLE = """[device]
id = "kiosk-1"
[privacy]
min_people = 3
schedule = ["mon-fri 18:00-08:00"]
"""


class Steps:
    """A monotonic clock that moves when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(WHOLE)
    return path


def ready(file: ConfigFile) -> bool:
    return file.changed() and file.settled()


def test_a_file_that_is_still_being_written_is_not_read(path: Path, steps: Steps) -> None:
    """Every beginning of this file is valid TOML with less privacy in it."""
    file = ConfigFile(path, steps)
    file.read()
    assert not ready(file)
    for length in range(0, len(WHOLE), 30):
        path.write_text(WHOLE[:length])
        steps.now += 1.5
        assert not ready(file)
    path.write_text(WHOLE + "\n")
    assert not ready(file)
    steps.now += SETTLE_S - 0.1
    assert not ready(file)
    steps.now += 0.1
    assert ready(file)
    assert file.read()[1].privacy.min_people == 3
    assert not ready(file)


def test_a_file_that_is_replaced_or_missing_for_a_moment_is_waited_for(path: Path, steps: Steps) -> None:
    file = ConfigFile(path, steps)
    file.read()
    path.unlink()
    steps.now += 10
    assert not ready(file)
    new = path.with_suffix(".new")
    new.write_text(WHOLE)
    new.replace(path)
    assert not ready(file)
    steps.now += SETTLE_S
    assert ready(file)


def test_a_reload_that_is_asked_for_waits_for_a_writer_only(path: Path, steps: Steps) -> None:
    file = ConfigFile(path, steps)
    file.read()
    assert file.settled(), "nobody writes: at once"
    path.write_text(WHOLE[:30])
    assert not file.settled()
    steps.now += SETTLE_S
    assert file.settled()


def test_no_file_is_always_settled(steps: Steps) -> None:
    file = ConfigFile(None, steps)
    file.read()
    assert not file.changed()
    assert file.settled()


def test_a_file_settles_on_the_real_clock(path: Path) -> None:
    file = ConfigFile(path)
    file.read()
    path.write_text(WHOLE + "# more")
    began = time.monotonic()
    assert not ready(file)
    while not ready(file):
        assert time.monotonic() - began < 20
        time.sleep(0.05)
    assert time.monotonic() - began >= SETTLE_S


@pytest.mark.parametrize("content", [b"", b"\n \t\r\n", b"\xef\xbb\xbf", bytes(4096)])
def test_an_empty_file_is_damage_and_not_a_wish_for_defaults(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.toml: is empty; 'edge-agent config init"):
        ConfigFile(path).read()


def test_no_config_at_all_can_be_said(path: Path) -> None:
    assert ConfigFile(Path("/dev/null")).read()[1] == ConfigFile(None).read()[1]
    path.write_text("# as it comes\n")
    assert ConfigFile(path).read()[1].privacy.min_people == 0


def settings(**tables: Any) -> Settings:
    return Settings(**{"device": {"id": "kiosk-1"}} | tables)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"privacy": {"min_people": 3}}, {}, "privacy.min_people from 3 to 0"),
        ({"privacy": {"schedule": ["daily 20:00-08:00"]}}, {}, "privacy.schedule covers 5040 minutes of the week less"),
        (
            {"privacy": {"schedule": ["daily 20:00-08:00"]}},
            {"privacy": {"schedule": ["daily 20:00-07:59"]}},
            "privacy.schedule covers 7 minutes of the week less",
        ),
        (
            {"privacy": {"schedule": ["daily 20:00-08:00"]}, "device": {"id": "k", "timezone": "Europe/Berlin"}},
            {"privacy": {"schedule": ["daily 20:00-08:00"]}},
            "device.timezone of privacy.schedule from Europe/Berlin to None",
        ),
        (
            {"privacy": {"schedule": ["daily 20:00-08:00"]}},
            {"privacy": {"schedule": ["daily 20:00-08:00"], "without_clock": "trust"}},
            "privacy.without_clock from private to trust",
        ),
        ({"privacy": {"context": "public"}}, {"privacy": {"context": "home"}}, "privacy.context from public to home"),
        ({}, {"web": {"preview": True}}, "web.preview is on"),
        ({}, {"web": {"enabled": True}}, "web.enabled is on"),
        ({}, {"web": {"host": "0.0.0.0"}}, "web.host can be reached by others"),
        ({"camera": {"source": "none"}}, {}, "camera.source is no longer none"),
        ({"microphone": {"source": "none"}}, {}, "microphone.source is no longer none"),
        ({}, {"commands": {"enabled": True}}, "commands.enabled is on"),
        (
            {"commands": {"enabled": True, "allow": ["status"]}},
            {"commands": {"enabled": True, "allow": ["status", "privacy", "camera"]}},
            "commands.allow has camera, privacy",
        ),
        ({}, {"mqtt": {"host": "elsewhere"}}, "mqtt publishes to another broker"),
        ({"mqtt": {"tls": {"enabled": True}}}, {}, "mqtt.tls.enabled is off"),
        ({}, {"sinks": {"jsonl": {"enabled": True}}}, "sinks.jsonl is on"),
    ],
)
def test_privacy_loosened_by_a_reload_is_logged(before: dict[str, Any], after: dict[str, Any], said: str) -> None:
    assert loosened(settings(**before), settings(**after)) == (said,)
    tightened = loosened(settings(**after), settings(**before))
    assert all("context" in line or "timezone" in line or "broker" in line for line in tightened)


def times() -> st.SearchStrategy[str]:
    minute = st.integers(0, 1439).map(lambda m: f"{m // 60:02}:{m % 60:02}")
    return st.builds(lambda d, a, b: f"{d} {a}-{b}", st.sampled_from([*DAYS, "mon-fri", "daily"]), minute, minute)


def week(schedule: list[str]) -> Iterator[bool]:
    parsed = [Times.parse(text) for text in schedule]
    return (any(t.hold(day, m) for t in parsed) for day in range(7) for m in range(0, 1440, 7))


@given(before=st.lists(times(), max_size=3), after=st.lists(times(), max_size=3))
def test_no_minute_of_privacy_is_lost_in_silence(before: list[str], after: list[str]) -> None:
    lost = any(was and not now for was, now in zip(week(before), week(after), strict=True))
    told = loosened(settings(privacy={"schedule": before}), settings(privacy={"schedule": after}))
    assert told if lost else True
    assert loosened(settings(privacy={"schedule": before}), settings(privacy={"schedule": before})) == ()
