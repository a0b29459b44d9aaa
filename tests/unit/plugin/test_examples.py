"""The example plugins do what their README says: a count of people, a lamp on a (mock) pin, posts to a real server."""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edge_agent.domain.event import Event, Message
from edge_agent.domain.face import Box, Face, TrackedFace
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import Observation
from edge_agent.domain.summary import FaceSums, Summary, Window
from edge_agent.plugin.testing import SINK_CHECKS, SinkSubject

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import the module of an example."""

    def load(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(PLUGINS / name)
        return importlib.import_module(name)

    return load


# ---------------------------------------------------------------------- people


def seen(time: float, *people: tuple[str, float]) -> tuple[Frame, list[TrackedFace]]:
    """A frame in which each of ``people``, a track and the height of its face, is seen."""
    frame = Frame.from_bgr(np.zeros((4, 4, 3), np.uint8), time, int(time * 10))
    return frame, [TrackedFace(track, Face(Box(0.1, 0.1, 0.1, height), 0.9), 0.0) for track, height in people]


def test_people_count_once_each_when_they_stay_near(example: Callable[[str], ModuleType]) -> None:
    module = example("example_people")
    counter = module.PeopleCounter(module.PeopleSettings(min_height=0.2, stay_s=2.0))
    found: list[Observation | Event] = []
    for tenth in range(100):
        time = tenth / 10
        people = [("far", 0.1)]
        people += [("ann", 0.3)] if time >= 1.0 else []
        people += [("bob", 0.3)] if 5.0 <= time < 6.0 or time >= 7.0 else []
        found += counter.analyze(*seen(time, *people))
    counts = [(item.track, item.time) for item in found if isinstance(item, Observation)]
    assert counts == [("ann", 3.0), ("bob", 9.0)]
    events = [(item.label, item.start, item.seconds) for item in found if isinstance(item, Event)]
    assert events == [("came", 1.0, 2.0), ("came", 7.0, 2.0)]


# ---------------------------------------------------------------------- lamp


@pytest.fixture
def pin(example: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, Any]]:
    """The lamp's module and its pin, of gpiozero's own mock."""
    gpiozero = pytest.importorskip("gpiozero")
    mock = pytest.importorskip("gpiozero.pins.mock")
    factory = mock.MockFactory()
    monkeypatch.setattr(gpiozero.Device, "pin_factory", factory)
    monkeypatch.setenv("LAMP_PIN", "4")
    module = example("example_lamp")
    module.lamp.cache_clear()
    yield module, factory.pin(4)
    module.lamp().close()
    module.lamp.cache_clear()


def summary(most: int) -> Summary:
    return Summary(0.0, "synced", Window(0.0, 10.0, faces=FaceSums(most=most)))


def test_lamp_lights_while_somebody_is_there(pin: tuple[ModuleType, Any]) -> None:
    module, lamp = pin
    module.edge_agent_on_event(Event("arrival", "person", 0.9, 0.0, 0.0))
    assert lamp.state
    module.edge_agent_on_summary(summary(1))
    assert lamp.state
    module.edge_agent_on_summary(summary(0))
    assert not lamp.state


def test_lamp_blinks_at_laughter_only_and_at_once(pin: tuple[ModuleType, Any], eventually: Any) -> None:
    module, lamp = pin
    module.edge_agent_on_event(Event("burst", "cough", 0.9, 0.0, 0.4))
    module.edge_agent_on_event(Event("burst", "laughter", 0.9, 0.0, 0.4))
    eventually(lambda: [state.state for state in lamp.states].count(True) >= 3)
    module.edge_agent_on_summary(summary(0))
    assert not lamp.state


# ---------------------------------------------------------------------- webhook


class Receiver(ThreadingHTTPServer):
    """A web server that keeps what was posted; it answers with ``status``."""

    def __init__(self) -> None:
        self.status = 204
        self.bodies: list[list[dict[str, Any]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?token=secret"

    def payloads(self) -> list[bytes]:
        return [json.dumps(entry["payload"]).encode() for body in self.bodies for entry in body]

    @contextmanager
    def refusing(self) -> Iterator[None]:
        self.status = 503
        yield
        self.status = 204


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status == 204:
            self.server.bodies.append(body)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("check", SINK_CHECKS, ids=lambda check: check.__name__)
def test_webhook_keeps_the_contract(check: Any, receiver: Receiver, example: Callable[[str], ModuleType]) -> None:
    module = example("example_webhook")
    (spec,) = module.edge_agent_register_sinks()
    settings = module.WebhookSettings(url=receiver.url)
    check(SinkSubject("example_webhook", spec, settings, stored=receiver.payloads, broken=receiver.refusing))


def test_webhook_tells_what_is_wrong_without_its_address(
    receiver: Receiver, example: Callable[[str], ModuleType]
) -> None:
    module = example("example_webhook")
    message = Message("boot", 7, "event", "event/burst", b'{"label": "laughter"}', replayed=True)
    hook = module.Webhook(module.WebhookSettings(url=receiver.url))
    hook.write([message])
    expected = [{"topic": "event/burst", "replayed": True, "payload": {"label": "laughter"}}]
    assert receiver.bodies == [expected]
    with receiver.refusing(), pytest.raises(OSError, match=r"answered 503$"):
        hook.write([message])
    receiver.shutdown()
    receiver.server_close()
    with pytest.raises(OSError, match="cannot be reached") as told:
        hook.write([message])
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "example.org", "", "http://"])
def test_webhook_takes_web_addresses_only(url: str, example: Callable[[str], ModuleType]) -> None:
    with pytest.raises(ValueError, match="must be a web address"):
        example("example_webhook").WebhookSettings(url=url)
