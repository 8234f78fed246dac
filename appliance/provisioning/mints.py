"""The audit log of sessions: one row per attempt, which is also the check against replayed proofs.

Responsible for: the tables mints and reports. Each function runs in the caller's transaction.

Idempotency: a device repeats a request under the same Idempotency-Key when the answer got lost. The secret is not
stored, so it cannot be repeated; a repeat hands out a fresh secret under the same session_id, and a session counts
once however many rows share its id. A key lives ten minutes and three attempts, so that it is no way round a quota.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.errors import Secret
from appliance.provisioning import database, prices, secrets
from appliance.provisioning.devices import Device, replayed
from appliance.provisioning.problems import RefusalError
from appliance.provisioning.proofs import Proof
from appliance.provisioning.schema import MINTS, REPORTS

KEY_LIFE_S = 600
_ATTEMPTS_PER_KEY = 3


class Attempt(msgspec.Struct, frozen=True):
    """What a device asks for."""

    idempotency_key: str
    profile: str
    transport: str


async def open_one(connection: AsyncConnection, device: Device, proof: Proof, attempt: Attempt, now_ms: int) -> str:
    """Notes an attempt as pending and returns its session_id, the earlier one's for a repeated key.

    Raises:
        RefusalError: replayed proof, or a key used for something else or too often.
    """
    query = (
        select(MINTS.c.session_id, MINTS.c.profile, MINTS.c.transport)
        .where(
            MINTS.c.device_id == device.id,
            MINTS.c.idempotency_key == attempt.idempotency_key,
            MINTS.c.at_ms > now_ms - KEY_LIFE_S * 1000,
        )
        .order_by(MINTS.c.at_ms)
    )
    earlier = (await connection.execute(query)).all()
    row = {
        "jti_sha256": proof.jti_sha256,
        "session_id": earlier[0].session_id if earlier else str(uuid.uuid4()),
        "device_id": device.id,
        "idempotency_key": attempt.idempotency_key,
        "profile": attempt.profile,
        "transport": attempt.transport,
        "at_ms": now_ms,
        "outcome": "pending",
    }
    if not await database.add(connection, MINTS, row):
        raise replayed()
    if any((seen.profile, seen.transport) != (attempt.profile, attempt.transport) for seen in earlier):
        raise _key_reused("for another request")
    if len(earlier) >= _ATTEMPTS_PER_KEY:
        raise _key_reused("too often")
    return str(row["session_id"])


def _key_reused(how: str) -> RefusalError:
    return RefusalError(422, "idempotency_key_reused", f"this Idempotency-Key was used {how}: make a new one")


async def settle(
    connection: AsyncConnection,
    proof: Proof,
    *,
    outcome: str,
    latency_ms: int,
    secret: Secret | None,
    upstream_request_id: str | None,
) -> None:
    """Notes how an attempt ended. Of the secret only the start of its hash is kept, to recognise a leaked one."""
    values = {
        "outcome": outcome,
        "latency_ms": latency_ms,
        "secret_sha256_prefix": secrets.digest(secret)[:16] if secret else None,
        "upstream_request_id": upstream_request_id,
    }
    await connection.execute(update(MINTS).where(MINTS.c.jti_sha256 == proof.jti_sha256).values(values))


async def report(
    connection: AsyncConnection,
    device: Device,
    session_id: str,
    *,
    duration_s: float,
    reason: str,
    usage: dict[str, Any],
    model: str,
    now_ms: int,
) -> None:
    """Stores how a session went; the first report of a session stands.

    Raises:
        RefusalError: ``unknown_session``: no session of this device.
    """
    ours = select(MINTS.c.session_id).where(MINTS.c.session_id == session_id, MINTS.c.device_id == device.id).limit(1)
    if (await connection.execute(ours)).one_or_none() is None:
        raise RefusalError(404, "unknown_session", "this device has no such session")
    row = {
        "session_id": session_id,
        "device_id": device.id,
        "at_ms": now_ms,
        "duration_s": duration_s,
        "reason": reason,
        "usage": usage,
        "model": model,
        "tokens": prices.tokens(usage),
        "cost_usd": prices.cost_usd(usage, model),
    }
    await database.add(connection, REPORTS, row)
