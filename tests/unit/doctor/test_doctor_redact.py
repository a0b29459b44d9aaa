"""Secrets do not get through, whatever they are called and wherever they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.doctor.redact import MASK, Redactor, is_secret_key, known_secrets
from edge_agent.settings import Settings, parse

CANARY = "cAnArY-7431"


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("password", True),
        ("mqtt_password", True),
        ("api_key", True),
        ("apikey", True),
        ("access-token", True),
        ("Authorization", True),
        ("client_secret", True),
        ("passphrase", True),
        ("password_file", False),
        ("token_path", False),
        ("name", False),
        ("keepalive_s", False),
        ("key_file", False),
    ],
)
def test_secret_keys(key: str, secret: bool) -> None:
    assert is_secret_key(key) is secret


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://user:pw@cam.lan:554/stream?token=abc", f"rtsp://{MASK}@cam.lan:554/stream?{MASK}"),
        ("see http://cam.lan/video and wait", "see http://cam.lan/video and wait"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_urls_lose_user_and_query(text: str, shown: str) -> None:
    assert Redactor(()).text(text) == shown


def test_known_values_are_hidden_everywhere_the_longest_first() -> None:
    redactor = Redactor(["hunter2", "hunter2-and-more", "no"])
    assert redactor.text("refused: hunter2-and-more, hunter2; no") == f"refused: {MASK}, {MASK}; no"


def test_trees_are_hidden_by_key_and_keep_their_shape() -> None:
    tree = {"lamp": {"token": CANARY, "pins": [1, 2], "on": True}, "keys": {"api_key": {"deep": CANARY}}, "x": None}
    assert Redactor(()).tree(tree) == {
        "lamp": {"token": MASK, "pins": [1, 2], "on": True},
        "keys": {"api_key": MASK},
        "x": None,
    }


@pytest.mark.parametrize(
    "toml",
    [
        f'[mqtt]\nusername = "u"\npassword = "{CANARY}"',
        f"[mqtt]\ntls.enabled = true\nusername = \"u\"\npassword = '{CANARY}'",
        f'[camera]\nsource = "rtsp://user:{CANARY}@cam.lan/1"',
        f'[camera]\nsource = "http://cam.lan/video?auth={CANARY}&size=1"',
        f'[sinks.hook]\ntoken = "{CANARY}"',
        f'[sinks.hook]\nurl = "https://me:{CANARY}@hook.lan/"',
        f'[sources.cloud]\ncredentials = {{ user = "me", value = "{CANARY}" }}',
        f'[analyzers.face]\nlicence_keys_secret = ["{CANARY}"]',
    ],
)
def test_secrets_in_a_config_are_found(toml: str) -> None:
    settings = parse(toml, "test.toml")
    redactor = Redactor(known_secrets(toml, settings))
    assert CANARY not in redactor.text(f"someone quoted {CANARY} in an error")


def test_a_secret_in_a_config_that_does_not_parse_is_found() -> None:
    text = f'[mqtt\npassword = "{CANARY}"\n'
    assert CANARY not in Redactor(known_secrets(text, None)).text(f"line 2: {CANARY}")


def test_the_content_of_the_password_file_is_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{CANARY}\n")
    settings = Settings(mqtt={"password_file": str(file)})
    assert CANARY in set(known_secrets("", settings))


def test_an_unreadable_password_file_is_no_obstacle(tmp_path: Path) -> None:
    settings = Settings(mqtt={"password_file": str(tmp_path / "missing")})
    assert list(known_secrets("", settings)) == []
