"""Everything that touches wall time, once on the machine's own clocks: a manual clock has no jitter between two reads.

The history is in ``test_history``, the schedules in ``test_schedule``, the config file in ``test_daemon``.
"""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from edge_agent.analysis.pacing import LookSchedule
from edge_agent.control.state import Control, OverridesFile
from edge_agent.delivery.commands import Command, CommandServer, Outcome
from edge_agent.delivery.link import InboundMessage
from edge_agent.delivery.topics import Topics
from edge_agent.domain.clock import SystemClock
from edge_agent.domain.summary import Summary
from edge_agent.live.people import People
from edge_agent.payloads.rendering import timestamp
from edge_agent.settings import CommandSettings, Settings
from edge_agent.summary.summariser import RollUp, Summariser, merge_summaries
from edge_agent.web.analytics import people
from tests.support.outboxes import MQTT, make_outbox
from tests.support.windows import summary_draft
from tests.unit.summary.streams import look, reading


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock(lambda: True)


def test_windows_follow_one_another_on_both_clocks(clock: SystemClock) -> None:
    told: list[Summary] = []
    summariser = Summariser(clock, 0.05, told.append, lambda *_: None)
    before = time.time()
    while len(told) < 40:
        time.sleep(max(0.0, summariser.due - clock.monotonic()))
        summariser.accept(look(clock.monotonic(), "a"))
        summariser.tick()
    assert all(a.window.end == b.window.begin for a, b in pairwise(told)), "exact on the monotonic clock"
    assert all(abs(a.start + a.seconds - b.start) < 0.02 for a, b in pairwise(told)), "nearly on the wall clock"
    assert before - 0.02 <= told[0].start <= time.time()
    roll = RollUp((1.0, 2.0))
    rolled = [r for summary in told for r in roll.add(summary)]
    assert [r.level for r in rolled] == [1.0, 1.0, 2.0]
    whole = merge_summaries(rolled[0].summary, rolled[1].summary)
    assert whole.window == rolled[2].summary.window


def test_a_pause_ends_by_itself(clock: SystemClock, tmp_path: Path) -> None:
    control = Control(Settings(camera={"source": "demo"}), clock, OverridesFile(tmp_path / "choices.json"))
    control.pause(0.3)
    assert control.state.paused_until == pytest.approx(time.time() + 0.3, abs=0.1)
    again = Control(Settings(camera={"source": "demo"}), clock, OverridesFile(tmp_path / "choices.json"))
    for one in (control, again):
        assert not one.state.watching
        deadline = time.monotonic() + 10
        while not one.state.watching:
            assert time.monotonic() < deadline
            one.tick()
            time.sleep(0.01)


def test_a_command_of_now_is_obeyed_and_one_of_then_is_not(clock: SystemClock) -> None:
    answers: list[str] = []

    class Answers:
        def reply(self, request: InboundMessage, topic: str, payload: object) -> None:
            assert isinstance(payload, dict)
            answers.append(payload["status"])

    def perform(_command: Command) -> Outcome:
        return Outcome("done", {})

    names = Topics("edge-agent", "kiosk-1")
    server = CommandServer(CommandSettings(enabled=True), names, ("status",), perform, Answers(), clock)
    for sent in (time.time(), time.time() - 29, time.time() - 31, time.time() + 31):
        payload = f'{{"sent":"{timestamp(sent)}"}}'.encode()
        server.handle(InboundMessage(names.full("cmd/status"), payload, False, clock.monotonic()))
    assert answers == ["done", "done", "refused", "refused"]


def test_stored_times_are_corrected_once_the_time_is_known(tmp_path: Path) -> None:
    """The offset between both clocks is read at two moments; the start it gives is right within milliseconds."""
    clock = SystemClock(lambda: False)
    outbox = make_outbox(tmp_path, clock=clock)
    began = clock.monotonic()
    outbox.put([summary_draft(began, wall=100.0, clock="unsynced")])
    outbox.maintain()
    (row,) = outbox.lease(MQTT, 9)
    assert row.clock == "unsynced"
    outbox.close()
    outbox = make_outbox(tmp_path, clock=SystemClock(lambda: True))
    outbox.maintain()
    (row,) = outbox.lease(MQTT, 9)
    assert row.clock == "synced"
    assert row.start == pytest.approx(time.time() - (time.monotonic() - began), abs=0.05)
    outbox.close()


def test_a_visit_is_published_in_contiguous_windows(clock: SystemClock) -> None:
    crowd, began = People(), clock.monotonic()
    for _ in range(20):
        now = clock.monotonic()
        report = look(now, "a", observations=(reading("a", now, happiness=0.9),))
        crowd.accept(replace(report, faces=(replace(report.faces[0], since=began),)), now)
        time.sleep(0.01)
    now = clock.monotonic()
    crowd.tick(now)
    (told,) = people(crowd.since(began, now), "kiosk-1", clock.wall() - now)
    assert told["seconds"] == pytest.approx(0.2, abs=0.2)
    assert told["since"] <= told["until"] <= timestamp(time.time() + 0.05)


def test_looks_keep_their_rate(clock: SystemClock) -> None:
    schedule, looks, began = LookSchedule(), 0, clock.monotonic()
    while clock.monotonic() - began < 1.0:
        now = clock.monotonic()
        if schedule.due(now):
            looks += 1
            schedule.looked(now, 0.1)
        time.sleep(0.003)
    assert 5 <= looks <= 11
