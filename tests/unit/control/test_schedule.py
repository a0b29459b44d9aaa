"""Scheduled privacy and rates: by the clock on the wall, through its changes, and when nobody knows the time."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from edge_agent.control.schedule import Schedule
from edge_agent.control.state import Control, ControlState, OverridesFile
from edge_agent.doctor.result import CheckStatus
from edge_agent.doctor.software import judge_zone
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.errors import ConfigError, RefusedError
from edge_agent.settings import Settings, parse
from edge_agent.settings.schedule import Times, in_force

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = [Times.parse("mon-fri 18:00-08:00")]


def at(text: str, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("moment", "private"),
    [
        ("2026-11-27T17:59:59", False),  # a Friday
        ("2026-11-27T18:00:00", True),
        ("2026-11-28T07:59:59", True),  # Friday's night ends on Saturday
        ("2026-11-28T08:00:00", False),
        ("2026-11-28T20:00:00", False),  # Saturday has none of its own
        ("2026-11-30T05:00:00", False),  # nor has Sunday, whose night would end now
        ("2026-12-01T05:00:00", True),
    ],
)
def test_times_past_midnight_belong_to_the_day_they_began_on(moment: str, private: bool) -> None:
    assert in_force(NIGHT, at(moment), BERLIN) is private


def test_days_are_named_in_ranges_lists_and_around_the_week() -> None:
    assert Times.parse("Sat-Mon 9:00-10:00").days == {5, 6, 0}
    assert Times.parse("mon,wed-thu 09:00-10:00").days == {0, 2, 3}
    assert Times.parse("daily 00:00-24:00") == Times(frozenset(range(7)), 0, 1440)
    assert all(Times.parse("sun 12:00-12:00").hold(*moment) for moment in ((6, 720), (0, 719)))
    assert not Times.parse("sun 12:00-12:00").hold(0, 720)


def test_in_spring_the_hour_that_does_not_exist_is_not_missed() -> None:
    """At 2026-03-29 the clock goes from 02:00 to 03:00."""
    morning = [Times.parse("sun 02:30-04:00")]
    before = at("2026-03-29T01:59:59")
    assert [in_force(morning, before + s, BERLIN) for s in (0, 1, 3600, 3601)] == [False, True, True, False]
    lost = [Times.parse("sun 02:00-03:00")]
    assert not any(in_force(lost, before + s, BERLIN) for s in range(-3600, 7200, 60))


def test_in_autumn_the_hour_that_comes_twice_counts_twice() -> None:
    """At 2026-10-25 the clock goes from 03:00 back to 02:00."""
    hour = [Times.parse("sun 02:00-03:00")]
    first, second = at("2026-10-25T02:30:00"), at("2026-10-25T02:30:00", fold=1)
    assert second - first == 3600
    assert in_force(hour, first, BERLIN)
    assert in_force(hour, second, BERLIN)
    held = sum(in_force(hour, first - 7200 + 60 * k, BERLIN) for k in range(300))
    assert held == 120


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("18:00-08:00", "is not a time of the week"),
        ("mon 25:00-26:00", "25:00 is not a time of day"),
        ("mon 10:60-11:00", "10:60 is not a time of day"),
        ("mon 24:00-25:00", "not a time of day"),
        ("mon 24:00-02:00", "the day after"),
        ("mun-fri 10:00-11:00", "'mun-fri' is not a day"),
        ("mon- 10:00-11:00", "'mon-' is not a day"),
    ],
)
def test_a_bad_schedule_is_refused_with_its_line(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=r"c\.toml, line 2: privacy\.schedule: .*" + word):
        parse(f'[privacy]\nschedule = ["{text}"]', "c.toml")


@pytest.mark.parametrize("zone", ["Mars/Base", "../etc", ""])
def test_a_bad_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(ConfigError, match=r"device\.timezone: .*not a time zone"):
        parse(f'[device]\ntimezone = "{zone}"', "c.toml")


# ---------------------------------------------------------------- as the control keeps to it


def control(folder: Path, clock: ManualClock, **privacy: Any) -> tuple[Control, list[ControlState]]:
    settings = Settings(
        device={"timezone": "Europe/Berlin"},
        privacy={"schedule": ["mon-fri 18:00-08:00"], **privacy},
        camera={"source": "demo"},
    )
    made, told = Control(settings, clock, OverridesFile(folder / "choices.json")), list[ControlState]()
    made.listen(told.append)
    return made, told


def open_(state: ControlState) -> bool:
    return state.watching or state.listening


def test_the_devices_are_released_in_time_and_taken_up_again(tmp_path: Path) -> None:
    clock = ManualClock(wall=at("2026-11-27T17:59:59"))
    made, told = control(tmp_path, clock)
    assert [open_(s) for s in told] == [True]
    made.tick()
    clock.advance(1)
    made.tick()
    clock.advance(14 * 3600)
    made.tick()
    made.tick()
    assert [(s.watching, s.listening) for s in told] == [(True, True), (False, False), (True, True)]
    assert not (tmp_path / "choices.json").exists()  # the schedule is nobody's choice


def test_the_schedule_cannot_be_overridden_and_overrides_outlast_it(tmp_path: Path) -> None:
    clock = ManualClock(wall=at("2026-11-27T20:00:00"))
    made, _ = control(tmp_path, clock)
    for wish, value in ((made.set_privacy, False), (made.set_camera, True), (made.set_microphone, True)):
        with pytest.raises(RefusedError, match="privacy"):
            wish(value)
    made.resume()
    assert not open_(made.state)
    made.set_privacy(True)
    clock.advance(12 * 3600)
    made.tick()
    assert made.state.private
    assert not made.state.scheduled
    made.set_privacy(False)
    assert open_(made.state)


def test_without_a_known_time_the_devices_stay_released_until_it_is_known(tmp_path: Path) -> None:
    clock = ManualClock(wall=at("2026-11-27T12:00:00"), synced=False)
    made, told = control(tmp_path, clock)
    assert not open_(told[-1])
    clock.set_wall(at("2026-11-27T12:00:00"), synced=True)
    made.tick()
    assert open_(told[-1])
    clock.set_wall(at("2026-11-27T12:00:01"), synced=False)  # the network is gone: the time is still known
    made.tick()
    assert open_(made.state)
    clock.advance(6 * 3600)
    made.tick()
    assert not open_(made.state)


def test_a_trusted_clock_is_used_from_the_start(tmp_path: Path) -> None:
    clock = ManualClock(wall=at("2026-11-27T12:00:00"), synced=False)
    made, _ = control(tmp_path, clock, without_clock="trust")
    assert open_(made.state)


def test_without_a_schedule_an_unknown_time_releases_nothing(tmp_path: Path) -> None:
    made, _ = control(tmp_path, ManualClock(synced=False), schedule=[])
    assert open_(made.state)


# ---------------------------------------------------------------- rates

OPENING = {"times": ["mon-fri 09:00-18:00"], "profile": "detail", "max_fps": 6}
LUNCH = {"times": ["daily 12:00-13:00"], "min_fps": 1.5}


def paced(folder: Path, clock: ManualClock, *schedule: Any, **tables: Any) -> tuple[Control, list[ControlState]]:
    settings = Settings(device={"timezone": "Europe/Berlin"}, pacing={"schedule": schedule}, **tables)
    made, told = Control(settings, clock, OverridesFile(folder / "choices.json")), list[ControlState]()
    made.listen(told.append)
    return made, told


def test_rates_change_with_the_hour_and_the_first_that_holds_counts(tmp_path: Path) -> None:
    clock = ManualClock(wall=at("2026-11-27T08:59:59"))
    made, told = paced(tmp_path, clock, LUNCH, OPENING)
    for seconds in (0, 1, 3 * 3600, 3600, 5 * 3600):
        clock.advance(seconds)
        made.tick()
        made.tick()
    assert [(s.profile, s.max_fps) for s in told] == [
        ("standard", 8.0),
        ("detail", 6.0),
        ("standard", 8.0),
        ("detail", 6.0),
        ("standard", 8.0),
    ]
    assert not (tmp_path / "choices.json").exists()  # the schedule is nobody's choice


def test_a_scheduled_lower_bound_holds_within_its_times_only(tmp_path: Path) -> None:
    clock = ManualClock(wall=at("2026-11-27T12:30:00"))
    made, _ = paced(tmp_path, clock, LUNCH)
    assert made.bounds().idle == 1.5
    clock.advance(3600)
    made.tick()
    assert made.bounds().idle == 2.0


def test_a_choice_outranks_the_schedule_until_it_is_set_back(tmp_path: Path) -> None:
    clock = ManualClock(wall=at("2026-11-27T10:00:00"))
    made, _ = paced(tmp_path, clock, OPENING)
    made.set_profile("standard")  # what the config says for other times is a choice at this time
    made.set_max_fps(4)
    assert (made.state.profile, made.state.max_fps) == ("standard", 4.0)
    made.set_profile("detail")
    made.set_max_fps(None)
    assert (made.state.profile, made.state.max_fps) == ("detail", 6.0)
    clock.advance(9 * 3600)
    made.tick()
    assert made.state.profile == "standard"


def test_without_a_known_time_the_rates_are_those_of_the_table(tmp_path: Path) -> None:
    clock = ManualClock(wall=at("2026-11-27T10:00:00"), synced=False)
    made, _ = paced(tmp_path, clock, OPENING)
    assert made.state.profile == "standard"
    clock.set_wall(at("2026-11-27T10:00:00"), synced=True)
    made.tick()
    assert made.state.profile == "detail"
    trusting, _ = paced(
        tmp_path,
        ManualClock(wall=at("2026-11-27T10:00:00"), synced=False),
        OPENING,
        privacy={"without_clock": "trust"},
    )
    assert trusting.state.profile == "detail"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('times = ["mon 09:00-10:00"]', r"pacing\.schedule.*give profile, min_fps or max_fps"),
        ('times = [], profile = "detail"', r"pacing\.schedule.*times"),
        ('times = ["moon 09:00-10:00"], profile = "detail"', r"is not a day"),
        ('times = ["mon 09:00-10:00"], profil = "detail"', r"did you mean 'profile'"),
        ('times = ["mon 09:00-10:00"], min_fps = 9', r"min_fps \(9\.0\) is above max_fps \(5\.0\) mon 09:00-10:00"),
    ],
)
def test_a_bad_entry_is_refused_with_what_is_wrong(entry: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(f"[pacing]\nmax_fps = 5\nschedule = [{{{entry}}}]", "c.toml")


# ---------------------------------------------------------------- when nobody knows the time zone


def zoned(tz: str | None, localtime: Path = Path("/nowhere"), **tables: Any) -> Schedule:
    settings = Settings(**({"privacy": {"schedule": ["daily 18:00-08:00"]}} | tables))
    return Schedule(settings, ManualClock(wall=at("2026-11-27T12:00:00")), {} if tz is None else {"TZ": tz}, localtime)


def a_file(folder: Path, content: bytes) -> Path:
    path = folder / "localtime"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "tz", ["Foo/Bar", ":Foo/Bar", "Europe", "../../etc/passwd", "/etc/hostname", "/nowhere", "CET-", "\0"]
)
def test_in_an_unknown_zone_the_devices_stay_released(tz: str) -> None:
    """The C library would take UTC and say nothing: the camera would open at the wrong hours."""
    schedule = zoned(tz)
    assert schedule.private()
    assert "the time zone of the schedules is unknown: TZ = " in schedule.why
    assert schedule.problem.endswith("set device.timezone")


def test_without_a_zone_file_the_devices_stay_released(tmp_path: Path) -> None:
    for localtime in (Path("/nowhere"), tmp_path, a_file(tmp_path, b""), a_file(tmp_path, b"TZif2" + bytes(9))):
        schedule = zoned(None, localtime)
        assert schedule.private()
        assert "TZ is not set" in schedule.why


@pytest.mark.parametrize(
    ("tz", "private_at_noon_in_berlin"),
    [
        ("Europe/Berlin", False),
        (":Europe/Berlin", False),
        ("Pacific/Auckland", True),  # midnight there
        ("UTC", False),
        ("", False),
        ("NZST-12NZDT,M9.5.0,M4.1.0/3", None),
        ("<+13>-13", None),
    ],
)
def test_a_known_zone_is_kept_to(tz: str, private_at_noon_in_berlin: bool | None) -> None:
    schedule = zoned(tz)
    assert schedule.problem == ""
    if private_at_noon_in_berlin is not None:
        assert schedule.private() is private_at_noon_in_berlin


def test_the_configured_zone_outranks_the_machine_s() -> None:
    assert not zoned("Foo/Bar", device={"timezone": "Europe/Berlin"}).private()
    assert zoned("Foo/Bar", device={"timezone": "Pacific/Auckland"}).private()


def test_without_schedules_no_time_zone_is_needed() -> None:
    schedule = zoned("Foo/Bar", privacy={})
    assert (schedule.private(), schedule.problem) == (False, "")


def test_rates_by_schedule_do_not_hold_in_an_unknown_zone() -> None:
    pacing = {"schedule": [{"times": ["daily 00:00-24:00"], "profile": "detail"}]}
    assert zoned("Foo/Bar", privacy={}, pacing=pacing).pacing().profile == "standard"
    assert zoned("UTC", privacy={}, pacing=pacing).pacing().profile == "detail"


@pytest.mark.parametrize("wall", [1e12, 1e18, -1e18, float("nan"), float("inf")])
def test_an_invalid_clock_means_privacy(wall: float) -> None:
    settings = Settings(
        privacy={"schedule": ["daily 18:00-08:00"], "without_clock": "trust"}, device={"timezone": "UTC"}
    )
    schedule = Schedule(settings, ManualClock(wall=wall))
    assert schedule.private()
    assert "no time that exists" in schedule.why


@pytest.mark.parametrize("tz", ["Foo/Bar", "UTC"])
def test_an_unknown_time_zone_is_reported_and_means_privacy(tz: str) -> None:
    """With the real environment and the real clock, which reads TZ once in a process."""
    code = (
        "from edge_agent.control.schedule import Schedule; from edge_agent.domain.clock import SystemClock;"
        "from edge_agent.settings import Settings;"
        "import datetime; now = datetime.datetime.now(datetime.UTC);"
        "soon, later = (now + datetime.timedelta(minutes=m) for m in (30, 60));"
        "settings = Settings(privacy={'schedule': [f'daily {soon:%H:%M}-{later:%H:%M}']});"
        "s = Schedule(settings, SystemClock(lambda: True));"
        "print(s.private(), s.problem)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PATH": "", "TZ": tz}, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("True" if tz == "Foo/Bar" else "False \n"), done.stdout


def test_the_doctor_names_the_zone_of_the_schedules() -> None:
    settings = Settings(privacy={"schedule": ["daily 18:00-08:00"]})
    unknown = judge_zone(settings, zoned("Foo/Bar"))
    assert unknown.status is CheckStatus.FAIL
    assert "Foo/Bar" in unknown.detail
    assert "privacy is on" in unknown.detail
    assert "Europe/Berlin" in judge_zone(settings, zoned("Europe/Berlin")).detail
    assert judge_zone(Settings(), zoned("Foo/Bar", privacy={})).status is CheckStatus.OK


def test_privacy_by_an_unknown_zone_cannot_be_overruled_and_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Foo/Bar")
    settings = Settings(privacy={"schedule": ["daily 18:00-08:00"]})
    made = Control(settings, ManualClock(), OverridesFile(tmp_path / "choices.json"))
    assert made.state.private
    assert "Foo/Bar" in made.schedule_problem
    with pytest.raises(RefusedError, match="Foo/Bar"):
        made.set_privacy(False)
