"""Collectors as processes between a real mosquitto and a real PostgreSQL: nothing is lost, nothing is stored twice."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

pytest.importorskip("psycopg", reason="needs psycopg: the extra [collect]")

from edge_agent.payloads.rendering import encode
from tests.support.collect import Collectors, Publisher, event, migrated, produced, query, stored, summary, verdict
from tests.support.live_agent import BASE, live
from tests.support.mosquitto import Mosquitto, free_port
from tests.support.postgres import Postgres

pytestmark = [
    pytest.mark.skipif(not Postgres.available(), reason="needs the Debian package postgresql"),
    pytest.mark.skipif(not Mosquitto.available(), reason="needs the Debian package mosquitto"),
]

Eventually = Callable[..., Any]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "mosquitto"
    keeps = ("persistence true", f"persistence_location {folder}/", "max_queued_messages 0")
    with Mosquitto(folder, options=keeps) as running:
        yield running


@pytest.fixture
def collectors(tmp_path: Path, server: Postgres, broker: Mosquitto) -> Iterator[Collectors]:
    made = Collectors(tmp_path, broker.port, migrated(server, f"db{time.monotonic_ns()}"))
    yield made
    made.end()


@pytest.fixture
def publisher(broker: Mosquitto) -> Iterator[Publisher]:
    made = Publisher(broker.port)
    yield made
    made.close()


def count(collectors: Collectors, table: str = "keys") -> int:
    return int(query(collectors.dsn, f"SELECT count(*) AS n FROM {table}")[0]["n"])


def start(collectors: Collectors, eventually: Eventually, *numbers: int) -> None:
    """Start collectors, and wait until the broker knows them: from then on it keeps what is meant for them."""
    for number in numbers:
        collectors.start(number)
    for number in numbers:
        eventually(lambda number=number: "connected to the broker" in collectors.log(number))


def test_killed_collectors_lose_and_double_nothing(
    collectors: Collectors, publisher: Publisher, server: Postgres, eventually: Eventually
) -> None:
    rng = random.Random(7)
    start(collectors, eventually, 0, 1)
    sent: dict[tuple[str, str], int] = {}
    for turn in range(36):
        for n in range(30):
            key = f"kiosk-{n}", "b"
            sent[key] = sent.get(key, 0) + 1
            publisher.send(produced(*key, sent[key]))
            if rng.random() < 0.1:
                publisher.send(produced(*key, rng.randint(1, sent[key])))
        if turn % 12 == 5:
            number = turn // 12 % 2
            before = count(collectors)
            eventually(lambda before=before: count(collectors) > before)
            collectors.kill(number)
            collectors.start(number)
        if turn == 30:
            server.stop(kill=True)
        if turn == 33:
            server.start()
    publisher.flush()
    total = sum(sent.values())
    eventually(lambda: count(collectors) == total, timeout=150)
    found = verdict(collectors.dsn, sent)
    assert (found.published, found.lost, found.double, found.unequal, found.foreign) == (total, 0, 0, 0, 0)
    assert [collectors.stop(n) for n in (0, 1)] == [0, 0]


def test_without_sharing_a_restart_of_the_broker_loses_nothing_either(
    collectors: Collectors, publisher: Publisher, broker: Mosquitto, eventually: Eventually
) -> None:
    """mosquitto 2.0 forgets shared subscriptions, not ordinary ones. Both collectors get all; it is stored once."""
    collectors.extra = 'group = ""'
    start(collectors, eventually, 0, 1)
    collectors.kill(0)
    collectors.kill(1)
    publisher.send(*(summary(seq=n) for n in range(1, 51)))
    publisher.flush()
    broker.restart()
    publisher.send(*(summary(seq=n) for n in range(51, 101)))
    publisher.flush()
    collectors.start(0)
    collectors.start(1)
    eventually(lambda: count(collectors) == 100, timeout=60)
    assert len(list(stored(collectors.dsn))) == 100


def test_nothing_is_acknowledged_before_it_is_committed(
    collectors: Collectors, publisher: Publisher, server: Postgres, eventually: Eventually
) -> None:
    start(collectors, eventually, 0)
    server.stop(kill=True)
    try:
        publisher.send(*(summary(seq=n) for n in range(1, 101)))
        publisher.flush()
        eventually(lambda: "messages wait at the broker" in collectors.log())
        collectors.kill()
    finally:
        server.start()
    assert count(collectors) == 0
    start(collectors, eventually, 0)
    eventually(lambda: count(collectors) == 100)
    assert collectors.stop() == 0
    assert "stored 100 windows" in collectors.log()
    # What was acknowledged does not come again.
    collectors.start()
    publisher.send(summary(seq=101))
    eventually(lambda: count(collectors) == 101)
    assert collectors.stop() == 0
    assert "stored 1 windows and 0 events, 0 came again" in collectors.log()


def test_a_collector_with_nothing_to_do_comes_back_to_its_database(
    collectors: Collectors, publisher: Publisher, server: Postgres, eventually: Eventually
) -> None:
    start(collectors, eventually, 0)
    server.stop(kill=True)
    try:
        eventually(lambda: "messages wait at the broker" in collectors.log())
        publisher.send(summary(seq=1))
        publisher.flush()
    finally:
        server.start()
    eventually(lambda: count(collectors) == 1, timeout=60)


def test_what_cannot_be_stored_stops_nothing(
    collectors: Collectors, publisher: Publisher, eventually: Eventually
) -> None:
    collectors.extra = f'message_bytes = 2000\nmetrics = "127.0.0.1:{free_port()}"'
    start(collectors, eventually, 0)
    topic = "edge-agent/kiosk-1/summary"
    publisher.send(summary(seq=1), summary(seq=2) | {"radar": {"x": [1]}})
    publisher.send("nonsense", b"\xff\x00", "x" * 100_000, "", '{"v":1,"doctor":"1"}', topic=topic)
    publisher.send(encode(summary("kiosk-2")), encode({"v": 2}), "nonsense", topic=topic)
    publisher.send(event(seq=3))
    eventually(lambda: count(collectors) == 3)
    assert list(stored(collectors.dsn)) == [summary(seq=1), summary(seq=2) | {"radar": {"x": [1]}}, event(seq=3)]
    rejected = query(collectors.dsn, "SELECT reason, size, times FROM rejected ORDER BY size")
    assert [(r["size"], r["times"]) for r in rejected[:3]] == [(2, 1), (7, 1), (8, 2)]
    assert rejected[-1] == {"reason": "it has more than 2000 bytes", "size": 100_000, "times": 1}
    assert len(rejected) == 5
    address = collectors.extra.split('"')[1]
    with urlopen(f"http://{address}/metrics") as answer:
        metrics = answer.read().decode()
    assert "edge_agent_collect_windows_total 2\n" in metrics
    assert "edge_agent_collect_rejected_total 6\n" in metrics
    assert "edge_agent_collect_database_up 1\n" in metrics


def test_one_collector_reads_the_state_of_devices_and_another_takes_over(
    collectors: Collectors, publisher: Publisher, eventually: Eventually
) -> None:
    publisher.send("online", topic=f"{BASE}/status", retain=True)
    publisher.flush()
    start(collectors, eventually, 0)
    eventually(lambda: query(collectors.dsn, "SELECT status FROM devices") == [{"status": "online"}])
    start(collectors, eventually, 1)
    collectors.kill(0)
    publisher.send("offline", topic=f"{BASE}/status", retain=True)
    eventually(lambda: query(collectors.dsn, "SELECT status FROM devices") == [{"status": "offline"}])
    assert "reads the state of devices" in collectors.log(1)


def test_rows_equal_what_a_real_agent_publishes(
    tmp_path: Path, server: Postgres, collectors: Collectors, eventually: Eventually
) -> None:
    """The film of the demo, with its real models."""
    with live(tmp_path / "agent") as agent:
        assert agent.broker
        assert agent.subscriber
        collectors.port = agent.broker.port
        start(collectors, eventually, 0)
        begin = len(agent.subscriber.messages)
        agent.summary(lambda document: document["emotion"])
        agent.summary(lambda document: document["seq"] > 8)
        eventually(lambda: query(collectors.dsn, "SELECT FROM devices WHERE info IS NOT NULL AND health IS NOT NULL"))
        agent.process.terminate()
        agent.process.wait(20)
        topics = (f"{BASE}/summary", f"{BASE}/event/", f"{BASE}/backfill/")
        messages = [m.json for m in agent.subscriber.messages[begin:] if m.topic.startswith(topics)]
        assert len(messages) >= 3
        last = messages[-1]["seq"]
        eventually(lambda: query(collectors.dsn, "SELECT FROM keys WHERE seq = %s", last))
        assert collectors.stop() == 0
        rows = {(d["boot_id"], d["seq"]): d for d in stored(collectors.dsn)}
        assert [rows[m["boot_id"], m["seq"]] for m in messages] == messages
        info = json.loads(agent.subscriber.on(f"{BASE}/info")[-1].payload)
        device = query(collectors.dsn, "SELECT * FROM devices")[0]
        assert (device["info"], device["version"], device["site"]) == (info, info["version"], info.get("site"))
        assert query(collectors.dsn, "SELECT * FROM rejected") == []


def test_a_collector_that_retires_leaves_nothing_at_the_broker(
    collectors: Collectors, publisher: Publisher, broker: Mosquitto, eventually: Eventually
) -> None:
    start(collectors, eventually, 0, 1)
    collectors.kill(0)
    publisher.send(*(summary(seq=n) for n in range(1, 101)))
    publisher.flush()
    done = collectors.command("retire", number=0)
    assert done.returncode == 0, done.stderr
    publisher.send(*(summary(seq=n) for n in range(101, 201)))
    eventually(lambda: count(collectors) == 200)
    collectors.start(0)
    eventually(lambda: collectors.log(0).count("connected to the broker") == 2)
    assert collectors.stop(0) == 0
    assert "stored 0 windows" in collectors.log(0)


def test_commands_end_with_one_line_and_a_code(collectors: Collectors, server: Postgres, broker: Mosquitto) -> None:
    done = collectors.command("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "MQTT 5 with shared subscriptions" in done.stdout
    assert "native partitions, 0 devices" in done.stdout

    def fails(code: int, told: str, *words: str) -> None:
        result = collectors.command(*words)
        assert result.returncode == code, result.stderr
        assert result.stderr.count("\n") == 1
        assert told in result.stderr

    dsn, port = collectors.dsn, collectors.port
    collectors.port = free_port()
    fails(6, "broker: ", "check")
    collectors.port = port
    collectors.dsn = server.create(f"empty{time.monotonic_ns()}")
    fails(2, "run 'edge-agent-collect migrate'", "run")
    collectors.dsn = dsn + " port=1"
    fails(6, "database: ", "migrate")
    collectors.extra = "batch = 0"
    fails(2, "reading.batch", "run")
