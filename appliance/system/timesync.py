"""This machine's clock: what it shows, and whether it has been set. A Pi has none of its own and may boot in 1970.

Responsible for: reading it where the machine stands, waiting until it is set. Not for: setting it, ever: that is the
system's, by an authenticated source.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

SYNCHRONISED = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd's mark
LEAP_S = 3600.0  # other services leave no mark, but the clock leaps
LOOK_S = 0.5


def local_time() -> datetime:
    """Read the clock, in the machine's own time zone."""
    return datetime.now().astimezone()


async def synchronised(
    within_s: float,
    *,
    offset_s: float,
    wall: Callable[[], float],
    monotonic: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    mark: Path = SYNCHRONISED,
) -> bool:
    """Wait until the clock is set, at most ``within_s``; returns whether it is.

    ``offset_s`` is what the wall clock was ahead of the monotonic one when it was known to be wrong.
    """
    began_s = monotonic()
    while not (_exists(mark) or abs(wall() - monotonic() - offset_s) > LEAP_S):
        if monotonic() - began_s >= within_s:
            return False
        await sleep(LOOK_S)
    return True


def _exists(mark: Path) -> bool:
    return mark.exists()
