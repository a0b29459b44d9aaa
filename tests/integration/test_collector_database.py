"""The collector's schema and writer against a real PostgreSQL."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psycopg", reason="needs psycopg: the extra [collect]")

from edge_agent.collect import database
from edge_agent.collect.database import Partitions, migrate
from edge_agent.collect.rows import Acceptance, Rejection, TableRow, read, read_state, rejection
from edge_agent.collect.settings import DatabaseSettings
from edge_agent.collect.writer import Batch, BatchWriter, Written
from edge_agent.domain.errors import ConfigError
from edge_agent.payloads.rendering import timestamp
from tests.support.collect import event, migrated, query, stored, summary, topic_of
from tests.support.postgres import Postgres

pytestmark = pytest.mark.skipif(not Postgres.available(), reason="needs the Debian package postgresql")

NOW = datetime.now(UTC).replace(microsecond=0)
RECENT = NOW.timestamp() - 7_200
names = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


@pytest.fixture(scope="module")
def template(server: Postgres) -> str:
    migrated(server, "template")
    return "template"


@pytest.fixture
def dsn(server: Postgres, template: str) -> str:
    """A database of the test's own with the schema."""
    name = f"db{next(names)}"
    server.copy(template, name)
    return server.dsn(name)


@pytest.fixture
def writer(dsn: str) -> Iterator[BatchWriter]:
    with database.connect(DatabaseSettings(url=dsn)) as connection:
        yield BatchWriter(connection, Partitions("month"), rejected_rows=10)


def row(document: Any, received: datetime = NOW) -> TableRow:
    found = read("edge-agent", topic_of(document), json.dumps(document).encode(), received, Acceptance())
    assert isinstance(found, TableRow), found
    return found


def write(writer: BatchWriter, *documents: Any) -> Written:
    return writer.write(Batch([row(document) for document in documents]))


# -- schema ------------------------------------------------------------------------------------------------------------


def test_migrations_apply_once_also_when_two_run_at_the_same_time(server: Postgres) -> None:
    settings = DatabaseSettings(url=server.create(f"db{next(names)}"))
    steps: list[int] = []

    def run() -> None:
        with database.connect(settings) as connection:
            steps.append(len(migrate(connection, "month")))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(steps) == [0, 0, 0, len(database.migrations())]  # the others waited


def test_other_schemas_are_refused_in_one_line(server: Postgres, dsn: str) -> None:
    empty = DatabaseSettings(url=server.create(f"db{next(names)}"))
    with database.connect(empty) as connection, pytest.raises(ConfigError, match="run 'edge-agent-collect migrate'"):
        database.check_schema(connection, "month")
    with database.connect(DatabaseSettings(url=dsn)) as connection:
        database.check_schema(connection, "month")
        with pytest.raises(ConfigError, match=r'set database\.partition = "month"'):
            database.check_schema(connection, "day")
        with pytest.raises(ConfigError, match=r'set database\.partition = "month"'):
            migrate(connection, "day")
        connection.execute("INSERT INTO migrations (number, name) VALUES (99, 'future')")
        for action in (lambda: database.check_schema(connection, "month"), lambda: migrate(connection, "month")):
            with pytest.raises(ConfigError, match=r"has schema 99 .* install the newer version"):
                action()


def test_a_migration_that_fails_leaves_nothing(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = DatabaseSettings(url=server.create(f"db{next(names)}"))
    broken = [*database.migrations(), database.Migration(3, "broken", "CREATE TABLE x (a nothing)")]
    monkeypatch.setattr(database, "migrations", lambda: broken)
    with database.connect(settings) as connection:
        with pytest.raises(database.Error):
            migrate(connection, "month")
        assert database.applied(connection) == 0


def test_the_database_says_why_it_cannot_be_used(server: Postgres) -> None:
    with pytest.raises(ConfigError, match=r"database\.url cannot be used"):
        database.connect(DatabaseSettings(url="nonsense"))
    with pytest.raises(database.Error) as caught:
        database.connect(DatabaseSettings(url=server.dsn("nowhere")))
    assert "\n" not in database.one_line(caught.value)
    assert "nowhere" in database.one_line(caught.value)


# -- exactly once ------------------------------------------------------------------------------------------------------


def test_a_message_is_stored_once_however_often_it_comes(writer: BatchWriter, dsn: str) -> None:
    first, second = summary(seq=1), event(seq=2)
    assert write(writer, first, second, first) == Written(windows=1, events=1, repeated=1)
    assert write(writer, first, first | {"replayed": True}, event(seq=3)) == Written(events=1, repeated=2)
    assert list(stored(dsn)) == [first, second, event(seq=3)]


def test_collectors_that_write_the_same_at_the_same_time_store_it_once(dsn: str) -> None:
    documents = [summary(f"kiosk-{n % 7}", seq=n) for n in range(1, 400)]
    outcomes: list[Written] = []

    def run(turn: int) -> None:
        with database.connect(DatabaseSettings(url=dsn)) as connection:
            own = BatchWriter(connection, Partitions("month"), 10)
            order = documents[turn * 100 :] + documents[: turn * 100]
            for begin in range(0, len(order), 50):
                for attempt in range(9):  # as the collector does after a deadlock
                    try:
                        outcomes.append(write(own, *order[begin : begin + 50]))
                        break
                    except database.Error:
                        if attempt == 8:
                            raise

    threads = [threading.Thread(target=run, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(o.windows for o in outcomes) == len(documents)
    assert sum(o.repeated for o in outcomes) == 3 * len(documents)
    assert sorted(d["seq"] for d in stored(dsn)) == [d["seq"] for d in documents]


def test_a_message_moves_to_its_time_once_the_device_knows_it(writer: BatchWriter, dsn: str) -> None:
    unsure = [summary(seq=1, start=5, clock="unsynced"), event(seq=2, start=6, clock="unsynced")]
    assert write(writer, *unsure) == Written(windows=1, events=1)
    sure = [summary(seq=1, start=RECENT - 40 * 86_400), event(seq=2, start=RECENT - 40 * 86_400)]
    assert write(writer, *sure) == Written(repeated=2, corrected=2)
    assert list(stored(dsn)) == sure
    assert write(writer, *sure, *unsure) == Written(repeated=4)
    assert list(stored(dsn)) == sure


def test_parts_of_a_merged_window_do_not_count_twice(writer: BatchWriter, dsn: str) -> None:
    """Whichever comes first, and also when the whole is merged again, or its clock was corrected meanwhile."""
    start = RECENT // 60 * 60
    parts = [summary(seq=n, start=start + 10 * (n - 1) + 0.4 * n) for n in range(1, 13)]
    whole = {"faces": {"max": 2, "mean": 1.5, "person_seconds": 90.0, "tracks": 9}, "seconds": 60.0, "merged": 6}
    minutes = [summary(seq=20 + m, start=start + 60 * m, **whole) for m in (0, 1)]
    hour = summary(
        seq=30,
        start=start,
        seconds=120.0,
        merged=12,
        faces={"max": 2, "mean": 1.5, "person_seconds": 180.0, "tracks": 18},
    )
    other = [summary("kiosk-2", seq=1, start=start), summary(boot="b2", seq=1, start=start)]

    def counted() -> list[int]:
        return [r["seq"] for r in query(dsn, "SELECT seq FROM counted WHERE boot_id = 'b1' AND device = 'kiosk-1'")]

    write(writer, *parts[:3], *other)
    assert sorted(counted()) == [1, 2, 3]
    write(writer, minutes[0])
    assert sorted(counted()) == [21 - 1]
    write(writer, *parts[3:7])
    assert sorted(counted()) == [7, 20]
    write(writer, hour, minutes[1], *parts[7:])
    assert counted() == [30]
    people = query(dsn, "SELECT device, sum(person_seconds) AS s FROM people_by_hour GROUP BY 1 ORDER BY 1")
    assert people == [{"device": "kiosk-1", "s": 180.0 + 15.0}, {"device": "kiosk-2", "s": 15.0}]
    assert len(list(stored(dsn))) == 12 + 2 + 1 + 2  # nothing is thrown away


def test_a_row_that_the_database_refuses_does_not_stop_the_rest(writer: BatchWriter, dsn: str) -> None:
    good = [row(summary(seq=n)) for n in range(1, 20)]
    bad = row(summary(seq=20))
    broken = TableRow(bad.table, {**bad.values, "tracks": 2**40})
    outcome = writer.write(Batch([*good[:7], broken, *good[7:]]))
    assert (outcome.windows, outcome.rejected) == (19, 1)
    found = query(dsn, "SELECT device, reason, payload FROM rejected")[0]
    assert found["device"] == "kiosk-1"
    assert "out of range" in found["reason"]
    assert json.loads(bytes(found["payload"])) == ["kiosk-1", "b1", 20]


def test_the_table_of_rejected_messages_is_bounded(writer: BatchWriter, dsn: str) -> None:
    def made(n: int) -> Rejection:
        at = NOW + timedelta(seconds=n)
        return rejection("edge-agent/kiosk-1/summary", b"%d" % n, at, "no", Acceptance(), "kiosk-1")

    writer.write(Batch((), [made(n) for n in range(25)]))
    writer.write(Batch((), [made(24), made(25)]))
    kept = query(dsn, "SELECT payload, times FROM rejected ORDER BY received")
    assert [bytes(r["payload"]) for r in kept] == [b"%d" % n for n in range(16, 26)]
    assert [r["times"] for r in kept] == [1] * 8 + [2, 1]


# -- partitions and retention ------------------------------------------------------------------------------------------


def partitions(dsn: str) -> list[str]:
    text = "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'windows'::regclass ORDER BY 1"
    return [r["name"] for r in query(dsn, text)]


@pytest.mark.parametrize("unit", ["day", "month"])
def test_late_messages_land_at_their_own_time(server: Postgres, unit: Any) -> None:
    settings = DatabaseSettings(url=server.create(f"db{next(names)}"), partition=unit)
    starts = [datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC), NOW]
    with database.connect(settings) as connection:
        migrate(connection, unit)
        writer = BatchWriter(connection, Partitions(unit), 10)
        write(writer, *(summary(seq=n, start=s.timestamp()) for n, s in enumerate(starts, 1)))
    text = "SELECT tableoid::regclass::text AS part, at FROM windows ORDER BY at"
    found = query(settings.url, text)
    assert [r["at"] for r in found] == starts
    january, february = (
        ("windows_20260131", "windows_20260201")
        if unit == "day"
        else (
            "windows_20260101",
            "windows_20260201",
        )
    )
    assert [r["part"] for r in found[:2]] == [january, february]
    assert len(partitions(settings.url)) == 3


def test_retention_deletes_rows_keys_and_partitions(writer: BatchWriter, dsn: str) -> None:
    days = (1, 29, 31, 100, 200)
    documents = [summary(seq=d, start=(NOW - timedelta(days=d)).timestamp()) for d in days]
    documents += [event(seq=1000 + d, start=(NOW - timedelta(days=d)).timestamp()) for d in days]
    write(writer, *documents)
    before = len(partitions(dsn))
    settings = DatabaseSettings(url=dsn, retention_days=30)
    dropped = writer.prune(NOW, settings)
    assert [d["seq"] for d in stored(dsn)] == [1, 29, 1001, 1029]
    assert query(dsn, "SELECT count(*) AS n FROM keys")[0]["n"] == 4
    assert dropped >= 6
    assert len(partitions(dsn)) <= before - 2
    assert writer.prune(NOW, DatabaseSettings(url=dsn)) == 0
    # A partition that somebody else has dropped is made again when it is needed.
    assert write(writer, documents[3]) == Written(windows=1)


def test_a_query_that_reads_for_long_delays_the_retention_and_no_message(
    writer: BatchWriter, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PATIENCE_S", 1)
    write(writer, summary(seq=1, start=(NOW - timedelta(days=100)).timestamp()))
    with database.connect(DatabaseSettings(url=dsn)) as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM windows")
        with pytest.raises(database.InUse):
            writer.prune(NOW, DatabaseSettings(url=dsn, retention_days=30))
        # A new partition is made and filled all the same.
        assert write(writer, summary(seq=2, start=(NOW - timedelta(days=200)).timestamp())) == Written(windows=1)
    assert writer.prune(NOW, DatabaseSettings(url=dsn, retention_days=30)) >= 2


def test_timescaledb_divides_the_tables_where_it_is(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in for its functions: the extension is not in Debian."""
    settings = DatabaseSettings(url=server.create(f"db{next(names)}"), retention_days=30)
    monkeypatch.setattr(database, "has_timescale", lambda _connection: True)
    with database.connect(settings) as connection:
        connection.execute(
            "CREATE TABLE public.calls (text text);"
            "CREATE FUNCTION public.create_hypertable(t regclass, c name, chunk_time_interval interval) RETURNS void"
            " LANGUAGE sql AS $$INSERT INTO public.calls VALUES (concat_ws(' ', 'make', t, c, chunk_time_interval))$$;"
            "CREATE FUNCTION public.drop_chunks(t regclass, older_than timestamptz) RETURNS SETOF text"
            " LANGUAGE sql AS $$INSERT INTO public.calls VALUES (concat_ws(' ', 'drop', t)) RETURNING text$$;"
        )
        migrate(connection, "month")
        writer = BatchWriter(connection, Partitions("month"), 10)
        write(writer, *(summary(seq=d, start=(NOW - timedelta(days=d)).timestamp()) for d in (1, 40)))
        assert writer.prune(NOW, settings) == 3
    assert [d["seq"] for d in stored(settings.url)] == [1]
    calls = [r["text"] for r in query(settings.url, "SELECT text FROM public.calls")]
    assert calls == [
        *(f"make {table} at 1 mon" for table in database.PARTITIONED),
        *(f"drop {table}" for table in database.PARTITIONED),
    ]


def test_a_partition_that_another_collector_dropped_is_made_again(writer: BatchWriter, dsn: str) -> None:
    write(writer, summary(seq=1, start=RECENT))
    name = partitions(dsn)[0]
    with database.connect(DatabaseSettings(url=dsn)) as other:
        other.execute(f"DROP TABLE {name}")
    assert write(writer, summary(seq=2, start=RECENT)) == Written(windows=1)


def test_a_device_can_be_forgotten(writer: BatchWriter, dsn: str) -> None:
    write(writer, summary(seq=1), event(seq=2), summary("kiosk-2", seq=1))
    with database.connect(DatabaseSettings(url=dsn)) as connection:
        assert database.forget(connection, "kiosk-1") == 3  # two messages and the device itself
        assert database.forget(connection, "kiosk-1") == 0
    assert [d["device"] for d in stored(dsn)] == ["kiosk-2"]
    assert write(writer, summary(seq=1)) == Written(windows=1)


# -- views -------------------------------------------------------------------------------------------------------------


def emotion(readings: int, happiness: float) -> dict[str, Any]:
    p = dict.fromkeys(("neutral", "surprise", "sadness", "anger", "disgust", "fear", "contempt"), 0.0)
    p |= {"happiness": happiness, "neutral": 1 - happiness}
    name = "happiness" if happiness > 0.5 else "neutral"
    return {"dominant": name, "p": p, "valence": happiness, "confidence": 0.5, "readings": readings}


def test_views_add_up_what_windows_say(writer: BatchWriter, dsn: str) -> None:
    start = NOW.replace(minute=0, second=0).timestamp() - 7_200
    unseen = {
        "faces": dict.fromkeys(("max", "mean", "person_seconds", "tracks")),
        "quality": {
            "video_fps": 0.0,
            "analysed_fps": 0.0,
            "coverage": {"video": 0.0, "audio": 1.0},
            "dropped": 4,
            "flags": ["dark"],
        },
    }
    laughter = {"label": "laughter", "count": 2, "peak": 0.9, "seconds": 1.5}
    place = {"site": "berlin"}
    write(
        writer,
        summary(
            seq=1,
            start=start,
            emotion=emotion(30, 1.0),
            bursts=[laughter],
            attention={"ratio": 0.5, "seconds": 7.5, "per_person": 3.75},
            stays={"count": 1, "mean": 10.0, "longest": 10.0},
            language={"utterances": 1, "words": 5, "judged": 1, "dominant": "joy", "p": {"joy": 0.8}},
            voice={"arousal": 0.4, "seconds": 3.0, "turns": 1},
            **place,
        ),
        summary(
            seq=2,
            start=start + 10,
            emotion=emotion(10, 0.0),
            bursts=[laughter | {"count": 1, "peak": 0.7}, laughter | {"label": "cough"}],
            stays={"count": 3, "mean": 30.0, "longest": 50.0},
            withheld=4.0,
            **place,
        ),
        summary(seq=3, start=start + 20, **unseen, **place),
        summary("kiosk-2", seq=1, start=start, **place),
    )

    def view(name: str) -> dict[str, Any]:
        return query(dsn, f"SELECT * FROM {name}_by_hour WHERE device = 'kiosk-1'")[0]

    assert view("people") | {"hour": 0} == {
        "hour": 0,
        "site": "berlin",
        "device": "kiosk-1",
        "person_seconds": 30.0,
        "watched_s": 20.0,
        "mean": 1.5,
        "max": 2,
        "visits": 4,
        "mean_stay_s": 25.0,
        "longest_stay_s": 50.0,
        "withheld_s": 4.0,
    }
    shown = view("expressions")
    assert (shown["readings"], shown["happiness"], shown["neutral"], shown["valence"]) == (40, 0.75, 0.25, 0.75)
    bursts = query(dsn, "SELECT label, count, peak, seconds FROM bursts_by_site ORDER BY label")
    assert bursts == [
        {"label": "cough", "count": 2, "peak": 0.9, "seconds": 1.5},
        {"label": "laughter", "count": 3, "peak": 0.9, "seconds": 3.0},
    ]
    assert (view("attention")["looked_s"], view("attention")["ratio"], view("attention")["per_person_s"]) == (
        7.5,
        0.5,
        3.75,
    )
    words = view("words")
    assert (words["utterances"], words["words"], words["dominant"]) == (1, 5, "joy")
    assert words["arousal"] == pytest.approx(0.4)
    quality = view("quality")
    assert (quality["windows"], quality["dark"], quality["dropped"]) == (3, 1, 4)
    assert quality["coverage_video"] == pytest.approx(2 / 3)
    site = query(dsn, "SELECT person_seconds, watched_s FROM people_by_site")
    assert site == [{"person_seconds": 45.0, "watched_s": 30.0}]


def test_every_view_can_be_read_without_data(dsn: str) -> None:
    views = query(dsn, "SELECT viewname FROM pg_views WHERE schemaname = 'edge_agent'")
    assert len(views) == 3 + 7 * 3
    for each in views:
        assert query(dsn, f"SELECT * FROM {each['viewname']}") == []


def test_the_queries_of_the_page_run(server: Postgres, dsn: str, repository: Path) -> None:
    page = (repository / "docs" / "collector.md").read_text(encoding="utf-8")
    found = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    assert len(found) == 2
    with database.connect(DatabaseSettings(url=dsn)) as connection:
        for text in found:
            for statement in filter(str.strip, text.split(";")):
                connection.execute(statement)
    reader = server.dsn(dsn.split("dbname=")[1].split(maxsplit=1)[0], user="reports")
    assert query(reader, "SELECT * FROM people_by_site") == []
    with pytest.raises(database.Error, match="permission denied"):
        query(reader, "SELECT * FROM windows")


def test_days_begin_at_midnight_of_the_site(writer: BatchWriter, dsn: str) -> None:
    with database.connect(DatabaseSettings(url=dsn)) as connection:
        database.write_timezones(connection, [("tokyo", "Asia/Tokyo"), ("gone", "Europe/Paris")])
        database.write_timezones(connection, [("tokyo", "Asia/Tokyo")])
    at = datetime(2026, 3, 31, 15, 30, tzinfo=UTC).timestamp()
    write(writer, summary(seq=1, start=at, site="tokyo"), summary("kiosk-2", seq=1, start=at))
    days = query(dsn, "SELECT site, day::text FROM people_by_day ORDER BY device")
    assert days == [{"site": "tokyo", "day": "2026-04-01"}, {"site": None, "day": "2026-03-31"}]
    assert [r["site"] for r in query(dsn, "SELECT site FROM sites")] == ["tokyo"]


# -- state of devices --------------------------------------------------------------------------------------------------


def health(uptime: int = 60, **more: Any) -> dict[str, Any]:
    counters = {"produced": 9, "acked": 5, "merged_away": 0, "dropped": 0, "dead_lettered": 0}
    outbox = {"counters": counters, "pending": 4, "size": 4096, "limit": 2**26, "salvages": 0, "ballast": True}
    delivery = {
        "enabled": True,
        "connected": True,
        "protocol": "5",
        "trouble": None,
        "client_id_in_use": False,
        "in_flight": 0,
        "sent": 5,
        "inbound_dropped": 0,
        "refused_topics": [],
        "refusals": [],
        "namesakes": [],
        "outbox": outbox | {"degraded": None, "oldest": None, "gaps": []},
        "sinks": {},
    }
    process = {"rss_mb": 120.5, "cpu_s": 30.0, "descriptors": 20, "temperature_c": 51.5}
    return {
        "v": 1,
        "status": "degraded",
        "problems": ["no camera"],
        "uptime_s": uptime,
        "components": {},
        "analyzers": {},
        "replaced": {},
        "sources": {},
        "delivery": delivery,
        "commands": {},
        "process": process,
        **more,
    }


def write_state(writer: BatchWriter, kind: str, document: Any, *, retained: bool = False, at: datetime = NOW) -> None:
    payload = document.encode() if isinstance(document, str) else json.dumps(document).encode()
    state = read_state("edge-agent", f"edge-agent/kiosk-1/{kind}", payload, at, retained, Acceptance())
    assert state is not None
    assert not isinstance(state, Rejection), state
    writer.write(Batch((), (), [state]))


def test_the_latest_state_of_a_device_is_kept(writer: BatchWriter, dsn: str) -> None:
    lost = {"boot_id": "b", "count": 3, "reason": "no space", "first_seq": 1, "last_seq": 3, "start": timestamp(RECENT)}
    gaps = {"v": 1, "device": "kiosk-1", "dropped": 3, "dead_lettered": 0, "salvages": 0, "gaps": [lost]}
    later = NOW + timedelta(seconds=30)
    write_state(writer, "status", "online", retained=True)
    write_state(writer, "health", health(site="berlin", labels={"floor": "2"}), retained=True)
    write_state(writer, "health", health(90), at=later)
    write_state(writer, "health", health(120, site="berlin"), at=later)
    write_state(writer, "gaps", gaps)
    device = query(dsn, "SELECT * FROM devices")[0]
    assert (device["status"], device["site"], device["last_seen"]) == ("online", None, later)
    assert device["health"] == health(120, site="berlin")
    assert device["health_at"] == later
    assert [r["uptime_s"] for r in query(dsn, "SELECT uptime_s FROM health")] == [90, 120]
    report = query(dsn, "SELECT * FROM health_by_hour WHERE site = 'berlin'")[0]
    assert (report["reports"], report["degraded"], report["pending"], report["temperature_c"]) == (1, 1, 4, 51.5)
    assert query(dsn, "SELECT count, reason, first_seq FROM gaps") == [
        {"count": 3, "reason": "no space", "first_seq": 1}
    ]
    write_state(writer, "status", "", at=later)
    assert query(dsn, "SELECT status FROM devices")[0]["status"] is None


def test_one_collector_leads_until_its_connection_ends(dsn: str, eventually: Callable[..., Any]) -> None:
    settings = DatabaseSettings(url=dsn)
    with database.connect(settings) as one, database.connect(settings) as two:
        assert database.is_leader(one)
        assert database.is_leader(one)
        assert not database.is_leader(two)
        one.close()
        assert eventually(lambda: database.is_leader(two))


def test_commits_are_durable_whatever_the_server_says(server: Postgres, dsn: str) -> None:
    with database.connect(DatabaseSettings(url=dsn + " options='-csynchronous_commit=off'")) as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_writing_is_fast_enough(writer: BatchWriter) -> None:
    """Generous by a factor of ten: 1,000 windows take 0.1 s on a laptop."""
    batch = Batch([row(summary(f"kiosk-{n % 500}", seq=n + 1, start=RECENT)) for n in range(1_000)])
    begin = time.perf_counter()
    assert writer.write(batch).windows == 1_000
    assert time.perf_counter() - begin < 5
