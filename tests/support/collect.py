"""Collectors as processes, a load of many devices for them, and the proof that every message was stored once.

A device's messages follow from its name and their number, so that what should be stored is known without keeping it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from psycopg.rows import dict_row

from edge_agent.collect import database, rows
from edge_agent.collect.settings import DatabaseSettings
from edge_agent.payloads import rendering
from tests.support.postgres import Postgres

BEGIN = time.time() // 86_400 * 86_400 - 86_400
EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")


def summary(device: str = "kiosk-1", seq: int = 1, boot: str = "b1", start: float | None = None, **more: Any) -> Any:
    """A small summary, ten seconds long; ``more`` goes on top. ``start``: Unix seconds."""
    return {
        "v": 1,
        "device": device,
        "boot_id": boot,
        "seq": seq,
        "start": rendering.timestamp(BEGIN + 10 * seq if start is None else start),
        "seconds": 10.0,
        "clock": "synced",
        "faces": {"max": 2, "mean": 1.5, "person_seconds": 15.0, "tracks": 2},
        "emotion": None,
        "bursts": [],
        "quality": {
            "video_fps": 14.9,
            "analysed_fps": 3.0,
            "coverage": {"video": 1.0, "audio": 1.0},
            "dropped": 0,
            "flags": [],
        },
        **more,
    }


def event(device: str = "kiosk-1", seq: int = 1, boot: str = "b1", start: float | None = None, **more: Any) -> Any:
    """An arrival."""
    return {
        "v": 1,
        "device": device,
        "boot_id": boot,
        "seq": seq,
        "kind": "arrival",
        "label": "person",
        "score": 0.9,
        "start": rendering.timestamp(BEGIN + 10 * seq if start is None else start),
        "seconds": 0.0,
        **more,
    }


def produced(device: str, boot: str, seq: int) -> Any:
    """What ``device`` publishes as its message ``seq``: every fifth an event, the others summaries of all sorts."""
    rng = random.Random(f"{device} {boot} {seq}")
    if seq % 5 == 0:
        return event(device, seq, boot, score=round(rng.random(), 3), seconds=round(rng.random(), 3))
    more: dict[str, Any] = {"site": f"site-{hash_of(device) % 7}"}
    if rng.random() < 0.6:
        shares = [rng.randrange(13) for _ in EMOTIONS[1:]]
        p = [(100 - sum(shares)) / 100, *(share / 100 for share in shares)]
        more["emotion"] = {
            "dominant": EMOTIONS[p.index(max(p))],
            "p": dict(zip(EMOTIONS, p, strict=True)),
            "valence": round(rng.uniform(-1, 1), 2),
            "confidence": round(rng.random(), 2),
            "readings": rng.randrange(1, 40),
        }
    if rng.random() < 0.3:
        more["bursts"] = [{"label": "laughter", "count": 2, "peak": round(rng.random(), 2), "seconds": 1.8}]
    if rng.random() < 0.3:
        more["attention"] = {"ratio": round(rng.random(), 2), "seconds": round(rng.uniform(0, 20), 3)}
    if rng.random() < 0.1:
        more |= {
            "faces": dict.fromkeys(("max", "mean", "person_seconds", "tracks")),
            "unknown": {"people": {"dark": 10.0}},
        }
    if rng.random() < 0.1:
        more["replayed"] = True
    return summary(device, seq, boot, **more)


def hash_of(text: str) -> int:
    """The same in every process, unlike ``hash``."""
    return sum(text.encode())


def topic_of(document: Mapping[str, Any], prefix: str = "edge-agent") -> str:
    """Where the agent publishes ``document``."""
    kind = "event" if "kind" in document else "summary"
    if document.get("replayed"):
        return f"{prefix}/{document['device']}/backfill/{kind}"
    tail = f"event/{document['kind']}" if "kind" in document else kind
    return f"{prefix}/{document['device']}/{tail}"


class Publisher:
    """Publishes with QoS 1 and knows what the broker acknowledged; survives restarts of the broker."""

    def __init__(self, port: int) -> None:
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.max_inflight_messages_set(200)
        self._client.max_queued_messages_set(0)
        self._client.reconnect_delay_set(1, 1)
        self._sent = self._acknowledged = 0
        self._changed = threading.Condition()
        self._client.on_publish = self._on_publish
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _on_publish(self, _client: Any, _data: Any, mid: int, _code: Any, _properties: Any) -> None:
        with self._changed:
            self._acknowledged += 1
            self._changed.notify_all()

    def send(self, *documents: Any, topic: str | None = None, retain: bool = False) -> None:
        """Publish documents (or bytes and texts, on ``topic``)."""
        for document in documents:
            payload = document if isinstance(document, bytes | str) else rendering.encode(document)
            self._sent += 1
            self._client.publish(topic or topic_of(document), payload, 1, retain)

    @property
    def waiting(self) -> int:
        """Messages that the broker has not acknowledged."""
        return self._sent - self._acknowledged

    def flush(self, timeout: float = 30.0) -> None:
        """Wait until the broker has everything."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self.waiting, timeout), f"{self.waiting} unacknowledged"

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


@dataclass
class Collectors:
    """Settings of collectors on one broker and database, and their processes by number."""

    folder: Path
    port: int
    dsn: str
    options: str = ""
    extra: str = ""
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def config(self, number: int = 0) -> Path:
        """The config file of collector ``number``."""
        path = self.folder / f"collect-{number}.toml"
        path.write_text(
            f'[mqtt]\nhost = "127.0.0.1"\nport = {self.port}\nclient_id = "collector-{number}"\n'
            f'[database]\nurl = "{self.dsn}"\n{self.options}\n[reading]\nwait_s = 0.05\n{self.extra}\n',
            encoding="utf-8",
        )
        return path

    def command(self, *words: str, number: int = 0) -> subprocess.CompletedProcess[str]:
        """Run another command of the collector."""
        return subprocess.run(
            [*_PROGRAM, *words, "--config", str(self.config(number))],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"COLUMNS": "200"},
        )

    def start(self, number: int = 0) -> subprocess.Popen[bytes]:
        """Start collector ``number``."""
        with (self.folder / f"collect-{number}.log").open("ab") as log:
            process = subprocess.Popen([*_PROGRAM, "run", "--config", str(self.config(number))], stderr=log)
        self.running[number] = process
        return process

    def log(self, number: int = 0) -> str:
        """What collector ``number`` has logged."""
        return (self.folder / f"collect-{number}.log").read_text(encoding="utf-8")

    def kill(self, number: int = 0) -> None:
        """SIGKILL collector ``number``."""
        process = self.running.pop(number)
        process.kill()
        process.wait(10)

    def stop(self, number: int = 0) -> int:
        """SIGTERM collector ``number``; its exit code."""
        process = self.running.pop(number)
        process.terminate()
        return process.wait(120)

    def end(self) -> None:
        """Kill all."""
        for number in list(self.running):
            self.kill(number)


_PROGRAM = (sys.executable, "-c", "from edge_agent.cli.collect import main; main()")


def migrated(server: Postgres, name: str) -> str:
    """A new database with the schema; its connection string."""
    dsn = server.create(name)
    with database.connect(DatabaseSettings(url=dsn)) as connection:
        database.migrate(connection, "month")
    return dsn


def query(dsn: str, text: str, *values: Any) -> list[Any]:
    """Rows of a query, as dicts."""
    with psycopg.connect(dsn, row_factory=dict_row, options="-csearch_path=edge_agent -ctimezone=UTC") as connection:
        return connection.execute(text, values).fetchall()  # type: ignore[call-overload]


def stored(dsn: str) -> Iterator[Any]:
    """Every stored message as it was published, in the order of the keys."""
    with psycopg.connect(dsn, row_factory=dict_row, options="-csearch_path=edge_agent -ctimezone=UTC") as connection:
        for table in ("windows", "events"):
            with connection.cursor(f"all_{table}") as cursor:
                cursor.itersize = 5_000
                for row in cursor.execute(f"SELECT * FROM {table} ORDER BY device, boot_id, seq"):
                    yield rows.document_of(row)


@dataclass(frozen=True)
class Verdict:
    """What the database holds of what was published."""

    published: int
    lost: int
    double: int
    unequal: int
    foreign: int


def verdict(dsn: str, sent: Mapping[tuple[str, str], int]) -> Verdict:
    """Compare the database with what devices produced; ``sent``: the last number of each device and boot."""
    seen: set[tuple[str, str, int]] = set()
    double = unequal = foreign = 0
    for document in stored(dsn):
        key = document["device"], document["boot_id"], document["seq"]
        double += key in seen
        if key[2] > sent.get(key[:2], 0):
            foreign += 1
        elif document != json.loads(rendering.encode(produced(*key))):
            unequal += 1
        seen.add(key)
    published = sum(sent.values())
    return Verdict(published, published - len(seen) + foreign, double, unequal, foreign)
