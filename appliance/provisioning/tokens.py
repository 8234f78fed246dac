"""Enrolment tokens: made by the owner, put on a device's boot partition, spent at enrolment.

Responsible for: the table enrolment_tokens. Each function runs in the caller's transaction.
"""

from __future__ import annotations

import base64
import os

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.errors import ApplianceError, ConfigError, Secret
from appliance.provisioning import audit, secrets
from appliance.provisioning.problems import RefusalError
from appliance.provisioning.schema import ENROLMENT_TOKENS

_LIFE_AT_MOST_S = 10 * 365 * 86_400


class Token(msgspec.Struct, frozen=True):
    """An enrolment token as lists show it; the token itself is known to nobody here."""

    id: str
    profile: str
    note: str
    uses_total: int
    uses_left: int
    created_ms: int
    expires_ms: int
    revoked_ms: int | None

    def usable(self, now_ms: int) -> bool:
        """Whether a device could still enrol with it."""
        return self.revoked_ms is None and self.uses_left > 0 and self.expires_ms >= now_ms


_COLUMNS = [ENROLMENT_TOKENS.c[name] for name in Token.__struct_fields__]


async def create(
    connection: AsyncConnection,
    *,
    uses: int = 1,
    expires_s: int = 86_400,
    profile: str = "default",
    note: str = "",
    actor: str,
    now_ms: int,
) -> Secret:
    """A new enrolment token; shown once, stored as a hash.

    Raises:
        ConfigError: uses, expiry or note out of bounds.
    """
    if not 1 <= uses <= 1_000_000 or not 1 <= expires_s <= _LIFE_AT_MOST_S:
        raise ConfigError(
            f"a token for {uses} use(s), {expires_s} s", hint="uses and seconds from 1, at most ten years"
        )
    if len(note) > 64 or not note.isprintable():
        raise ConfigError(f"the note {note[:64]!r}", hint="at most 64 printable characters")
    token = secrets.make(secrets.ENROLMENT)
    token_id = base64.b32encode(os.urandom(5)).decode().lower()
    row = {
        "id": token_id,
        "token_sha256": secrets.digest(token),
        "profile": profile,
        "note": note,
        "uses_total": uses,
        "uses_left": uses,
        "created_ms": now_ms,
        "expires_ms": now_ms + expires_s * 1000,
    }
    await connection.execute(insert(ENROLMENT_TOKENS).values(row))
    await audit.note(connection, actor, "token made", token_id, f"{uses} use(s), profile {profile}", now_ms=now_ms)
    return token


async def listed(connection: AsyncConnection, *, at_most: int = 1_000_000) -> list[Token]:
    """Every token ever made, the newest first."""
    query = select(*_COLUMNS).order_by(ENROLMENT_TOKENS.c.created_ms.desc(), ENROLMENT_TOKENS.c.id).limit(at_most)
    return [Token(**row._asdict()) for row in await connection.execute(query)]


async def revoke(connection: AsyncConnection, token_id: str, *, actor: str, now_ms: int) -> None:
    """No device enrols with this token any more; those that did stay.

    Raises:
        ApplianceError: no such token, or revoked before.
    """
    living = (ENROLMENT_TOKENS.c.id == token_id) & ENROLMENT_TOKENS.c.revoked_ms.is_(None)
    changed = await connection.execute(update(ENROLMENT_TOKENS).where(living).values(revoked_ms=now_ms))
    if changed.rowcount == 0:
        raise ApplianceError(f"there is no living token {token_id[:64]}", hint="`tokens list` shows them")
    await audit.note(connection, actor, "token revoked", token_id, now_ms=now_ms)


async def find(connection: AsyncConnection, enrolment_token: str, now_ms: int) -> Token:
    """The token, locked until the transaction ends, whether or not it has uses left.

    Raises:
        RefusalError: ``invalid_grant``: unknown, revoked or expired.
    """
    by_digest = ENROLMENT_TOKENS.c.token_sha256 == secrets.digest(enrolment_token)
    row = (await connection.execute(select(*_COLUMNS).where(by_digest).with_for_update())).one_or_none()
    if row is None or row.revoked_ms is not None or row.expires_ms < now_ms:
        raise RefusalError(400, "invalid_grant", "the enrolment token is unknown, revoked or expired")
    return Token(**row._asdict())


async def spend(connection: AsyncConnection, token: Token) -> None:
    """Takes one use.

    Raises:
        RefusalError: ``invalid_grant``: none is left.
    """
    left = (ENROLMENT_TOKENS.c.id == token.id) & (ENROLMENT_TOKENS.c.uses_left > 0)
    spent = await connection.execute(
        update(ENROLMENT_TOKENS).where(left).values(uses_left=ENROLMENT_TOKENS.c.uses_left - 1)
    )
    if spent.rowcount == 0:
        raise RefusalError(400, "invalid_grant", "the enrolment token is used up")
