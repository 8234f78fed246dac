"""The tools that every device has: timers, volume, the time.

Responsible for: these tools. Not for: how a timer rings, how loud a percent is, or what time it is (callbacks of the
daemon).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from appliance.errors import ToolError
from appliance.tools.toolbox import Arguments, Tool

LONGEST_TIMER_S = 86_400
MOST_TIMERS = 16
LONGEST_LABEL = 64
EARLIEST_YEAR = 2026  # of this program: a clock that shows less was not set since the power came


@dataclass(slots=True)
class Running:
    """A timer that runs."""

    label: str
    rings_at: float  # loop time, s
    handle: asyncio.TimerHandle


class Timers:
    """Kitchen timers. One thread (the event loop); they do not survive a restart."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[str], None]) -> None:
        self._loop, self._ring = loop, ring
        self._running: dict[int, Running] = {}
        self._count = 0

    @property
    def running(self) -> int:
        """How many run."""
        return len(self._running)

    async def set(self, arguments: Arguments) -> Arguments:
        """Start a timer.

        Raises:
            ToolError: no sensible duration, or too many timers.
        """
        seconds = arguments.get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds <= LONGEST_TIMER_S:
            raise ToolError(f"seconds must be a number from 1 to {LONGEST_TIMER_S}")
        if len(self._running) >= MOST_TIMERS:
            raise ToolError(f"{MOST_TIMERS} timers run already")
        self._count += 1
        number, label = self._count, _label(arguments) or "timer"
        handle = self._loop.call_later(float(seconds), self._expired, number)
        self._running[number] = Running(label, self._loop.time() + float(seconds), handle)
        return {"ok": True, "label": label, "seconds": seconds}

    async def list(self, _: Arguments) -> Arguments:
        """Tell which timers run."""
        now = self._loop.time()
        timers = [{"label": t.label, "seconds_left": round(t.rings_at - now)} for t in self._running.values()]
        return {"timers": timers}

    async def cancel(self, arguments: Arguments) -> Arguments:
        """Cancel the timers of a label, or all."""
        label = _label(arguments)
        gone = [n for n, t in self._running.items() if not label or t.label.lower() == label.lower()]
        for number in gone:
            self._running.pop(number).handle.cancel()
        return {"cancelled": len(gone)}

    def _expired(self, number: int) -> None:
        self._ring(self._running.pop(number).label)

    def close(self) -> None:
        """Forget all timers."""
        for timer in self._running.values():
            timer.handle.cancel()
        self._running.clear()


def _label(arguments: Arguments) -> str:
    return str(arguments.get("label") or "")[:LONGEST_LABEL]


def timer_tools(timers: Timers) -> list[Tool]:
    """Declare the timer tools."""
    label = {"type": "string", "description": "what the timer is for"}
    seconds = {"type": "integer", "minimum": 1, "maximum": LONGEST_TIMER_S}
    return [
        Tool(
            "set_timer",
            "Start a timer on this device; it rings when it ends.",
            {"type": "object", "properties": {"seconds": seconds, "label": label}, "required": ["seconds"]},
            timers.set,
        ),
        Tool("list_timers", "List the running timers.", {"type": "object", "properties": {}}, timers.list),
        Tool(
            "cancel_timers",
            "Cancel the timers with a label, or all of them without one.",
            {"type": "object", "properties": {"label": label}},
            timers.cancel,
        ),
    ]


def volume_tool(set_volume: Callable[[int], None]) -> Tool:
    """Declare the volume tool."""

    async def run(arguments: Arguments) -> Arguments:
        percent = arguments.get("percent")
        if isinstance(percent, bool) or not isinstance(percent, int) or not 0 <= percent <= 100:
            raise ToolError("percent must be a whole number from 0 to 100")
        set_volume(percent)
        return {"ok": True, "percent": percent}

    percent = {"type": "integer", "minimum": 0, "maximum": 100}
    schema = {"type": "object", "properties": {"percent": percent}, "required": ["percent"]}
    return Tool("set_volume", "Set the loudspeaker's volume in percent.", schema, run)


def time_tool(now: Callable[[], datetime]) -> Tool:
    """Declare the tool that tells the time and the date; a model knows neither. ``now`` is aware of its zone."""

    async def run(_: Arguments) -> Arguments:
        at = now()
        if at.year < EARLIEST_YEAR:
            raise ToolError("this device's clock is not set yet: it does not know the time")
        return {"local_time": f"{at:%Y-%m-%d %H:%M}", "weekday": f"{at:%A}", "time_zone": f"{at:%Z} (UTC{at:%z})"}

    schema: dict[str, object] = {"type": "object", "properties": {}}
    return Tool("get_time", "Tell the time, the date and the weekday where this device is.", schema, run)
