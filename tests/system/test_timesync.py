"""Waiting for the time, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from appliance.system.timesync import synchronised
from tests.virtual_time import run


def wait(
    mark: Path, wall_at: Callable[[float], float], at: Callable[[float], None] = lambda _: None
) -> tuple[bool, float]:
    async def story() -> tuple[bool, float]:
        loop = asyncio.get_running_loop()

        async def sleep(delay_s: float) -> None:
            await asyncio.sleep(delay_s)
            at(loop.time())

        done = await synchronised(
            20, offset_s=0.0, wall=lambda: wall_at(loop.time()), monotonic=loop.time, sleep=sleep, mark=mark
        )
        return done, loop.time()

    return run(story(), start_s=0.0)


def test_a_clock_that_is_set_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "mark").touch()
    assert wait(tmp_path / "mark", lambda t: t) == (True, 0.0)


def test_the_mark_of_timesyncd_ends_the_wait(tmp_path: Path) -> None:
    def at(now_s: float) -> None:
        if now_s >= 3:
            (tmp_path / "mark").touch()

    assert wait(tmp_path / "mark", lambda t: t, at) == (True, 3.0)


def test_a_clock_that_leaps_has_been_set_by_somebody_else(tmp_path: Path) -> None:
    assert wait(tmp_path / "none", lambda t: t if t < 5 else t + 1.8e9) == (True, 5.0)


def test_a_clock_that_was_set_before_the_wait_began_is_noticed(tmp_path: Path) -> None:
    assert wait(tmp_path / "none", lambda t: t + 1.8e9) == (True, 0.0)


def test_it_does_not_wait_for_ever(tmp_path: Path) -> None:
    done, waited_s = wait(tmp_path / "none", lambda t: t)
    assert not done
    assert 20 <= waited_s <= 20.5
