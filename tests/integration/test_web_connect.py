"""The page that shows how clients connect: its addresses exist, its examples are code, the token is not told."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from edge_agent.settings import Settings
from edge_agent.web.dashboard import connect_page
from tests.support.web_side import TOKEN, Web


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    running = Web(tmp_path_factory.mktemp("connect"))
    yield running
    running.stop()


@pytest.fixture
def client(web: Web) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/html"}
    with httpx.Client(base_url=f"http://127.0.0.1:{web.port}", headers=headers, timeout=20) as found:
        yield found


def examples(page: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)]


def test_every_address_on_the_page_is_served(client: httpx.Client, web: Web) -> None:
    page = client.get("/connect").text
    here = f"://127.0.0.1:{web.port}"
    paths = set(re.findall(rf"{here}(/[^\s\"'?<]*)", "\n".join(examples(page))))
    assert {"/api/v1/summary", "/flask/process-frame", "/v0/stream/models", "/ws/face"} <= paths
    for path in paths - {"/stream-emotion-feed", "/v0/stream", "/camera/start"}:
        answer = client.get(path)
        told = answer.json()["detail"] if answer.status_code == 404 else ""
        assert answer.status_code in (200, 405, 426) or told.startswith("no window"), f"{path}: {answer.text[:200]}"


def test_the_token_is_asked_for_and_not_told(client: httpx.Client) -> None:
    refused = httpx.get(client.base_url.join("/connect"), headers={"Accept": "text/html"})
    assert (refused.status_code, refused.headers["location"]) == (303, "/login")
    page = client.get("/connect").text
    assert TOKEN not in page
    assert not re.findall(r"\{\{?[a-z_]+\}\}?", re.sub(r"\{\{ ?.*?value_json.*?\}\}", "", html.unescape(page)))
    assert "/connect" in client.get("/").text
    assert client.get("/static/connect.js").status_code == 200


def test_examples_in_python_are_python(client: httpx.Client) -> None:
    found = [text for text in examples(client.get("/connect").text) if re.search(r"^(import|from) ", text)]
    assert len(found) == 2
    for text in found:
        indented = "\n".join(f"    {line}" for line in text.splitlines())
        compile(f"async def example():\n{indented}\n", "example", "exec")


def test_it_names_this_devices_broker_topics_and_token_file(tmp_path: Path) -> None:
    settings = Settings(
        device={"id": "kiosk-7"},
        mqtt={"host": "broker.example", "prefix": "hall"},
        web={"enabled": True, "host": "0.0.0.0", "token_file": str(tmp_path / "<token>")},
    )
    page = connect_page(settings, "kiosk-7.example:8765")
    text = "\n".join(examples(page))
    assert "mosquitto_sub -h broker.example -p 1883 -t 'hall/kiosk-7/#' -v" in text
    assert f"TOKEN=$(sudo head -n 1 {tmp_path}/<token>)" in text
    assert "<token>" not in page, "what the config says is text, not markup"
    assert "http://kiosk-7.example:8765/api/v1/summary" in text
    assert "proxy with TLS" in page
    without = connect_page(
        settings.model_copy(update={"mqtt": settings.mqtt.model_copy(update={"enabled": False})}), "a:1"
    )
    assert "mosquitto_sub" not in without
