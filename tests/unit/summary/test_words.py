"""What was said and how, in windows, roll-ups, stored records, payloads and events; never the words by themselves."""

from __future__ import annotations

import logging
from functools import reduce
from typing import get_args

import jsonschema
import pytest

from edge_agent.delivery.outbox.records import _WINDOW, _dump
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.event import ARRIVAL, UTTERANCE, Event
from edge_agent.domain.observation import (
    LANGUAGE,
    LANGUAGE_EMOTIONS,
    LANGUAGE_UNKNOWN,
    VOICE,
    AudioReport,
    Observation,
    Said,
    SpeechReport,
)
from edge_agent.domain.speech import Utterance
from edge_agent.domain.summary import LanguageSums, Summary, VoiceSums, Window, dominant_language
from edge_agent.live.history import History, Tier
from edge_agent.payloads.messages import LanguageName
from edge_agent.payloads.rendering import encode, event_document, summary_document
from edge_agent.payloads.schemas import schema
from edge_agent.summary.summariser import LONGEST_TEXT, Summariser, merge_summaries, utterance_event
from tests.unit.summary.streams import fill


def judged(time: float = 1.0, **p: float) -> Observation:
    return Observation(LANGUAGE, dict.fromkeys(LANGUAGE_EMOTIONS, 0.01) | p, time)


def said(time: float, *observations: Observation, words: int = 5, lost: float = 0.0) -> SpeechReport:
    return SpeechReport(time, 0.1, len(observations), words * len(observations), observations, lost)


def turn(time: float, seconds: float, **more: float) -> AudioReport:
    return AudioReport(time, 0.1, 0.0, (Observation(VOICE, {"seconds": seconds, "pitch_hz": 200.0} | more, time),))


def published(window: Window) -> dict[str, object]:
    document = summary_document(Summary(0.0, "synced", window), "kiosk-1", "b", 1)
    jsonschema.validate(document, schema("summary", closed=True))
    return document


def test_what_was_said_adds_up_and_the_dominant_few_are_named() -> None:
    unknown = Observation(LANGUAGE_UNKNOWN, {"not_english": 1.0}, 1.0)
    (window,) = fill([said(1, judged(gratitude=0.9, joy=0.5)), said(2, judged(gratitude=0.5), unknown)], 10, 10)
    assert published(window)["language"] == {
        "utterances": 3,
        "words": 15,
        "judged": 2,
        "dominant": "gratitude",
        "p": {"gratitude": 0.7, "joy": 0.26},
    }
    assert window.measures == {}


def test_neutral_is_named_only_where_it_dominates() -> None:
    def of(**p: float) -> dict[str, float]:
        (window,) = fill([said(1, judged(**p))], 10, 10)
        return dominant_language(window.language)

    assert of(neutral=0.6, joy=0.8, love=0.3) == {"joy": 0.8, "love": 0.3}
    assert of(neutral=0.8, joy=0.05) == {"neutral": 0.8}
    assert list(of(neutral=0.8, joy=0.3, love=0.5, pride=0.2)) == ["neutral", "love", "joy"]
    assert len(of()) == 1  # nothing stands out, and one is still the most probable


def test_nothing_said_says_nothing_and_sound_not_listened_to_says_so() -> None:
    (window,) = fill([said(1), said(2), AudioReport(3.0, 1.0, 0.0)], 10, 10)
    assert {"language", "voice"} & published(window).keys() == set()
    (window,) = fill([said(1, lost=2.5)], 10, 10)
    assert published(window)["language"] == {"utterances": 0, "words": 0, "judged": 0, "lost": 2.5}


def test_arousal_is_weighted_by_seconds_and_absent_while_unknown() -> None:
    (window,) = fill([turn(1, 3.0, arousal=1.0), turn(2, 1.0, arousal=-1.0), turn(3, 2.0)], 10, 10)
    assert published(window)["voice"] == {"arousal": 0.5, "seconds": 6.0, "turns": 3}
    (window,) = fill([turn(1, 2.0)], 10, 10)
    assert published(window)["voice"] == {"seconds": 2.0, "turns": 1}
    assert window.measures == {}  # what else is known of a voice is for local readers


def test_an_utterance_understood_late_counts_in_the_open_window() -> None:
    first, second = fill([said(4, judged(joy=0.9)), AudioReport(12.0, 0.1, 0.0), said(9, judged(joy=0.9))], 10, 20)
    assert (first.language.utterances, second.language.utterances) == (1, 1)


def test_merged_stored_and_remembered_windows_hold_the_same_sums() -> None:
    reports = [said(1, judged(joy=0.9)), turn(2, 3.0, arousal=0.4), said(12, judged(fear=0.8), lost=1.0), turn(14, 1.0)]
    windows = fill(reports, 10, 20)
    whole = reduce(merge_summaries, [Summary(1e9 + w.begin, "synced", w) for w in windows])
    assert whole.window.language.judged == 2
    assert whole.window.voice == VoiceSums(4.0, 2, 0.4 * 3, 3.0)
    assert _WINDOW.validate_json(_dump(whole.window)) == whole.window
    history, again = History((Tier(20, 3),)), History((Tier(20, 3),))
    history.add(whole)
    again.restore(history.document())
    (kept,) = again.series(0, 2e9, 20)
    assert (kept.language, kept.voice) == (whole.window.language, whole.window.voice)


def test_a_history_with_another_number_of_classes_is_refused() -> None:
    history = History((Tier(20, 3),))
    history.add(
        Summary(1e9, "synced", Window(0.0, 20.0, language=LanguageSums(1, 2, 1, (0.5,) * len(LANGUAGE_EMOTIONS))))
    )
    document = history.document()
    document["windows"]["20"][0]["language"]["p"].pop()
    with pytest.raises(ValueError, match="not a history of this version"):
        History((Tier(20, 3),)).restore(document)


def test_a_talkative_window_stays_compact() -> None:
    (window,) = fill(
        [said(1, judged(gratitude=0.7, admiration=0.44, disappointment=0.33)), turn(2, 9.3, arousal=-0.41)], 10, 10
    )
    told = published(window)
    assert len(encode({"language": told["language"], "voice": told["voice"]})) < 240


def test_the_names_of_the_payload_are_those_of_the_observation() -> None:
    assert get_args(LanguageName) == LANGUAGE_EMOTIONS


# ---------------------------------------------------------------------- the words themselves


class Heard:
    def __init__(self, min_people: int = 0) -> None:
        self.events: list[Event] = []
        self.clock = ManualClock()
        self.clock.advance(100.0)
        self.summariser = Summariser(
            self.clock, 10.0, lambda _s: None, lambda e, *_: self.events.append(e), min_people=min_people
        )

    def speech(self, *utterances: Utterance) -> None:
        self.summariser.accept(SpeechReport(99.0, 0.1, len(utterances), 3, said=tuple(map(Said, utterances))))


def test_words_leave_only_in_a_report_that_holds_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    heard = Heard()
    heard.summariser.accept(said(99.0, judged(joy=0.9)))
    assert heard.events == []
    heard.speech(Utterance("my canary quokka", 97.0, 98.5, 0.8))
    (event,) = heard.events
    assert (event.kind, event.score, event.start, event.seconds) == (UTTERANCE, 0.8, 97.0, 1.5)
    document = event_document(event, 1e9, "synced", "kiosk-1", "b", 1)
    jsonschema.validate(document, schema("event", closed=True))
    assert document["text"] == "my canary quokka"
    assert "quokka" not in repr(event) + caplog.text
    plain = event_document(Event(ARRIVAL, "person", 0.9, 1.0, 0.0), 1e9, "synced", "kiosk-1", "b", 1)
    assert "text" not in plain


def test_words_of_too_few_people_stay_here() -> None:
    heard = Heard(min_people=2)
    heard.speech(Utterance("my canary quokka", 97.0, 98.5))
    assert heard.events == []


@pytest.mark.parametrize("text", ["half \ud83d of a pair", "x" * 50_000, "\0\x1b[31m", "  "])
def test_any_text_can_be_published(text: str) -> None:
    event = utterance_event(Utterance(text, 1.0, 2.0))
    assert len(event.text) <= LONGEST_TEXT
    assert event.score == 1.0
    encode(event_document(event, 1e9, "synced", "kiosk-1", "b", 1))
