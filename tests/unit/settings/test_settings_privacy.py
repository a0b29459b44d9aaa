"""Where the device stands is declared; what the law forbids is refused unless somebody answers for it in writing."""

from __future__ import annotations

import pytest

from edge_agent.app.builder import privacy_manifest
from edge_agent.domain.errors import ConfigError
from edge_agent.plugin import Kind
from edge_agent.settings import Settings, loosened, parse

REASON = "People counting only: analyzers.emotion.enabled = false."


@pytest.mark.parametrize("context", ["workplace", "education"])
@pytest.mark.parametrize("reason", ["", 'override_reason = "because"', f'override_reason = "{" " * 30}x"'])
def test_where_the_law_forbids_emotion_inference_the_config_is_refused(context: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f'[device]\nid = "a"\n[privacy]\ncontext = "{context}"\n{reason}', "c.toml")
    text = str(caught.value)
    assert text.startswith(f'c.toml, line 3: privacy: context = "{context}"')
    for word in ("Article 5(1)(f)", "2024/1689", "2 February 2025", "override_reason"):
        assert word in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("context", ["workplace", "education"])
def test_a_written_reason_overrides_and_is_published(context: str) -> None:
    settings = parse(f'[privacy]\ncontext = "{context}"\noverride_reason = "{REASON}"', "c.toml")
    manifest = privacy_manifest(settings, frozenset({"face"}))
    assert (manifest["context"], manifest["override_reason"], manifest["emotions"]) == (context, REASON, False)


@pytest.mark.parametrize("context", ["undeclared", "home", "public", "exhibition", "retail", "research"])
def test_other_places_need_no_reason(context: str) -> None:
    assert parse(f'[privacy]\ncontext = "{context}"', "c.toml").privacy.context == context


def test_an_unknown_place_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"privacy\.context"):
        parse('[privacy]\ncontext = "office"', "c.toml")


def test_the_manifest_lists_what_is_used() -> None:
    settings = Settings(
        microphone={"source": "none"}, sinks={"jsonl": {"enabled": True}, "other": {}}, privacy={"context": "public"}
    )
    assert privacy_manifest(settings, frozenset({"face", "emotion"})) == {
        "context": "public",
        "camera": True,
        "microphone": False,
        "min_people": 0,
        "schedule": [],
        "emotions": True,
        "voice": False,
        "speech": False,
        "language": False,
        "local_sinks": ["jsonl"],
    }


def test_what_listens_to_words_and_voices_is_declared() -> None:
    kinds = frozenset({Kind.SPEECH, Kind.TEXT, Kind.AUDIO})
    told = privacy_manifest(Settings(), frozenset({"voice", "speech"}), kinds)
    assert (told["voice"], told["speech"], told["language"]) == (True, True, True)
    assert "publish_text" not in told


@pytest.mark.parametrize("context", ["home", "exhibition", "research"])
def test_words_are_published_only_where_people_can_be_asked(context: str) -> None:
    assert parse(f'[privacy]\ncontext = "{context}"', "c.toml").privacy.publish_text is False
    settings = parse(f'[privacy]\ncontext = "{context}"\npublish_text = true', "c.toml")
    assert privacy_manifest(settings, frozenset(), frozenset({Kind.SPEECH}))["publish_text"] is True
    assert "publish_text" not in privacy_manifest(settings, frozenset())  # nothing listens
    assert loosened(parse(f'[privacy]\ncontext = "{context}"', "c.toml"), settings) == ("privacy.publish_text is on",)


@pytest.mark.parametrize("context", ["undeclared", "public", "retail", "workplace", "education"])
def test_elsewhere_publishing_words_is_refused_whatever_the_reason(context: str) -> None:
    text = f'[privacy]\ncontext = "{context}"\noverride_reason = "{REASON}"\npublish_text = true'
    with pytest.raises(ConfigError) as caught:
        parse(text, "c.toml")
    assert "publish_text = true" in str(caught.value)
    assert "home, exhibition, research" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_words_of_one_person_are_not_those_of_several() -> None:
    with pytest.raises(ConfigError, match="publish_text and min_people exclude each other"):
        parse('[privacy]\ncontext = "home"\nmin_people = 2\npublish_text = true', "c.toml")


def test_a_custom_model_that_is_switched_on_loosens() -> None:
    on = parse('[analyzers."custom:bored"]\nenabled = true', "c.toml")
    assert loosened(parse("", "c.toml"), on) == ("analyzers.custom:bored is on",)
    assert loosened(on, on) == ()
    assert loosened(on, parse("", "c.toml")) == ()


def test_a_preview_is_declared_and_refused_with_min_people() -> None:
    assert "preview" not in privacy_manifest(parse("[web]\npreview = true", "c.toml"), frozenset())  # nobody serves it
    shown = parse("[web]\nenabled = true\npreview = true", "c.toml")
    assert privacy_manifest(shown, frozenset())["preview"] is True
    with pytest.raises(ConfigError, match=r"web\.preview .* privacy\.min_people"):
        parse("[web]\npreview = true\n[privacy]\nmin_people = 2", "c.toml")
