"""The ``[web]`` table refuses what would let strangers in."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from edge_agent.settings import Settings
from edge_agent.settings.web import WebSettings

TOKEN = "0123456789abcdef"


def test_it_is_off_and_for_this_machine_only_unless_asked_for() -> None:
    web = Settings().web
    assert (web.enabled, web.loopback, web.token, web.token_file) == (False, True, None, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "kiosk.example", "127.0.0.1.example"])
def test_a_non_loopback_host_needs_a_token(host: str) -> None:
    with pytest.raises(ValidationError, match="can be reached from other machines: set token_file"):
        WebSettings(enabled=True, host=host)
    assert not WebSettings(enabled=False, host=host).loopback
    for given in ({"token": TOKEN}, {"token_file": "/run/credentials/token"}):
        assert WebSettings(enabled=True, host=host, **given).enabled  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    assert WebSettings(enabled=True, host=host).loopback


@pytest.mark.parametrize(
    "token", ["", "short", "0123456789abcde", "0123456789 abcdef", "0123456789abcdéf", TOKEN + ";"]
)
def test_a_token_that_is_guessed_or_cannot_be_sent_is_refused(token: str) -> None:
    with pytest.raises(ValidationError, match="at least 16 letters") as refused:
        Settings(web={"token": token})
    assert not token or token not in str(refused.value)


def test_a_token_is_not_shown() -> None:
    assert TOKEN not in repr(Settings(web={"token": TOKEN}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": TOKEN, "token_file": "/x"},
        {"port": 0},
        {"port": 65536},
        {"clients": 0},
        {"clients": 5000},
        {"host": ""},
        {"hots": "::1"},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings(web=wrong)


@pytest.mark.parametrize("name", ["kiosk.local:8765", "http://kiosk.local", "fe80::1", " kiosk", "kiosk/", ""])
def test_a_name_that_no_browser_sends_is_refused_with_one_that_it_does(name: str) -> None:
    with pytest.raises(ValidationError, match="without scheme and port") as refused:
        Settings(web={"allowed_hosts": ["kiosk.local", name]})
    assert repr(name) in str(refused.value)


def test_names_and_addresses_as_browsers_send_them_are_taken() -> None:
    names = ("kiosk.local", "Kiosk-1", "192.168.0.7", "[fe80::1]", "my_kiosk")
    assert Settings(web={"allowed_hosts": names}).web.allowed_hosts == names


@pytest.mark.parametrize(
    "origin",
    ["kiosk.example", "https://", "https://kiosk.example/", "https://kiosk.example/page", "https://*.example", "",
     "https://a b", "https://me@kiosk.example", "https://kiosk.example:port", "//kiosk.example", "https://kiosk.example?x"],
)  # fmt: skip
def test_an_origin_that_no_browser_sends_is_refused_with_one_that_it_does(origin: str) -> None:
    with pytest.raises(ValidationError, match=r"https://kiosk\.example") as refused:
        Settings(web={"allowed_origins": [origin]})
    assert repr(origin) in str(refused.value)


def test_origins_are_taken_as_browsers_write_them() -> None:
    given = ("HTTPS://Kiosk.example:443", "http://192.0.2.7:3000", "http://[FE80::1]:80", "capacitor://localhost",
             "https://münchen.example", "*", "null")  # fmt: skip
    assert Settings(web={"allowed_origins": given}).web.allowed_origins == (
        "https://kiosk.example", "http://192.0.2.7:3000", "http://[fe80::1]", "capacitor://localhost",
        "https://xn--mnchen-3ya.example", "*", "null",
    )  # fmt: skip
