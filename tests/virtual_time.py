"""An event loop whose clock stands still while anything can be done, and then jumps to the next timer.

Hours of timers pass in milliseconds, in exactly the order in which they would have passed. Not for: sockets of
other processes and threads, whose time is real.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Asleep(RuntimeError):
    """Nothing is due, ever: the test waits for something that cannot happen."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop with a clock of its own, which begins at ``start_s``."""

    def __init__(self, start_s: float = 1000.0) -> None:
        self.now_s = start_s
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Virtual seconds."""
        return self.now_s


class _Jumping(selectors.DefaultSelector):
    """Where a loop would sleep, moves its clock instead."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise Asleep("every task waits, and no timer is set")
        self._loop.now_s += max(timeout, 0.0)
        return []


def run(story: Coroutine[Any, Any, T], start_s: float = 1000.0) -> T:
    """Run a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(start_s)) as runner:
        return runner.run(story)
