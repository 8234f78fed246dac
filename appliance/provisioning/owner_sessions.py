"""Browsers that are signed in to the owner's page: a link is spent for a session, which lives while it is used.

Responsible for: the table owner_sessions, spending owner_links. Each function runs in the caller's transaction. Not
for: making links (``owner_links``), cookies and pages (``pages``). Of a session's 256 random bits only the hash is
stored.
"""

from __future__ import annotations

import hashlib
import hmac
import os

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.errors import Secret
from appliance.provisioning import audit, secrets, tries
from appliance.provisioning.schema import OWNER_LINKS, OWNER_SESSIONS

LIFE_S = 30 * 86_400
_KIND = "vos"
_RENEW_MS = 3_600_000  # a write per page is not worth a later second of expiry


class Session(msgspec.Struct, frozen=True):
    """A signed-in browser. ``renewed``: its life was just prolonged, and its cookie's should be too."""

    id_sha256: str
    csrf_token: str
    renewed: bool = False


class Redeemed(msgspec.Struct, frozen=True):
    """What a link came to: a new session's secret, or the fault: ``unknown``, ``used``, ``expired``, ``too_many``."""

    session: Secret | None = None
    fault: str = ""


async def redeem(connection: AsyncConnection, token: str, old_session: str, now_ms: int) -> Redeemed:
    """Trades a link's token for a new session; the browser's old session ends. Faults are noted, so commit them."""
    by_digest = OWNER_LINKS.c.token_sha256 == secrets.digest(token)
    row = (await connection.execute(select(OWNER_LINKS).where(by_digest).with_for_update())).one_or_none()
    fault = "unknown" if row is None else "used" if row.used_ms is not None else ""
    if row is not None and not fault and row.expires_ms < now_ms:
        fault = "expired"
    if fault:
        return Redeemed(fault=await _note_fault(connection, fault, now_ms))
    await connection.execute(update(OWNER_LINKS).where(by_digest).values(used_ms=now_ms))
    if old_session:
        await sign_out(connection, secrets.digest(old_session), now_ms=now_ms)
    await connection.execute(delete(OWNER_SESSIONS).where(OWNER_SESSIONS.c.expires_ms < now_ms))
    secret = secrets.make(_KIND)
    session = {
        "id_sha256": secrets.digest(secret),
        "csrf_secret": os.urandom(32).hex(),
        "created_ms": now_ms,
        "seen_ms": now_ms,
        "expires_ms": now_ms + LIFE_S * 1000,
    }
    await connection.execute(insert(OWNER_SESSIONS).values(session))
    await audit.note(connection, audit.OWNER, "sign-in", now_ms=now_ms)
    return Redeemed(session=secret)


async def _note_fault(connection: AsyncConnection, fault: str, now_ms: int) -> str:
    if not await tries.note_link(connection, now_ms):
        return "too_many"  # a flood of wrong links must not fill the audit
    await audit.note(connection, "stranger", "sign-in refused", detail=f"{fault} link", now_ms=now_ms)
    return fault


async def find_session(connection: AsyncConnection, secret: str, now_ms: int) -> Session | None:
    """The living session of a cookie, whose thirty days begin anew."""
    by_id = OWNER_SESSIONS.c.id_sha256 == secrets.digest(secret)
    row = (await connection.execute(select(OWNER_SESSIONS).where(by_id))).one_or_none()
    if row is None or row.expires_ms < now_ms:
        return None
    if renewed := now_ms - row.seen_ms >= _RENEW_MS:
        values = {"seen_ms": now_ms, "expires_ms": now_ms + LIFE_S * 1000}
        await connection.execute(update(OWNER_SESSIONS).where(by_id).values(values))
    # Of both halves: who reads the database has one, who sees a form has neither.
    csrf_token = hmac.new(row.csrf_secret.encode(), secret.encode(), hashlib.sha256).hexdigest()
    return Session(row.id_sha256, csrf_token, renewed)


async def lock_session(connection: AsyncConnection, id_sha256: str) -> None:
    """Lets one request of a session at a time go on, until the transaction ends."""
    by_id = OWNER_SESSIONS.c.id_sha256 == id_sha256
    await connection.execute(select(OWNER_SESSIONS.c.id_sha256).where(by_id).with_for_update())


async def sign_out(connection: AsyncConnection, id_sha256: str, *, now_ms: int) -> None:
    """Ends one session; none is fine."""
    gone = await connection.execute(delete(OWNER_SESSIONS).where(OWNER_SESSIONS.c.id_sha256 == id_sha256))
    if gone.rowcount:
        await audit.note(connection, audit.OWNER, "sign-out", now_ms=now_ms)


async def sign_out_everywhere(connection: AsyncConnection, *, now_ms: int) -> int:
    """Ends every session and every unused link; returns how many sessions there were."""
    gone = await connection.execute(delete(OWNER_SESSIONS))
    unused = OWNER_LINKS.c.used_ms.is_(None)
    await connection.execute(update(OWNER_LINKS).where(unused).values(used_ms=now_ms))
    await audit.note(
        connection, audit.OWNER, "sign-out everywhere", detail=f"{gone.rowcount} session(s)", now_ms=now_ms
    )
    return int(gone.rowcount)
