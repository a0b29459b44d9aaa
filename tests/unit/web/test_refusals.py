"""Why something is refused is told as it is, there and in the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from edge_agent.api import Session
from edge_agent.web import upload
from tests.support.web import Server
from tests.support.web_side import BEARER, TOKEN, Web, upgrade

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c4944415408d763f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)
"""One red pixel."""


def test_a_config_that_uploads_cannot_use_is_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[analyzers.attention]\nno_such_option = 1\n")
    server = Server(upload.routes(partial(Session, config=config, pull=False)))
    try:
        answer = httpx.post(f"http://{server.address}/process-frame", content=PNG, timeout=20)
    finally:
        server.stop()
    assert answer.status_code == 503
    assert "log" in answer.json()["detail"]
    assert "no_such_option" in caplog.text


@pytest.mark.parametrize(
    ("more", "status", "words"), [("", 404, b"web.preview is off"), ("preview = true", 409, b"not used")]
)
def test_there_is_no_preview_of_a_camera_that_is_not_used(tmp_path: Path, more: str, status: int, words: bytes) -> None:
    web = Web(tmp_path, more)
    try:
        answer = web.ask("GET", "/api/v1/preview.jpg", BEARER)
    finally:
        web.stop()
    assert answer[0] == status
    assert words in answer[1]


WRONG = "Authorization: Bearer 0123456789abcdef-wrong"
FOREIGN = "Origin: https://elsewhere.example"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    found = Web(tmp_path_factory.mktemp("state"))
    yield found
    found.stop()


@pytest.mark.parametrize(
    ("path", "headers", "status", "words"),
    [
        ("/api/v1/live", (), 401, "a token is needed"),
        ("/api/v1/live", ("Authorization: Bearer ",), 401, "a token is needed"),
        ("/api/v1/live", (WRONG,), 401, "this token is wrong"),
        ("/api/v1/live?token=0123456789abcdef-wrong", (), 401, "this token is wrong"),
        ("/v0/stream/models", ("X-Hume-Api-Key: nonsense",), 401, "this token is wrong"),
        ("/ws/face?apikey=%ff", (), 401, "this token is wrong"),
        ("/ws/nothing", (BEARER,), 404, "no WebSocket at this path"),
        ("/ws/nothing", (), 404, "no WebSocket at this path"),
        ("/ws/face/", (BEARER,), 404, "no WebSocket at this path"),
        ("/api/v1/status", (BEARER,), 404, "no WebSocket at this path"),
        ("/api/v1/live", (BEARER, FOREIGN), 403, "web.allowed_origins"),
        ("/api/v1/live", (BEARER, "Origin: null"), 403, "web.allowed_origins"),
    ],
)
def test_a_web_socket_is_refused_with_a_reason_before_it_opens(
    web: Web, path: str, headers: tuple[str, ...], status: int, words: str
) -> None:
    with web.connect() as sock:
        sock.sendall(upgrade(web, *headers, path=path))
        received = sock.makefile("rb").read()
    top, _, body = received.partition(b"\r\n\r\n")
    assert int(top.split(b" ")[1]) == status
    assert b"content-type: application/problem+json" in top.lower()
    problem = json.loads(body)
    assert problem["status"] == status
    assert words in problem["detail"]
    assert TOKEN not in problem["detail"]


def test_a_web_socket_with_a_foreign_host_is_refused_with_a_reason(web: Web) -> None:
    request = upgrade(web, BEARER).replace(f"Host: 127.0.0.1:{web.port}".encode(), b"Host: rebound.example")
    with web.connect() as sock:
        sock.sendall(request)
        received = sock.makefile("rb").read()
    assert received.startswith(b"HTTP/1.1 421")
    assert b"web.allowed_hosts" in received


LARGE = 100_000


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/api/v1/nothing", (BEARER,), 404),
        ("POST", "/api/v1/nothing", (), 404),
        ("POST", "/process-frames", (BEARER,), 404),
        ("POST", "/api/v1/status", (BEARER,), 405),
        ("POST", "/api/v1/status", (), 401),
        ("POST", "/api/v1/control/status", (), 401),
        ("POST", "/api/v1/control/status", (WRONG,), 401),
        ("POST", "/api/v1/control/status", (BEARER,), 413),
        ("POST", "/api/v1/control/status", (BEARER, FOREIGN), 403),
        ("POST", "/api/v1/nothing", (BEARER, FOREIGN), 403),
    ],
)
def test_the_most_severe_reason_of_a_refusal_comes_first(
    web: Web, method: str, path: str, headers: tuple[str, ...], status: int
) -> None:
    """Whose page, which path, who, how much: in this order."""
    length = f"Content-Length: {LARGE}"
    answer = web.ask(method, path, length, *headers, body=bytes(LARGE))
    assert answer[0] == status
    assert json.loads(answer[1])["status"] == status


def test_a_web_socket_requested_over_http_explains_itself(web: Web) -> None:
    status, body = web.ask("GET", "/api/v1/live", BEARER)
    assert (status, b"ws://" in body) == (426, True)


def test_a_slash_too_many_is_redirected_for_those_with_the_token_only(web: Web) -> None:
    assert web.ask("GET", "/api/v1/status/", BEARER)[0] == 307
    assert web.ask("GET", "/api/v1/status/")[0] == 401


@pytest.mark.parametrize(
    "others",
    [
        "bad[name]=1",
        'a="unfinished; b=2',
        "a=1;;;=;=x; ;",
        "café=crème; €=1".encode().decode("latin-1"),
        "\xff\xfe=\x80",
        "{json: 1}",
        'j={"a": "b, c"}; "quoted"=x',
        "edge-agent-token=an-old-one-0123456789",
        "edge-agent-token; edge-agent-token=",
        "edge-agent-tokens=x; Edge-Agent-Token=y",
        "a" * 20_000 + "=b",
        "; ".join(f"c{k}={'v' * 20}" for k in range(1000)),
        "expires=Thu, 01 Jan 1970; path=/; domain",
    ],
)
@pytest.mark.parametrize("form", ["{others}; {ours}", "{ours}; {others}", "{others}\r\nCookie: {ours}"])
def test_cookies_of_other_applications_do_not_affect_the_login(web: Web, others: str, form: str) -> None:
    cookie = form.format(others=others, ours=f"edge-agent-token={TOKEN}")
    assert web.ask("GET", "/api/v1/status", f"Cookie: {cookie}")[0] == 200


@pytest.mark.parametrize("ours", [f'edge-agent-token="{TOKEN}"', f" edge-agent-token = {TOKEN} "])
def test_our_cookie_is_known_in_every_form_that_clients_give_it(web: Web, ours: str) -> None:
    assert web.ask("GET", "/api/v1/status", f"Cookie: {ours}")[0] == 200
    assert web.ask("GET", "/api/v1/status", f"Cookie: {ours.replace(TOKEN, TOKEN[:-1])}")[0] == 401


def test_a_preflight_is_answered_for_listed_origins_only(tmp_path: Path) -> None:
    asks = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization, x-mine")
    web = Web(tmp_path, 'allowed_origins = ["https://kiosk.example:443", "null"]')
    address = f"http://127.0.0.1:{web.port}/api/v1/control/privacy"
    try:
        private = "Access-Control-Request-Private-Network"
        for origin in ("https://kiosk.example", "null"):
            headers = dict([line.split(": ") for line in asks], Origin=origin) | {private: "true"}
            answer = httpx.options(address, headers=headers)
            assert answer.status_code == 200, origin
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["access-control-allow-private-network"] == "true"
            assert "POST" in answer.headers["access-control-allow-methods"]
            assert "x-mine" in answer.headers["access-control-allow-headers"]
        for origin in ("https://kiosk.example:444", "http://kiosk.example", "https://kiosk.example.org", "https://x"):
            refused = httpx.options(address, headers=dict([line.split(": ") for line in asks], Origin=origin))
            assert refused.status_code == 403, origin
            assert "access-control-allow-origin" not in refused.headers
            assert origin in refused.json()["detail"]
        cookie = {"Cookie": f"edge-agent-token={TOKEN}"}
        told = httpx.get(f"http://127.0.0.1:{web.port}/api/v1/status", headers=cookie | {"Origin": "null"})
        assert told.status_code == 401, "the cookie counts for pages listed by name alone"
        told = httpx.get(
            f"http://127.0.0.1:{web.port}/api/v1/status", headers=cookie | {"Origin": "https://kiosk.example"}
        )
        assert told.headers["access-control-allow-credentials"] == "true"
        assert told.status_code == 200
    finally:
        web.stop()
