"""Written words on the compatible endpoints, with Hume's own client, curl's requests and raw messages; real model."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hume import AsyncHumeClient
from hume.environment import HumeClientEnvironment
from hume.expression_measurement.stream import Config, StreamFace, StreamLanguage
from websockets.sync import client

from edge_agent.api import ConfigError, Session
from edge_agent.batch.custom import CustomAnswers
from edge_agent.domain.observation import LANGUAGE_EMOTIONS
from edge_agent.domain.speech import cut
from edge_agent.web import echo, hume, words
from edge_agent.web.words import Transcriber
from tests.support.web import Server

HUME_53 = frozenset({
    "Admiration", "Adoration", "Aesthetic Appreciation", "Amusement", "Anger", "Annoyance", "Anxiety", "Awe",
    "Awkwardness", "Boredom", "Calmness", "Concentration", "Confusion", "Contemplation", "Contempt", "Contentment",
    "Craving", "Desire", "Determination", "Disappointment", "Disapproval", "Disgust", "Distress", "Doubt", "Ecstasy",
    "Embarrassment", "Empathic Pain", "Enthusiasm", "Entrancement", "Envy", "Excitement", "Fear", "Gratitude",
    "Guilt", "Horror", "Interest", "Joy", "Love", "Nostalgia", "Pain", "Pride", "Realization", "Relief", "Romance",
    "Sadness", "Sarcasm", "Satisfaction", "Shame", "Surprise (negative)", "Surprise (positive)", "Sympathy",
    "Tiredness", "Triumph",
})  # fmt: skip
TEXT = "Thank you so much, Dr. Brown! I am really sorry about the mess.\nSee you on Monday."
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    limits = hume.Limits(idle_s=30, connections=8)
    running = Server([*hume.routes(limits=limits), *echo.routes(limits=limits)])
    yield running
    running.stop()


@pytest.fixture
def ask(server: Server) -> Iterator[Ask]:
    """Sends one message and returns the answer."""
    with client.connect(f"ws://{server.address}/v0/stream/models") as connection:

        def send(**fields: Any) -> dict[str, Any]:
            connection.send(json.dumps(fields))
            return dict(json.loads(connection.recv(timeout=60)))

        yield send


def best(emotions: Any) -> str:
    return str(max(emotions, key=lambda e: e["score"] if isinstance(e, dict) else e.score)["name"])


# ---------------------------------------------------------------------- Hume


def test_humes_client_sends_text_and_gets_sentences(server: Server) -> None:
    async def talk() -> Any:
        here = HumeClientEnvironment(base="", evi="", tts="", stream=f"ws://{server.address}/v0/stream")
        async with AsyncHumeClient(api_key="x", environment=here).expression_measurement.stream.connect() as socket:
            return await socket.send_text(TEXT, Config(language=StreamLanguage(granularity="sentence")))

    found = asyncio.run(talk()).language.predictions
    assert [TEXT[int(p.position.begin) : int(p.position.end)] for p in found] == [p.text for p in found]
    assert [p.text for p in found] == [
        "Thank you so much, Dr. Brown!", "I am really sorry about the mess.", "See you on Monday.",
    ]  # fmt: skip
    scores = [{e.name: e.score for e in p.emotions} for p in found]
    assert all(set(s) <= HUME_53 and len(s) == len(p.emotions) for s, p in zip(scores, found, strict=True))
    assert scores[0]["Gratitude"] > 0.8
    assert scores[1]["Sadness"] > scores[0]["Sadness"]


@pytest.mark.parametrize(
    ("granularity", "parts"), [("passage", 1), ("utterance", 2), ("conversational_turn", 2), ("sentence", 3)]
)
def test_the_text_is_cut_as_asked(ask: Ask, granularity: str, parts: int) -> None:
    told = ask(data=TEXT, raw_text=True, models={"language": {"granularity": granularity}})
    assert len(told["language"]["predictions"]) == parts
    assert "warning" not in told["language"]


@pytest.mark.parametrize("options", [{}, {"granularity": "word"}])
def test_sentences_for_words_with_a_warning(ask: Ask, options: dict[str, Any]) -> None:
    told = ask(data=TEXT, raw_text=True, models={"language": options}, payload_id="one", job_details=True)
    assert len(told["language"]["predictions"]) == 3
    assert "sentences, not words" in told["language"]["warning"]
    assert told["payload_id"] == "one"


def test_what_is_not_done_is_warned_of_and_not_made_up(ask: Ask) -> None:
    asked = {"granularity": "passage", "sentiment": {}, "toxicity": {}, "identify_speakers": True}
    told = ask(data=TEXT, raw_text=True, models={"language": asked})["language"]
    assert all(name in told["warning"] for name in ("sentiment", "toxicity", "identify_speakers"))
    (part,) = told["predictions"]
    assert set(part) == {"text", "position", "emotions", "others"}


def test_every_class_of_ours_is_told_once_and_only_under_a_name_that_means_it(ask: Ask) -> None:
    told = ask(data="I love it", raw_text=True, models={"language": {"granularity": "passage"}})
    (part,) = told["language"]["predictions"]
    named, others = ([e["name"] for e in part[key]] for key in ("emotions", "others"))
    assert set(named) <= HUME_53
    assert sorted([*(n.lower() for n in named), *others]) == sorted(LANGUAGE_EMOTIONS)
    assert not {n.capitalize() for n in others} & HUME_53
    assert best(part["emotions"]) == "Love"


def test_text_that_cannot_be_judged(ask: Ask) -> None:
    told = ask(data="Ich freue mich sehr, dich zu sehen.", raw_text=True, models={"language": {}})["language"]
    assert "predictions" not in told
    assert (told["code"], "English" in told["warning"]) == ("W0104", True)
    mixed = "Ich freue mich sehr. Thank you for everything! \U0001f600"
    told = ask(data=mixed, raw_text=True, models={"language": {"granularity": "sentence"}})["language"]
    assert [p["text"] for p in told["predictions"]] == ["Thank you for everything!"]
    assert "2 of 3 parts" in told["warning"]
    assert ask(data="", raw_text=True, models={"language": {}})["language"]["code"] == "W0104"


def test_text_is_nothing_for_other_models(ask: Ask) -> None:
    told = ask(data="Thanks", raw_text=True, models={"language": {"granularity": "passage"}, "face": {}, "prosody": {}})
    assert best(told["language"]["predictions"][0]["emotions"]) == "Gratitude"
    assert told["face"]["code"] == told["prosody"]["code"] == "E0102"
    assert ask(data="Thanks", raw_text=True, models={"face": {}})["code"] == "E0102"
    assert ask(data="Thanks", raw_text=True)["code"] == "E0101"


def test_a_text_file_and_wrong_requests(ask: Ask) -> None:
    file = base64.b64encode("\ufeffThanks a lot".encode()).decode()
    told = ask(data=file, models={"language": {"granularity": "passage"}})
    assert told["language"]["predictions"][0]["text"] == "Thanks a lot"
    assert ask(data="x" * 10_001, raw_text=True, models={"language": {}})["code"] == "E0206"
    assert ask(data="x", raw_text=True, models={"language": {"granularity": "verse"}})["code"] == "E0101"
    assert ask(data="\x00\ud800", raw_text=True, models={"language": {}})["language"]["code"] == "W0104"


def test_pictures_are_still_looked_at(server: Server) -> None:
    async def talk() -> Any:
        here = HumeClientEnvironment(base="", evi="", tts="", stream=f"ws://{server.address}/v0/stream")
        async with AsyncHumeClient(api_key="x", environment=here).expression_measurement.stream.connect() as socket:
            return await socket.send_text("Thanks", Config(face=StreamFace(), language=StreamLanguage()))

    assert asyncio.run(talk()).language.predictions[0].text == "Thanks"


def test_without_the_plugin_the_stream_says_so() -> None:
    def lacking(_names: Any, **_options: Any) -> Session:
        raise ConfigError("no analyzer 'language'; there are: face")

    stream = hume.Stream(lacking, lambda: 0.0, words.Reader(lacking), Transcriber(lacking), CustomAnswers())
    message = {"data": "Thanks", "raw_text": True, "models": {"language": {}}}
    assert stream.answer(json.dumps(message)) == {
        "error": "This device has no model for language.", "code": "E0102"}  # fmt: skip
    told = words.TextTalk(words.Reader(lacking)).answer("Thanks")
    assert "no analyzer 'language'" in told["error"]


# ---------------------------------------------------------------------- Echo


@pytest.mark.parametrize(
    "message", ["Thank you!", json.dumps({"text": "Thank you!"}), json.dumps({"message": "Thank you!"}), b"Thank you!"]
)
def test_echos_socket_tells_the_emotion_of_a_text(server: Server, message: str | bytes) -> None:
    with client.connect(f"ws://{server.address}/ws/emotion") as socket:
        socket.send(message)
        told = json.loads(socket.recv(timeout=60))
        assert (told["type"], told["emotion"]) == ("emotion", "gratitude")
        assert told["confidence"] == told["emotions"]["gratitude"] > 0.8
        assert tuple(told["emotions"]) == LANGUAGE_EMOTIONS
        for wrong in ('{"text": 5}', "{", '{"other": "x"}', b"\xff\xfe", "x" * 10_001):
            socket.send(wrong)
            assert json.loads(socket.recv(timeout=60))["type"] == "error"
        socket.send("Guten Tag, wie geht es dir?")
        told = json.loads(socket.recv(timeout=60))
        assert (told["emotion"], told["reason"]) == (None, "not_english")


@pytest.mark.parametrize(
    "sent",
    [{"json": {"text": "Thank you!"}}, {"content": "Thank you!"}, {"data": {"text": "Thank you!"}},
     {"params": {"text": "Thank you!"}},
     {"content": "Thank you!", "headers": {"content-type": "application/x-www-form-urlencoded"}}],
)  # fmt: skip
def test_echos_post_takes_json_text_and_forms(server: Server, sent: dict[str, Any]) -> None:
    told = httpx.post(f"http://{server.address}/stream-emotion", timeout=60, **sent)
    assert told.status_code == 200
    assert told.json()["emotion"] == "gratitude"


def test_echos_post_refuses_what_is_no_text(server: Server) -> None:
    url = f"http://{server.address}/stream-emotion"
    assert httpx.post(url, json={"text": ["x"]}).status_code == 422
    assert httpx.post(url, content=b"\xff\xfe").json()["detail"] == "text: not UTF-8."
    assert httpx.post(url, content="x" * 10_001).status_code == 422
    assert httpx.post(url).json()["reason"] == "empty"


# ---------------------------------------------------------------------- Python


def test_a_session_reads_text() -> None:
    with Session(["language"]) as session:
        (whole,) = session.passages(TEXT)
        assert whole[0].text == TEXT
        parts = session.passages(TEXT, "sentence")
        assert [o.name for _, found in parts for o in found] == ["language"] * 3
        assert session.passages("") == []
        assert session.events == ()
    with Session(["burst"]) as session, pytest.raises(ConfigError, match="no analyzer of text"):
        session.passages("Thanks")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ('He said "No!" and left. Then, at 3.5 p.m. on Jan. 5, Mr. A. Smith came.',
         ['He said "No!" and left.', "Then, at 3.5 p.m. on Jan. 5, Mr. A. Smith came."]),
        ("I said no. he left. etc. Nobody cares", ["I said no.", "he left.", "etc.", "Nobody cares"]),
        ("So did I. She left.", ["So did I.", "She left."]),
        ("a line\nanother\r\n\r\nlast...", ["a line", "another", "last..."]),
        ("你好。谢谢！", ["你好。", "谢谢！"]),
        (" \n ", []),
        ("www.example.com is down", ["www.example.com is down"]),
    ],
)  # fmt: skip
def test_sentences_and_their_places(text: str, parts: list[str]) -> None:
    found = cut(text)
    assert [p.text for p in found] == parts
    assert [text[p.begin : p.end] for p in found] == parts
    assert "One" not in repr(found)
