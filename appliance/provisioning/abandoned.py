"""Attempts that nobody will settle: their replica died, or lost the database, between charge and answer.

Responsible for: telling them apart after a minute (outcome ``abandoned``), and giving back the charge of a session
that came to nothing. Every replica does this, out of step; each row is settled by one of them. Not for: the device's
own repeat, which uses the charge while it stands (``mints``).

A replica whose clock is a minute ahead would take an attempt in hand for abandoned: that session is then not counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from appliance.errors import ConfigError
from appliance.provisioning import limits, mints
from appliance.provisioning.schema import MINTS

_log = logging.getLogger(__name__)
OUTCOME = "abandoned"
AFTER_MS = 60_000  # longer than any attempt takes that somebody still works at
EVERY_S = 30.0
LOOKS_BACK_MS = limits.DAY_MS  # of the first look


async def settle(engine: AsyncEngine, since_ms: int, now_ms: int) -> int:
    """Settles what was begun after ``since_ms`` and is pending for more than a minute; returns how many."""
    columns = (MINTS.c.jti_sha256, MINTS.c.device_id, MINTS.c.session_id, MINTS.c.at_ms)
    left = select(*columns).where(
        MINTS.c.at_ms > since_ms, MINTS.c.at_ms < now_ms - AFTER_MS, MINTS.c.outcome == "pending"
    )
    async with engine.execution_options(reading=True).begin() as connection:
        rows = (await connection.execute(left)).all()
    settled = 0
    for row in rows:
        async with engine.begin() as connection:
            await limits.lock(connection, row.device_id)  # first, as everywhere
            still = (MINTS.c.jti_sha256 == row.jti_sha256) & (MINTS.c.outcome == "pending")
            changed = await connection.execute(update(MINTS).where(still).values(outcome=OUTCOME))
            if changed.rowcount:
                settled += 1
                await mints.give_back(connection, row.device_id, row.session_id, row.at_ms)
    return settled


async def keep_settling(
    engine: AsyncEngine,
    now_ms: Callable[[], int],
    random: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> NoReturn:
    """Settles for ever, a look every half a minute. Each row is looked at twice, whoever's clock noted it."""
    since_ms = now_ms() - LOOKS_BACK_MS
    while True:
        await sleep(EVERY_S * (0.5 + random()))
        looked_ms = now_ms()
        try:
            settled = await settle(engine, since_ms, looked_ms)
        except (SQLAlchemyError, ConfigError) as error:
            _log.warning("abandoned attempts stay pending: %s", type(error).__name__)
            continue
        if settled:
            _log.warning("%d attempts were abandoned by a replica that died or lost the database", settled)
        since_ms = looked_ms - AFTER_MS - limits.CLOCKS_DIFFER_MS
