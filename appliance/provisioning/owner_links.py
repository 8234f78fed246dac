"""Links that sign the owner in, once: made on the command line, where only the owner is.

Responsible for: making them. The table keeps only their hash; the page spends them.
"""

from __future__ import annotations

from sqlalchemy import delete, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.errors import Secret
from appliance.provisioning import audit, secrets
from appliance.provisioning.schema import OWNER_LINKS

LIFE_S = 900
PATH = "/sign-in"
MADE = "sign-in link"  # in the audit


async def make(connection: AsyncConnection, base: str, *, life_s: int = LIFE_S, now_ms: int) -> Secret:
    """A new link below ``base``, the address of the service. Show it to the owner alone."""
    await connection.execute(delete(OWNER_LINKS).where(OWNER_LINKS.c.expires_ms < now_ms))
    token = secrets.make(secrets.SIGN_IN)
    row = {
        "token_sha256": secrets.digest(token),
        "created_ms": now_ms,
        "expires_ms": now_ms + life_s * 1000,
    }
    await connection.execute(insert(OWNER_LINKS).values(row))
    await audit.note(connection, audit.COMMAND, MADE, now_ms=now_ms)
    return Secret(f"{base.rstrip('/')}{PATH}?token={token}")
