"""What owner, command and device did, apart from sessions (those are in ``mints``).

Responsible for: the table audit. Each function runs in the caller's transaction: what was undone was not done.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.provisioning.quick import Transaction
from appliance.provisioning.schema import AUDIT

OWNER = "owner"
COMMAND = "command"


class Entry(msgspec.Struct, frozen=True):
    """One thing done. ``actor`` is owner, command or a device's id."""

    id: int
    at_ms: int
    actor: str
    action: str
    subject: str
    detail: str


async def note(
    connection: Transaction, actor: str, action: str, subject: str = "", detail: str = "", *, now_ms: int
) -> None:
    """Writes one entry; what is too long is cut. Never pass a secret."""
    row = {
        "at_ms": now_ms,
        "actor": actor[:64],
        "action": action[:32],
        "subject": subject[:64],
        "detail": detail[:256],
    }
    await connection.execute(insert(AUDIT).values(row))


async def entries(
    connection: AsyncConnection,
    *,
    before_id: int | None = None,
    subject: str = "",
    actor: str = "",
    action: str = "",
    at_most: int = 100,
) -> list[Entry]:
    """The newest first, all or those of one subject, actor or action; ``before_id`` continues where a list ended."""
    query = select(AUDIT).order_by(AUDIT.c.id.desc()).limit(at_most)
    if before_id is not None:
        query = query.where(AUDIT.c.id < before_id)
    for column, wanted in ((AUDIT.c.subject, subject), (AUDIT.c.actor, actor), (AUDIT.c.action, action)):
        if wanted:
            query = query.where(column == wanted)
    return [Entry(**row._asdict()) for row in await connection.execute(query)]
