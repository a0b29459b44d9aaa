"""Contract suites for sinks and sources: one function per rule."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from edge_agent.domain.clock import Clock, SystemClock
from edge_agent.domain.errors import DeviceUnavailableError, MediaError
from edge_agent.domain.event import Message
from edge_agent.domain.media import AudioBlock, Frame, PixelFormat
from edge_agent.plugin.spec import Sink, SinkSettings, SinkSpec, SourceSettings, SourceSpec
from edge_agent.plugin.testing.harness import in_time, require, require_cheap_import, require_name, require_settings

# ---------------------------------------------------------------------- sinks


@dataclass(frozen=True, slots=True)
class SinkSubject:
    """Sink under test.

    ``entry_point`` is what the package's entry point names, ``module`` or ``module:object``. ``settings`` lead to a
    place that is empty before each check. ``stored`` gives the payloads that are there, oldest first; None where they
    cannot be read back. ``broken`` makes the place unusable while inside (no space, no connection); None where that
    cannot be arranged. ``deadline``: seconds for one check.
    """

    entry_point: str
    spec: SinkSpec
    settings: SinkSettings
    stored: Callable[[], Sequence[bytes]] | None = None
    broken: Callable[[], AbstractContextManager[object]] | None = None
    deadline: float = 60.0

    @contextmanager
    def sink(self) -> Iterator[Sink]:
        """A new sink, closed at the end."""
        made = self.spec.factory(self.settings)
        try:
            yield made
        finally:
            made.close()


def check_sink_settings(subject: SinkSubject) -> None:
    """Settings are frozen, refuse unknown keys, describe every option, have defaults and are not enabled by default."""
    require_settings(subject.spec.settings, SinkSettings)
    require(not subject.spec.settings().enabled, "enabled must default to False: a sink runs only when asked for")


def check_sink_spec(subject: SinkSubject) -> None:
    """The spec describes itself in one line, under a name that can be a table of the configuration."""
    require_name(subject.spec.name, subject.spec.summary)


def check_sink_import(subject: SinkSubject) -> None:
    """Loading the plugin and reading its specs imports nothing heavy: that is the factory's job."""
    require_cheap_import(subject.entry_point, "edge_agent_register_sinks")


def check_sink_write(subject: SinkSubject) -> None:
    """Batches of any size are stored whole and in order: empty, one message, many, long and late ones."""
    batches = [(), _messages(1), _messages(2, 3, 4), _messages(*range(5, 105)), _messages(105, size=50_000)]
    with subject.sink() as sink:
        for batch in batches:
            sink.write(batch)
            sink.write(list(batch[:0]))
        _require_stored(subject, [message for batch in batches for message in batch])


def check_sink_repeat(subject: SinkSubject) -> None:
    """A batch may be offered again, as after a crash: it is accepted, and nothing is lost. Duplicates are allowed."""
    with subject.sink() as sink:
        sink.write(_messages(1, 2))
        sink.write(_messages(1, 2, 3))
        _require_stored(subject, _messages(1, 2, 3))


def check_sink_reopen(subject: SinkSubject) -> None:
    """A new sink continues where the last one was closed."""
    with subject.sink() as sink:
        sink.write(_messages(1))
    with subject.sink() as sink:
        sink.write(_messages(2))
        _require_stored(subject, _messages(1, 2))


def check_sink_failure(subject: SinkSubject) -> None:
    """A batch that cannot be stored raises; offered again once that is possible, it is stored whole and in order."""
    if subject.broken is None:
        return
    with subject.sink() as sink:
        sink.write(_messages(1))
        with subject.broken():
            error = _raised(lambda: sink.write(_messages(2, 3, size=10_000)))
            require(error is not None, "write() returned although nothing could be stored: the batch would be lost")
            require(isinstance(error, Exception), f"write() raised {error!r}: raise an Exception, such as OSError")
        sink.write(_messages(2, 3, size=10_000))
        _require_stored(subject, [*_messages(1), *_messages(2, 3, size=10_000)])


def check_sink_close(subject: SinkSubject) -> None:
    """Closing is possible before anything was written, and twice."""
    with subject.sink() as sink:
        sink.close()
    with subject.sink() as sink:
        sink.write(_messages(1))
        sink.close()


SINK_CHECKS = tuple(
    map(
        in_time,
        (
            check_sink_settings,
            check_sink_spec,
            check_sink_import,
            check_sink_write,
            check_sink_repeat,
            check_sink_reopen,
            check_sink_failure,
            check_sink_close,
        ),
    )
)
"""All rules for sinks, each within the subject's deadline. Each needs a place of its own that is empty at first."""


def check_sink(make: Callable[[], SinkSubject]) -> None:
    """Run all :data:`SINK_CHECKS`, each on a subject of its own from ``make``; the first failure ends it."""
    for check in SINK_CHECKS:
        check(make())


def _messages(*numbers: int, size: int = 0) -> tuple[Message, ...]:
    """Summaries, events and late data, with a payload of at least ``size`` bytes and a line break in its text."""
    made = []
    for number in numbers:
        payload = json.dumps({"boot_id": "contract", "seq": number, "text": "a\nb" + "x" * size}).encode()
        late = number % 5 == 0
        kind, topic = ("event", "event/burst") if number % 3 == 0 else ("summary", "summary")
        made.append(Message("contract", number, kind, topic, payload, replayed=late))  # type: ignore[arg-type]
    return tuple(made)


def _require_stored(subject: SinkSubject, wanted: Sequence[Message]) -> None:
    """Everything in ``wanted`` is stored, byte for byte; the first copies of each in this order."""
    if subject.stored is None:
        return
    first = list(dict.fromkeys(bytes(payload).rstrip(b"\r\n") for payload in subject.stored()))
    expected = [message.payload for message in wanted]
    missing = [payload for payload in expected if payload not in first]
    require(not missing, f"{len(missing)} of {len(expected)} messages are not stored, the first is {missing[:1]}")
    require(first == expected, "the messages are stored out of order, or with others between them")


def _raised(call: Callable[[], object]) -> BaseException | None:
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - whatever a plugin raises is looked at
        return error
    return None


# ---------------------------------------------------------------------- sources


@dataclass(frozen=True, slots=True)
class SourceSubject:
    """Source under test: its camera, its microphone or both.

    ``entry_point`` as for sinks. ``items`` frames or blocks are read in a check, fewer at the end of a recording.
    ``absent``: settings with which the device is missing; None where that cannot be arranged. ``patience``: seconds in
    which ``close`` must end a ``read`` that waits in another thread. ``deadline``: seconds for one check.
    """

    entry_point: str
    spec: SourceSpec
    settings: SourceSettings = field(default_factory=SourceSettings)
    items: int = 10
    absent: SourceSettings | None = None
    patience: float = 5.0
    deadline: float = 60.0
    clock: Clock = field(default_factory=lambda: SystemClock(lambda: True))

    def sources(self, settings: SourceSettings | None = None) -> Iterator[Any]:
        """New sources, not opened: the camera, then the microphone."""
        for make in (self.spec.video, self.spec.audio):
            if make is not None:
                yield make(settings or self.settings, self.clock)


def check_source_settings(subject: SourceSubject) -> None:
    """Settings are frozen, refuse unknown keys, describe every option and have a default for each."""
    require_settings(subject.spec.settings, SourceSettings)


def check_source_spec(subject: SourceSubject) -> None:
    """The spec describes itself in one line, under a name for ``plugin:NAME``, and offers a camera or a microphone."""
    require_name(subject.spec.name, subject.spec.summary)
    require(subject.spec.video or subject.spec.audio, "the spec offers neither video nor audio")


def check_source_import(subject: SourceSubject) -> None:
    """Loading the plugin and reading its specs imports nothing heavy: that is the factory's job."""
    require_cheap_import(subject.entry_point, "edge_agent_register_sources")


def check_source_items(subject: SourceSubject) -> None:
    """Frames and blocks have the announced form, and their times and indices go forward."""
    for source in subject.sources():
        found = _read(source, subject.items)
        require(found, "the source ended before its first item")
        for item in found:
            _require_item(item)
        for before, item in pairwise(found):
            require(type(item) is type(before), f"a {type(item).__name__} after a {type(before).__name__}")
            require(item.time >= before.time, f"time goes back from {before.time} to {item.time}")
            if isinstance(item, Frame):
                require(item.index > before.index, f"index {item.index} after {before.index}: dropped frames count too")


def check_source_reopen(subject: SourceSubject) -> None:
    """Once closed, the device can be opened again: it is released, not left to the garbage collector."""
    for _ in range(3):
        for source in subject.sources():
            require(_read(source, 1), "after a close, the next opening gives nothing")


def check_source_close(subject: SourceSubject) -> None:
    """Closing is possible before opening, and twice; afterwards ``read`` gives None or raises MediaError."""
    for source in subject.sources():
        source.close()
        source.open()
        source.close()
        source.close()
        try:
            found = source.read()
        except MediaError:
            continue
        require(found is None, "read() after close() gave an item")


def check_source_interrupt(subject: SourceSubject) -> None:
    """``close`` from another thread ends a ``read`` that waits, within ``patience``."""
    for source in subject.sources():
        source.open()
        problems: list[BaseException] = []
        reading = threading.Event()
        reader = threading.Thread(target=_drain, args=(source, reading, problems), name="contract reader", daemon=True)
        reader.start()
        reading.wait()
        source.close()
        reader.join(subject.patience)
        require(not reader.is_alive(), f"read() still waits {subject.patience:g} s after close()")
        require(not problems, f"read() raised {problems[:1]} when it was closed: return None, or raise MediaError")


def check_source_absent(subject: SourceSubject) -> None:
    """A device that is missing raises DeviceUnavailableError, so that it is waited for, with a text that names it."""
    if subject.absent is None:
        return
    for source in subject.sources(subject.absent):
        error = _raised(source.open)
        source.close()
        require(error is not None, "open() succeeds although the device is absent")
        require(isinstance(error, DeviceUnavailableError), f"open() raised {error!r}, not DeviceUnavailableError")
        require(str(error) and "\n" not in str(error), "the error is no single line that says what to do")


SOURCE_CHECKS = tuple(
    map(
        in_time,
        (
            check_source_settings,
            check_source_spec,
            check_source_import,
            check_source_items,
            check_source_reopen,
            check_source_close,
            check_source_interrupt,
            check_source_absent,
        ),
    )
)
"""All rules for sources, each within the subject's deadline; the first three open nothing."""


def check_source(subject: SourceSubject) -> None:
    """Run all :data:`SOURCE_CHECKS`, the first failure ends it."""
    for check in SOURCE_CHECKS:
        check(subject)


def _read(source: Any, count: int) -> list[Any]:
    """Up to ``count`` items of one opening."""
    source.open()
    try:
        return [item for _ in range(count) if (item := source.read()) is not None]
    finally:
        source.close()


def _drain(source: Any, reading: threading.Event, problems: list[BaseException]) -> None:
    """Read until the source ends; ``reading`` is set just before the first read."""
    reading.set()
    try:
        while source.read() is not None:
            pass
    except MediaError:
        pass
    except BaseException as error:  # noqa: BLE001 - it is told where the check was asked for
        problems.append(error)


def _require_item(item: object) -> None:
    require(isinstance(item, Frame | AudioBlock), f"read() gave a {type(item).__name__}, not a Frame or an AudioBlock")
    if isinstance(item, Frame):
        shape = {
            PixelFormat.BGR: (item.height, item.width, 3),
            PixelFormat.GRAY: (item.height, item.width),
            PixelFormat.I420: (item.height * 3 // 2, item.width),
        }[item.format]
        told = f"{item.format.value} frame of {item.width} x {item.height}"
        require(item.data.dtype == np.uint8, f"a {told} holds {item.data.dtype}, not uint8")
        require(item.data.shape == shape, f"a {told} has the shape {item.data.shape}, not {shape}")
    elif isinstance(item, AudioBlock):
        require(item.samples.dtype == np.float32, f"a block holds {item.samples.dtype}, not float32")
        require(item.samples.ndim == 1, f"a block has the shape {item.samples.shape}, not [n]: mix it down to mono")
        require(bool(np.isfinite(item.samples).all()), "a block holds NaN or infinities")
        require(bool((np.abs(item.samples) <= 1).all()), "samples exceed [-1, 1]")
        require(item.gap >= 0 and math.isfinite(item.gap), f"a block's gap is {item.gap}")
    require(math.isfinite(item.time), f"a time is {item.time}")  # type: ignore[attr-defined]
