"""How a device becomes enrolled: pending authorizations and their spoken codes.

Responsible for: the table authorizations. Each function runs in the caller's transaction.
"""

from __future__ import annotations

import secrets as randomness

import msgspec
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from appliance.errors import ApplianceError, Secret
from appliance.provisioning import audit, database, devices, preregistrations, secrets, tokens
from appliance.provisioning.devices import Description
from appliance.provisioning.limits import CLOCKS_DIFFER_MS
from appliance.provisioning.problems import RefusalError
from appliance.provisioning.schema import AUTHORIZATIONS

LIFE_S = 600
INTERVAL_S = 5
_SLOW_DOWN_S = 5
_PENDING_AT_MOST = 1_000  # anybody may ask; this bounds what strangers can store
_SILENT_MS = 60_000  # a device that waits polls every few seconds, more rarely after each failure


_FORGET_SOME = database.forgetting(AUTHORIZATIONS.c.device_code_sha256, AUTHORIZATIONS.c.expires_ms, 100)


class Opened(msgspec.Struct, frozen=True):
    """A new authorization, as the device gets it."""

    device_code: Secret
    user_code: str


class Polled(msgspec.Struct, frozen=True):
    """What a poll came to: a token, or the OAuth error to answer once the transaction is committed."""

    device_id: str = ""
    profile: str = ""
    token: Secret | None = None
    error: str = ""


async def open_one(
    connection: AsyncConnection, thumbprint: str, description: Description, enrolment_token: str | None, now_ms: int
) -> Opened:
    """Starts an authorization for a key: approved at once with a good enrolment token or an imported key, else pending.

    Raises:
        RefusalError: ``invalid_grant`` (bad enrolment token), ``access_denied`` (revoked device),
            ``temporarily_unavailable`` (too many pending).
    """
    await connection.execute(delete(AUTHORIZATIONS).where(AUTHORIZATIONS.c.thumbprint == thumbprint))
    await connection.execute(_FORGET_SOME, {"before_ms": now_ms})
    approved = bool(enrolment_token)
    if enrolment_token:
        await _enrol_by_token(connection, thumbprint, description, enrolment_token, now_ms)
    elif not (approved := await _enrol_by_key(connection, thumbprint, description, now_ms)):
        await _check_room(connection, now_ms)
    device_code = secrets.make(secrets.DEVICE_CODE)
    row = {
        "device_code_sha256": secrets.digest(device_code),
        "thumbprint": thumbprint,
        "name": description.name,
        "hardware": description.hardware,
        "software": description.software,
        "status": "approved" if approved else "pending",
        "interval_s": INTERVAL_S,
        "created_ms": now_ms,
        "expires_ms": now_ms + LIFE_S * 1000,
    }
    while True:
        user_code = f"{randomness.randbelow(10**9):09d}"
        if await database.add(connection, AUTHORIZATIONS, {**row, "user_code": user_code}):
            return Opened(device_code=device_code, user_code=user_code)


async def _check_room(connection: AsyncConnection, now_ms: int) -> None:
    pending = (AUTHORIZATIONS.c.status == "pending") & (AUTHORIZATIONS.c.expires_ms >= now_ms)
    waiting = select(func.count()).select_from(AUTHORIZATIONS).where(pending)
    if (await connection.execute(waiting)).scalar_one() < _PENDING_AT_MOST:
        return
    # Who fills the room has to keep polling for each place: else strangers could lock the owner's devices out.
    silent = pending & (func.coalesce(AUTHORIZATIONS.c.polled_ms, AUTHORIZATIONS.c.created_ms) < now_ms - _SILENT_MS)
    gone = await connection.execute(delete(AUTHORIZATIONS).where(silent))
    if not gone.rowcount:
        raise RefusalError(503, "temporarily_unavailable", "too many devices are waiting", retry_after_s=60)


async def _enrol_by_token(
    connection: AsyncConnection, thumbprint: str, description: Description, enrolment_token: str, now_ms: int
) -> None:
    token = await tokens.find(connection, enrolment_token, now_ms)
    known = await devices.find(connection, thumbprint)
    if known is not None and (why := _only_by_code(known, thumbprint)):
        raise RefusalError(400, "access_denied", why)
    # A device that lost power before it stored its token comes back with a spent token: that is not a second use.
    if known is None or known.enrolment_token_id != token.id:
        await tokens.spend(connection, token)
    device_id = await devices.admit(
        connection, thumbprint, description, profile=token.profile, enrolment_token_id=token.id, now_ms=now_ms
    )
    await audit.note(connection, device_id, "enrolled", device_id, f"with token {token.id}", now_ms=now_ms)


def _only_by_code(known: devices.Device, thumbprint: str) -> str:
    """Why nothing but the owner's own word brings this device back; empty if something else does."""
    if known.status in ("revoked", "suspended"):
        return f"the owner has {known.status} this device"
    if known.thumbprint != thumbprint:
        return "this device has changed its key; the old one may be in other hands"
    return ""


async def _enrol_by_key(connection: AsyncConnection, thumbprint: str, description: Description, now_ms: int) -> bool:
    """Enrols a key that was imported before; not one that the owner has sent away since: that one needs a code."""
    known = await devices.find(connection, thumbprint)
    if known is not None and _only_by_code(known, thumbprint):
        return False
    entry = await preregistrations.use(connection, thumbprint, now_ms=now_ms)
    if entry is None:
        return False
    described = Description(
        name=entry.name or description.name, hardware=description.hardware, software=description.software
    )
    device_id = await devices.admit(
        connection, thumbprint, described, profile=entry.profile, enrolment_token_id=None, now_ms=now_ms
    )
    await audit.note(connection, device_id, "enrolled", device_id, "its key was imported", now_ms=now_ms)
    return True


async def poll(connection: AsyncConnection, device_code: str, thumbprint: str, now_ms: int) -> Polled:
    """Answers a poll of the token endpoint. Asking again after a lost answer gives a new token, beside the lost one.

    Raises:
        RefusalError: ``too_many_requests``: of the tokens a device may have in an hour none is left.
    """
    table = AUTHORIZATIONS
    by_code = table.c.device_code_sha256 == secrets.digest(device_code)
    row = (await connection.execute(select(table).where(by_code).with_for_update())).one_or_none()
    if row is None or row.thumbprint != thumbprint:
        return Polled(error="invalid_grant")
    if row.expires_ms < now_ms:
        return Polled(error="expired_token")
    if row.status == "denied":
        return Polled(error="access_denied")
    if row.status == "pending":
        # Half a second of grace: networks jitter, and a device that keeps the interval must not be told off.
        early = row.polled_ms is not None and now_ms - row.polled_ms < row.interval_s * 1000 - 500
        interval_s = row.interval_s + (_SLOW_DOWN_S if early else 0)
        await connection.execute(update(table).where(by_code).values(polled_ms=now_ms, interval_s=interval_s))
        return Polled(error="slow_down" if early else "authorization_pending")
    device = await devices.find(connection, thumbprint)
    if device is None or device.status != "active" or device.thumbprint != thumbprint:
        return Polled(error="access_denied")
    # Not those of this very code: this poll may be one that was long on its way, after which the device polled again.
    token = await devices.issue_token(
        connection, device.id, thumbprint, now_ms, begun_ms=row.created_ms - CLOCKS_DIFFER_MS
    )
    return Polled(device_id=device.id, profile=device.profile, token=token)


class Waiting(msgspec.Struct, frozen=True):
    """A device that waits for its owner's word, by what it says of itself."""

    user_code: str
    thumbprint: str
    name: str
    hardware: str
    software: str
    expires_ms: int


async def waiting(connection: AsyncConnection, code: str, now_ms: int) -> Waiting | None:
    """Who waits with a spoken code, dashes and spaces allowed; locked until the transaction ends."""
    columns = [AUTHORIZATIONS.c[name] for name in Waiting.__struct_fields__]
    query = select(*columns).where(_waits_with(code, now_ms)).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Waiting(**row._asdict())


async def deny(connection: AsyncConnection, code: str, *, actor: str, now_ms: int) -> str:
    """The owner's no to a spoken code; returns the id the device would have had. It may ask again, with a new code.

    Raises:
        ApplianceError: no such code is waiting.
    """
    found = await _settle(connection, code, "denied", now_ms)
    device_id = devices.id_of(found.thumbprint)
    await audit.note(connection, actor, "deny", device_id, f"it called itself {found.name}", now_ms=now_ms)
    return device_id


async def approve(connection: AsyncConnection, code: str, profile: str, *, actor: str, now_ms: int) -> str:
    """The owner's yes to a spoken code, dashes and spaces allowed; returns the device id. Readmits a revoked device.

    The caller has checked that there is such a profile.

    Raises:
        ApplianceError: no such code is waiting.
    """
    found = await _settle(connection, code, "approved", now_ms)
    description = Description(name=found.name, hardware=found.hardware, software=found.software)
    device_id = await devices.admit(
        connection, found.thumbprint, description, profile=profile, enrolment_token_id=None, now_ms=now_ms
    )
    await audit.note(connection, actor, "approve", device_id, f"profile {profile}", now_ms=now_ms)
    return device_id


async def _settle(connection: AsyncConnection, code: str, status: str, now_ms: int) -> Waiting:
    found = await waiting(connection, code, now_ms)
    if found is None:
        nine = sum(character in "0123456789" for character in code) == 9
        hint = "codes live ten minutes: let the device say a new one" if nine else "a code has nine digits"
        raise ApplianceError(f"no device waits with the code {code[:32]}", hint=hint)
    await connection.execute(update(AUTHORIZATIONS).where(_waits_with(code, now_ms)).values(status=status))
    return found


def _waits_with(code: str, now_ms: int) -> ColumnElement[bool]:
    table = AUTHORIZATIONS
    digits = "".join(character for character in code if character in "0123456789")
    return (table.c.user_code == digits) & (table.c.status == "pending") & (table.c.expires_ms >= now_ms)
