from __future__ import annotations

import asyncio
import time

import pytest

from tests.virtual_time import Asleep, run


def test_a_day_passes_at_once_and_exactly() -> None:
    async def story() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(86_400)
        return loop.time() - began

    began = time.monotonic()
    assert run(story()) == 86_400
    assert time.monotonic() - began < 1.0


def test_timers_fire_in_order_at_their_times() -> None:
    async def story() -> list[tuple[str, float]]:
        loop, seen = asyncio.get_running_loop(), list[tuple[str, float]]()
        begun = loop.time()

        def note(name: str) -> None:
            seen.append((name, round(loop.time() - begun, 6)))

        loop.call_later(3.0, note, "c")
        loop.call_later(0.1, note, "a")
        cancelled = loop.call_later(0.2, note, "never")
        loop.call_later(0.15, cancelled.cancel)
        loop.call_later(1.0, lambda: loop.call_later(1.0, note, "b"))
        await asyncio.sleep(5)
        return seen

    assert run(story()) == [("a", 0.1), ("b", 2.0), ("c", 3.0)]


def test_time_stands_still_while_there_is_work() -> None:
    async def story() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(1000):
            await asyncio.sleep(0)
        return loop.time() - began

    assert run(story()) == 0


def test_timeouts_are_virtual_too() -> None:
    async def story() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7.5):
                await asyncio.Event().wait()
        return loop.time() - began

    assert run(story()) == 7.5


def test_waiting_for_what_cannot_happen_is_an_error_not_a_hang() -> None:
    async def story() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Asleep):
        run(story())
