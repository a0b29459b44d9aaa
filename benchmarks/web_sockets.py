"""What a hundred live clients cost a running agent, how soon they hear of what happens, and how fairly sixteen clients
that send pictures are served.

    python -m benchmarks.web_sockets [--clients 100] [--seconds 20] [--rounds 3] [--pictures]

The agent is a process of its own, with the demo camera and the real models. Without and with clients takes turns within
one run, so that other load on the machine meets both. Once a second the agent also posts as many stamped messages of a
summary's size as ``--rates`` says; monotonic clocks of two processes on one machine agree, so a stamp read by a client
tells how old it is. One more client never reads. Client and agent share the processors: the latency is both of theirs.

With ``--pictures``, half of sixteen clients of ``/ws/face`` send the next picture when the last one is answered, the
other half always have four on the way. What they get is told as ratios, which do not depend on the machine: answers of
the least and the best served client to the mean over all, 95th percentile and longest time between answers to the
median, and the longest wait for a first answer, when all ask at once and the models of each are loaded.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

import cv2
from skimage import data
from websockets.asyncio.client import connect

from edge_agent.app.agent import Agent
from edge_agent.app.builder import PipelineBuilder, pull_quietly
from edge_agent.cli.run import web_side
from edge_agent.live.bus import EventBus
from edge_agent.models import cache_dir
from edge_agent.runtime.lifecycle import Stop, stop_on_signals
from edge_agent.settings import ConfigText

TOKEN = "0123456789abcdef-benchmark"
PADDING = "x" * 900
CONFIG = """
[device]
id = "bench"
state_dir = "{state}"
[camera]
source = "demo"
[microphone]
source = "demo"
[mqtt]
enabled = false
[models]
dir = "{models}"
[web]
enabled = true
port = {port}
token = "{token}"
"""


def agent(state: str, port: int, rate: float) -> None:
    """Be the agent, and post stamps."""
    config = ConfigText("benchmark", CONFIG.format(state=state, port=port, token=TOKEN, models=cache_dir()))
    settings = config.settings()
    builder = PipelineBuilder(config, settings)
    builder.pull_missing(pull_quietly)
    builder.activate()
    bus, web, stop = EventBus(), web_side(None, settings), Stop()
    running = Agent(settings, builder, bus=bus, companions=lambda *live: [web(*live)])

    def post() -> None:
        number = 0
        while not stop.wait(1.0 / rate):
            number += 1
            bus.publish("stamp", {"at": time.monotonic(), "number": number, "padding": PADDING})

    threading.Thread(target=post, daemon=True).start()
    with stop_on_signals(stop):
        running.run(stop)


@dataclass
class Heard:
    """What one client heard."""

    numbers: list[int] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Nothing is missing between the first and the last."""
        return bool(self.numbers) and self.numbers == list(range(self.numbers[0], self.numbers[-1] + 1))


async def listen(port: int, all_here: asyncio.Barrier, seconds: float) -> Heard:
    """Be a client; what it hears before all are connected tells nothing about latency."""
    heard = Heard()
    address = f"ws://127.0.0.1:{port}/api/v1/live?token={TOKEN}"
    async with connect(address, open_timeout=30) as connection:
        await all_here.wait()
        begun = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                async for text in connection:
                    message = json.loads(text)
                    if message["type"] == "stamp":
                        heard.numbers.append(message["data"]["number"])
                        if message["data"]["at"] > begun:
                            heard.ages.append(time.monotonic() - message["data"]["at"])
        except TimeoutError:
            pass
    return heard


async def crowd(port: int, count: int, seconds: float) -> list[Heard]:
    """Be all of them."""
    all_here = asyncio.Barrier(count)
    return list(await asyncio.gather(*(listen(port, all_here, seconds) for _ in range(count))))


@dataclass(slots=True)
class Served:
    """What one client got: seconds to its ``first`` answer, seconds between others, and how many answers of all clients
    came from one to the next, which does not depend on how fast the machine is at the time."""

    first: float = 0.0
    waits: list[float] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)


async def send_pictures(
    port: int, all_here: asyncio.Barrier, seconds: float, picture: str, ahead: int, answers: Iterator[int]
) -> Served:
    """Be a client with ``ahead`` unanswered pictures at a time; ``answers`` counts those of all clients."""
    served = Served()
    async with connect(f"ws://127.0.0.1:{port}/ws/face?token={TOKEN}", open_timeout=30) as connection:
        await all_here.wait()
        before = time.monotonic()
        await connection.send(picture)
        await connection.recv()  # the models are loaded
        served.first = time.monotonic() - before
        await all_here.wait()
        before = time.monotonic()
        end = before + seconds
        last = 0
        for _ in range(ahead):
            await connection.send(picture)
        while before < end:
            answer = json.loads(await connection.recv())
            if not answer.get("faces"):
                raise SystemExit(f"the face was not found: {answer}")
            await connection.send(picture)
            served.waits.append(-before + (before := time.monotonic()))
            number = next(answers)
            served.turns += [number - last] if last else []
            last = number
        for _ in range(ahead):
            await connection.recv()
    return served


@dataclass(frozen=True, slots=True)
class Fairness:
    """Ratios over all clients: answers of the least and the best served to the mean, waits for one to their median.
    ``turns`` and ``most_turns``: 95th percentile and most of the answers that others get between two of a client, to
    their median. ``first``: the longest wait for a first answer, when all ask at once and the models of each are
    loaded, to that of the waits.
    """

    pictures: int
    first: float
    least: float
    best: float
    p95: float
    longest: float
    turns: float
    most_turns: float

    @classmethod
    def of(cls, clients: Sequence[Served]) -> Fairness:
        """From what each client got."""
        counts = [len(one.waits) for one in clients]
        mean = sum(counts) / len(counts)
        waits = sorted(wait for one in clients for wait in one.waits)
        turns = sorted(turn for one in clients for turn in one.turns)
        middle, usual = median(waits), median(turns)
        p95, p95_turns = (quantiles(values, n=20)[18] for values in (waits, turns))
        first = max(one.first for one in clients)
        return cls(sum(counts), first / middle, min(counts) / mean, max(counts) / mean, p95 / middle,
                   waits[-1] / middle, p95_turns / usual, turns[-1] / usual)  # fmt: skip


async def share_pictures(port: int, count: int, seconds: float, picture: str) -> Fairness:
    """Be all of them."""
    all_here = asyncio.Barrier(count)
    answers = iter(range(1, sys.maxsize))
    clients = (send_pictures(port, all_here, seconds, picture, 4 if k % 2 else 1, answers) for k in range(count))
    return Fairness.of(await asyncio.gather(*clients))


def a_picture() -> str:
    """A JPEG with one face, in base64."""
    image = data.astronaut()
    return base64.b64encode(cv2.imencode(".jpg", image[:, :, ::-1])[1].tobytes()).decode()


def never_reads(port: int) -> socket.socket:
    """A client that only asks."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(f"GET /stream-emotion-feed?token={TOKEN} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode("ascii"))
    return sock


@dataclass(frozen=True, slots=True)
class Use:
    """Of a process: processor seconds so far, and resident megabytes."""

    at: float
    cpu: float
    rss: float

    @classmethod
    def of(cls, pid: int) -> Use:
        """As it is now."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return cls(time.monotonic(), cpu, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6)

    def share_since(self, before: Use) -> float:
        """Per cent of one core."""
        return 100.0 * (self.cpu - before.cpu) / (self.at - before.at)


def measure(port: int, pid: int, options: argparse.Namespace, rate: float) -> str:
    """The rounds on a running agent, as a line of the table."""
    alone: list[float] = []
    crowded: list[float] = []
    heard: list[Heard] = []
    begun = Use.of(pid)
    for _ in range(options.rounds):
        before = Use.of(pid)
        time.sleep(options.seconds)
        alone.append(Use.of(pid).share_since(before))
        with never_reads(port):
            before = Use.of(pid)
            heard += asyncio.run(crowd(port, options.clients, options.seconds))
            crowded.append(Use.of(pid).share_since(before))
    ages = sorted(1000.0 * age for one in heard for age in one.ages)
    cuts: Sequence[float] = quantiles(ages, n=100)
    whole = sum(one.whole for one in heard)
    told = f"{len(ages)} | {whole} of {len(heard)} | {cuts[49]:.0f} ms | {cuts[98]:.0f} ms | {ages[-1]:.0f} ms"
    cost = f"{median(alone):.0f} % | {median(crowded):.0f} % | {begun.rss:.0f} MB | {Use.of(pid).rss:.0f} MB"
    return f"| {rate:g} | {told} | {cost} |"


def ready(port: int) -> bool:
    """Whether the agent works."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the turns")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rates", type=float, nargs="+", default=[1.0, 20.0], help="stamps a second")
    parser.add_argument("--pictures", action="store_true", help="how fairly clients that send pictures are served")
    parser.add_argument("--agent", nargs=3, metavar=("STATE", "PORT", "RATE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.agent:
        agent(options.agent[0], int(options.agent[1]), float(options.agent[2]))
        return
    if options.pictures:
        print("| pictures a second | least served : mean | best served : mean | p95 : median | longest : median "
              "| first : median | turns: p95 : median | most : median |")  # fmt: skip
        print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
        with an_agent(0.1) as (port, _process):
            for _ in range(options.rounds):
                found = asyncio.run(share_pictures(port, 16, options.seconds, a_picture()))
                rate = found.pictures / options.seconds
                ratios = (found.least, found.best, found.p95, found.longest, found.first, found.turns, found.most_turns)
                print(f"| {rate:.0f} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |", flush=True)
        return
    print(f"{options.clients} clients and one that never reads; {options.rounds} turns of {options.seconds:g} s each\n")
    print(
        "| stamps a second | read | clients without a gap | p50 | p99 | longest "
        "| agent's CPU without | with clients | memory at first | at the end |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for rate in options.rates:
        with an_agent(rate) as (port, process):
            print(measure(port, process.pid, options, rate), flush=True)


@contextmanager
def an_agent(rate: float) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The port and the process of an agent that has settled."""
    with tempfile.TemporaryDirectory() as state, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "benchmarks.web_sockets", "--agent", state, str(port), str(rate)]
        process = subprocess.Popen(command)
        try:
            deadline = time.monotonic() + 120.0
            while not ready(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the agent does not work: see above")
                time.sleep(0.2)
            time.sleep(5.0)  # models and buffers have settled
            yield port, process
        finally:
            process.terminate()
            process.wait(20)


if __name__ == "__main__":
    main()
