"""Whether the collector loses or doubles messages: collectors killed at random beside a load of many devices.

    python -m benchmarks.collector [--devices 500] [--kills 200] [--collectors 3] [--rate 100]

Needs the Debian packages mosquitto and postgresql. Every device publishes to a real mosquitto with QoS 1, one message
in twenty twice; collectors are processes that are ended with SIGKILL and started again; the database is ended without
a checkpoint and the broker restarted meanwhile. Then every row is compared with what its device produced.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.support.collect import Collectors, Publisher, migrated, produced, query, verdict
from tests.support.mosquitto import Mosquitto
from tests.support.postgres import Postgres

BROKER = ("max_queued_messages 0", "max_inflight_messages 0", "persistence true", "autosave_interval 1800")
"""No limit on what waits for a collector that is away; a restart in order saves it all."""


class Load:
    """Devices that publish in turn, ``rate`` messages a second all together; some start anew now and then."""

    def __init__(self, publisher: Publisher, devices: int, rate: float, rng: random.Random) -> None:
        self._publisher = publisher
        self._rate = rate
        self._rng = rng
        self._boots = {f"kiosk-{n:04d}": 1 for n in range(devices)}
        self._turn = iter(())
        self._due = time.monotonic()
        self.sent: dict[tuple[str, str], int] = {}
        self.repeated = 0

    def run(self, seconds: float) -> None:
        """Publish for so long, in step with the clock."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            if now < self._due or self._publisher.waiting > 20_000:
                time.sleep(min(0.01, end - now))
                continue
            self._due = max(self._due + 1 / self._rate, now - 1.0)
            device = next(self._turn, None)
            if device is None:
                self._turn = iter(list(self._boots))
                continue
            self._publish(device)

    def _publish(self, device: str) -> None:
        if self._rng.random() < 0.002:
            self._boots[device] += 1
        boot = f"boot-{self._boots[device]}"
        seq = self.sent.get((device, boot), 0) + 1
        self.sent[device, boot] = seq
        self._publisher.send(produced(device, boot, seq))
        if self._rng.random() < 0.05:
            again = self._rng.randint(1, seq)
            self._publisher.send(produced(device, boot, again))
            self.repeated += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=500)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--collectors", type=int, default=3)
    parser.add_argument("--rate", type=float, default=100, help="messages a second of all devices together")
    parser.add_argument("--between", type=float, default=2.5, help="mean seconds between two kills")
    parser.add_argument("--database-kills", type=int, default=5)
    parser.add_argument("--broker-restarts", type=int, default=3)
    parser.add_argument("--group", default="collectors", help="empty: ordinary subscriptions instead of shared ones")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Postgres() as server,
        Mosquitto(Path(folder) / "mosquitto", options=(*BROKER, f"persistence_location {folder}/mosquitto/")) as broker,
    ):
        sys.exit(measure(options, Path(folder), server, broker))


def measure(options: argparse.Namespace, folder: Path, server: Postgres, broker: Mosquitto) -> int:
    """Run and print the table; 1: a message was lost, doubled or changed."""
    rng = random.Random(options.seed)
    dsn = migrated(server, "kills")
    collectors = Collectors(folder, broker.port, dsn, extra=f'group = "{options.group}"')
    for number in range(options.collectors):
        collectors.start(number)
    deadline = time.monotonic() + 60
    while not all("connected to the broker" in collectors.log(n) for n in range(options.collectors)):
        assert time.monotonic() < deadline, "the collectors do not start"
        time.sleep(0.1)
    publisher = Publisher(broker.port)
    load = Load(publisher, options.devices, options.rate, rng)
    started = time.monotonic()
    database_at = set(rng.sample(range(options.kills), min(options.database_kills, options.kills)))
    broker_at = set(rng.sample(range(options.kills), min(options.broker_restarts, options.kills)))
    for kill in range(options.kills):
        load.run(rng.uniform(0.1, 2 * options.between))
        number = rng.randrange(options.collectors)
        collectors.kill(number)
        if kill in database_at:
            server.stop(kill=True)
            load.run(1.0)
            server.start()
        if kill in broker_at:
            broker.restart()
        load.run(rng.uniform(0.0, 0.5))
        collectors.start(number)
        if kill % 20 == 19:
            print(f"{kill + 1} kills, {sum(load.sent.values())} published", file=sys.stderr, flush=True)
    seconds = time.monotonic() - started
    publisher.flush(600)
    settled = time.monotonic()
    waiting = settle(dsn, sum(load.sent.values()))
    took = time.monotonic() - settled
    result = verdict(dsn, load.sent)
    counted = query(dsn, "SELECT (SELECT count(*) FROM keys) AS keys, (SELECT count(*) FROM rejected) AS rejected")[0]
    print(
        "| devices | collectors | kills | database kills | broker restarts | seconds | published | sent twice | lost |"
        " double | unequal | rejected |"
    )
    print("| --- " * 12 + "|")
    print(
        f"| {options.devices} | {options.collectors} | {options.kills} | {len(database_at)} | {len(broker_at)} |"
        f" {seconds:.0f} | {result.published} | {load.repeated} | {result.lost} | {result.double + result.foreign} |"
        f" {result.unequal} | {counted['rejected']} |"
    )
    print(f"keys {counted['keys']}, {waiting} missing after {took:.0f} s", flush=True)
    print("exit codes", [collectors.stop(n) for n in range(options.collectors)])
    return int(bool(result.lost or result.double or result.unequal or result.foreign))


def settle(dsn: str, wanted: int) -> int:
    """Wait until everything is stored, or nothing more comes for two minutes; what is missing."""
    last, since = -1, time.monotonic()
    while time.monotonic() - since < 120:
        found = query(dsn, "SELECT count(*) AS n FROM keys")[0]["n"]
        if found >= wanted:
            return 0
        if found != last:
            last, since = found, time.monotonic()
        time.sleep(0.5)
    return wanted - last


if __name__ == "__main__":
    main()
