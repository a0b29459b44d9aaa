"""Lines of ``edge-agent watch``: what is unknown is said, and why."""

from __future__ import annotations

from edge_agent.cli.watch import event_line, health_line, presence_line, summary_line
from edge_agent.domain.observation import LANGUAGE_EMOTIONS
from edge_agent.domain.summary import FaceSums, LanguageSums, Presence, Summary, VoiceSums, Window
from edge_agent.payloads.rendering import presence_document, summary_document


def line(window: Window) -> str:
    return summary_line(summary_document(Summary(0.0, "synced", window), "kiosk-1", "b", 1))


def test_an_unwatched_window_is_shown_as_unknown() -> None:
    window = Window(0, 10, unseen={"missing": 9.6, "starting": 0.4}, unheard={"off": 10.0})
    assert line(window) == "faces unknown (missing 10 s, starting 0 s), sounds unknown (off 10 s)"


def test_a_window_without_people_has_no_faces() -> None:
    nobody = Window(0, 10, FaceSums(seconds=10.0), unheard={"none": 10.0})
    assert line(nobody) == "0.0 faces, not enough evidence for an emotion"


def test_words_and_voices_stand_beside_the_faces() -> None:
    joy = tuple(0.9 * (name == "joy") for name in LANGUAGE_EMOTIONS)
    window = Window(
        0, 10, FaceSums(seconds=10.0), language=LanguageSums(2, 9, 1, joy), voice=VoiceSums(4.0, 2, 2.0, 4.0)
    )
    assert line(window) == "0.0 faces, not enough evidence for an emotion, words joy 0.90 (2 said), arousal +0.50"
    unclear = Window(0, 10, FaceSums(seconds=10.0), language=LanguageSums(1, 2), voice=VoiceSums(4.0, 2))
    assert line(unclear) == "0.0 faces, not enough evidence for an emotion"
    told = {"kind": "utterance", "label": "speech", "score": 1.0, "seconds": 1.5, "text": "so\n"}
    assert event_line(told) == "utterance: 'so\\n' (1.5 s)"


def test_presence_and_health() -> None:
    assert presence_line(presence_document(Presence(2), "k")) == "2 in view"
    assert presence_line(presence_document(Presence(None, "dark"), "k")) == "unknown: dark"
    sources = {"camera": {"unknown": "paused"}, "microphone": {"unknown": None}}
    assert health_line({"problems": [], "sources": sources}) == "camera: paused"
    assert health_line({"problems": []}) == "all well"
