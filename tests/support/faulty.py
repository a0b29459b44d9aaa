"""A plugin that goes wrong for real, on demand: the first pixel of a picture says how."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from edge_agent.domain.media import Frame
from edge_agent.domain.observation import Observation
from edge_agent.plugin import AnalyzerContext, AnalyzerSettings, AnalyzerSpec, Kind, SceneAnalyzer, hookimpl


def segfault() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(3)


def hang() -> None:
    ctypes.PyDLL(None).sleep(1000)  # a PyDLL keeps the interpreter lock: no thread of Python's runs any more


def fail() -> None:
    raise ValueError("it is dark")


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory is short


def exhaust() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 26), used + (1 << 26)))
    hoard = []
    while True:
        hoard.append(bytearray(1 << 24))


def babble() -> None:
    os.write(int(sys.argv[2]), b'{"found": [{"is": "Face"}]}')
    hang()


def mumble() -> None:
    os.write(int(sys.argv[2]), b"\x80\x04junk")
    hang()


FAULTS = (segfault, leave, hang, fail, be_killed, exhaust, babble, mumble)


class FaultySettings(AnalyzerSettings):
    """``[analyzers.faulty]``"""

    build: Literal["well", "segfault", "fail"] = Field(default="well", description="How making it ends.")


class Faulty(SceneAnalyzer):
    def analyze(self, frame: Frame) -> Sequence[Observation]:
        wanted = int(frame.data.flat[0])
        if wanted:
            FAULTS[wanted - 1]()
        level = np.float32(frame.data.mean())
        frame.data[:] = 0  # bad manners, which only the agent's own process would suffer from
        values = {
            "level": level,
            "secrets": sum(key.startswith("EDGE_AGENT__") for key in os.environ),
            "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        }
        return [Observation("room", values, frame.time)]


def make(settings: FaultySettings, _context: AnalyzerContext) -> Faulty:
    if settings.build != "well":
        globals()[settings.build]()
    sys.stdout.write("hello from the factory")
    sys.stdout.flush()
    return Faulty()


@hookimpl
def edge_agent_register_analyzers() -> Sequence[AnalyzerSpec]:
    return [AnalyzerSpec("faulty", Kind.SCENE, "goes wrong", make, FaultySettings, isolation="process")]
