"""The device's own history: bounded, exact, on the wall clock, and none the worse for restarts and wrong clocks."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.domain.clock import ManualClock, SystemClock
from edge_agent.domain.summary import AttentionSums, BurstSums, FaceSums, Summary, Window
from edge_agent.live import history as module
from edge_agent.live.history import EVERY_S, FILE, TIERS, History, HistoryFile, Tier
from edge_agent.summary.summariser import Summariser
from edge_agent.web.analytics import report

NOON = 1_790_000_400.0
SMALL = (Tier(60, 5), Tier(600, 4))


def summary(start: float, begin: float, clock: str = "synced") -> Summary:
    window = Window(
        begin,
        begin + 10.0,
        FaceSums(2, 15.0, 10.0, 1, 1),
        bursts={"laughter": BurstSums(1, 0.9, 0.5)},
        attention=AttentionSums(10.0, 6.0, 5.0),
    )
    return Summary(start, clock, window)  # type: ignore[arg-type]


def fill(history: History, start: float, count: int, begin: float = 50.0, clock: str = "synced") -> None:
    for k in range(count):
        history.add(summary(start + 10.0 * k, begin + 10.0 * k, clock))


def test_a_period_is_the_sum_of_what_lies_in_it() -> None:
    history = History(SMALL)
    fill(history, NOON, 120)
    whole = history.between(NOON, NOON + 1200)
    assert whole is not None
    assert (whole.begin, whole.end) == (NOON, NOON + 1200)
    assert whole.faces.person_seconds == pytest.approx(120 * 15.0)
    assert (whole.faces.carried, whole.faces.arrived) == (1, 120)
    assert whole.bursts["laughter"].count == 120
    part = history.between(NOON + 1020, NOON + 1165)
    assert part is not None
    assert part.seconds == 120, "whole minutes within the period, for as long as minutes are kept"
    assert history.between(NOON - 500, NOON) is None


def test_the_finer_the_shorter_it_is_kept() -> None:
    history = History(SMALL)
    fill(history, NOON, 60 * 6)
    assert [w.begin for w in history.series(0, 1e10, 60)] == [NOON + 60 * k for k in range(55, 60)]
    assert [w.begin for w in history.series(0, 1e10, 600)] == [NOON + 600 * k for k in (2, 3, 4, 5)]
    with pytest.raises(KeyError):
        history.series(0, 1e10, 7)


def test_runs_add_up_and_the_time_between_them_is_not_invented(tmp_path: Path) -> None:
    clock = ManualClock()
    file = HistoryFile(tmp_path / FILE, clock)
    first = file.read()
    fill(first, NOON, 66)
    file.keep(first)
    assert not (tmp_path / FILE).exists(), "not before it is due"
    clock.advance(EVERY_S)
    file.keep(first)
    second = HistoryFile(tmp_path / FILE, clock).read()
    assert second.document() == first.document()
    fill(second, NOON + 3600, 60, begin=0.0)
    whole = second.between(NOON, NOON + 7200)
    assert whole is not None
    assert whole.faces.seconds == pytest.approx(1260.0), "ten minutes and one of the first run, ten of the second"
    assert whole.seconds == 4200.0


def test_what_was_measured_at_an_unknown_time_is_left_out() -> None:
    history = History(SMALL)
    fill(history, 50.0, 12, clock="unsynced")
    assert history.between(0, 1e10) is None


def test_a_clock_set_back_repeats_no_time() -> None:
    history = History(SMALL)
    fill(history, NOON, 60)
    fill(history, NOON + 120, 60, begin=650.0)
    whole = history.between(NOON, NOON + 3600)
    assert whole is not None
    assert whole.faces.seconds <= whole.seconds + 1e-6


def test_a_clock_that_is_set_back_far_repeats_nothing_and_leaves_the_order() -> None:
    history = History((Tier(60, 30),))
    fill(history, NOON, 60)
    fill(history, NOON + 120, 60, begin=650.0)
    assert [w.begin for w in history.series(0, 1e11, 60)] == [NOON + 60 * k for k in range(12)]
    fill(history, NOON - 3600, 60, begin=1250.0)
    begins = [w.begin for w in history.series(0, 1e11, 60)]
    assert begins == sorted(begins)
    assert len(begins) == 22


@given(
    jitter=st.lists(st.floats(-2e-3, 2e-3), min_size=180, max_size=180),
    slew=st.floats(-5e-4, 5e-4),
    step=st.floats(-3.0, 3.0),
)
@example(jitter=[2e-6 * (-1) ** k for k in range(180)], slew=0.0, step=0.0)
@example(jitter=[0.0] * 180, slew=-5e-4, step=-3.0)
def test_a_wall_clock_that_jitters_is_slewed_and_is_stepped_a_little_costs_nothing(
    jitter: list[float], slew: float, step: float
) -> None:
    history, shown = History((Tier(60, 99), Tier(600, 9))), 0.0
    for k in range(180):
        shown = 10.0 * k * (1 + slew) + jitter[k] + (step if k >= 90 else 0.0)
        history.add(summary(NOON + shown, 50.0 + 10.0 * k))
    assert len(history.series(0, 1e11, 60)) == 30
    assert len(history.series(0, 1e11, 600)) == 3, "a longer tier drops nothing because its parts share a moment"
    whole = history.between(NOON - 10, NOON + 2000)
    assert whole is not None
    assert whole.bursts["laughter"].count == 180
    assert whole.seconds == pytest.approx(1800, abs=10)
    part = history.between(NOON + 60, NOON + 120)
    assert part is not None, "a minute that begins a microsecond early is still that minute"


@pytest.mark.parametrize(("length", "minutes", "tens"), [(30.0, 21, 2), (60.0, 21, 2), (90.0, 14, 2), (600.0, 2, 2)])
def test_windows_as_long_as_a_step_are_steps(length: float, minutes: int, tens: int) -> None:
    """With ``summary.window_s = 60`` there is nothing to roll up to a minute."""
    history = History((Tier(60, 99), Tier(600, 9)))
    for k in range(int(1260 // length)):
        start = NOON + length * k
        window = Window(50.0 + length * k, 50.0 + length * (k + 1), bursts={"cough": BurstSums(1, 0.9, 0.5)})
        history.add(Summary(start, "synced", window))
    assert len(history.series(0, 1e11, 60)) == minutes
    assert len(history.series(0, 1e11, 600)) == tens
    whole = history.between(NOON - 1, NOON + 1300)
    assert whole is not None
    assert whole.bursts["cough"].count >= 20 * 60 // length


def test_a_real_clock_lays_windows_that_add_up() -> None:
    """Monotonic lengths on wall-clock beginnings: neighbours share or miss microseconds, all the time."""
    history, clock = History((Tier(1, 99), Tier(2, 99))), SystemClock(lambda: True)
    began = clock.wall()
    summariser = Summariser(clock, 0.05, history.add, lambda *_: None)
    deadline = clock.monotonic() + 4.2
    while clock.monotonic() < deadline:
        time.sleep(max(0.0, summariser.due - clock.monotonic()))
        summariser.tick()
    assert len(history.series(0, 1e11, 1)) == 4
    assert len(history.series(0, 1e11, 2)) == 2
    whole = history.between(began - 1, clock.wall() + 1)
    assert whole is not None
    assert whole.seconds == pytest.approx(4.0, abs=0.2)
    assert report(history, began, clock.wall(), "kiosk-1", 1)["series"], "and the analytics made of them"


def test_what_was_recorded_under_a_looser_rule_is_stripped(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path / FILE, ManualClock())
    loose = file.read()
    fill(loose, NOON, 60)
    file.keep(loose, now=True)
    strict = HistoryFile(tmp_path / FILE, ManualClock(), min_people=3)
    (first, *_) = strict.read().series(0, 1e11, 60)
    assert first.attention == AttentionSums()
    assert first.faces.most == 2
    assert first.withheld == 60
    strict.keep(strict.read(), now=True)
    assert HistoryFile(tmp_path / FILE, ManualClock(), min_people=2).read().series(0, 1e11, 60)[0] == first


def test_a_clock_that_was_ahead_for_hours_costs_no_later_history() -> None:
    history = History((Tier(60, 5),))
    fill(history, NOON + 1e8, 60)
    fill(history, NOON, 30, begin=650.0)
    assert [w.begin for w in history.series(0, NOON + 1e7, 60)] == [NOON + 60 * k for k in range(5)]


def test_sixty_days_are_put_together_with_a_few_looks_at_each_window(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {
        str(tier.seconds): [
            {"begin": NOON - tier.seconds * k, "end": NOON - tier.seconds * (k - 1)} for k in range(tier.keep, 0, -1)
        ]
        for tier in TIERS
    }
    count, compared, overlap = sum(tier.keep for tier in TIERS), Counter[str](), module._overlap

    def counting(a: Window, b: Window) -> bool:
        compared["times"] += 1
        return overlap(a, b)

    monkeypatch.setattr(module, "_overlap", counting)
    history = History()
    history.restore({"windows": rows})
    whole = history.between(0, 1e11)
    assert whole is not None
    assert whole.seconds == 60 * 86_400
    assert compared["times"] <= 4 * count, "a device has better to do"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]",
        b"[" * 100_000,
        b'{"windows":{"60":[{"begin":"x"}]}}',
        b'{"windows":{"a":[]}}',
        b'{"windows":{"60":[{"begin":1e9,"end":0}]}}',
        b'{"windows":{"60":[{"begin":NaN,"end":NaN}]}}',
        b'{"min_people":"few","windows":{"60":[]}}',
        b'{"windows":{"60":[{"begin":0,"end":60,"emotion":{"weight":1,"p":[1]}}]}}',  # of a version with other classes
    ],
)
def test_an_unusable_file_is_reported_and_replaced(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_bytes(content)
    file = HistoryFile(tmp_path / FILE, ManualClock())
    history = file.read()
    assert "the history begins anew" in caplog.text
    file.keep(history, now=True)
    assert json.loads((tmp_path / FILE).read_bytes())["windows"] == {"60": [], "600": [], "3600": []}


def test_a_state_folder_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    HistoryFile(tmp_path / "file" / FILE, ManualClock()).keep(History(), now=True)
    assert "cannot be written" in caplog.text
