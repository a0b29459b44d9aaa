"""Payloads: valid, small, rounded, and adding up."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.domain.event import Event, MessageKind
from edge_agent.domain.observation import EMOTIONS
from edge_agent.domain.summary import (
    AttentionSums,
    BurstSums,
    EmotionSums,
    FaceSums,
    MeasureSums,
    Presence,
    StreamSums,
    Summary,
    Trend,
    Window,
    estimate_emotion,
)
from edge_agent.payloads import rendering as render
from edge_agent.payloads.schemas import schema
from edge_agent.summary.summariser import merge_summaries
from tests.support.payloads import validated
from tests.support.windows import a_summary, a_window, empty

START = 1_795_165_200.0  # 2026-11-20T09:00:00Z


def _document(summary: Summary, merged: int = 1) -> dict[str, object]:
    document = render.summary_document(summary, "kiosk-1", "9f2c41d0", 42, merged)
    assert validated(render.encode(document)) == document
    return document


def test_summary_has_the_documented_shape_and_figures() -> None:
    window = Window(
        100.0,
        110.0,
        FaceSums(2, 15.9, 9.9, 1, 1),
        EmotionSums(15.9, (3.5, 10.5, 0.6, 0.5, 0.3, 0.2, 0.15, 0.15), (0.8, 7.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1), 31),
        {"laughter": BurstSums(2, 0.93, 1.8), "cough": BurstSums(1, 0.5, 0.4)},
        {"attention.ratio": MeasureSums(4, 2.0, 0.25, 0.75)},
        StreamSums(149, 30, 1, 10.004, 9.0, frozenset({"dark", "blurred"})),
    )
    document = _document(Summary(START, "synced", window))
    emotion = document.pop("emotion")
    assert document == {
        "v": 1,
        "device": "kiosk-1",
        "boot_id": "9f2c41d0",
        "seq": 42,
        "start": "2026-11-20T09:00:00.000Z",
        "seconds": 10.0,
        "clock": "synced",
        "faces": {"max": 2, "mean": 1.606, "person_seconds": 15.9, "tracks": 2},
        "bursts": [
            {"label": "cough", "count": 1, "peak": 0.5, "seconds": 0.4},
            {"label": "laughter", "count": 2, "peak": 0.93, "seconds": 1.8},
        ],
        "quality": {
            "video_fps": 14.9,
            "analysed_fps": 3.0,
            "coverage": {"video": 1.0, "audio": 0.9},
            "dropped": 1,
            "flags": ["blurred", "dark"],
        },
        "measures": {"attention.ratio": {"mean": 0.5, "min": 0.25, "max": 0.75, "sum": 2.0, "n": 4}},
    }
    estimate = estimate_emotion(window.emotion)
    assert estimate is not None
    assert isinstance(emotion, dict)
    assert emotion["dominant"] == "happiness"
    assert emotion["readings"] == 31
    assert emotion["valence"] == pytest.approx(estimate.valence, abs=0.006)
    assert list(emotion["p"].values()) == pytest.approx(estimate.p, abs=0.011)


def test_too_little_evidence_is_null_and_an_empty_window_valid() -> None:
    watched = a_summary(0.0)
    nobody = replace(empty(watched), window=replace(empty(watched).window, faces=FaceSums(seconds=10.0)))
    document = _document(nobody)
    assert document["emotion"] is None
    assert document["faces"] == {"max": 0, "mean": 0.0, "person_seconds": 0.0, "tracks": 0}


def test_a_typical_summary_fits_in_512_bytes() -> None:
    """Two people and no burst, as most windows that have anybody in them; a laugh takes about 55 bytes more."""
    sums = EmotionSums(15.9, (3.5, 10.49, 0.64, 0.48, 0.32, 0.16, 0.16, 0.16), (0.0,) * 8, 31)
    window = Window(0, 10, FaceSums(2, 15.9, 10.0, 1, 1), sums, {}, {}, StreamSums(149, 30, 0, 10.0, 10.0))
    assert len(render.encode(_document(Summary(START, "synced", window)))) <= 512
    sizes = [len(render.encode(_document(a_summary(10.0 * k)))) for k in range(200)]
    assert sorted(sizes)[100] <= 512


def test_engagement_is_the_attention_each_person_gave() -> None:
    """Two people for 8 s each, one after the other, who looked half of the time that is known: 4 s each."""
    window = Window(0, 10, FaceSums(2, 16.0, 10.0, 1, 1), attention=AttentionSums(8.0, 5.0, 4.0))
    document = _document(Summary(START, "synced", window))
    assert document["attention"] == {"ratio": 0.5, "seconds": 4.0, "per_person": 4.0}
    halves = [replace(window, begin=b, end=b + 5) for b in (0.0, 5.0)]
    merged = _document(merge_summaries(*(Summary(START + w.begin, "synced", w) for w in halves)))
    assert merged["attention"] == {"ratio": 0.5, "seconds": 8.0, "per_person": 5.3}
    eyed = replace(window, attention=AttentionSums(8.0, 5.0, 4.0, 6.0))
    assert _document(Summary(START, "synced", eyed))["attention"]["by_eyes"] == 0.75
    nobody_counted = Window(0, 10, attention=AttentionSums(8.0, 5.0, 4.0))
    assert _document(Summary(START, "synced", nobody_counted))["attention"] == {"ratio": 0.5, "seconds": 4.0}


def test_merged_and_replayed_are_said() -> None:
    summary = a_summary(0.0)
    assert _document(summary, merged=6)["merged"] == 6
    late = render.mark_replayed(render.encode(_document(summary)))
    assert validated(late)["replayed"] is True
    assert {k: v for k, v in validated(late).items() if k != "replayed"} == _document(summary)


def test_event_payload() -> None:
    event = Event("burst", "cough", 0.97, 3.1, 0.8)
    document = render.event_document(event, START + 3.1, "synced", "kiosk-1", "9f2c41d0", 43)
    assert validated(render.encode(document)) == {
        "v": 1,
        "device": "kiosk-1",
        "boot_id": "9f2c41d0",
        "seq": 43,
        "kind": "burst",
        "label": "cough",
        "score": 0.97,
        "start": "2026-11-20T09:00:03.100Z",
        "seconds": 0.8,
    }
    unsynced = render.event_document(event, 12.0, "unsynced", "kiosk-1", "9f2c41d0", 43)
    assert validated(render.encode(unsynced))["clock"] == "unsynced"


@pytest.mark.parametrize("kind", ["summary", "event"])
def test_restamping_repairs_the_clock_and_nothing_else(kind: str) -> None:
    if kind == "summary":
        before = render.summary_document(a_summary(5.0, clock="unsynced"), "k", "b", 1)
    else:
        before = render.event_document(Event("burst", "cough", 0.5, 1.0, 1.0), 7.0, "unsynced", "k", "b", 1)
    after = validated(render.restamp(render.encode(before), START))
    assert after.pop("start") == "2026-11-20T09:00:00.000Z"
    assert after.pop("clock", "synced") == "synced"
    assert after == {name: value for name, value in before.items() if name not in ("start", "clock")}


@pytest.mark.parametrize(
    ("wall", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (-5.0, "1970-01-01T00:00:00.000Z"),
        (1_795_165_203.1004, "2026-11-20T09:00:03.100Z"),
        (1e15, "9999-12-31T23:59:59.000Z"),
    ],
)
def test_timestamps_are_utc_with_milliseconds_and_never_fail(wall: float, text: str) -> None:
    assert render.timestamp(wall) == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=8, max_size=8).filter(lambda p: sum(p) > 1e-6))
def test_published_probabilities_add_up_to_exactly_one(raw: list[float]) -> None:
    window = Window(0, 10, emotion=EmotionSums(10.0, tuple(raw), tuple(v * v for v in raw), 5))
    emotion = _document(Summary(START, "synced", window))["emotion"]
    assert isinstance(emotion, dict)
    shares = emotion["p"]
    assert sum(round(value * 100) for value in shares.values()) == 100
    for name, value in zip(EMOTIONS, raw, strict=True):
        assert math.isclose(shares[name], value / sum(raw), abs_tol=0.011)


def test_no_more_than_three_decimals() -> None:
    def numbers(value: object) -> list[float]:
        if isinstance(value, dict):
            return [n for v in value.values() for n in numbers(v)]
        if isinstance(value, list):
            return [n for v in value for n in numbers(v)]
        return [value] if isinstance(value, float) else []

    for k in range(50):
        for number in numbers(_document(a_summary(10.0 * k))):
            assert number == round(number, 3)
            assert not (number == 0 and math.copysign(1, number) < 0), "minus zero"


def test_numbers_json_cannot_carry_are_refused() -> None:
    window = Window(0, 10, measures={"x": MeasureSums(1, math.nan, 0, 0)})
    with pytest.raises(ValueError, match="Out of range"):
        render.encode(render.summary_document(Summary(START, "synced", window), "k", "b", 1))


def test_the_schemas_refuse_what_is_not_in_the_contract() -> None:
    """A check that cannot fail would be a defect."""
    good = json.loads(render.encode(_document(a_summary(0.0))))
    for change in (
        {"extra": 1},
        {"v": 2},
        {"seq": 0},
        {"start": "2026-11-20 09:00:00"},
        {"clock": "maybe"},
        {"emotion": {"dominant": "joy"}},
        {"faces": {**good["faces"], "max": -1}},
        {"faces": {}},
        {"replayed": False},
    ):
        with pytest.raises(jsonschema.ValidationError):
            validated(json.dumps({**good, **change}).encode())


def test_an_unwatched_window_has_nulls_and_the_reason() -> None:
    """A7: a muted camera said that nobody was there."""
    document = _document(Summary(START, "synced", Window(0, 10, unseen={"privacy": 10.0}, unheard={"off": 10.0})))
    assert document["faces"] == dict.fromkeys(("max", "mean", "person_seconds", "tracks"))
    assert document["unknown"] == {"people": {"privacy": 10.0}, "sounds": {"off": 10.0}}
    half = Window(0, 10, FaceSums(seconds=6.96), unseen={"covered": 3.0, "starting": 0.04})
    document = _document(Summary(START, "synced", half))
    assert document["faces"] == {"max": 0, "mean": 0.0, "person_seconds": 0.0, "tracks": 0}
    assert document["unknown"] == {"people": {"covered": 3.0}}


def test_a_look_that_stands_for_no_time_counts_those_it_showed() -> None:
    """A still picture of two was said to have 0 people on average."""
    assert _document(Summary(START, "synced", Window(0, 0, FaceSums(2))))["faces"] == {
        "max": 2,
        "mean": 2.0,
        "person_seconds": 0.0,
        "tracks": 0,
    }


def test_presence_is_a_count_or_a_reason() -> None:
    assert render.presence_document(Presence(2), "k") == {
        "v": 1,
        "device": "k",
        "count": 2,
        "occupied": True,
        "unknown": None,
    }
    hidden = render.presence_document(Presence(None, "paused"), "k")
    assert (hidden["count"], hidden["occupied"], hidden["unknown"]) == (None, None, "paused")


@pytest.mark.parametrize("kind", ["summary", "event"])
def test_the_schema_is_open_for_fields_to_come_and_closed_for_our_own_tests(kind: MessageKind) -> None:
    """C10: a consumer that validates must not fail when a field is added within version 1."""
    summary = _document(Summary(START, "synced", a_window(0.0)))
    event = render.event_document(Event("burst", "cough", 0.9, 3.0, 0.8), START, "synced", "kiosk-1", "b1", 1)
    document = {"summary": summary, "event": event}[kind]
    grown = document | {"field_to_come": {"x": 1}}
    if kind == "summary":
        grown |= {"faces": document["faces"] | {"smallest": 3}, "quality": document["quality"] | {"lux": 12}}
    jsonschema.validate(grown, schema(kind))
    jsonschema.validate(document, schema(kind, closed=True))
    with pytest.raises(jsonschema.ValidationError, match="field_to_come"):
        jsonschema.validate(grown, schema(kind, closed=True))


def test_what_has_not_changed_is_no_trend() -> None:
    window = a_window(0.0)
    still = _document(Summary(START, "synced", window, Trend(60.0, 0.01, 0.02, -0.049)))
    moved = _document(Summary(START, "synced", window, Trend(60.0, -0.3, 0.02, None)))
    assert "trend" not in still
    assert moved["trend"] == {"valence": -0.3}
