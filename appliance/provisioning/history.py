"""What a device's conversations came to, for its owner: attempts (``mints``) beside what it reported. Reads only."""

from __future__ import annotations

import msgspec
from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.provisioning.schema import MINTS, REPORTS


class Attempt(msgspec.Struct, frozen=True):
    """One attempt to talk; what the device reports of it is None until it does."""

    jti_sha256: str
    at_ms: int
    profile: str
    outcome: str
    latency_ms: int | None
    duration_s: float | None
    reason: str | None
    cost_usd: float | None


_COLUMNS = [
    *(MINTS.c[name] for name in ("jti_sha256", "at_ms", "profile", "outcome", "latency_ms")),
    *(REPORTS.c[name] for name in ("duration_s", "reason", "cost_usd")),
]


async def attempts(
    connection: AsyncConnection, device_id: str, *, before: str = "", at_most: int = 50
) -> list[Attempt]:
    """A device's attempts, the newest first; ``before`` (a ``jti_sha256``) continues where a list ended.

    A report belongs to the attempt that was granted, when a session took several.
    """
    newest_first = (MINTS.c.at_ms, MINTS.c.jti_sha256)
    granted = (REPORTS.c.session_id == MINTS.c.session_id) & (MINTS.c.outcome == "minted")
    query = (
        select(*_COLUMNS)
        .outerjoin_from(MINTS, REPORTS, granted)
        .where(MINTS.c.device_id == device_id)
        .order_by(*(column.desc() for column in newest_first))
        .limit(at_most)
    )
    if before:
        last = (await connection.execute(select(*newest_first).where(MINTS.c.jti_sha256 == before))).one_or_none()
        if last is None:
            return []
        query = query.where(tuple_(*newest_first) < tuple(last))
    return [Attempt(**row._asdict()) for row in await connection.execute(query)]
