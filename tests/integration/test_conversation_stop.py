"""A message that is at work when the server's grace is over: what it works with is freed after that, not during it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from websockets.sync import client

from edge_agent.web.conversation import Conversation, Limits
from tests.support.mosquitto import free_port


class Slow:
    """Takes three seconds for an answer; knows whether it was closed meanwhile."""

    def __init__(self) -> None:
        self.started, self.closed = threading.Event(), threading.Event()
        self.during = False

    def answer(self, text: str | bytes) -> dict[str, Any]:
        self.started.set()
        self.during = self.closed.wait(3.0)
        return {}

    def close(self) -> None:
        self.closed.set()


def test_a_stop_does_not_close_what_is_at_work(caplog: pytest.LogCaptureFixture) -> None:
    slow, port = Slow(), free_port()
    routes = [WebSocketRoute("/", Conversation(lambda: slow, Limits()).serve)]
    config = uvicorn.Config(
        Starlette(routes=routes), port=port, log_config=None, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    with client.connect(f"ws://127.0.0.1:{port}/") as socket:
        socket.send("work")
        assert slow.started.wait(5)
        server.should_exit = True
        began = time.monotonic()
        thread.join(10)
        assert time.monotonic() - began < 2.5, "the stop waited for the work"
    assert slow.closed.wait(10), "what it held is never freed"
    assert not slow.during, "it was closed while at work"
    assert not any(record.exc_info for record in caplog.records)
