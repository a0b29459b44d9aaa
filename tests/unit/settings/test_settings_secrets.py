"""Secrets do not get through, whatever they are called and wherever they stand."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from edge_agent.capture import ReplayGroup, make_video
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.errors import ConfigError
from edge_agent.domain.text import MASK, Redactor, is_secret_key, parse_address, printable
from edge_agent.settings import Settings, parse
from edge_agent.settings.loader import model_of
from edge_agent.settings.schema import PLUGIN_TABLES
from edge_agent.settings.secrets import HARMLESS, known_secrets, shown_settings
from edge_agent.settings.source import parse_camera

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
        ("rtsp://user:pw@cam.lan:554/stream?token=abc", f"rtsp://{MASK}@cam.lan:554/{MASK}"),
        ("rtsp://user:p w@cam.lan/1 failed", f"rtsp://{MASK} failed"),
        ("rtsp://user:p[w@cam.lan/1: no", f"rtsp://{MASK} no"),
        ("see http://cam.lan/video and wait", "see http://cam.lan/video and wait"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_urls_lose_user_and_query(text: str, shown: str) -> None:
    assert Redactor(()).text(text) == shown


def test_known_values_are_hidden_everywhere_the_longest_first() -> None:
    redactor = Redactor(["hunter2", "hunter2-and-more", "no"])
    assert redactor.text("refused: hunter2-and-more, hunter2; no") == f"refused: {MASK}, {MASK}; no"


class Hook(BaseModel):
    """A plugin's options."""

    url: str = "https://example.org"
    token: SecretStr | None = None
    pin_code_secret: int = 0
    mode: Literal["on", "off"] = "on"
    words: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    level: float = 0.5
    place: Path = Path("/srv")


def test_what_a_plugin_does_not_declare_harmless_is_masked() -> None:
    hook = Hook(
        url=f"https://hook.lan/{CANARY}",
        token=CANARY,
        pin_code_secret=7431,
        mode="off",
        words=(CANARY,),
        headers={"Accept": CANARY},
        level=0.7,
        place=Path("/srv/out"),
    )
    shown = shown_settings(Settings(), {"sinks": {"hook": hook, "plain": Hook()}})["sinks"]
    assert shown["hook"] == {
        "url": MASK,
        "token": MASK,
        "pin_code_secret": MASK,
        "mode": "off",
        "words": [MASK],
        "headers": {"Accept": MASK},
        "level": 0.7,
        "place": "/srv/out",
    }
    assert shown["plain"]["url"] == "https://example.org"  # a default is no secret


def test_every_text_option_was_thought_about() -> None:
    """A new option that holds text is masked until it stands in HARMLESS; then this list stays as it is."""
    masked = {path for path, field in _options(Settings) if _is_text(field) and path not in HARMLESS}
    assert masked == {
        "mqtt.username",
        "mqtt.password",
        "mqtt.websocket_path",
        "web.token",
        "batch.redis_url",
        "camera.source",
        "microphone.source",
    }


def _options(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        inner = model_of(field.annotation)
        if inner is not None:
            yield from _options(inner, f"{prefix}{name}.")
        elif name not in PLUGIN_TABLES:
            yield f"{prefix}{name}", field


def _is_text(field: FieldInfo) -> bool:
    return re.search(r"\b(str|SecretStr)\b", re.sub(r"Literal\[[^]]*\]", "", str(field.annotation))) is not None


PASSWORDS = st.builds(lambda before, after: f"{before}NotTelling1{after}", st.text(max_size=6), st.text(max_size=6))


def outputs(config: str) -> list[str]:
    """Everything that may be told about a configuration."""
    try:
        found = parse(config, "c.toml")
    except ConfigError as error:
        return [str(error)]
    redactor = Redactor(known_secrets(config, found))
    source = found.camera.source
    whatever = [source, repr(source), json.dumps(source), unquote(source), f"cannot open '{source}'", f"x {source}: y"]
    camera = make_video(found.camera, ManualClock(), {}, ReplayGroup(ManualClock()))
    assert camera is not None
    return [
        *(redactor.text(text) for text in whatever),
        json.dumps(shown_settings(found)),
        repr(parse_camera(source)),
        str(camera.__dict__["_name"]),
    ]


@settings(max_examples=40, deadline=None)
@given(PASSWORDS, st.sampled_from(["rtsp", "http", "rtsps"]))
def test_no_form_of_a_password_is_shown(password: str, scheme: str) -> None:
    """Written as it is, percent-encoded or half so; in the login, in the path and in the query."""
    for form in (password, quote(password, safe=""), quote(password)):
        for url in (
            f"{scheme}://admin:{form}@127.0.0.1:18554/live",
            f"{scheme}://{form}@127.0.0.1/",
            f"{scheme}://127.0.0.1/user=admin_password={form}_channel=1.sdp",
            f"{scheme}://127.0.0.1/cgi?user=admin&pwd={form}",
            f"{scheme}:/admin:{form}@127.0.0.1",
            f"admin:{form}@127.0.0.1/live",
        ):
            for text in outputs(f"[camera]\nsource = {json.dumps(url)}\n"):
                assert "NotTelling1" not in text
                assert "\n" not in text


@given(PASSWORDS)
def test_a_percent_encoded_password_is_always_accepted(password: str) -> None:
    url = f"rtsp://admin:{quote(password, safe='')}@127.0.0.1:18554/live"
    address = parse_address(url)
    assert unquote(address.login) == f"admin:{password}"
    assert str(address) == "rtsp://***@127.0.0.1:18554/***"


@given(st.text())
def test_printable_text_commands_no_terminal_and_can_be_written(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in shown)
    assert "\n" not in printable(text, lines=False)


def test_bytes_of_a_name_that_are_no_utf8_are_spelled_out() -> None:
    assert printable(os.fsdecode(b"caf\xe9.jpg")) == r"caf\xe9.jpg"
    assert printable("\x1b]0;owned\x07\u202etxt") == r"\x1b]0;owned\x07\u202etxt"


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
