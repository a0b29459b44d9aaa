"""Dashboards, alerts and scrape configuration of config/fleet against a real PostgreSQL and a real Prometheus."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from edge_agent.live.bus import EventBus
from edge_agent.payloads.rendering import encode
from edge_agent.web import metrics
from tests.support.documents import blocks
from tests.support.fleet_files import (
    DEVICES,
    FLEET,
    UNTIL,
    dashboard,
    device_id,
    documents,
    gaps,
    health,
    presence,
    promql,
    queries,
    sql,
)
from tests.support.mosquitto import free_port
from tests.support.postgres import Postgres

pytest.importorskip("psycopg", reason="needs psycopg: the extra [collect]")

import psycopg

from edge_agent.collect import database
from edge_agent.collect.collector import CollectorFigures
from edge_agent.collect.database import Partitions
from edge_agent.collect.metrics import exposition
from edge_agent.collect.rows import Acceptance, Rejection, State, TableRow, read, read_state
from edge_agent.collect.settings import DatabaseSettings
from edge_agent.collect.writer import Batch, BatchWriter
from tests.support.collect import migrated, topic_of

needs_prometheus = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs the Debian package prometheus")
needs_postgres = pytest.mark.skipif(not Postgres.available(), reason="needs the Debian package postgresql")
METRIC = re.compile(r"\b(edge_agent_\w+)")

# -- PostgreSQL --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def connection() -> Iterator[psycopg.Connection[Any]]:
    """A database with an hour of a fleet; a session in a time zone that is not UTC, as of somebody's Grafana."""
    with Postgres() as server:
        dsn = migrated(server, "fleet")
        with database.connect(DatabaseSettings(url=dsn)) as writing:
            BatchWriter(writing, Partitions("month"), rejected_rows=10).write(_fleet())
        with psycopg.connect(dsn, autocommit=True, options="-ctimezone=Asia/Kolkata") as reading:
            yield reading


def _fleet() -> Batch:
    rows, states, at = [], [], datetime.fromtimestamp(UNTIL, UTC)
    for number in DEVICES:
        for document in documents(number):
            received = datetime.fromisoformat(document["start"]).timestamp() + document["seconds"] + 0.2
            topic, when = topic_of(document), datetime.fromtimestamp(received, UTC)
            row = read("edge-agent", topic, encode(document), when, Acceptance())
            assert isinstance(row, TableRow), row
            rows.append(row)
        said = {"health": encode(health(number)), "status": b"online", "gaps": encode(gaps(number))}
        for kind, payload in said.items():
            topic = f"edge-agent/{device_id(number)}/{kind}"
            state = read_state("edge-agent", topic, payload, at, False, Acceptance())
            assert isinstance(state, State), state
            states.append(state)
    rejection = read("edge-agent", "edge-agent/kiosk-5/summary", b"{", at, Acceptance())
    assert isinstance(rejection, Rejection)
    return Batch(rows, [rejection], states)


@pytest.fixture(scope="module")
def chosen(connection: psycopg.Connection[Any]) -> tuple[list[str], list[str]]:
    """Sites and devices as the dashboard's variables find them."""
    variables = {v["name"]: v["query"] for v in dashboard("fleet")["templating"]["list"]}
    sites = [row[0] for row in connection.execute(variables["site"]).fetchall()]
    devices = [row[0] for row in connection.execute(sql(variables["device"], sites, [])).fetchall()]
    return sites, devices


@needs_postgres
def test_the_variables_find_sites_and_devices(chosen: tuple[list[str], list[str]]) -> None:
    assert chosen == (["site-000", "site-001", "site-002"], sorted(map(device_id, DEVICES)))


@needs_postgres
@pytest.mark.parametrize(("title", "format_", "text"), queries("fleet", "rawSql"), ids=lambda value: value[:30])
def test_a_query_of_the_dashboard_finds_rows(
    connection: psycopg.Connection[Any], chosen: tuple[list[str], list[str]], title: str, format_: str, text: str
) -> None:
    cursor = connection.execute(sql(text, *chosen))
    columns = [column.name for column in cursor.description or ()]
    rows = cursor.fetchall()
    assert rows, title
    if format_ != "time_series":
        return
    assert columns[0] == "time"
    times = [row[0] for row in rows]
    assert times == sorted(times)
    shown = [value for row in rows for value in row[1 + ("metric" in columns) :]]
    assert all(value is None or isinstance(value, int | float | Decimal) for value in shown), shown[:5]
    assert any(value is not None for value in shown), title


@needs_postgres
def test_the_figures_are_those_of_the_windows(
    connection: psycopg.Connection[Any], chosen: tuple[list[str], list[str]]
) -> None:
    texts = {title: text for title, _, text in queries("fleet", "rawSql")}
    told = [document for number in DEVICES for document in documents(number)]
    windows = [document for document in told if "faces" in document]
    bursts = [burst for window in windows for burst in window["bursts"]]
    found = connection.execute(sql(texts["Vocal bursts"], *chosen)).fetchall()
    assert sum(row[2] for row in found) == sum(burst["count"] for burst in bursts)
    visits = connection.execute(sql(texts["Visits by day"], *chosen)).fetchall()
    assert sum(row[2] for row in visits) == sum(window["stays"]["count"] for window in windows if "stays" in window)
    shares = connection.execute(sql(texts["Expressions"], *chosen)).fetchall()
    assert all(abs(sum(row[1:]) - 1) < 0.01 for row in shares)
    only = connection.execute(sql(texts["Vocal bursts"], chosen[0][:1], chosen[1])).fetchall()
    assert 0 < sum(row[2] for row in only) < sum(row[2] for row in found)
    assert connection.execute(sql(texts["Expressions"], ["nowhere"], chosen[1])).fetchall() == []


@needs_postgres
def test_the_views_of_the_page_about_fleets_can_be_made(connection: psycopg.Connection[Any]) -> None:
    found = [block.text for block in blocks(FLEET.parent.parent / "docs" / "fleet.md") if block.language == "sql"]
    assert len(found) == 2
    for statement in (part for text in found for part in text.split(";") if part.strip()):
        connection.execute(statement)
    assert connection.execute("SELECT count(*) FROM edge_agent.people_kept").fetchall() != [(0,)]
    told = connection.execute("SELECT min(visits) FROM edge_agent.visits_told").fetchall()[0][0]
    assert told is None or told >= 20


# -- Prometheus --------------------------------------------------------------------------------------------------------


def _device_metrics(number: int) -> str:
    bus = EventBus()
    for document in documents(number, 600):
        if "faces" in document:
            bus.publish("summary", document)
            if document.get("emotion"):
                break
    unknown = {"people": {"covered": 3.0}}
    bus.publish("summary", bus.summaries()[-1] | {"unknown": unknown})
    bus.publish("health", health(number))
    bus.publish("presence", presence(number))
    return metrics.render(bus).decode()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Prometheus that scrapes two devices and a collector, by the shipped configuration."""
    folder, tokens = tmp_path_factory.mktemp("prometheus"), set[str]()
    pages = {"/metrics": "".join}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tokens.add(self.headers.get("authorization", ""))
            body = self.server.page.encode()  # type: ignore[attr-defined]
            self.send_response(200 if self.path in pages else 404)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    servers = []
    for page in (_device_metrics(5), _device_metrics(9), exposition(CollectorFigures(windows=9, connected=True), 3)):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.page = page  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
    ports = [server.server_address[1] for server in servers]
    config = (FLEET / "prometheus.yml").read_text(encoding="utf-8")
    assert config.count("30s") == 2
    (folder / "prometheus.yml").write_text(
        config.replace("30s", "1s").replace("localhost:9465", f"127.0.0.1:{ports[2]}"), encoding="utf-8"
    )
    shutil.copy(FLEET / "prometheus-alerts.yml", folder)
    (folder / "edge-agent.token").write_text("sesame-sesame-sesame", encoding="utf-8")
    (folder / "edge-agent-targets").mkdir()
    targets = [{"targets": [f"127.0.0.1:{port}"], "labels": {"site": f"site-{k}"}} for k, port in enumerate(ports[:2])]
    (folder / "edge-agent-targets" / "hall.yml").write_text(json.dumps(targets), encoding="utf-8")
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(lambda: len(ask(address, "rate(scrape_samples_scraped[30s])")) == 3)  # each was scraped twice
        _wait(lambda: len(ask(address, "up == 1")) == 3)
        assert "Bearer sesame-sesame-sesame" in tokens
        yield address
    finally:
        process.terminate()
        process.wait(10)
        for server in servers:
            server.shutdown()


def _wait(condition: Callable[[], Any], what: Callable[[], Any] = lambda: None) -> None:
    deadline = time.monotonic() + 40
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def ask(address: str, text: str) -> Any:
    """The result of a query."""
    with urlopen(f"{address}/api/v1/query?query={quote(text)}", timeout=10) as answer:
        document = json.load(answer)
    assert document["status"] == "success"
    return document["data"]["result"]


NOTHING_WRONG = ("Devices that answer", "Without a broker")
"""Panels with a query that finds nothing while nothing is wrong."""


@needs_prometheus
def test_every_query_of_the_devices_dashboard_finds_something(prometheus: str) -> None:
    def empty() -> set[str]:
        return {title for title, _, text in queries("devices", "expr") if not ask(prometheus, promql(text))}

    # On a busy machine a scrape may take longer than the interval, and its target counts as down until the next.
    _wait(lambda: empty() <= set(NOTHING_WRONG), empty)
    one = ask(prometheus, 'edge_agent_healthy{site="site-0"}')
    assert [series["metric"]["device"] for series in one] == ["127"]  # by the relabelling, which takes a host's name
    with urlopen(f"{prometheus}/api/v1/rules", timeout=10) as answer:
        groups = json.load(answer)["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == 11
    assert all(rule["health"] in ("ok", "unknown") for rule in rules)


def test_alerts_and_dashboards_name_metrics_that_exist() -> None:
    served = _device_metrics(5) + exposition(CollectorFigures(), 0)
    known = {line.split("{")[0].split()[0] for line in served.splitlines() if not line.startswith("#")}
    for name in ("prometheus-alerts.yml", "prometheus-alerts-test.yml", "grafana/devices.json"):
        used = set(METRIC.findall((FLEET / name).read_text(encoding="utf-8")))
        assert used - known == set(), name


@needs_prometheus
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "prometheus-alerts.yml"),
        ("test", "rules", "prometheus-alerts-test.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
    ],
    ids=" ".join,
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=FLEET, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_every_alert_is_tested_and_a_broken_one_fails(tmp_path: Path) -> None:
    rules = (FLEET / "prometheus-alerts.yml").read_text(encoding="utf-8")
    tests = (FLEET / "prometheus-alerts-test.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"alert: (\w+)", rules)) == set(re.findall(r"alertname: (\w+)", tests))
    (tmp_path / "prometheus-alerts.yml").write_text(rules.replace("> 80", "> 8000"), encoding="utf-8")
    (tmp_path / "test.yml").write_text(tests, encoding="utf-8")
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert "EdgeAgentHot" in done.stdout + done.stderr
