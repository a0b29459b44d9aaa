"""The file sink: whole lines, rotation, and no half batch after a failure."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.domain.event import Message
from edge_agent_jsonl import JsonlSettings, edge_agent_register_sinks
from edge_agent_jsonl.files import JsonlSink


def messages(*numbers: int) -> list[Message]:
    return [Message("b1", n, "summary", "summary", json.dumps({"seq": n}).encode()) for n in numbers]


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["seq"] for line in path.read_text().splitlines()]


def test_messages_are_lines_in_order(tmp_path: Path) -> None:
    (spec,) = edge_agent_register_sinks()
    sink = spec.factory(JsonlSettings(path=tmp_path / "new" / "m.jsonl"))
    sink.write(messages(1, 2))
    sink.write(messages(3))
    sink.close()
    assert numbers(tmp_path / "new" / "m.jsonl") == [1, 2, 3]


def test_a_full_file_is_rotated_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    sink = JsonlSink(path, max_bytes=40, keep=2)  # three lines of 12 bytes
    for n in range(10, 20):
        sink.write(messages(n))
    sink.close()
    files = {file.name: numbers(file) for file in tmp_path.iterdir()}
    assert files == {"m.jsonl": [19], "m.jsonl.1": [16, 17, 18], "m.jsonl.2": [13, 14, 15]}


def test_one_batch_may_fill_several_files(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    JsonlSink(path, max_bytes=40, keep=9).write(messages(*range(10, 18)))
    assert numbers(path.with_name("m.jsonl.2")) + numbers(path.with_name("m.jsonl.1")) + numbers(path) == list(
        range(10, 18)
    )


def test_a_line_larger_than_the_file_is_written_all_the_same_and_keep_0_keeps_none(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    sink = JsonlSink(path, max_bytes=5, keep=0)
    sink.write(messages(1, 2))
    assert numbers(path) == [2]
    assert [file.name for file in tmp_path.iterdir()] == ["m.jsonl"]


@pytest.mark.parametrize("tail", [b'{"seq": 9', b"\x00" * 100_000])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"seq": 1}\n' + tail)
    JsonlSink(path, 10_000_000, 1).write(messages(2))
    assert numbers(path) == [1, 2]


def test_a_file_of_a_torn_line_only_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"seq"')
    JsonlSink(path, 10_000_000, 1).write(messages(2))
    assert numbers(path) == [2]


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    sink = JsonlSink(path, 10_000_000, 1)
    sink.write(messages(1))
    path.rename(tmp_path / "taken")
    sink.write(messages(2))
    assert (numbers(tmp_path / "taken"), numbers(path)) == ([1], [2])


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The kernel refuses to write beyond ``size`` bytes, in the middle of a batch."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_batch_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    sink = JsonlSink(path, 10_000_000, 1)
    sink.write(messages(1))
    with file_size_limit(25), pytest.raises(OSError, match="too large"):
        sink.write(messages(2, 3, 4))
    assert numbers(path) == [1]
    sink.write(messages(2, 3, 4))
    assert numbers(path) == [1, 2, 3, 4]
