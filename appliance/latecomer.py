"""A board that is plugged in, or whose driver is ready, only after the start.

Responsible for: waiting for it where ``board = "auto"`` found none. Not for: taking it into use (``daemon``) or telling
which board it is (``plugged``).
"""

from __future__ import annotations

import asyncio
import logging

from appliance import plugged
from appliance.config import Loaded
from appliance.errors import ConfigError

log = logging.getLogger(__name__)
LOOK_S = 5.0


async def board(loaded: Loaded) -> plugged.Choice | None:
    """Return the board that is recognised by and by; ``None`` at once where the configuration looks for none."""
    if loaded.chosen is None or loaded.chosen.sure:
        return None
    seen = loaded.seen
    while True:
        await asyncio.sleep(LOOK_S)
        now = plugged.look()
        if now == seen:
            continue
        seen = now
        try:
            choice = plugged.choose(seen)
        except ConfigError as error:
            log.error("cannot tell which board was plugged in: %s", error)
            continue
        if choice.sure:
            return choice
