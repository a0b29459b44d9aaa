"""``edge-agent demo`` as a newcomer meets it: windows over MQTT, and a dashboard behind the address that it prints."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.request import HTTPCookieProcessor, Request, build_opener

from edge_agent.api import Session
from edge_agent.cli import demo
from edge_agent.domain.event import BURST
from edge_agent.domain.summary import estimate_window
from tests.support.cli import Cli
from training.emotion.faces.demo import CAST, HEARD


def test_the_address_that_the_demo_prints_opens_its_dashboard(cli: Cli) -> None:
    running = cli.start("demo", "--seconds", "14", "--window", "2")
    try:
        assert running.stdout is not None
        text = ""
        while not (found := re.search(r"dashboard: (http://127\.0\.0\.1:\d+)(/\?token=\w+)#preview", text)):
            line = running.stdout.readline()
            assert line, text
            text += line
        while " summary " not in text:  # the agent's own window: its web side has been up since before
            text += running.stdout.readline()
        browser = build_opener(HTTPCookieProcessor())
        with browser.open(Request(found[1] + found[2], headers={"Accept": "text/html"})) as page:
            assert page.url == f"{found[1]}/", "the token does not stay in the address"
            assert b"<title>edge-agent" in page.read()
        with browser.open(f"{found[1]}/api/v1/summary") as answer:
            assert json.load(answer)["device"] == "demo"
        people: list[dict[str, object]] = []
        while not people:  # the room is empty at first
            assert running.poll() is None
            with browser.open(f"{found[1]}/api/v1/people") as answer:
                people = json.load(answer)["people"]
        assert people[0]["here"]
        with browser.open(f"{found[1]}/api/v1/preview.jpg") as answer:
            assert answer.read(2) == b"\xff\xd8"
    finally:
        rest, _ = running.communicate(timeout=60)
    assert running.returncode == 0, rest
    assert re.search(r"windows received: .*happiness \d", rest)
    lines = [line for line in (text + rest).splitlines() if "dashboard:" not in line]
    assert max(map(len, lines)) <= 80
    assert "{" not in "".join(lines)


def test_json_is_printed_only_when_asked_for_and_alone(cli: Cli) -> None:
    result = cli("demo", "--seconds", "5", "--window", "2", "--no-web", "--json")
    assert result.returncode == 0, result.stderr
    messages = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"edge-agent/demo/summary", "edge-agent/demo/health"} <= {message["topic"] for message in messages}
    assert "dashboard" not in result.stderr
    assert "windows received" in result.stderr


def test_the_film_shows_and_sounds_as_it_is_cast() -> None:
    """The real models on every second of it: who is there, what they show, what is heard."""
    path = Path(demo.__file__).with_name("demo.mp4")
    assert path.stat().st_size < 1_500_000
    with Session(window_s=1.0) as session:
        found = session.file(path)
    told = [(role.comes + 2, role.goes, role) for role in CAST]
    detected = right = judged = 0
    for row in (summary.window for summary in found.summaries):
        middle = (row.begin + row.end) / 2
        here = [role for come, go, role in told if come < middle < go]
        if any(abs(middle - edge) < 2 for role in CAST for edge in (role.comes, role.goes)):
            continue
        detected += row.faces.most == len(here)
        judged += 1
        estimate = estimate_window(row)
        faces = {role.face_at(middle - 0.8) for role in here} & {role.face_at(middle + 0.2) for role in here}
        right += estimate is None if not here else estimate is not None and estimate.dominant in faces
    assert (judged, detected) == (judged, judged)
    assert right >= 0.9 * judged
    bursts = [(event.label, round(event.start)) for event in found.events if event.kind == BURST]
    assert bursts == [(label, round(time)) for time, label in HEARD]


def test_a_device_that_cannot_be_ends_the_demo_at_once(cli: Cli) -> None:
    result = cli("demo", "--seconds", "600", "--camera", "plugin:nope", timeout=60)
    assert result.returncode == 2, result.stdout
    (line,) = result.stderr.strip().splitlines()[-1:]
    assert "camera.source" in line
    assert "nope" in line
