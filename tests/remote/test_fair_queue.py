"""Callers take turns: a small call beside a large one is asked soon, by the order in which the server is asked."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.remote.fair_queue import Turns
from tests.remote.app import Reply, RerankApp
from tests.remote.conftest import Connect


@pytest.mark.parametrize("at_once", [1, 8])
def test_a_small_call_beside_hundreds_of_queued_requests_waits_for_one_a_connection(
    at_once: int, connect: Connect
) -> None:
    app = RerankApp()
    small_may_come, small_is_there = threading.Event(), threading.Event()

    def hold(reply: Reply) -> Reply:
        """The tenth request of the large call is answered once the small call is queued."""
        if len(app.bodies) >= 10:
            small_may_come.set()
            small_is_there.wait(30)
        return reply

    app.always = hold
    scorer = connect(app, documents_per_request=1, requests_at_once=at_once, timeout=60)
    large = scorer.submit(make_request("large", [str(number) for number in range(300)], None))
    assert small_may_come.wait(30)
    asked = len(app.bodies)
    small = scorer.submit(make_request("small", ["d"], None))
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), scorer._loop._loop).result(30)  # type: ignore[union-attr]
    small_is_there.set()
    assert small.result(30)
    assert large.result(60)
    place = [body["query"] for body in app.bodies].index("small")
    assert place - asked <= 2 * at_once


def test_three_callers_get_every_third_turn_each_in_its_own_order() -> None:
    order: list[tuple[str, int]] = []

    async def play() -> None:
        turns = Turns(1)

        async def take(caller: str, number: int) -> None:
            async with turns.turn(caller):
                order.append((caller, number))
                await asyncio.sleep(0)

        waiting = [("a", number) for number in range(4)] + [("b", number) for number in range(2)] + [("c", 0)]
        await asyncio.gather(*(take(*one) for one in waiting))

    asyncio.run(play())
    assert order == [("a", 0), ("a", 1), ("b", 0), ("c", 0), ("a", 2), ("b", 1), ("a", 3)]


@pytest.mark.parametrize("leaves", ["while it waits", "as its turn comes"])
def test_a_turn_of_a_caller_who_has_left_goes_to_the_next(leaves: str) -> None:
    async def play() -> list[str]:
        turns, order = Turns(1), []

        async def take(caller: str) -> None:
            async with turns.turn(caller):
                order.append(caller)

        first = turns.turn("first")
        await first.__aenter__()
        second, third = asyncio.create_task(take("second")), asyncio.create_task(take("third"))
        await asyncio.sleep(0)
        if leaves == "while it waits":
            second.cancel()
            await asyncio.sleep(0)
            await first.__aexit__(None, None, None)
        else:
            await first.__aexit__(None, None, None)
            second.cancel()
        await asyncio.gather(second, third, return_exceptions=True)
        await take("last")
        return order

    assert asyncio.run(play()) == ["third", "last"]


def test_no_more_turns_than_there_are_at_the_same_time() -> None:
    async def play() -> int:
        turns, now, most = Turns(3), 0, 0

        async def take(caller: Any) -> None:
            nonlocal now, most
            async with turns.turn(caller):
                now += 1
                most = max(most, now)
                await asyncio.sleep(0)
                now -= 1

        await asyncio.gather(*(take(number % 5) for number in range(40)))
        return most

    assert asyncio.run(play()) == 3
