"""Site and labels of a device: what can be published, and what is refused in one line."""

from __future__ import annotations

import json

import pytest

from edge_agent.domain.errors import ConfigError
from edge_agent.settings import Settings, parse
from edge_agent.settings.secrets import chosen_options, config_digest, shown_settings

LONG = "x" * 65


def test_site_and_labels_are_part_of_the_place() -> None:
    settings = parse('[device]\nsite = "Köln Mitte"\nlabels = {kind = "kiosk", floor = "2"}', "config.toml")
    assert settings.device.place == {"site": "Köln Mitte", "labels": {"floor": "2", "kind": "kiosk"}}
    assert list(settings.device.place["labels"]) == ["floor", "kind"]
    assert Settings().device.place == {}
    assert shown_settings(settings)["device"]["labels"] == {"floor": "2", "kind": "kiosk"}


def test_labels_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT__DEVICE__SITE", "Köln")
    monkeypatch.setenv("EDGE_AGENT__DEVICE__LABELS", '{"floor": "2"}')
    assert Settings().device.place == {"site": "Köln", "labels": {"floor": "2"}}


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ('site = ""', "printable text"),
        ('site = " Köln"', "without blanks"),
        ('site = "a,b"', "without , and ="),
        (f'site = "{LONG}"', "1 to 64 bytes"),
        (f'site = "{"ö" * 33}"', "1 to 64 bytes"),
        ('site = "a\\u0000b"', "printable text"),
        ('site = "a\\nb"', "printable text"),
        ("site = 5", "text in quotes"),
        ('labels = {Floor = "2"}', "lower-case letters"),
        ('labels = {"2f" = "2"}', "a letter first"),
        ('labels = {site = "2"}', "'site' is no label"),
        ('labels = {floor = ""}', "floor: must be 1 to 64 bytes"),
        (f'labels = {{floor = "{LONG}"}}', "floor: must be 1 to 64 bytes"),
        ("labels = {floor = 2}", "floor: must be text in quotes"),
        ('labels = "floor"', "labels"),
        ("labels = {" + ", ".join(f'k{n} = "v"' for n in range(17)) + "}", "has 17 labels: give at most 16"),
    ],
)
def test_what_cannot_be_published_is_refused_in_one_line(lines: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(f"[device]\n{lines}", "config.toml")
    assert complaint in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_devices_that_are_configured_alike_have_the_same_hash() -> None:
    """Whatever they have of their own, and whatever is secret; options left at their defaults are not listed."""
    one = Settings(device={"id": "a", "site": "Köln"}, mqtt={"host": "b", "password": "x1"}, summary={"window_s": 5})
    two = Settings(device={"id": "b"}, mqtt={"host": "b", "password": "x2"}, summary={"window_s": 5})
    assert chosen_options(one) == {"mqtt.host": "b", "mqtt.password": "***", "summary.window_s": 5.0}
    assert config_digest(chosen_options(one)) == config_digest(chosen_options(two))
    three = two.model_copy(update={"summary": two.summary.model_copy(update={"window_s": 6.0})})
    before, after = (config_digest(chosen_options(settings)) for settings in (two, three))
    assert before["hash"] != after["hash"]
    assert (before["tables"]["mqtt"], before["tables"].keys()) == (after["tables"]["mqtt"], after["tables"].keys())
    assert before["tables"]["summary"] != after["tables"]["summary"]


def test_no_secret_is_among_the_options_to_publish() -> None:
    settings = Settings(
        camera={"source": "rtsp://user:hunter2@cam.local/stream?key=hunter3"},
        mqtt={"username": "hunter4", "password_file": "/etc/secret"},
        analyzers={"burst": {"min_score": 0.5, "api_key": "hunter5", "note": "hunter6"}},
        web={"token": "hunter7-hunter7-hunter7"},
    )
    options = chosen_options(settings)
    assert "hunter" not in json.dumps(options)
    assert options["analyzers.burst.min_score"] == 0.5
    assert options["camera.source"].startswith("rtsp://***@cam.local")
    assert options["mqtt.username"] == "***"


def test_shown_settings_of_several_brokers_can_be_used_as_they_are() -> None:
    shown = shown_settings(Settings(mqtt={"hosts": ["a:1", "b"]}))["mqtt"]
    assert (shown["hosts"], "host" in shown) == (["a:1", "b"], False)
    Settings(mqtt={name: value for name, value in shown.items() if value is not None})
