"""The fleet: who is enrolled, with which token, and who is not any more.

Responsible for: the tables devices, access_tokens, seen_proofs. Each function runs in the caller's transaction.
"""

from __future__ import annotations

import base64

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.errors import ApplianceError, Secret
from appliance.provisioning import secrets
from appliance.provisioning.nonces import WINDOW_S
from appliance.provisioning.problems import RefusalError
from appliance.provisioning.proofs import Proof
from appliance.provisioning.schema import ACCESS_TOKENS, DEVICES, SEEN_PROOFS


class Description(msgspec.Struct, frozen=True):
    """What a device says of itself; shown to the owner, trusted by nobody."""

    name: str
    hardware: str
    software: str


class Device(msgspec.Struct, frozen=True):
    """An enrolled device."""

    id: str
    profile: str
    status: str


def id_of(thumbprint: str) -> str:
    """The device id that belongs to a key."""
    raw = base64.urlsafe_b64decode(thumbprint + "=")
    return "d_" + base64.b32encode(raw).decode().lower()[:20]


async def remember(connection: AsyncConnection, proof: Proof, now_ms: int) -> None:
    """Notes that this proof was used.

    Raises:
        RefusalError: it was used before.
    """
    await connection.execute(delete(SEEN_PROOFS).where(SEEN_PROOFS.c.expires_ms < now_ms))
    row = {"jti_sha256": proof.jti_sha256, "expires_ms": now_ms + 2 * WINDOW_S * 1000}
    try:
        await connection.execute(insert(SEEN_PROOFS).values(row))
    except IntegrityError:
        raise replayed() from None


def replayed() -> RefusalError:
    """The refusal of a proof seen before."""
    return RefusalError(401, "invalid_dpop_proof", "this proof was used before")


async def admit(
    connection: AsyncConnection,
    thumbprint: str,
    description: Description,
    *,
    profile: str,
    enrolment_token_id: str | None,
    now_ms: int,
) -> str:
    """Makes the key's device active, new or again; returns its id."""
    device_id = id_of(thumbprint)
    values = {
        "name": description.name,
        "hardware": description.hardware,
        "software": description.software,
        "profile": profile,
        "status": "active",
        "enrolment_token_id": enrolment_token_id,
        "changed_ms": now_ms,
    }
    changed = await connection.execute(update(DEVICES).where(DEVICES.c.id == device_id).values(values))
    if changed.rowcount == 0:
        new = {**values, "id": device_id, "thumbprint": thumbprint, "created_ms": now_ms}
        await connection.execute(insert(DEVICES).values(new))
    return device_id


async def issue_token(connection: AsyncConnection, device_id: str, thumbprint: str, now_ms: int) -> Secret:
    """A new access token bound to the key; earlier ones of the device end with it."""
    await _end_tokens(connection, device_id, now_ms)
    token = secrets.make(secrets.ACCESS)
    row = {
        "token_sha256": secrets.digest(token),
        "device_id": device_id,
        "thumbprint": thumbprint,
        "created_ms": now_ms,
    }
    await connection.execute(insert(ACCESS_TOKENS).values(row))
    return token


async def authenticate(connection: AsyncConnection, token: str, proof: Proof) -> Device:
    """The device behind a token and a proof.

    Raises:
        RefusalError: ``invalid_token`` (unknown, ended, or bound to another key), ``device_suspended``.
    """
    query = (
        select(DEVICES.c.id, DEVICES.c.profile, DEVICES.c.status)
        .join(ACCESS_TOKENS, ACCESS_TOKENS.c.device_id == DEVICES.c.id)
        .where(
            ACCESS_TOKENS.c.token_sha256 == secrets.digest(token),
            ACCESS_TOKENS.c.thumbprint == proof.thumbprint,
            ACCESS_TOKENS.c.revoked_ms.is_(None),
        )
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None or row.status in ("revoked", "removed"):
        raise RefusalError(401, "invalid_token", "the token is unknown, revoked or bound to another key")
    if row.status != "active":
        raise RefusalError(403, "device_suspended", "the owner has suspended this device")
    return Device(id=row.id, profile=row.profile, status=row.status)


async def remove(connection: AsyncConnection, token: str, proof: Proof, now_ms: int) -> None:
    """A device's own farewell (RFC 7009). An unknown token is fine: it is gone either way.

    Raises:
        RefusalError: the token belongs to another key.
    """
    query = select(ACCESS_TOKENS.c.device_id, ACCESS_TOKENS.c.thumbprint).where(
        ACCESS_TOKENS.c.token_sha256 == secrets.digest(token)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return
    if row.thumbprint != proof.thumbprint:
        raise RefusalError(400, "invalid_grant", "the token is bound to another key")
    await _end_tokens(connection, row.device_id, now_ms)
    # What the owner revoked or suspended stays so: a farewell must not be a way back.
    still_active = (DEVICES.c.id == row.device_id) & (DEVICES.c.status == "active")
    await connection.execute(update(DEVICES).where(still_active).values(status="removed", changed_ms=now_ms))


async def set_status(connection: AsyncConnection, device_id: str, status: str, now_ms: int) -> None:
    """The owner's word on a device: ``revoked`` ends its tokens too.

    Raises:
        ApplianceError: no such device, or not in a state that allows this.
    """
    found = (await connection.execute(select(DEVICES.c.status).where(DEVICES.c.id == device_id))).scalar_one_or_none()
    if found is None:
        raise ApplianceError(f"there is no device {device_id}", hint="`devices list` shows them")
    if status != "revoked" and found not in ("active", "suspended"):
        raise ApplianceError(f"device {device_id} is {found}", hint="it has to enrol again")
    if status == "revoked":
        await _end_tokens(connection, device_id, now_ms)
    await connection.execute(update(DEVICES).where(DEVICES.c.id == device_id).values(status=status, changed_ms=now_ms))


async def _end_tokens(connection: AsyncConnection, device_id: str, now_ms: int) -> None:
    living = (ACCESS_TOKENS.c.device_id == device_id) & ACCESS_TOKENS.c.revoked_ms.is_(None)
    await connection.execute(update(ACCESS_TOKENS).where(living).values(revoked_ms=now_ms))
