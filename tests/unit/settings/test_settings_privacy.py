"""Where the device stands is declared; what the law forbids is refused unless somebody answers for it in writing."""

from __future__ import annotations

import pytest

from edge_agent.app.builder import privacy_manifest
from edge_agent.domain.errors import ConfigError
from edge_agent.settings import Settings, parse

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


def test_the_manifest_says_what_is_used() -> None:
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
        "local_sinks": ["jsonl"],
    }


def test_a_preview_is_declared_and_shows_nobody_whom_min_people_hides() -> None:
    assert "preview" not in privacy_manifest(parse("[web]\npreview = true", "c.toml"), frozenset())  # nobody serves it
    shown = parse("[web]\nenabled = true\npreview = true", "c.toml")
    assert privacy_manifest(shown, frozenset())["preview"] is True
    with pytest.raises(ConfigError, match=r"web\.preview .* privacy\.min_people"):
        parse("[web]\npreview = true\n[privacy]\nmin_people = 2", "c.toml")
