"""Pages of other sites in a real browser: those that the config lists can ask and listen, all others cannot."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support import browser as browsers
from tests.support.browser import Browser
from tests.support.web_side import TOKEN, Web

pytestmark = pytest.mark.skipif(bool(browsers.MISSING), reason=browsers.MISSING)

FETCH = """
const [url, token, done] = arguments;
fetch(url + "/api/v1/status", {headers: {Authorization: "Bearer " + token}})
  .then(async (answer) => done([answer.status, await answer.json()]), (error) => done([0, String(error)]));
"""
POST = """
const [url, token, done] = arguments;
const headers = {Authorization: "Bearer " + token, "Content-Type": "application/json", "X-Requested-With": "kiosk"};
fetch(url + "/api/v1/control/status", {method: "POST", headers, body: "{}"})
  .then(async (answer) => done([answer.status, await answer.json()]), (error) => done([0, String(error)]));
"""
EVENTS = """
const [url, token, done] = arguments;
const feed = new EventSource(url + "/stream-emotion-feed?token=" + token);
feed.onmessage = (event) => { feed.close(); done([200, JSON.parse(event.data)]); };
feed.onerror = () => { feed.close(); done([0, "refused"]); };
"""
SOCKET = """
const [url, token, done] = arguments;
const socket = new WebSocket(url.replace("http", "ws") + "/api/v1/live?token=" + token);
socket.onmessage = (event) => { socket.close(); done([200, JSON.parse(event.data)]); };
socket.onclose = (event) => done([0, event.code]);
"""
COOKIE = """
const [url, token, done] = arguments;
fetch(url + "/api/v1/status", {credentials: "include"})
  .then((answer) => done([answer.status, ""]), (error) => done([0, String(error)]));
"""
WAYS = {"fetch": FETCH, "fetch with a preflight": POST, "EventSource": EVENTS, "WebSocket": SOCKET}


class Page(BaseHTTPRequestHandler):
    """A page of another site."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>another site</title><link rel=icon href=data:,>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    """The port of a server with pages of another site, at 127.0.0.1 and localhost."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    running = Browser(tmp_path_factory.mktemp("profile"))
    running.driver.set_script_timeout(30)
    yield running
    running.close()


def told(browser: Browser, page: str, way: str, web: Web, token: str = TOKEN) -> tuple[int, Any]:
    """Status (0: the browser lets the page know nothing) and what a page at that address is told."""
    browser.driver.get(page)
    status, value = browser.driver.execute_async_script(way, f"http://127.0.0.1:{web.port}", token)
    return status, value


def a_web(folder: Path, *origins: str) -> Web:
    web = Web(folder, f"allowed_origins = {list(origins)}")
    web.bus.publish("health", {"status": "ok"})
    return web


def test_a_listed_page_can_do_what_a_client_with_the_token_can(browser: Browser, site: int, tmp_path: Path) -> None:
    web = a_web(tmp_path, f"HTTP://LocalHost:{site}")
    try:
        listed, other = f"http://localhost:{site}/", f"http://127.0.0.1:{site}/"
        for name, way in WAYS.items():
            status, value = told(browser, listed, way, web)
            assert status == 200, (name, value)
            assert told(browser, other, way, web)[0] == 0, name
        status, problem = told(browser, listed, FETCH, web, "0123456789abcdef-wrong")
        assert (status, problem["status"]) == (401, 401), "a listed page may read why it is refused"
        assert "wrong" in problem["detail"]
        assert told(browser, listed, SOCKET, web, "0123456789abcdef-wrong")[0] == 0
    finally:
        web.stop()


def test_without_the_option_no_other_page_is_answered(browser: Browser, site: int, tmp_path: Path) -> None:
    web = a_web(tmp_path)
    try:
        for name, way in WAYS.items():
            assert told(browser, f"http://localhost:{site}/", way, web)[0] == 0, name
    finally:
        web.stop()


def test_any_page_and_files_may_be_let_in_but_not_by_the_cookie(browser: Browser, site: int, tmp_path: Path) -> None:
    """With ``*`` a page needs the token itself: that a person has logged in at this device is no leave for it."""
    file = tmp_path / "page.html"
    file.write_text("<!doctype html><title>a file</title>")
    same_site = f"http://127.0.0.1:{site}/"
    web = a_web(tmp_path, "*")
    try:
        log_in(browser, web)
        for page in (f"http://localhost:{site}/", same_site, file.as_uri()):
            for name, way in WAYS.items():
                assert told(browser, page, way, web)[0] == 200, (page, name)
        assert told(browser, same_site, SOCKET, web, "")[0] == 0, "the cookie opened a socket"
        assert told(browser, same_site, COOKIE, web)[0] == 0
    finally:
        web.stop()


def test_the_cookie_counts_for_pages_that_are_listed_by_name(browser: Browser, site: int, tmp_path: Path) -> None:
    same_site = f"http://127.0.0.1:{site}/"
    web = a_web(tmp_path, same_site.rstrip("/"), "null")
    try:
        log_in(browser, web)
        assert told(browser, same_site, COOKIE, web)[0] == 200
        assert told(browser, same_site, SOCKET, web, "")[0] == 200
    finally:
        web.stop()


def log_in(browser: Browser, web: Web) -> None:
    browser.driver.get(f"http://127.0.0.1:{web.port}/?token={TOKEN}")
    browser.until(lambda: browser.driver.get_cookie("edge-agent-token"), "the cookie")
