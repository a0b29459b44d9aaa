"""The hand-off between threads: bounded, counted, never blocking the giver."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.runtime.supervisor import Closed, Mailbox

QUICK = settings(max_examples=60)


def test_the_newest_frame_replaces_an_unread_one() -> None:
    box: Mailbox[int] = Mailbox(1)
    for frame in range(5):
        box.put(frame)
    assert (box.get(0), box.lost) == (4, 4)
    assert box.get(0) is None


@QUICK
@given(capacity=st.integers(1, 5), puts=st.lists(st.booleans(), max_size=40))
def test_what_goes_in_comes_out_in_order_or_is_counted(capacity: int, puts: list[bool]) -> None:
    box: Mailbox[int] = Mailbox(capacity)
    put, got = 0, []
    for giving in puts:
        if giving:
            box.put(put)
            put += 1
        elif (item := box.get(0)) is not None:
            got.append(item)
    box.close()
    while True:
        try:
            got.append(box.get(0))
        except Closed:
            break
    assert got == sorted(got)
    assert len(got) + box.lost == put


def test_what_is_inside_can_be_taken_after_closing_and_nothing_gets_in() -> None:
    box: Mailbox[str] = Mailbox(2)
    box.put("last")
    box.close()
    box.put("too late")
    assert box.get(None) == "last"
    for _ in range(2):
        with pytest.raises(Closed):
            box.get(None)
    assert box.lost == 0


def test_waiting_ends_when_something_comes_or_all_is_over() -> None:
    box: Mailbox[str] = Mailbox(1)
    found: list[str | None] = []
    ended = threading.Event()

    def take() -> None:
        try:
            while True:
                found.append(box.get(None))
        except Closed:
            ended.set()

    threading.Thread(target=take, daemon=True).start()
    box.put("a")
    deadline = time.monotonic() + 30
    while not found and time.monotonic() < deadline:
        time.sleep(0.005)
    box.close()
    assert ended.wait(30)
    assert found == ["a"]


def test_a_wait_that_brings_nothing_ends_in_time() -> None:
    box: Mailbox[str] = Mailbox(1)
    began = time.monotonic()
    assert box.get(0.05) is None
    assert time.monotonic() - began >= 0.04


def test_nothing_is_lost_or_doubled_between_threads() -> None:
    box: Mailbox[tuple[int, int]] = Mailbox(10_000)
    got: list[tuple[int, int]] = []
    lock = threading.Lock()

    def give(giver: int) -> None:
        for n in range(500):
            box.put((giver, n))

    def take() -> None:
        try:
            while True:
                item = box.get(30)
                assert item is not None
                with lock:
                    got.append(item)
        except Closed:
            return

    takers = [threading.Thread(target=take) for _ in range(3)]
    givers = [threading.Thread(target=give, args=(g,)) for g in range(3)]
    for thread in (*takers, *givers):
        thread.start()
    for thread in givers:
        thread.join(30)
    box.close()
    for thread in takers:
        thread.join(30)
    assert sorted(got) == [(g, n) for g in range(3) for n in range(500)]
    assert box.lost == 0


def test_a_loss_is_taken_once_also_after_a_restart() -> None:
    box: Mailbox[int] = Mailbox(1)
    for item in range(5):
        box.put(item)
    assert [box.take_lost(), box.take_lost(), box.lost] == [4, 0, 4]
    box.put(5)
    assert box.take_lost() == 1
