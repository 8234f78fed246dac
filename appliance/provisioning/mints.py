"""The audit log of sessions: one row per attempt, which is also the check against replayed proofs.

A device that goes on asking while it has used up what it may leaves one row a minute: the log is kept for a year, and
must not be filled by one device. The proofs of the rest are remembered for as long as they could be used again.
Responsible for: the tables mints and reports. Each function runs in the caller's transaction.

Idempotency: a device repeats a request under the same Idempotency-Key when the answer got lost. The secret is not
stored, so it cannot be repeated; a repeat hands out a fresh secret under the same session_id, and a session counts
once, and is charged once, however many rows share its id. A key lives ten minutes and three attempts, so that it is
no way round a quota.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
from sqlalchemy import bindparam, exists, or_, select, update

from appliance.errors import Secret
from appliance.provisioning import database, prices, secrets
from appliance.provisioning import limits as quota
from appliance.provisioning.configuration import Limits
from appliance.provisioning.devices import Caller, remember, replayed
from appliance.provisioning.limits import Refused
from appliance.provisioning.problems import RefusalError
from appliance.provisioning.proofs import Proof
from appliance.provisioning.quick import Transaction
from appliance.provisioning.schema import MINTS, REPORTS, SEEN_PROOFS

KEY_LIFE_S = 600
_ATTEMPTS_PER_KEY = 3
QUOTA = "quota_exceeded"
_TOLD_EVERY_MS = 60_000
_CHARGED = (
    "pending",
    "minted",
)  # a pending one may belong to a replica that died: it counts, once, until `abandoned` settles it


class Attempt(msgspec.Struct, frozen=True):
    """What a device asks for."""

    idempotency_key: str
    profile: str
    transport: str


class Opened(msgspec.Struct, frozen=True):
    """An attempt that is noted. With ``refused`` the device has used up what it may, and nothing was charged."""

    session_id: str
    sessions_left: int | None = None
    refused: Refused | None = None


_EARLIER = (
    select(MINTS.c.session_id, MINTS.c.profile, MINTS.c.transport, MINTS.c.outcome)
    .where(
        MINTS.c.device_id == bindparam("device_id"),
        MINTS.c.idempotency_key == bindparam("idempotency_key"),
        MINTS.c.at_ms > bindparam("since_ms"),
        MINTS.c.outcome != QUOTA,
    )
    .order_by(MINTS.c.at_ms)
)


_TOLD = (
    select(MINTS.c.jti_sha256)
    .where(MINTS.c.device_id == bindparam("device_id"), MINTS.c.at_ms > bindparam("since_ms"), MINTS.c.outcome == QUOTA)
    .limit(1)
)
_REMEMBERED = exists().where(SEEN_PROOFS.c.jti_sha256 == bindparam("jti_sha256"))


async def open_one(
    connection: Transaction, caller: Caller, limits: Limits, proof: Proof, attempt: Attempt, now_ms: int
) -> Opened:
    """Notes an attempt as pending and charges it, but for a repeated key, which is the earlier session again.

    Raises:
        RefusalError: replayed proof, or a key used for something else or too often.
    """
    key = {
        "device_id": caller.id,
        "idempotency_key": attempt.idempotency_key,
        "since_ms": now_ms - KEY_LIFE_S * 1000,
    }
    earlier = (await connection.execute(_EARLIER, key)).all()
    if any((seen.profile, seen.transport) != (attempt.profile, attempt.transport) for seen in earlier):
        raise _key_reused("for another request")
    if len(earlier) >= _ATTEMPTS_PER_KEY:
        raise _key_reused("too often")
    session_id = earlier[0].session_id if earlier else str(uuid.uuid4())
    allowance = caller.allowance
    if not any(seen.outcome in _CHARGED for seen in earlier):
        found = quota.charged(allowance, limits, now_ms)
        if isinstance(found, Refused):
            told = {"device_id": caller.id, "since_ms": now_ms - _TOLD_EVERY_MS}
            if (await connection.execute(_TOLD, told)).one_or_none() is None:
                await _note(connection, caller, proof, attempt, session_id, QUOTA, now_ms)
            else:
                await remember(connection, proof, now_ms)
            return Opened(session_id, refused=found)
        allowance = found
    await _note(connection, caller, proof, attempt, session_id, "pending", now_ms)
    if allowance is not caller.allowance:
        await quota.store(connection, caller.id, allowance)
    return Opened(session_id, quota.sessions_left(allowance, limits))


async def _note(
    connection: Transaction,
    caller: Caller,
    proof: Proof,
    attempt: Attempt,
    session_id: str,
    outcome: str,
    now_ms: int,
) -> None:
    row = {
        "jti_sha256": proof.jti_sha256,
        "session_id": session_id,
        "device_id": caller.id,
        "idempotency_key": attempt.idempotency_key,
        "profile": attempt.profile,
        "transport": attempt.transport,
        "at_ms": now_ms,
        "outcome": outcome,
    }
    if not await database.add(connection, MINTS, row, unless=_REMEMBERED):
        raise replayed()


def _key_reused(how: str) -> RefusalError:
    return RefusalError(422, "idempotency_key_reused", f"this Idempotency-Key was used {how}: make a new one")


_SETTLED = ("outcome", "latency_ms", "secret_sha256_prefix", "upstream_request_id")
_SETTLE = (
    update(MINTS)
    .where(MINTS.c.jti_sha256 == bindparam("of_proof"))
    .values({name: bindparam(name) for name in _SETTLED})
)


async def settle(
    connection: Transaction,
    proof: Proof,
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
    await connection.execute(_SETTLE, {"of_proof": proof.jti_sha256, **values})


_ALIVE = (
    select(MINTS.c.jti_sha256)
    .where(MINTS.c.session_id == bindparam("session_id"), or_(*(MINTS.c.outcome == outcome for outcome in _CHARGED)))
    .limit(1)
)


async def give_back(connection: Transaction, device_id: str, session_id: str, charged_ms: int) -> None:
    """Undoes the charge of a session that came to nothing, unless another attempt at it still may or did succeed."""
    await quota.lock(connection, device_id)
    if (await connection.execute(_ALIVE, {"session_id": session_id})).one_or_none() is None:
        await quota.give_back(connection, device_id, charged_ms)


_REPORTED = (
    select(MINTS.c.session_id)
    .where(MINTS.c.session_id == bindparam("session_id"), MINTS.c.device_id == bindparam("device_id"))
    .limit(1)
)


async def report(
    connection: Transaction,
    caller: Caller,
    session_id: str,
    *,
    duration_s: float,
    reason: str,
    usage: dict[str, Any],
    model: str,
    now_ms: int,
) -> None:
    """Stores how a session went, and counts its seconds; the first report of a session stands.

    Raises:
        RefusalError: ``unknown_session``: no session of this device.
    """
    reported = {"session_id": session_id, "device_id": caller.id}
    if (await connection.execute(_REPORTED, reported)).one_or_none() is None:
        raise RefusalError(404, "unknown_session", "this device has no such session")
    row = {
        "session_id": session_id,
        "device_id": caller.id,
        "at_ms": now_ms,
        "duration_s": duration_s,
        "reason": reason,
        "usage": usage,
        "model": model,
        "tokens": prices.tokens(usage),
        "cost_usd": prices.cost_usd(usage, model),
    }
    if await database.add(connection, REPORTS, row):
        await quota.add_seconds(connection, caller.id, caller.allowance, duration_s, now_ms)
