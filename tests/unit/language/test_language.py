"""The language analyzer: plain words, when it cannot tell, long and odd text, and its training's sums."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from edge_agent.domain.errors import EdgeAgentError
from edge_agent.domain.observation import LANGUAGE, LANGUAGE_EMOTIONS, LANGUAGE_UNKNOWN
from edge_agent.domain.speech import Utterance
from edge_agent.models import Catalogue, ModelStore
from edge_agent.plugin import AnalyzerContext
from edge_agent_language import LanguageSettings
from edge_agent_language.analyzer import LanguageAnalyzer, parts
from edge_agent_language.features import GRAMS, WORDS, Vocabulary, key, normalized, tokens
from training.language.dataset import load
from training.language.export import platt, sigmoid
from training.language.scoring import best_thresholds, f1, fair_thresholds
from training.language.weights import keep, load_weights

CONTEXT = AnalyzerContext(ModelStore(Path("/nonexistent"), Catalogue.load()))


@pytest.fixture(scope="module")
def analyzer() -> LanguageAnalyzer:
    return LanguageAnalyzer(LanguageSettings(), CONTEXT)


def values(analyzer: LanguageAnalyzer, text: str) -> dict[str, float]:
    (answer,) = analyzer.analyze(Utterance(text, 3.0, 4.0))
    assert (answer.name, answer.time) == (LANGUAGE, 3.0), f"{text!r} is not judged: {dict(answer.values)}"
    assert tuple(answer.values) == LANGUAGE_EMOTIONS
    assert all(0 <= p <= 1 for p in answer.values.values())
    return dict(answer.values)


def reason(analyzer: LanguageAnalyzer, text: str) -> str:
    (answer,) = analyzer.analyze(Utterance(text))
    assert answer.name == LANGUAGE_UNKNOWN, f"{text!r} is judged"
    assert list(answer.values.values()) == [1.0]
    return next(iter(answer.values))


@pytest.mark.parametrize(
    ("text", "emotion"),
    [
        ("Thanks", "gratitude"),
        ("I LOVE THIS SO MUCH", "love"),
        ("haha that is hilarious", "amusement"),
        ("Great job, team!", "admiration"),
        ("I'm so sorry, it was my fault", "remorse"),
        ("What time does it start?", "curiosity"),
        ("Wow, I did not expect that!", "surprise"),
        ("i dont know what to do, im confused", "confusion"),
        ("We are closed on Mondays.", "neutral"),
        ("‘I’m so happy’, she said.", "joy"),
    ],
)
def test_plain_words_are_read_as_people_read_them(analyzer: LanguageAnalyzer, text: str, emotion: str) -> None:
    found = values(analyzer, text)
    assert max(found, key=lambda name: found[name]) == emotion


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("I am not happy", "joy"),
        ("I’m not happy with this.", "joy"),
        ("I don't love you", "love"),
        ("I dont love you", "love"),
        ("THAT'S NOT FUNNY", "amusement"),
        ("I'm not angry", "anger"),
        ("I am not scared of you", "fear"),
        ("I am not sad anymore", "sadness"),
        ("I wasn't very surprised", "surprise"),
        ("No thanks", "gratitude"),
    ],
)
def test_what_is_denied_is_not_expressed(analyzer: LanguageAnalyzer, text: str, denied: str) -> None:
    found = values(analyzer, text)
    assert found[denied] < 0.25, found[denied]
    assert found["neutral"] > 0.25


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("I have never been so happy", "joy"),
        ("I couldn't be happier", "joy"),
        ("Isn't it funny?", "amusement"),
        ("I can't wait!", "excitement"),
        ("Not only funny but also true", "amusement"),
        ("I'm not scared, I'm happy", "joy"),
        ("I do not like it", "disapproval"),
        ("No, thank you so much!", "gratitude"),
    ],
)
def test_a_negation_that_denies_nothing_changes_nothing(analyzer: LanguageAnalyzer, text: str, meant: str) -> None:
    found = values(analyzer, text)
    assert max(found, key=lambda name: found[name]) == meant


def test_characters_without_width_part_words(analyzer: LanguageAnalyzer) -> None:
    assert values(analyzer, "I\u200blove\u200byou")["love"] > 0.9
    assert values(analyzer, "\u202eI lo\u200dve you\u202c")["love"] > 0.9


@pytest.mark.parametrize("part", ["import a ", "not ", "isn't it? ", "\n", "<b>", "a\u0300", "\ud800 "])
def test_no_long_text_takes_long(analyzer: LanguageAnalyzer, part: str) -> None:
    began = time.thread_time()
    analyzer.analyze(Utterance(part * (100_000 // len(part))))
    assert time.thread_time() - began < 2.0


def test_a_text_may_express_several_emotions(analyzer: LanguageAnalyzer) -> None:
    found = values(analyzer, "Thank you so much, I love it!")
    assert found["gratitude"] > 0.5
    assert found["love"] > 0.5


@pytest.mark.parametrize(
    "text",
    [
        "Ich freue mich sehr, dich zu sehen.", "Danke", "Das ist die beste Idee", "Der Hund ist in dem Haus",
        "Je suis très content de te voir", "Merci beaucoup", "C'est la vie mon ami", "Je t'aime",
        "Estoy muy feliz de verte", "No me gusta nada", "Muchas gracias", "Te amo",
        "Ik ben heel blij om je te zien", "Dank je wel", "Wat een mooie dag", "Was ist das",
        "Sono molto felice di vederti", "Che bella giornata", "Grazie mille",
        "mujhe bahut khushi hui", "tum kaise ho yaar", "main bahut khush hoon aaj", "yeh galat hai bhai",
        "你好谢谢", "我很高兴见到你", "Я очень рад тебя видеть", "مرحبا شكرا", "שלום תודה",
        "Bardzo się cieszę", "Tack så mycket", "Çok mutluyum", "Terima kasih", "Eu estou muito feliz",
        "def foo(x): return x[1]", 'for (int i = 0; i < n; i++) { printf("%d", i); }', "SELECT * FROM t WHERE id = 1;",
        "asdf qwer zxcv hjkl", "xkcd", "loud" * 5_000, "a" * 100_000, "Ich freue mich. " * 1_000,
    ],
)  # fmt: skip
def test_what_is_not_english_is_not_judged(analyzer: LanguageAnalyzer, text: str) -> None:
    assert reason(analyzer, text) == "not_english"
    assert reason(analyzer, text.upper()) == "not_english"


@pytest.mark.parametrize(
    "text", ["import numpy as np", "from os import path", "print('hello world')", "#include <stdio.h>", "const n = 5"]
)
def test_a_line_of_a_program_is_not_judged(analyzer: LanguageAnalyzer, text: str) -> None:
    assert reason(analyzer, text) == "not_english"


@pytest.mark.parametrize("text", ["", " \n\t ", "\x00\x00", " \x00 "])
def test_empty_text(analyzer: LanguageAnalyzer, text: str) -> None:
    assert reason(analyzer, text) == "empty"


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "?!...",
        "12 345",
        "😂😂😂",
        "https://example.com/a?b=c",
        "www.example.com",
        "me@example.com",
        "\u200f\u202e",
    ],
)
def test_too_short_text(analyzer: LanguageAnalyzer, text: str) -> None:
    assert reason(analyzer, text) == "too_short"


def test_the_operator_can_ask_for_more_words() -> None:
    strict = LanguageAnalyzer(LanguageSettings(min_words=3), CONTEXT)
    assert reason(strict, "Thank you") == "too_short"
    assert values(strict, "Thank you so much")["gratitude"] > 0.5


def test_what_cannot_be_seen_changes_nothing(analyzer: LanguageAnalyzer) -> None:
    plain = values(analyzer, "I am so happy today!")
    for odd in (
        "I am so\x00happy today!",
        "\u202eI am so happy\u200f today!",
        "I  am\nso happy today! https://a.example/x",
    ):
        assert values(analyzer, odd) == pytest.approx(plain)


def test_a_long_text_is_judged_whole_and_in_time(analyzer: LanguageAnalyzer) -> None:
    text = "I love you. " * 3_300 + "Thank you."
    begin = time.thread_time()
    assert values(analyzer, text)["love"] > 0.5
    assert time.thread_time() - begin < 5.0
    both = values(analyzer, "Thank you so much for this wonderful day. " * 12 + "I am really angry about that. " * 14)
    assert both["gratitude"] > 0.25
    assert both["anger"] > 0.2


def test_parts_end_where_sentences_do_and_lose_nothing() -> None:
    written = tokens("a b c . " * 30 + "word " * 130 + "! last one")
    cut = [list(part) for part in parts(written)]
    assert [token for part in cut for token in part] == written
    assert all(0 < len(part) <= WORDS for part in cut)
    assert cut[0][-1] == "."
    assert [list(part) for part in parts(tokens("one two"))] == [["one", "two"]]


def test_features_stay_within_the_models_inputs() -> None:
    known = Vocabulary.of(*(np.array(list(map(key, names)), np.uint32) for names in (["known"], ["<ex", "ext"])))
    words, bag, weights = known.rows(tokens(normalized("extraordinarily " * 500))).inputs()
    assert (words.shape, bag.shape, weights.shape) == ((1, WORDS), (1, GRAMS), (1, GRAMS))
    assert (words[0] == 1).all()
    assert known.known(["known", "unknown"]) == [True, False]
    words, bag, weights = known.rows(tokens("known extra")).inputs()
    assert words[0].tolist()[:3] == [2, 1, 0]
    assert bag[0].tolist()[:3] == [1, 2, 0]
    assert weights[0, 0] == pytest.approx(2**-0.5)


def test_calibration_and_thresholds_of_known_scores() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (40_000, 2))
    labels = (generator.random(logits.shape) < sigmoid(0.5 * logits - [1.0, 3.0])).astype(float)
    slopes = platt(logits, labels)
    assert slopes[:, 0] == pytest.approx([0.5, 0.5], abs=0.05)
    assert slopes[:, 1] == pytest.approx([-1.0, -3.0], abs=0.15)
    p = sigmoid(logits * slopes[:, 0] + slopes[:, 1])
    best = f1(p, labels, best_thresholds(p, labels))
    fair = f1(p, labels, fair_thresholds(p, labels))
    assert best[0] >= fair[0] > best[0] - 0.03
    assert fair[1] >= best[1] - 0.01


@pytest.mark.parametrize(
    ("content", "said"),
    [("a text\t28\tid\n", "line 1"), ("fine\t1\tx\nno labels\n", "line 2"), ("fine\tjoy\tx\n", "line 1")],
)
def test_data_that_is_none_is_told_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "x.tsv").write_text(content)
    with pytest.raises(EdgeAgentError, match=said):
        load(tmp_path / "x.tsv")
    with pytest.raises(EdgeAgentError, match="cannot read"):
        load(tmp_path / "none.tsv")


def test_the_weights_for_the_next_training_are_those_that_ship(tmp_path: Path, analyzer: LanguageAnalyzer) -> None:
    kept = load_weights()
    known = analyzer._model.vocabulary.words.find(kept.words, 1)
    assert known.tolist() == list(range(2, len(kept.words) + 2))
    assert kept.net["grams.weight"].shape[0] == len(kept.grams) + 1
    keep(kept, tmp_path / "again.npz")
    again = load_weights(tmp_path / "again.npz")
    assert again.words == kept.words
    for name, value in kept.net.items():
        assert again.net[name] == pytest.approx(value, abs=0.01)


def test_a_rare_class_gets_a_threshold_that_it_can_reach() -> None:
    generator = np.random.default_rng(1)
    p = np.stack([generator.random(5_000), generator.random(5_000) * 0.05], 1)
    labels = (generator.random(p.shape) < p).astype(float)
    fair = fair_thresholds(p, labels)
    assert fair[1] < p[:, 1].max()
    assert f1(p, labels, fair)[2][1] > 0
