"""Hostile clients of the web side, by raw sockets: wrong names, no token, huge and slow bodies, who does not read.

FAULTS row 33. The server is the agent's own, over an agent with an event bus; only the documents on the bus are made up
here.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from edge_agent.runtime.machine import process_use
from edge_agent.web import guard, server
from edge_agent.web.live import Hub
from tests.support.web_side import BEARER, TOKEN, Web, head, upgrade

OFFERED = 40 * 1024 * 1024


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    found = Web(tmp_path_factory.mktemp("state"), "analysis_clients = 4")
    yield found
    found.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds that the server waits here, where it is only waited for that."""
    for limit in ("conversation.WAIT_S", "body.BODY_S", "live.SEND_S"):
        monkeypatch.setattr(f"edge_agent.web.{limit}", 3.0)
    return 3.0


def status_line(sock: socket.socket) -> int:
    return int(sock.recv(4096).split(b" ", 2)[1])


def test_only_own_names_own_pages_and_those_with_the_token_are_answered(web: Web) -> None:
    """Row 33: No token, a wrong one, other names, pages of other sites: 401, 403, 421, and the token is not told."""
    own = f"Origin: http://127.0.0.1:{web.port}"
    refused = {
        "no token": web.ask("GET", "/api/v1/status"),
        "wrong token": web.ask("GET", "/api/v1/status", "Authorization: Bearer 0123456789abcdef-wrong"),
        "another name": web.ask("GET", "/api/v1/status", BEARER, host="rebound.example:80"),
        "no name": web.ask("GET", "/healthz", host=" "),
        "another page": web.ask("GET", "/api/v1/status", BEARER, "Origin: https://elsewhere.example"),
        "a page from nowhere": web.ask("POST", "/api/v1/control/privacy", BEARER, "Origin: null"),
    }
    assert {why: status for why, (status, _) in refused.items()} == {
        "no token": 401,
        "wrong token": 401,
        "another name": 421,
        "no name": 421,
        "another page": 403,
        "a page from nowhere": 403,
    }
    for status, body in refused.values():
        assert json.loads(body)["status"] == status
    status, body = web.ask("GET", "/api/v1/status", BEARER, own)
    assert status == 200
    assert json.loads(body)["device"] == "kiosk-1"
    assert not any(TOKEN.encode() in body for _, body in refused.values())


def test_sockets_are_refused_before_they_are_open(web: Web) -> None:
    """Row 33: WebSockets without the token, of other sites, with impossible lengths: refused before they open."""
    cases = {
        "no token": (),
        "another page": (BEARER, "Origin: https://elsewhere.example"),
        "no number": (BEARER, "Content-Length: \xb2"),
        "a number of many digits": (BEARER, "Content-Length: " + "9" * 5000),
    }
    for why, headers in cases.items():
        with web.connect() as sock:
            sock.sendall(upgrade(web, *headers))
            assert 400 <= status_line(sock) < 500, why
    with web.connect() as sock:
        sock.sendall(upgrade(web, BEARER))
        assert status_line(sock) == 101


@pytest.mark.parametrize(
    "path", ["/api/v1/status?" + "a&" * 80, "/api/v1/status?token=%ff%00", "/api/v1/status?" + "a" * 9000]
)
def test_odd_queries_without_a_token_are_refused_and_no_failure_of_the_server(web: Web, path: str) -> None:
    """Row 33: Odd and endless queries without a token: refused, no failure."""
    assert 400 <= web.ask("GET", path)[0] < 500


@pytest.mark.parametrize("body", [b"a&" * 80, b"token=" + b"\xff" * 100, b"token=\xc2\xb2", b""])
def test_odd_logins_are_refused_and_no_failure_of_the_server(web: Web, body: bytes) -> None:
    """Row 33: Odd forms of the login: refused, no failure."""
    assert 400 <= web.ask("POST", "/login", f"Content-Length: {len(body)}", body=body)[0] < 500


def test_a_body_where_none_belongs_is_refused(web: Web) -> None:
    """Row 33: A body where none belongs: 400."""
    assert web.ask("GET", "/api/v1/status", BEARER, "Content-Length: 2", body=b"{}")[0] == 400
    assert web.ask("GET", "/stream-emotion-feed", BEARER, "Transfer-Encoding: chunked", body=b"0\r\n\r\n")[0] == 400
    assert web.ask("GET", "/api/v1/status", BEARER, "Content-Length: 0")[0] == 200


@pytest.mark.parametrize("told", [True, False])
def test_a_huge_body_is_refused_as_it_arrives_and_not_kept(web: Web, told: bool) -> None:
    """Row 33: A body of 40 MB, with its length and without: 413, cut off, not kept in memory."""
    before = process_use().rss_mb or 0.0
    length = f"Content-Length: {OFFERED}" if told else "Transfer-Encoding: chunked"
    chunk = b"x" * 65536 if told else b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with web.connect() as sock:
        sock.sendall(head("POST", "/api/v1/control/status", f"Host: 127.0.0.1:{web.port}", BEARER, length))
        sent, status = 0, 0
        with suppress(OSError):  # it closed the connection: what it said before may be lost with it
            while sent < OFFERED:
                sock.sendall(chunk)
                sent += 65536
        with suppress(OSError, IndexError):
            status = status_line(sock)
    assert status in (0, 413)
    assert sent < OFFERED, "it swallowed everything"
    assert (process_use().rss_mb or 0.0) - before < 16.0
    small = b'{"value": null}'
    status, body = web.ask("POST", "/api/v1/control/nothing", BEARER, f"Content-Length: {65 * 1024}", body=b" " * 66560)
    assert (status, json.loads(body)["status"]) == (413, 413)
    assert web.ask("POST", "/api/v1/control/status", BEARER, f"Content-Length: {len(small)}", body=small)[0] == 200


def test_a_refusal_arrives_while_the_body_is_still_being_sent(web: Web) -> None:
    """Row 33: Refused with 4 MB on the way: the client still hears why."""
    size = 4 * 1024 * 1024
    length = f"Content-Length: {size}"
    for _ in range(5):
        for status, headers in (401, (length,)), (413, (length, BEARER)):
            got, body = web.ask("POST", "/api/v1/control/status", *headers, body=b" " * size)
            assert (got, json.loads(body)["status"]) == (status, status)


def test_a_disconnecting_client_is_not_logged(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    """Row 33: Clients that leave in the middle, and noise: nothing in the log."""
    whole = head("POST", "/login", f"Host: 127.0.0.1:{web.port}", "Content-Length: 20")
    for said in (b"", b"\r\n", b"\x00\xff" * 50, whole[:30], whole, whole + b"token=", upgrade(web, BEARER)):
        with web.connect() as sock:
            sock.sendall(said)
    assert web.ask("GET", "/healthz")[0] == 200
    time.sleep(0.3)
    assert not caplog.records


@pytest.mark.parametrize("kind", ["one header", "many headers", "address", "trailers", "chunk extension"])
def test_a_request_without_end_is_ended_and_not_kept(web: Web, kind: str) -> None:
    """Row 33: Headers, address, trailers without end, for which nobody needs a token: cut off, not kept in memory."""
    start = head("POST", "/login", f"Host: 127.0.0.1:{web.port}", "Transfer-Encoding: chunked")
    begun, more = {
        "one header": (start[:-2] + b"X: ", b"x" * 65536),
        "many headers": (start[:-2], b"X-Header: y\r\n" * 4096),
        "address": (b"GET /login?", b"x" * 65536),
        "trailers": (start + b"1\r\nx\r\n0\r\n", b"X-Trailer: y\r\n" * 4096),
        "chunk extension": (start + b"1;", b"x" * 65536),
    }[kind]
    before = process_use().rss_mb or 0.0
    with web.connect() as sock:
        sent = 0
        with suppress(OSError):
            sock.sendall(begun)
            while sent < OFFERED:
                sock.sendall(more)
                sent += len(more)
    assert sent < OFFERED, "it swallowed everything"
    assert (process_use().rss_mb or 0.0) - before < 16.0


def test_half_requests_are_ended_and_do_not_keep_others_out(web: Web, impatient: float) -> None:
    """Row 33: More half requests than there are places: ended in time, and others are answered meanwhile."""
    limits = web.agent.settings.web
    places = limits.clients + len(server.TALKATIVE) * limits.analysis_clients + server.SPARE
    whole = head("POST", "/login", f"Host: 127.0.0.1:{web.port}", "Content-Length: 20")
    halves = (b"", whole[:30], whole + b"token=")
    descriptors = len(os.listdir("/proc/self/fd"))
    began = time.monotonic()
    with ExitStack() as stack:
        lazy = [stack.enter_context(web.connect()) for _ in range(places + 108)]
        for number, sock in enumerate(lazy):
            with suppress(OSError):  # ended already
                sock.sendall(halves[number % 3])
        asked = time.monotonic()
        assert web.ask("GET", "/healthz")[0] == 200
        assert time.monotonic() - asked < impatient / 2, "it was kept waiting"
        assert len(os.listdir("/proc/self/fd")) - descriptors - len(lazy) <= places + 4
        told = [_ended(sock, began + impatient + 20.0) for sock in lazy]
    assert time.monotonic() - began > impatient - 0.5, "nobody was given the time that is promised"
    assert any(b"408" in text for text in told[2::3])
    assert web.beat.age < 5.0


def _ended(sock: socket.socket, until: float) -> bytes:
    """What is said before the connection is ended, which must be ``until`` then."""
    said = b""
    sock.settimeout(max(0.1, until - time.monotonic()))
    try:
        while chunk := sock.recv(4096):
            said += chunk
    except TimeoutError:
        pytest.fail("a connection that asks for nothing stays open")
    except OSError:
        pass
    return said


def test_a_client_that_does_not_read_is_disconnected_without_effect_on_others(web: Web, impatient: float) -> None:
    """Row 33: A WebSocket, a feed, a flood of requests, all unread: dropped, memory stays, another client gets all."""
    feed = head("GET", "/stream-emotion-feed", f"Host: 127.0.0.1:{web.port}", BEARER)
    before = process_use().rss_mb or 0.0
    with ExitStack() as stack:
        lazy = [stack.enter_context(_lazy(web)) for _ in range(3)]
        lazy[0].sendall(upgrade(web, BEARER))
        lazy[1].sendall(feed)
        good = stack.enter_context(web.connect())
        good.sendall(feed)
        received = good.recv(4096)
        assert received.startswith(b"HTTP/1.1 200")
        good.settimeout(5)
        asked = _asks_without_end(lazy[2], head("GET", "/static/main.js", f"Host: 127.0.0.1:{web.port}"))
        for number in [*range(3000), -1]:
            web.bus.publish("pacing", {"number": number, "padding": "x" * 8192})
            next(asked, None)
            wanted = b'"number":%d,' % number
            while wanted not in received:
                received = received[-200:] + good.recv(65536)
        assert (process_use().rss_mb or 0.0) - before < 24.0
        deadline = time.monotonic() + 10.0 + 5.0  # a WebSocket's goodbye may take 10 s
        while any(_established(web.port, sock.getsockname()[1]) for sock in lazy):
            assert time.monotonic() < deadline, "one is still connected"
            time.sleep(0.1)
        web.bus.publish("pacing", {"number": -2, "padding": ""})
        assert b'"number":-2,' in good.recv(65536)


def test_a_client_that_sends_and_never_reads_is_disconnected(web: Web, impatient: float) -> None:
    """Row 33: Pings without end whose answers nobody reads: not taken in, then cut off; memory stays."""
    before, sent = process_use().rss_mb or 0.0, 0
    pings = (b"\x89\xfd" + bytes(4) + b"p" * 125) * 500
    with _lazy(web) as sock:
        sock.sendall(upgrade(web, BEARER))
        assert status_line(sock) == 101
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - began < 40.0:
                sock.sendall(pings)
                sent += len(pings)
        assert time.monotonic() - began < 30.0, "it goes on"
    assert sent < 24 * 2**20, "it swallowed everything"  # about 7 MB fit into the buffers of sockets
    assert (process_use().rss_mb or 0.0) - before < 16.0


def test_a_client_that_floods_a_send_only_socket_is_disconnected(web: Web) -> None:
    """Row 33: Long messages to a WebSocket that takes none: cut off, memory stays; short ones are passed over."""
    before = process_use().rss_mb or 0.0
    with ExitStack() as stack:
        talkers = [stack.enter_context(web.connect()) for _ in range(4)]
        sent = 0
        for sock in talkers:
            sock.sendall(upgrade(web, BEARER))
            assert status_line(sock) == 101
            sock.sendall(b"\x01\x85" + bytes(4) + b"short" + b"\x80\x80" + bytes(4))
            with suppress(OSError):
                sock.sendall(b"\x01\xff" + (12 * 2**20).to_bytes(8) + bytes(4))  # of 12 MiB, and more to come
                for _ in range(12 * 16):
                    sock.sendall(b"x" * 65536)
                    sent += 65536
        assert (process_use().rss_mb or 0.0) - before < 16.0
    assert sent < 24 * 2**20, "it swallowed everything"


def test_a_head_request_of_the_feed_takes_no_place_in_it(web: Web) -> None:
    host = f"Host: 127.0.0.1:{web.port}"
    with web.connect() as sock:
        sock.sendall(head("HEAD", "/stream-emotion-feed", host, BEARER))
        sock.sendall(head("GET", "/healthz", host, "Connection: close"))
        sock.settimeout(5)
        received = b""
        while chunk := sock.recv(4096):
            received += chunk
    assert received.count(b"HTTP/1.1 200") == 2
    assert b"text/event-stream" in received


def test_a_crowd_that_comes_at_once_is_refused_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Forty where there are five places, as when all browsers come back at the same time."""
    monkeypatch.setattr("edge_agent.web.server.Hub", lambda bus, _most: Hub(bus, 5))
    few = Web(tmp_path)
    try:
        request = head("GET", "/stream-emotion-feed", f"Host: 127.0.0.1:{few.port}", BEARER)
        with ExitStack() as stack:
            crowd = [stack.enter_context(few.connect()) for _ in range(40)]
            for sock in crowd:
                sock.sendall(request)
            assert sorted(status_line(sock) for sock in crowd) == [200] * 5 + [503] * 35
    finally:
        few.stop()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def _lazy(web: Web) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(30)
    sock.connect(("127.0.0.1", web.port))
    return sock


def _asks_without_end(sock: socket.socket, request: bytes) -> Iterator[None]:
    """Sends requests as long as the other side takes them."""
    sock.setblocking(False)
    with suppress(OSError):
        while True:
            with suppress(BlockingIOError):
                sock.send(request)
            yield


def _established(server_port: int, client_port: int) -> bool:
    """Whether the server's end of the connection still holds it open."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{server_port:04X}") and fields[2].endswith(f":{client_port:04X}"):
            return fields[3] in ("01", "08")  # established, or closed by the client alone
    return False


def test_an_unexpected_error_is_answered_without_details(web: Web) -> None:
    """Row 33: A failure in the server: a problem document without its details, and it goes on."""
    web.bus.publish("health", {"status": "ok"})  # metrics need more of it
    status, body = web.ask("GET", "/metrics", BEARER)
    assert (status, json.loads(body)["status"]) == (500, 500)
    assert b"Traceback" not in body
    assert b"KeyError" not in body
    assert web.ask("GET", "/api/v1/status", BEARER)[0] == 200


def test_the_page_loads_only_its_own_scripts_and_no_other_host(web: Web) -> None:
    with web.connect() as sock:
        request = head("GET", "/", f"Host: 127.0.0.1:{web.port}", "Accept: text/html", BEARER, "Connection: close")
        sock.sendall(request)
        received = b""
        while chunk := sock.recv(65536):
            received += chunk
    text = received.decode().lower()
    assert text.startswith("http/1.1 200")
    assert "content-security-policy: default-src 'none'; script-src 'self';" in text
    page = text.partition("\r\n\r\n")[2]
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page
    assert "unsafe" not in guard.CSP
