"""How long the past is kept: conversations, their reports, the audit and ended tokens go after ``[retention] days``.

Responsible for: the sweep, in the background of each process that serves. In small transactions with pauses, so that
devices do not wait for it; several replicas may sweep at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from appliance.errors import ConfigError
from appliance.provisioning import database
from appliance.provisioning.schema import ACCESS_TOKENS, AUDIT, MINTS, REPORTS

_log = logging.getLogger(__name__)
EVERY_S = 3_600.0
BATCH = 200
_PAUSE_S = 0.05
_DAY_MS = 86_400_000
_PAST = (
    database.forgetting(REPORTS.c.session_id, REPORTS.c.at_ms, BATCH),
    database.forgetting(MINTS.c.jti_sha256, MINTS.c.at_ms, BATCH),
    database.forgetting(AUDIT.c.id, AUDIT.c.at_ms, BATCH),
    database.forgetting(ACCESS_TOKENS.c.token_sha256, ACCESS_TOKENS.c.revoked_ms, BATCH),
)
Sleep = Callable[[float], Awaitable[None]]


async def sweep(engine: AsyncEngine, days: int, now_ms: int, sleep: Sleep = asyncio.sleep) -> int:
    """Deletes what is older than that many days; returns how many rows."""
    before, gone = {"before_ms": now_ms - days * _DAY_MS}, 0
    for forget_some in _PAST:
        while True:
            async with database.unsynced(engine).begin() as connection:
                deleted = int((await connection.execute(forget_some, before)).rowcount)
            gone += deleted
            if deleted < BATCH:
                break
            await sleep(_PAUSE_S)
    return gone


async def sweep_for_ever(
    engine: AsyncEngine, days: int, now: Callable[[], float], random: Callable[[], float], sleep: Sleep = asyncio.sleep
) -> None:
    """Sweeps about every hour; 0 days: never. A database that is away is swept next time."""
    while days:
        await sleep(EVERY_S * (0.5 + random()))  # not at the start, when devices come, and not in step with others
        try:
            gone = await sweep(engine, days, int(now() * 1000), sleep)
        except (SQLAlchemyError, ConfigError) as error:  # ConfigError: the file with the password is gone
            _log.warning("old rows stay for now: %s", type(error).__name__)
            continue
        if gone:
            _log.info("deleted %d row(s) older than %d days", gone, days)
