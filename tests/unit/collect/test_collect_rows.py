"""Messages become rows and rows the same messages; what cannot be stored is rejected with a reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from edge_agent.collect.rows import (
    EVENTS,
    WINDOWS,
    Acceptance,
    Rejection,
    State,
    TableRow,
    data_filters,
    document_of,
    newest,
    read,
    read_state,
)
from edge_agent.payloads.rendering import timestamp
from tests.support.collect import event, produced, summary, topic_of

pytest.importorskip("psycopg")

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
RECENT = NOW.timestamp() - 60


def accepted(document: Any, limits: Acceptance | None = None) -> TableRow:
    found = read("edge-agent", topic_of(document), json.dumps(document).encode(), NOW, limits or Acceptance())
    assert isinstance(found, TableRow), found
    return found


def refused(payload: bytes | Any, topic: str | None = None, limits: Acceptance | None = None) -> str:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    found = read("edge-agent", topic or "edge-agent/kiosk-1/summary", data, NOW, limits or Acceptance())
    assert isinstance(found, Rejection), found
    assert "\n" not in found.reason
    return found.reason


def parsed(row: TableRow) -> dict[str, Any]:
    """The row as the database returns it: JSON parsed."""
    kept_as_json = ("labels", "more", "bursts", "lift", "trend", "fused", "unknown", "language", "identity", "measures")
    return {k: json.loads(v) if k in kept_as_json and v is not None else v for k, v in row.values.items()}


FULL = summary(
    site="berlin",
    labels={"floor": "2"},
    start=RECENT,
    emotion={
        "dominant": "anger",
        "p": dict.fromkeys(("neutral", "happiness", "surprise", "sadness", "disgust", "fear", "contempt"), 0.1)
        | {"anger": 0.3},
        "valence": -0.4,
        "confidence": 0.8,
        "readings": 3,
    },
    bursts=[{"label": "cough", "count": 1, "peak": 0.9, "seconds": 0.4}],
    attention={"ratio": 0.5, "seconds": 7.5, "per_person": 3.75, "by_eyes": 0.2},
    stays={"count": 1, "mean": 12.5, "longest": 12.5},
    lift={"anger": 0.2},
    trend={"valence": -0.3, "people": 0.5},
    fused=[{"label": "laughter+happiness", "count": 1, "peak": 0.8}],
    unknown={"sounds": {"off": 10.0}},
    language={"utterances": 2, "words": 9, "judged": 1, "dominant": "joy", "p": {"joy": 0.7}, "lost": 1.5},
    voice={"arousal": 0.3, "seconds": 4.0, "turns": 2},
    identity={"known": 1, "known_seconds": 5.0, "unknown_seconds": 2.0, "people": {"Ada": {"seconds": 5.0}}},
    measures={"loudness.db": {"mean": -30.0, "min": -40.0, "max": -20.0, "n": 10}},
    withheld=2.5,
    merged=6,
    replayed=True,
)
NOBODY_SEEN = summary(start=RECENT, faces=dict.fromkeys(("max", "mean", "person_seconds", "tracks")))
SAID = event(start=RECENT, kind="utterance", label="speech", text="Grüße 👋", clock="unsynced", replayed=True)
NAMED = event(start=RECENT, kind="recognised", label="person", name="Ada", site="berlin", labels={"a": "b"})


@pytest.mark.parametrize("document", [FULL, NOBODY_SEEN, SAID, NAMED], ids=["full", "nobody seen", "said", "named"])
def test_a_row_holds_its_message_field_by_field(document: Any) -> None:
    row = accepted(document)
    assert set(row.values) == set(WINDOWS if row.table == "windows" else EVENTS)
    assert document_of(parsed(row)) == document


def test_messages_of_all_sorts_come_back_as_they_were() -> None:
    for seq in range(1, 300):
        document = produced("kiosk-1", "b", seq)
        assert document_of(parsed(accepted(document))) == document


def test_fields_that_are_not_known_yet_are_kept() -> None:
    new = summary(start=RECENT, future={"a": [1, None]}, emotion=None)
    new["faces"]["heights"] = [1.8]
    new["quality"]["coverage"]["radar"] = 0.5
    row = accepted(new)
    assert json.loads(row.values["more"]) == {
        "future": {"a": [1, None]},
        "faces": {"heights": [1.8]},
        "quality": {"coverage": {"radar": 0.5}},
    }
    assert document_of(parsed(row)) == new


def test_a_row_counts_for_its_start_unless_the_clock_is_wrong() -> None:
    day = 86_400
    assert accepted(summary(start=RECENT - 300 * day)).values["at"] == NOW - timedelta(days=300, seconds=60)
    for document in (
        summary(start=RECENT, clock="unsynced"),
        event(start=RECENT, clock="unsynced"),
        summary(start=RECENT + 2 * day),
        summary(start=0),
    ):
        row = accepted(document)
        assert row.values["at"] == NOW
        assert timestamp(row.values["start"].timestamp()) == document["start"]


def without(document: Any, *names: str) -> Any:
    return {k: v for k, v in document.items() if k not in names}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"nonsense", "not JSON"),
        (b'{"v":1', "not JSON"),
        (b"\xff\xfe{", "not UTF-8"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "nested too deeply"),
        (b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", "nested too deeply"),
        (b'{"v":1,"x":NaN}', "NaN"),
        (b'{"v":1,"x":1e999}', "too large"),
        (b'{"v":1,"x":' + b"9" * 30 + b"}", "too large"),
        (b'{"v":1,"x":' + b"9" * 5_000 + b"}", "not JSON"),
        (b'{"v":1,"x":"a\\u0000b"}', "cannot be stored"),
        (b'{"v":1,"x\\ud800":1}', "cannot be stored"),
        (summary(v=2), "version 2 is not known"),
        (without(summary(), "v"), "v: Field required"),
        (without(summary(), "faces"), "faces: Field required"),
        (summary(seq=0), "seq"),
        (summary(seq=2**63), "too large"),
        (summary() | {"seq": "7"}, "seq"),
        (summary(seconds=-1), "seconds"),
        (summary(seconds=1e9), "seconds: more than"),
        (summary(clock="maybe"), "clock"),
        (summary(bursts=[{"label": "cough"}]), "bursts.0.count"),
        (summary(attention=None), "attention"),
        (summary() | {"start": "2026-13-45T00:00:00.000Z"}, "start: there is no such time"),
        (summary() | {"start": "yesterday"}, "start"),
        (summary(device="kiosk-2"), "not that of the topic"),
        (summary(quality={"dropped": 1}), "quality.video_fps"),
        (summary(merged=2**40), "merged: too large"),
        (event(), "Field required"),  # on the topic of summaries
    ],
)
def test_what_cannot_be_stored_is_rejected_with_the_reason(payload: Any, reason: str) -> None:
    assert reason in refused(payload)


def test_too_large_too_old_and_strange_topics_are_rejected() -> None:
    limits = Acceptance(message_bytes=100, kept_bytes=10)
    found = read("edge-agent", "edge-agent/kiosk-1/summary", b"x" * 101, NOW, limits)
    assert isinstance(found, Rejection)
    assert (found.reason, found.size, found.payload) == ("it has more than 100 bytes", 101, b"x" * 10)
    old = Acceptance(oldest=NOW - timedelta(days=30))
    assert "older than the retention" in refused(summary(start=RECENT - 31 * 86_400), limits=old)
    assert accepted(summary(start=0), old).values["at"] == NOW
    assert "topic" in refused(summary(), topic="edge-agent/a b/summary")


def test_a_rejection_names_no_values() -> None:
    assert "secret" not in refused(event(label="", text="secret"), topic="edge-agent/kiosk-1/event/arrival")
    assert "secret" not in refused(summary(clock="secret"))
    named = {"known": 1, "known_seconds": 1.0, "unknown_seconds": 0.0, "people": {"Ada": {"seconds": -1.0}}}
    assert refused(summary(identity=named)).startswith("identity.people.*.seconds: ")


def test_deletions_and_doctor_leave_nothing() -> None:
    topic = "edge-agent/kiosk-1/summary"
    assert read("edge-agent", topic, b"", NOW, Acceptance()) is None
    assert read("edge-agent", topic, b'{"v":1,"doctor":"abc"}', NOW, Acceptance()) is None
    info = "edge-agent/kiosk-1/info"
    assert read_state("edge-agent", info, b'{"v":1,"doctor":"abc"}', NOW, False, Acceptance()) is None


def test_state_is_read_and_checked() -> None:
    def state(kind: str, payload: bytes) -> Any:
        return read_state("edge-agent", f"edge-agent/kiosk-1/{kind}", payload, NOW, True, Acceptance())

    assert state("status", b"online") == State("kiosk-1", "status", "online", NOW, True)
    assert state("status", b"") == State("kiosk-1", "status", None, NOW, True)
    assert state("status", b"perhaps").reason == "status is neither online nor offline"
    assert isinstance(state("health", b"{}"), Rejection)
    gaps = {"v": 1, "device": "kiosk-2", "dropped": 0, "dead_lettered": 0, "salvages": 0, "gaps": []}
    assert "not that of the topic" in state("gaps", json.dumps(gaps).encode()).reason
    assert state("pacing", b"{}") is None


def test_of_one_key_the_row_with_a_known_time_is_kept() -> None:
    unsure, sure = accepted(summary(start=0, clock="unsynced")), accepted(summary(start=RECENT))
    other = accepted(summary(seq=2, start=RECENT))
    assert newest([other, unsure, sure]) == [sure, other]
    assert newest([sure, unsure]) == [sure]


def test_subscriptions_are_shared_by_the_group() -> None:
    assert data_filters("edge-agent", "")[0] == "edge-agent/+/summary"
    assert data_filters("home/edge", "g") == [
        f"$share/g/home/edge/+/{kind}" for kind in ("summary", "event/+", "backfill/summary", "backfill/event")
    ]
