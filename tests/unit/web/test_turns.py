"""Turns of connections: who is next depends on the order of turns alone, not on the time."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from edge_agent.web.conversation import ServingOrder, Turns

CLIENTS = range(16)


def served(late: set[int], turns: int, delay: int) -> list[int]:
    """Who was served in each of so many turns; clients in ``late`` send their next message ``delay`` turns later."""
    order, ready, found = ServingOrder(), dict.fromkeys(CLIENTS, 0), []
    for one in CLIENTS:
        order.serve(one)
    for turn in range(turns):
        who = order.first([one for one in CLIENTS if ready[one] <= turn])
        order.serve(who)
        ready[who] = turn + 1 + (delay if who in late else 0)
        found.append(who)
    return found


@pytest.mark.parametrize("delay", [0, 1, 5, 15])
def test_who_sends_a_moment_later_loses_no_round(delay: int) -> None:
    found = served(set(CLIENTS[::2]), 1600, delay)
    assert [found.count(one) for one in CLIENTS] == [100] * 16
    for one in CLIENTS:
        places = [turn for turn, who in enumerate(found) if who == one]
        assert {b - a for a, b in pairwise(places)} == {16}


def test_a_slow_client_is_served_as_soon_as_it_asks() -> None:
    found = served({3}, 1600, 40)
    places = [turn for turn, who in enumerate(found) if who == 3]
    assert {b - a for a, b in pairwise(places)} == {41}


def test_nobody_gets_ahead_by_connecting_again() -> None:
    order = ServingOrder()
    for one in "abc":
        order.serve(one)
    order.leave("b")
    order.serve("b")
    assert order.first("bca") == "a"
    order.serve("a")
    assert [order.first("bca"), order.first("ba"), order.first("a")] == ["c", "b", "a"]


def test_turns_of_real_tasks_and_of_those_who_leave() -> None:
    async def run() -> list[str]:
        turns, found, inside = Turns(), [], 0

        async def client(name: str, times: int) -> None:
            nonlocal inside
            for _ in range(times):
                async with turns.of(name):
                    inside += 1
                    assert inside == 1
                    await asyncio.sleep(0)
                    found.append(name)
                    inside -= 1
            turns.leave(name)

        for name in "abcd":
            turns.join(name)
        tasks = [asyncio.create_task(client(name, 20)) for name in "abcd"]
        while len(found) < 10:
            await asyncio.sleep(0)
        tasks[3].cancel()  # wherever it waits; the others go on
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(5):
            turns.join("last")
            async with turns.of("last"):
                found.append("last")
        return found

    found = asyncio.run(run())
    assert [found.count(name) for name in ("a", "b", "c", "last")] == [20, 20, 20, 1]
    assert found[:8] == list("abcdabcd")


def test_a_turn_that_was_given_to_one_who_leaves_goes_on() -> None:
    async def run() -> None:
        turns = Turns()
        for name in "abc":
            turns.join(name)

        async def wait(name: str) -> None:
            async with turns.of(name):
                pass

        async with turns.of("a"):
            second, third = (asyncio.create_task(wait(name)) for name in "bc")
            await asyncio.sleep(0)
        second.cancel()  # it has the turn, and has not run yet
        async with asyncio.timeout(5):
            await third

    asyncio.run(run())
