"""Site and labels of a device: what can be published, and what is refused in one line."""

from __future__ import annotations

import pytest

from edge_agent.domain.errors import ConfigError
from edge_agent.settings import Settings, parse
from edge_agent.settings.secrets import shown_settings

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
