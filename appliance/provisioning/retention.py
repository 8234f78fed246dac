"""How long the past is kept: conversations, their reports, the audit and ended tokens go after ``[retention] days``.

Responsible for: the sweep, in the background of each process that serves. In small transactions with pauses, so that
devices do not wait for it; several replicas may sweep at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Column, delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from appliance.provisioning import database
from appliance.provisioning.schema import ACCESS_TOKENS, AUDIT, MINTS, REPORTS

_log = logging.getLogger(__name__)
EVERY_S = 3_600.0
BATCH = 200
_PAUSE_S = 0.05
_DAY_MS = 86_400_000
# What goes: rows whose moment is over. The key of a row and its moment.
_PAST: tuple[tuple[Column[Any], Column[Any]], ...] = (
    (REPORTS.c.session_id, REPORTS.c.at_ms),
    (MINTS.c.jti_sha256, MINTS.c.at_ms),
    (AUDIT.c.id, AUDIT.c.at_ms),
    (ACCESS_TOKENS.c.token_sha256, ACCESS_TOKENS.c.revoked_ms),
)
Sleep = Callable[[float], Awaitable[None]]


async def sweep(engine: AsyncEngine, days: int, now_ms: int, sleep: Sleep = asyncio.sleep) -> int:
    """Deletes what is older than that many days; returns how many rows."""
    before_ms, gone = now_ms - days * _DAY_MS, 0
    for key, moment in _PAST:
        while True:
            async with database.quick(engine).begin() as connection:
                deleted = await _some(connection, key, moment, before_ms)
            gone += deleted
            if deleted < BATCH:
                break
            await sleep(_PAUSE_S)
    return gone


async def _some(connection: AsyncConnection, key: Column[Any], moment: Column[Any], before_ms: int) -> int:
    old = select(key).where(moment < before_ms).limit(BATCH).with_for_update(skip_locked=True)
    return int((await connection.execute(delete(key.table).where(key.in_(old)))).rowcount)


async def sweep_for_ever(
    engine: AsyncEngine, days: int, now: Callable[[], float], random: Callable[[], float], sleep: Sleep = asyncio.sleep
) -> None:
    """Sweeps about every hour; 0 days: never. A database that is away is swept next time."""
    while days:
        await sleep(EVERY_S * (0.5 + random()))  # not at the start, when devices come, and not in step with others
        try:
            gone = await sweep(engine, days, int(now() * 1000), sleep)
        except SQLAlchemyError as error:
            _log.warning("old rows stay for now: %s", type(error).__name__)
            continue
        if gone:
            _log.info("deleted %d row(s) older than %d days", gone, days)
