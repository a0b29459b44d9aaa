"""Addresses are fetched only where they may be, whatever names, redirects and servers say."""

from __future__ import annotations

import io
import ipaddress
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from edge_agent.batch.fetching import Fetcher, permitted
from edge_agent.batch.jobs import BatchError
from edge_agent.settings import BatchSettings

INSIDE = BatchSettings(max_file_mb=0.1, private_networks=("127.0.0.0/8",))
OUTSIDE = BatchSettings(max_file_mb=0.1)


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1",
     "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::c0a8:101", "2002:7f00:1::", "2002:a00:1::",
     "2001:db8::1", "::127.0.0.1"],
)  # fmt: skip
def test_no_private_address_is_permitted(text: str) -> None:
    assert not permitted(ipaddress.ip_address(text), ())


@pytest.mark.parametrize("text", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_public_addresses_are_permitted(text: str) -> None:
    assert permitted(ipaddress.ip_address(text), ())


def test_networks_that_the_config_lists_are_permitted() -> None:
    networks = (ipaddress.ip_network("192.168.7.0/24"),)
    assert permitted(ipaddress.ip_address("192.168.7.9"), networks)
    assert permitted(ipaddress.ip_address("::ffff:192.168.7.9"), networks)
    assert not permitted(ipaddress.ip_address("192.168.8.9"), networks)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        where = {
            "/away": "http://169.254.169.254/latest",
            "/on": "/data",
            "/loop": "/loop",
            "/file": "file:///etc/passwd",
        }
        if self.path in where:
            self.send_response(302)
            self.send_header("location", where[self.path])
            self.end_headers()
            return
        body = bytes(200_000) if self.path.startswith("/big") else b"hello"
        self.send_response(404 if self.path == "/none" else 200)
        if self.path != "/big-untold":
            self.send_header("content-length", str(len(body)))
        self.send_header("content-type", "text/plain")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.server.got = self.rfile.read(int(self.headers["content-length"]))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def at(server: ThreadingHTTPServer, path: str, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{server.server_address[1]}{path}"


def test_a_file_is_fetched_over_a_redirect(server: ThreadingHTTPServer) -> None:
    file = io.BytesIO()
    assert Fetcher(INSIDE).fetch(at(server, "/on"), file) == "text/plain"
    assert file.getvalue() == b"hello"


@pytest.mark.parametrize(
    ("path", "words"),
    [("/away", "no public address"), ("/loop", "redirects"), ("/file", "no address"), ("/none", "404"),
     ("/big", "max_file_mb"), ("/big-untold", "max_file_mb")],
)  # fmt: skip
def test_a_server_cannot_lead_it_astray(server: ThreadingHTTPServer, path: str, words: str) -> None:
    with pytest.raises(BatchError, match=words):
        Fetcher(INSIDE).fetch(at(server, path), io.BytesIO())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"])
def test_this_machine_is_not_fetched_from(server: ThreadingHTTPServer, host: str) -> None:
    with pytest.raises(BatchError, match=r"no public address|cannot be resolved"):
        Fetcher(OUTSIDE).fetch(at(server, "/data", host), io.BytesIO())


def test_a_name_is_resolved_once_and_the_answer_is_what_is_connected_to(server: ThreadingHTTPServer) -> None:
    """DNS rebinding: the second answer would be another address."""
    answers = [["127.0.0.1"], ["169.254.169.254"]]

    def lookup(host: str, _port: int) -> Sequence[str]:
        assert host == "media.example"
        return answers.pop(0)

    file = io.BytesIO()
    Fetcher(INSIDE, lookup).fetch(at(server, "/data", "media.example"), file)
    assert file.getvalue() == b"hello"
    assert len(answers) == 1


def test_a_name_with_one_private_address_is_refused() -> None:
    with pytest.raises(BatchError, match="no public address"):
        Fetcher(OUTSIDE, lambda _host, _port: ["93.184.216.34", "10.0.0.1"]).fetch("http://x.example/", io.BytesIO())


@pytest.mark.parametrize(
    ("url", "words"),
    [("ftp://example.com/", "http"), ("http://", "no address"), ("http://user:pw@example.com/", "password"),
     ("http://example.com:99999/", "no address"), ("http://exa mple.com/", "percent"), ("http://127.0.0.1/", "public"),
     ("http://example.com/a\r\nHost: b", "percent"), ("data:text/plain,x", "http")],
)  # fmt: skip
def test_addresses_that_are_wrong_by_themselves_are_refused_at_once(url: str, words: str) -> None:
    with pytest.raises(BatchError, match=words):
        Fetcher(OUTSIDE, lambda _host, _port: pytest.fail("asked")).check(url)


def test_a_callback_is_posted_and_its_redirect_not_followed(server: ThreadingHTTPServer) -> None:
    Fetcher(INSIDE).send(at(server, "/hook"), {"job_id": "x"})
    assert server.got == b'{"job_id": "x"}'  # type: ignore[attr-defined]
    with pytest.raises(BatchError, match="no public address"):
        Fetcher(OUTSIDE).send(at(server, "/hook"), {})


def test_a_server_that_is_too_slow_is_given_up(server: ThreadingHTTPServer) -> None:
    times = iter([0.0, 0.0, 1000.0])
    with pytest.raises(BatchError, match="longer than"):
        Fetcher(INSIDE, monotonic=lambda: next(times)).fetch(at(server, "/data"), io.BytesIO())
