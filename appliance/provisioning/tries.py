"""Wrong codes typed on the page: whoever guesses waits, longer each time (RFC 8628 §5.1). And wrong sign-in links.

Responsible for: the table code_tries. Each function runs in the caller's transaction, which for codes holds the lock
on the session, so that many tries at once are no way round.

Nine digits and at most a thousand waiting devices: one try in a million hits. Sixty an hour make that two years.
"""

from __future__ import annotations

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.provisioning.schema import CODE_TRIES

FREE = 5
_FIRST_WAIT_MS = 30_000
_DOUBLED_AT_MOST = 7  # 64 minutes
_MEMORY_MS = 86_400_000
_ALL_PER_HOUR = 60
_HOUR_MS = 3_600_000
_LINKS = "sign-in"  # whose tries wrong links are; they must not keep the owner from codes
_LINKS_PER_MINUTE = 10


async def wait_ms(connection: AsyncConnection, owner: str, now_ms: int) -> int:
    """How long this session has to wait before it may try a code; 0 for not at all."""
    own = select(func.count(), func.max(CODE_TRIES.c.at_ms)).where(
        CODE_TRIES.c.owner == owner, CODE_TRIES.c.at_ms > now_ms - _MEMORY_MS
    )
    count, last_ms = (await connection.execute(own)).one()
    due_ms = 0
    if count >= FREE:
        due_ms = last_ms + _FIRST_WAIT_MS * 2 ** min(count - FREE, _DOUBLED_AT_MOST)
    codes = select(CODE_TRIES.c.at_ms).where(CODE_TRIES.c.owner != _LINKS)
    sixtieth = codes.order_by(CODE_TRIES.c.at_ms.desc()).offset(_ALL_PER_HOUR - 1).limit(1)
    crowded_ms = (await connection.execute(sixtieth)).scalar_one_or_none()
    if crowded_ms is not None:
        due_ms = max(due_ms, crowded_ms + _HOUR_MS)
    return max(0, due_ms - now_ms)


async def note(connection: AsyncConnection, owner: str, now_ms: int) -> None:
    """Remembers a wrong code for a day."""
    await connection.execute(delete(CODE_TRIES).where(CODE_TRIES.c.at_ms <= now_ms - _MEMORY_MS))
    await connection.execute(insert(CODE_TRIES).values(owner=owner, at_ms=now_ms))


async def forget(connection: AsyncConnection, owner: str) -> None:
    """A right code: the wrong ones before it were slips."""
    await connection.execute(delete(CODE_TRIES).where(CODE_TRIES.c.owner == owner))


async def note_link(connection: AsyncConnection, now_ms: int) -> bool:
    """Remembers a wrong link for a minute; False if there were so many that this one is not even worth a note."""
    ours = CODE_TRIES.c.owner == _LINKS
    lately = select(func.count()).select_from(CODE_TRIES).where(ours, CODE_TRIES.c.at_ms > now_ms - 60_000)
    if (await connection.execute(lately)).scalar_one() >= _LINKS_PER_MINUTE:
        return False
    await connection.execute(delete(CODE_TRIES).where(ours, CODE_TRIES.c.at_ms <= now_ms - 60_000))
    await note(connection, _LINKS, now_ms)
    return True
