"""What the fleet used: sessions, seconds, tokens and cost per device and day. Reads only.

Sessions are counted by us; seconds, tokens and cost are what devices report, and a device may keep silent.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.provisioning.schema import MINTS, REPORTS

DAY_MS = 86_400_000


class Used(msgspec.Struct):
    """One device's day; ``cost_usd`` is None where no report named a price."""

    day: int  # days since 1970, UTC
    device_id: str
    sessions: int = 0
    seconds: float = 0.0
    tokens: int = 0
    cost_usd: float | None = None


async def per_day(
    connection: AsyncConnection, *, from_ms: int, until_ms: int, device_id: str | None = None
) -> list[Used]:
    """Each device's days between two moments, by day and device; days without use are left out."""
    found: dict[tuple[int, str], Used] = {}

    day = (MINTS.c.at_ms // DAY_MS).label("day")
    minted = (
        select(day, MINTS.c.device_id, func.count(MINTS.c.session_id.distinct()).label("sessions"))
        .where(MINTS.c.at_ms >= from_ms, MINTS.c.at_ms < until_ms, MINTS.c.outcome == "minted")
        .group_by(day, MINTS.c.device_id)
    )
    day = (REPORTS.c.at_ms // DAY_MS).label("day")
    reported = (
        select(
            day,
            REPORTS.c.device_id,
            func.sum(REPORTS.c.duration_s).label("seconds"),
            func.sum(REPORTS.c.tokens).label("tokens"),
            func.sum(REPORTS.c.cost_usd).label("cost_usd"),
        )
        .where(REPORTS.c.at_ms >= from_ms, REPORTS.c.at_ms < until_ms)
        .group_by(day, REPORTS.c.device_id)
    )
    if device_id is not None:
        minted = minted.where(MINTS.c.device_id == device_id)
        reported = reported.where(REPORTS.c.device_id == device_id)
    for row in await connection.execute(minted):
        found[row.day, row.device_id] = Used(day=row.day, device_id=row.device_id, sessions=row.sessions)
    for row in await connection.execute(reported):
        used = found.setdefault((row.day, row.device_id), Used(day=row.day, device_id=row.device_id))
        used.seconds, used.tokens, used.cost_usd = row.seconds, int(row.tokens), row.cost_usd
    return [found[key] for key in sorted(found)]
