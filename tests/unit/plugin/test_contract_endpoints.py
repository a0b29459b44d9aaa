"""Contract suites for sinks and sources: ours pass, and each rule broken by one plugin is caught by one check."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import Field

from edge_agent.capture.replay import AudioReplay, DemoCamera, DemoMicrophone, ReplayGroup, VideoReplay
from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import DeviceUnavailableError
from edge_agent.domain.event import Message
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.plugin import SinkSettings, SinkSpec, SourceSpec
from edge_agent.plugin.spec import SourceSettings
from edge_agent.plugin.testing import (
    SINK_CHECKS,
    SOURCE_CHECKS,
    ContractError,
    SinkSubject,
    SourceSubject,
    check_sink,
    check_source,
)
from edge_agent_jsonl import JsonlSettings, edge_agent_register_sinks

SINK_RULES = {check.__name__.removeprefix("check_sink_"): check for check in SINK_CHECKS}
SOURCE_RULES = {check.__name__.removeprefix("check_source_"): check for check in SOURCE_CHECKS}

MODULE = """
from edge_agent.plugin import SinkSpec, SourceSpec, hookimpl
{extra}

@hookimpl
def edge_agent_register_sinks():
    return []

@hookimpl
def edge_agent_register_sources():
    return []
"""


@pytest.fixture(autouse=True)
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A module ``acme_endpoints`` that can be imported, with ``extra`` in it."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def install(extra: str) -> None:
        (folder / "acme_endpoints.py").write_text(MODULE.format(extra=extra))

    install("")
    return install


# ---------------------------------------------------------------------- the file sink


@contextmanager
def full_disk(size: int = 100) -> Iterator[None]:
    """No file of this process may grow beyond ``size`` bytes, as on a full disk (Python ignores the signal for it)."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("check", SINK_CHECKS, ids=lambda check: check.__name__)
def test_the_jsonl_sink_passes(check: Callable[[SinkSubject], None], tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    (spec,) = edge_agent_register_sinks()

    def stored() -> list[bytes]:
        return path.read_bytes().splitlines()

    check(SinkSubject("edge_agent_jsonl", spec, JsonlSettings(path=path), stored, full_disk))


# ---------------------------------------------------------------------- sinks that break one rule


class Good:
    """Keeps messages in the list ``place``; ``broken`` places raise."""

    def __init__(self, place: list[bytes]) -> None:
        self.place = place

    def write(self, messages: Sequence[Message]) -> None:
        if BROKEN:
            raise OSError("no space")
        self.place += [message.payload for message in messages]

    def close(self) -> None:
        pass


BROKEN: list[bool] = []


@contextmanager
def broken() -> Iterator[None]:
    BROKEN.append(True)
    try:
        yield
    finally:
        BROKEN.clear()


def sink_subject(make: type[Good] = Good, place: list[bytes] | None = None, **changes: Any) -> SinkSubject:
    kept: list[bytes] = [] if place is None else place
    spec = SinkSpec("acme", "keeps messages", factory=lambda settings: make(kept))
    return SinkSubject("acme_endpoints", replace(spec, **changes), SinkSettings(), lambda: kept, broken)


class Backwards(Good):
    def write(self, messages: Sequence[Message]) -> None:
        super().write(messages[::-1])


class Unique(Good):
    def write(self, messages: Sequence[Message]) -> None:
        if any(message.payload in self.place for message in messages):
            raise ValueError("seen before")
        super().write(messages)


class Silent(Good):
    def write(self, messages: Sequence[Message]) -> None:
        if not BROKEN:
            super().write(messages)


class Half(Good):
    def write(self, messages: Sequence[Message]) -> None:
        self.place += [b"torn" for _ in messages if BROKEN]
        super().write(messages)


class Fresh(Good):
    def __init__(self, place: list[bytes]) -> None:
        super().__init__(place)
        place.clear()


class Once(Good):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class Loud(SinkSettings):
    enabled: bool = Field(default=True, description="Whether messages go here.")


def test_a_good_sink_passes() -> None:
    check_sink(sink_subject)


@pytest.mark.parametrize(
    ("rule", "subject", "message"),
    [
        ("settings", sink_subject(settings=Loud), "enabled must default to False"),
        ("spec", sink_subject(name="Acme Sink"), "lower-case"),
        ("write", sink_subject(Backwards), "out of order"),
        ("reopen", sink_subject(Fresh), "not stored"),
        ("failure", sink_subject(Silent), "would be lost"),
        ("failure", sink_subject(Half), "with others between them"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_rule_of_sinks_is_found(rule: str, subject: SinkSubject, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        SINK_RULES[rule](subject)


def test_what_a_sink_raises_is_passed_on() -> None:
    with pytest.raises(ValueError, match="seen before"):
        SINK_RULES["repeat"](sink_subject(Unique))
    with pytest.raises(RuntimeError, match="closed already"):
        SINK_RULES["close"](sink_subject(Once))


def test_heavy_imports_of_sinks_and_sources_are_found(acme: Callable[[str], None]) -> None:
    acme("import cv2")
    for check, subject in ((SINK_RULES["import"], sink_subject()), (SOURCE_RULES["import"], source_subject(Ticking))):
        with pytest.raises(ContractError, match="imports cv2"):
            check(subject)


def test_a_sink_that_hangs_has_a_deadline() -> None:
    class Hangs(Good):
        def write(self, messages: Sequence[Message]) -> None:
            time.sleep(30)

    with pytest.raises(ContractError, match=r"check_sink_write is not over after 0\.3 s"):
        SINK_RULES["write"](replace(sink_subject(Hangs), deadline=0.3))


# ---------------------------------------------------------------------- our sources


def demo(settings: Any, clock: Clock) -> DemoCamera:
    return DemoCamera(clock, 160, 120, fps=30.0)


@pytest.mark.parametrize("check", SOURCE_CHECKS, ids=lambda check: check.__name__)
def test_the_demo_sources_pass(check: Callable[[SourceSubject], None]) -> None:
    pytest.importorskip("skimage")
    spec = SourceSpec("demo", "portrait and room", demo, lambda settings, clock: DemoMicrophone(clock))
    check(SourceSubject("acme_endpoints", spec, items=4))


@pytest.mark.parametrize("check", SOURCE_CHECKS, ids=lambda check: check.__name__)
def test_replays_of_a_file_pass(check: Callable[[SourceSubject], None], media: Path) -> None:
    path = media / "kiosk.mp4"

    def video(settings: Any, clock: Clock) -> VideoReplay:
        return VideoReplay(path, clock, ReplayGroup(clock).timeline(path))

    def audio(settings: Any, clock: Clock) -> AudioReplay:
        return AudioReplay(path, clock, ReplayGroup(clock).timeline(path))

    check(SourceSubject("acme_endpoints", SourceSpec("replay", "a file", video, audio), items=4))


# ---------------------------------------------------------------------- sources that break one rule


class Ticking:
    """A grey picture every 5 ms until it is closed."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.running = False
        self.index = 0

    def open(self) -> None:
        self.running = True

    def read(self) -> Any:
        time.sleep(0.005)
        if not self.running:
            return None
        self.index += 1
        return Frame.from_bgr(np.full((12, 16, 3), 128, np.uint8), self.clock.monotonic(), self.index)

    def close(self) -> None:
        self.running = False


def source_subject(make: Callable[[Clock], Any], **changes: Any) -> SourceSubject:
    spec = SourceSpec("acme", "grey pictures", video=lambda settings, clock: make(clock))
    return SourceSubject("acme_endpoints", spec, **changes)


class Counts(Ticking):
    def read(self) -> Any:
        found = super().read()
        return None if found is None else replace(found, index=0)


class Jumps(Ticking):
    def read(self) -> Any:
        found = super().read()
        return None if found is None else replace(found, time=-found.time)


class Floats(Ticking):
    def read(self) -> Any:
        found = super().read()
        return None if found is None else replace(found, data=found.data / 255)


class Sizes(Ticking):
    def read(self) -> Any:
        found = super().read()
        return None if found is None else replace(found, width=17)


class Stereo(Ticking):
    def read(self) -> Any:
        return AudioBlock(np.zeros((160, 2), np.float32), 0.0) if self.running else None


class Endless(Ticking):
    def close(self) -> None:
        """Go on."""


class Waiting(Ticking):
    def read(self) -> Any:
        time.sleep(5)


class Exclusive(Ticking):
    taken = False

    def open(self) -> None:
        if type(self).taken:
            raise DeviceUnavailableError("acme is busy")
        type(self).taken = self.running = True


class Touchy(Ticking):
    def read(self) -> Any:
        found = super().read()
        if found is None:
            raise AttributeError("stream")
        return found


class Absent(Ticking):
    def open(self) -> None:
        raise FileNotFoundError("/dev/acme")


def test_a_good_source_passes() -> None:
    check_source(source_subject(Ticking))


@pytest.mark.parametrize(
    ("rule", "subject", "message"),
    [
        ("items", source_subject(Counts), "dropped frames count too"),
        ("items", source_subject(Jumps), "time goes back"),
        ("items", source_subject(Floats), "holds float64"),
        ("items", source_subject(Sizes), "has the shape"),
        ("items", source_subject(Stereo), "mix it down"),
        ("close", source_subject(Endless), "gave an item"),
        ("interrupt", source_subject(Waiting, patience=0.3), "still waits"),
        ("interrupt", source_subject(Touchy), "AttributeError"),
        ("absent", source_subject(Absent, absent=SourceSettings()), "not DeviceUnavailableError"),
        ("absent", source_subject(Ticking, absent=SourceSettings()), "although the device is absent"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_rule_of_sources_is_found(rule: str, subject: SourceSubject, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        SOURCE_RULES[rule](subject)


def test_a_source_that_keeps_its_device_is_found() -> None:
    with pytest.raises(DeviceUnavailableError, match="busy"):
        SOURCE_RULES["reopen"](source_subject(Exclusive))


def test_a_source_without_camera_and_microphone_is_found() -> None:
    with pytest.raises(ContractError, match="neither video nor audio"):
        SOURCE_RULES["spec"](replace(source_subject(Ticking), spec=SourceSpec("acme", "nothing")))


def test_a_source_that_hangs_has_a_deadline() -> None:
    hangs = partial(source_subject, Waiting, deadline=0.3)
    with pytest.raises(ContractError, match=r"check_source_items is not over after 0\.3 s"):
        SOURCE_RULES["items"](hangs())
