"""``edge-agent demo`` as a newcomer meets it: windows over MQTT, and a dashboard behind the address that it prints."""

from __future__ import annotations

import json
import re
from urllib.request import HTTPCookieProcessor, Request, build_opener

from tests.support.cli import Cli


def test_the_address_that_the_demo_prints_opens_its_dashboard(cli: Cli) -> None:
    running = cli.start("demo", "--seconds", "8", "--window", "2")
    try:
        assert running.stdout is not None
        text = ""
        while not (found := re.search(r"dashboard: (http://127\.0\.0\.1:\d+)(/\?token=\w+)", text)):
            line = running.stdout.readline()
            assert line, text
            text += line
        while "demo/summary" not in text:  # the agent's own window: its web side has been up since before
            text += running.stdout.readline()
        browser = build_opener(HTTPCookieProcessor())
        with browser.open(Request(found[1] + found[2], headers={"Accept": "text/html"})) as page:
            assert page.url == f"{found[1]}/", "the token does not stay in the address"
            assert b"<title>edge-agent" in page.read()
        with browser.open(f"{found[1]}/api/v1/summary") as answer:
            assert json.load(answer)["device"] == "demo"
        people: list[dict[str, object]] = []
        while not people:  # the window may have ended before anybody was seen
            assert running.poll() is None
            with browser.open(f"{found[1]}/api/v1/people") as answer:
                people = json.load(answer)["people"]
        assert people[0]["here"]
    finally:
        rest, _ = running.communicate(timeout=60)
    assert running.returncode == 0, rest
    assert re.search(r"windows received: .*happiness \d", rest)


def test_the_demo_works_without_a_dashboard_too(cli: Cli) -> None:
    result = cli("demo", "--seconds", "5", "--window", "2", "--no-web")
    assert result.returncode == 0, result.stderr
    assert "dashboard" not in result.stdout
    assert "windows received" in result.stdout


def test_a_device_that_cannot_be_ends_the_demo_at_once(cli: Cli) -> None:
    result = cli("demo", "--seconds", "600", "--camera", "plugin:nope", timeout=60)
    assert result.returncode == 2, result.stdout
    (line,) = result.stderr.strip().splitlines()[-1:]
    assert "camera.source" in line
    assert "nope" in line
