"""The load generator against a real mosquitto: its faults lose nothing, and its ledger says exactly what was sent."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_agent.delivery.topics import split
from edge_agent.domain.summary import Summary
from edge_agent.fleet.ledger import digest
from edge_agent.fleet.simulation import FaultyClock, SimulatedScene
from edge_agent.fleet.swarm import SITE_SIZE, Plan, Swarm, place
from edge_agent.payloads.rendering import encode, summary_document
from edge_agent.settings import MqttSettings
from edge_agent.summary.summariser import merge_summaries
from tests.support.fixtures import MakeBroker
from tests.support.payloads import checked, key, kind_of, validated
from tests.support.subscriber import Subscriber

PROGRAM = [sys.executable, "-c", "from edge_agent.cli.swarm import main; main()"]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=120)


def test_what_arrives_through_outages_kills_and_wrong_clocks_is_what_the_ledger_says(
    make_broker: MakeBroker, tmp_path: Path
) -> None:
    broker = make_broker()
    plan = Plan(
        20,
        60.0,
        MqttSettings(host=broker.host, port=broker.port),
        tmp_path / "state",
        window_s=1.0,
        outages=0.4,
        outage_s=(1.0, 3.0),
        restarts=1000,
        wrong_clocks=0.5,
        drain_s=60.0,
        ledger=tmp_path / "ledger.jsonl",
    )
    with Subscriber(broker.port) as subscriber, Swarm(plan) as swarm:
        for figures in swarm.run():
            if figures.windows > 40 and not swarm.kills:
                swarm.kill(0)
            if swarm.kills and figures.outages and figures.restarts and figures.windows > 80:
                swarm.stop()
        rows = [json.loads(line) for line in plan.ledger.read_text(encoding="utf-8").splitlines()]
        told = {(row["device"], row["boot_id"], row["seq"]): row["digest"] for row in rows}
        subscriber.wait(lambda messages: len(_rows(messages)) >= len(told))
        documents = _documents(subscriber.messages)
        for message in subscriber.messages:
            kind = kind_of(split("edge-agent", message.topic)[1])
            if kind is not None:
                checked(kind, message.payload)
    assert {key(document): digest(document) for document in documents} == told
    assert figures.pending == 0
    assert figures.tally.rows >= len(told) > 40
    assert figures.tally.connections > 20
    assert swarm.backlog_peak > 0
    assert {document["site"] for document in documents} == {place(k)["site"] for k in range(20)}
    assert {d["clock"] for d in documents if "faces" in d} == {"synced", "unsynced"}


def _documents(messages: list[Any]) -> list[dict[str, Any]]:
    found = []
    for message in messages:
        _, relative = split("edge-agent", message.topic) or ("", "")
        if relative == "summary" or relative.startswith(("event/", "backfill/")):
            found.append(validated(message.payload))
    return found


def _rows(messages: list[Any]) -> dict[tuple[str, str, int], str]:
    return {key(document): digest(document) for document in _documents(messages)}


def test_a_scene_is_the_same_for_the_same_seed_and_its_windows_merge() -> None:
    def summaries(seed: int) -> list[Summary]:
        scene = SimulatedScene(random.Random(seed), 0.0, hears=True)
        return [Summary(1e9 + t, "synced", scene.window(t, t + 10.0)[0]) for t in range(0, 3600, 10)]

    hour = summaries(1)
    assert hour == summaries(1) != summaries(2)
    sizes = []
    for seq, summary in enumerate(hour, 1):
        payload = encode(summary_document(summary, "kiosk-1", "boot", seq))
        document = validated(payload)
        sizes.append(len(payload))
        assert 0 <= (document["faces"]["mean"] or 0) <= (document["faces"]["max"] or 0)
    assert 300 < sum(sizes) / len(sizes) < 700  # as of real agents, docs/performance.md
    whole = hour[0]
    for summary in hour[1:]:
        whole = merge_summaries(whole, summary)
    arrived = sum(s.window.faces.arrived for s in hour)
    assert whole.window.faces.arrived == arrived > 10
    assert whole.window.stays.count > 10
    assert {"laughter", "cough"} <= set(whole.window.bursts)


def test_clocks_are_wrong_as_asked() -> None:
    clocks = [FaultyClock.drawn(random.Random(k), 0.5, 0.0, 1e12) for k in range(200)]
    wrong = [clock for clock in clocks if clock.faulty]
    assert 60 < len(wrong) < 140
    assert any(not clock.synced() for clock in wrong)
    assert all(clock.synced() for clock in clocks if not clock.faulty)


@pytest.mark.parametrize(("devices", "processes"), [(1, 1), (30, 2), (101, 3), (2000, 7)])
def test_every_device_is_in_one_process_and_sites_are_whole(devices: int, processes: int) -> None:
    plan = Plan(devices, 1.0, MqttSettings(), Path(), processes)
    parts = [plan.of_process(k) for k in range(processes)]
    assert [number for part in parts for number in part] == list(range(devices))
    assert all(part.start % SITE_SIZE == 0 for part in parts)
    assert len({plan.device_id(k) for k in range(devices)}) == devices


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["0"], 2, "greater than or equal to 1"),
        (["5", "--host", "mqtt://broker"], 2, "--host: takes the bare name"),
        (["5", "--port", "1", "--host", "127.0.0.1", "--seconds", "1", "--drain", "0"], 6, "no device could connect"),
    ],
)
def test_a_swarm_that_cannot_run_says_why_in_one_line(arguments: list[str], code: int, words: str) -> None:
    done = _run(*arguments)
    assert done.returncode == code, done.stderr
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
