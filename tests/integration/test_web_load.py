"""Many clients at once: each is served as often as the others, and answers that take long keep nobody else waiting."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.sync import client

from edge_agent.live.people import KEEP_S, MOST, STEP_S
from edge_agent.web.conversation import Conversation, Limits
from tests.support.cli import Cli
from tests.support.web import Server
from tests.support.web_agent import WebAgent, wait_for
from tests.support.web_side import BEARER, Web
from tests.unit.summary.streams import look, reading

CLIENTS = 16


class Working:
    """Takes ten milliseconds for an answer."""

    def answer(self, text: str | bytes) -> dict[str, Any]:
        time.sleep(0.01)
        return {}

    def close(self) -> None:
        """Nothing is held."""


def test_clients_take_turns_however_many_messages_they_have_on_the_way() -> None:
    server = Server([WebSocketRoute("/", Conversation(Working, Limits(connections=CLIENTS)).serve)])
    try:
        clients = asyncio.run(crowd(f"ws://{server.address}/", 4.0))
    finally:
        server.stop()
    counts = [len(waits) for waits in clients]
    mean = sum(counts) / CLIENTS
    assert all(0.8 * mean <= count <= 1.2 * mean for count in counts), counts
    waits = [wait for one in clients for wait in one]
    assert quantiles(waits, n=20)[18] <= 2 * median(waits)


async def crowd(address: str, seconds: float) -> list[list[float]]:
    """Of each client the seconds between answers; half of them send one message at a time, half are greedy."""
    everybody = asyncio.Barrier(CLIENTS)
    return await asyncio.gather(*(greet(address, everybody, seconds, 8 if k % 2 else 1) for k in range(CLIENTS)))


async def greet(address: str, everybody: asyncio.Barrier, seconds: float, ahead: int) -> list[float]:
    waits: list[float] = []
    async with connect(address) as socket:
        await everybody.wait()
        before = time.monotonic()
        end = before + seconds
        for _ in range(ahead):
            await socket.send("x")
        while before < end:
            await socket.recv()
            await socket.send("x")
            now = time.monotonic()
            waits.append(now - before)
            before = now
    return waits


def test_others_are_answered_while_a_large_answer_is_made(tmp_path: Path) -> None:
    """As many people as are remembered, for as long as they are: thousands of windows."""
    web = Web(tmp_path)
    people = web.live.people
    assert people is not None
    tracks = [f"t{k}" for k in range(MOST)]
    now = 0.0
    for step in range(int(KEEP_S / STEP_S) * 2):
        now = step * STEP_S / 2
        people.accept(look(now, *tracks, observations=tuple(reading(t, now, happiness=0.8) for t in tracks)))
    address = f"http://127.0.0.1:{web.port}"
    headers = dict([BEARER.split(": ")])
    try:
        people.since = lambda _begin, _now, since=people.since: since(0.0, now)  # type: ignore[method-assign]
        took: list[float] = []

        def ask() -> None:
            began = time.monotonic()
            answer = httpx.get(f"{address}/api/v1/people?seconds=600", headers=headers, timeout=60)
            took.append(time.monotonic() - began)
            assert len(answer.json()["people"]) == MOST
            assert sum(len(person["timeline"]) for person in answer.json()["people"]) > 7000

        asking = threading.Thread(target=ask)
        asking.start()
        waits = []
        with httpx.Client() as client:
            while asking.is_alive():
                began = time.monotonic()
                assert client.get(f"{address}/healthz").status_code == 200
                waits.append(time.monotonic() - began)
        asking.join()
        assert max(waits) < took[0] / 2, (waits, took)
        assert len(waits) > 5
        ask()
        assert took[1] < took[0], "windows that have ended are rendered again"
    finally:
        web.stop()


def test_the_limit_of_open_files_is_raised_and_bounds_the_connections(cli: Cli, tmp_path: Path) -> None:
    """From 128 to the hard limit of 300 files: so many clients are served, others are refused, and nothing fails."""
    script = tmp_path / "limited"
    script.write_text(f'#!/bin/sh\nexec prlimit --nofile=128:300 "{cli.script}" "$@"\n')
    script.chmod(0o755)
    limited = Cli(cli.environment)
    limited.script = script
    served = 0
    with ExitStack() as stack:
        agent = WebAgent(
            limited, tmp_path, camera='source = "none"', microphone='source = "none"', mqtt="enabled = false"
        )
        agent.start()
        stack.callback(agent.process.kill)  # type: ignore[union-attr]
        wait_for(agent.answers, "the web side")
        with ExitStack() as sockets:
            for k in range(130):
                address = f"ws://127.0.0.1:{agent.port}/ws/{('emotion', 'face')[k % 2]}?token={agent.token}"
                with suppress(OSError, WebSocketException):
                    sockets.enter_context(client.connect(address, open_timeout=20))
                    served += 1
        wait_for(agent.answers, "the web side, when the clients are gone")
        log = agent.end()
    assert 60 <= served <= 108
    assert "this process may open 300 files, so 108 of 692 connections are accepted: set LimitNOFILE=884" in log
