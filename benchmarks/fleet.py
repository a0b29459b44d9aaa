"""A swarm, mosquitto, collectors, PostgreSQL on this machine: are the rows what devices produced, how large are they?

python benchmarks/fleet.py DEVICES [--seconds S] [--window S] [--collectors N] [--outages SHARE] [--kills N] …

Prints one JSON document: the swarm's figures, the comparison of its ledger with the database (equal,
else the exit code is 1), bytes of each table and its indexes per row, and processor time of broker and collectors.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_agent.cli.swarm import report_document
from edge_agent.fleet.ledger import digest
from edge_agent.fleet.swarm import Plan, Swarm
from edge_agent.settings import MqttSettings
from tests.support.collect import Collectors, migrated, query, stored
from tests.support.mosquitto import Mosquitto
from tests.support.postgres import Postgres

PATIENCE_S = 300.0
SIZES = """
SELECT parent, sum(pg_table_size(leaf)) AS data, sum(pg_indexes_size(leaf)) AS indexes FROM (
  SELECT coalesce(i.inhparent, c.oid)::regclass::text AS parent, c.oid AS leaf
  FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
  WHERE c.relkind = 'r' AND c.relnamespace = 'edge_agent'::regnamespace
) t GROUP BY parent"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("devices", type=int)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--window", type=float, default=10.0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--collectors", type=int, default=1)
    parser.add_argument("--outages", type=float, default=0.0)
    parser.add_argument("--restarts", type=float, default=0.0)
    parser.add_argument("--kills", type=float, default=0.0)
    parser.add_argument("--wrong-clocks", type=float, default=0.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Postgres() as server:
        folder = Path(name)
        keeps = ("persistence true", f"persistence_location {folder}/mosquitto/", "max_queued_messages 0")
        with Mosquitto(folder / "mosquitto", options=keeps) as broker:
            collectors = Collectors(folder, broker.port, migrated(server, "fleet"))
            try:
                report = _run(options, folder, broker, collectors)
            finally:
                collectors.end()
    print(json.dumps(report, indent=2))
    sys.exit(0 if not any(report["difference"].values()) else 1)


def _run(options: argparse.Namespace, folder: Path, broker: Mosquitto, collectors: Collectors) -> dict[str, Any]:
    for number in range(options.collectors):
        collectors.start(number)
        while "connected to the broker" not in collectors.log(number):
            time.sleep(0.1)
    plan = Plan(
        options.devices,
        options.seconds,
        MqttSettings(host=broker.host, port=broker.port),
        folder / "state",
        processes=options.processes,
        window_s=options.window,
        outages=options.outages,
        restarts=options.restarts,
        kills=options.kills,
        wrong_clocks=options.wrong_clocks,
        drain_s=120.0,
        ledger=folder / "ledger.jsonl",
    )
    with Swarm(plan) as swarm:
        *_, figures = swarm.run()
        swarm_report = report_document(plan, swarm, figures)
    ended = time.monotonic()
    rows = [json.loads(line) for line in (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]
    told = {(row["device"], row["boot_id"], row["seq"]): row["digest"] for row in rows}
    while _count(collectors) < len(told) and time.monotonic() < ended + PATIENCE_S:
        time.sleep(0.1)
    caught_up = time.monotonic() - ended
    found = {(d["device"], d["boot_id"], d["seq"]): digest(d) for d in stored(collectors.dsn)}
    return {
        "swarm": swarm_report,
        "rows": len(found),
        "difference": {
            "lost": len(told.keys() - found.keys()),
            "foreign": len(found.keys() - told.keys()),
            "unequal": sum(found[key] != told[key] for key in found.keys() & told.keys()),
        },
        "collectors_caught_up_after_s": round(caught_up, 2),
        "delay_s": query(collectors.dsn, DELAYS)[0],
        "bytes_per_row": _sizes(collectors),
        "cpu_s": {
            "broker": _cpu(broker.pid),
            "collectors": sum(_cpu(process.pid) for process in collectors.running.values()),
        },
    }


DELAYS = """
SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY d)::numeric, 2)::float AS median,
       round(percentile_cont(0.95) WITHIN GROUP (ORDER BY d)::numeric, 2)::float AS p95
FROM (
  SELECT extract(epoch FROM received - start) - seconds AS d FROM windows WHERE clock = 'synced' AND NOT replayed
) t"""


def _count(collectors: Collectors) -> int:
    return int(query(collectors.dsn, "SELECT count(*) AS n FROM keys")[0]["n"])


def _sizes(collectors: Collectors) -> dict[str, dict[str, int]]:
    found = {}
    for row in query(collectors.dsn, SIZES):
        name = row["parent"].removeprefix("edge_agent.")
        count = int(query(collectors.dsn, f"SELECT count(*) AS n FROM {name}")[0]["n"])
        if count >= 100:
            found[name] = {
                "rows": count,
                "data": round(row["data"] / count),
                "indexes": round(row["indexes"] / count),
            }
    return found


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


if __name__ == "__main__":
    main()
