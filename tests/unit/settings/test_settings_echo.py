"""The Echo backend's environment variables, with the switch that makes the agent obey them."""

from __future__ import annotations

import os

import pytest

from edge_agent.domain.errors import ConfigError
from edge_agent.settings import parse
from edge_agent.settings.loader import echo_told

ON = "[web]\necho_environment = true\n"
DOCUMENTED = {
    "CAMERA_INDEX": "0",
    "MAX_FPS": "30",
    "WS_MAX_CONNECTIONS": "100",
    "WS_HEARTBEAT_INTERVAL": "30",
    "EMOTION_WINDOW_SIZE": "30",
    "FACE_RECOGNITION_THRESHOLD": "0.75",
}


@pytest.fixture(autouse=True)
def _documented(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in DOCUMENTED.items():
        monkeypatch.setenv(name, value)


def test_nothing_is_taken_without_the_switch() -> None:
    settings = parse("[camera]\nfps = 9\n", "test")
    assert (settings.camera.source, settings.camera.fps, settings.summary.window_s) == ("auto", 9, 10)
    assert echo_told(settings, os.environ) == []


def test_each_variable_sets_its_option() -> None:
    settings = parse(ON + "clients = 9\n[camera]\nwidth = 320\nfps = 9\n[analyzers.identity]\nmargin = 1\n", "test")
    assert (settings.camera.source, settings.camera.fps, settings.camera.width) == ("0", 30, 320)
    assert (settings.web.analysis_clients, settings.web.heartbeat_s, settings.web.clients) == (100, 30, 9)
    assert settings.summary.window_s == 30
    assert settings.analyzers == {"identity": {"margin": 1, "threshold": "0.75"}}
    assert echo_told(settings, os.environ)[0] == "CAMERA_INDEX sets camera.source"
    assert len(echo_told(settings, os.environ)) == len(DOCUMENTED)


def test_the_agents_own_variables_outrank_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT__WEB__ECHO_ENVIRONMENT", "true")
    monkeypatch.setenv("EDGE_AGENT__CAMERA__FPS", "5")
    monkeypatch.setenv("CAMERA_INDEX", " ")
    settings = parse("", "test")
    assert settings.camera.fps == 5
    assert settings.camera.source == "auto"
    told = echo_told(settings, os.environ)
    assert "MAX_FPS is not used: EDGE_AGENT__CAMERA__FPS is set" in told
    assert "FACE_RECOGNITION_THRESHOLD is not used: there is no [analyzers.identity] in the config" in told
    assert not settings.analyzers


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("CAMERA_INDEX", "front", "camera.source"),
        ("MAX_FPS", "fast", "must be a number"),
        ("WS_MAX_CONNECTIONS", "0", "greater than or equal to 1"),
        ("WS_HEARTBEAT_INTERVAL", "-1", "greater than or equal to 1"),
        ("EMOTION_WINDOW_SIZE", "1e9", "less than or equal to 3600"),
    ],
)
def test_a_bad_value_names_the_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as error:
        parse(ON, "test")
    assert str(error.value).startswith(f"environment variable {name}: ")
    assert problem in str(error.value)
    assert "\n" not in str(error.value)
