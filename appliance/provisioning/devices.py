"""Devices as they come and go by themselves: admitted, with a token, recognised by it, gone.

Responsible for: the tables devices, access_tokens, seen_proofs. Each function runs in the caller's transaction. Not
for: the owner's side (``fleet``), limits (``limits``).
"""

from __future__ import annotations

import base64

import msgspec
from sqlalchemy import ColumnElement, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.errors import Secret
from appliance.provisioning import audit, database, manners, preregistrations, secrets
from appliance.provisioning.limits import CLOCKS_DIFFER_MS, Allowance
from appliance.provisioning.nonces import WINDOW_S
from appliance.provisioning.problems import RefusalError
from appliance.provisioning.proofs import Proof
from appliance.provisioning.quick import Transaction
from appliance.provisioning.schema import ACCESS_TOKENS, ALLOWANCES, DEVICES, SEEN_PROOFS

# The allowance first, in every request: two that took their locks in another order could wait for each other.
_AUTHENTICATE = (
    select(
        DEVICES.c.id,
        DEVICES.c.profile,
        DEVICES.c.status,
        DEVICES.c.thumbprint,
        DEVICES.c.last_seen_ms,
        ALLOWANCES.c.tokens,
        ALLOWANCES.c.filled_ms,
        ALLOWANCES.c.day,
        ALLOWANCES.c.sessions,
        ALLOWANCES.c.seconds,
    )
    .join(ACCESS_TOKENS, ACCESS_TOKENS.c.device_id == DEVICES.c.id)
    .join(ALLOWANCES, ALLOWANCES.c.device_id == DEVICES.c.id)
    .where(
        ACCESS_TOKENS.c.token_sha256 == bindparam("digest"),
        ACCESS_TOKENS.c.thumbprint == bindparam("thumbprint"),
        ACCESS_TOKENS.c.revoked_ms.is_(None),
    )
    .with_for_update(of=ALLOWANCES)
)
_SEEN = update(DEVICES).where(DEVICES.c.id == bindparam("of_device")).values(last_seen_ms=bindparam("last_seen_ms"))
TOKENS_AN_HOUR = 30  # by enrolling and by changing its key
_HOUR_MS = 3_600_000
_OFFERS_AT_MOST = 4
_SEEN_EVERY_MS = 60_000  # a second UPDATE per session, for a list that people read, is not worth more


class Description(msgspec.Struct, frozen=True):
    """What a device says of itself; shown to the owner, trusted by nobody."""

    name: str
    hardware: str
    software: str


class Device(msgspec.Struct, frozen=True):
    """A device that is or was enrolled."""

    id: str
    profile: str
    status: str
    thumbprint: str
    enrolment_token_id: str | None = None


class Caller(msgspec.Struct, frozen=True):
    """A device that has shown who it is, and what it has used. Its allowance is locked until the transaction ends."""

    id: str
    profile: str
    allowance: Allowance


def id_of(thumbprint: str) -> str:
    """The device id that belongs to a key, the device's first."""
    raw = base64.urlsafe_b64decode(thumbprint + "=")
    return "d_" + base64.b32encode(raw).decode().lower()[:20]


def of_key(thumbprint: str) -> ColumnElement[bool]:
    """The condition that a row of devices belongs to a key: its present one, or the one its id was made of."""
    return (DEVICES.c.thumbprint == thumbprint) | (DEVICES.c.id == id_of(thumbprint))


async def find(connection: Transaction, thumbprint: str) -> Device | None:
    """The device of a key, locked until the transaction ends."""
    columns = (DEVICES.c[name] for name in Device.__struct_fields__)
    exact_first = (DEVICES.c.thumbprint == thumbprint).desc()
    query = select(*columns).where(of_key(thumbprint)).order_by(exact_first).limit(1).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Device(**row._asdict())


_FORGET_SOME = database.forgetting(SEEN_PROOFS.c.jti_sha256, SEEN_PROOFS.c.expires_ms, 100)


async def remember(connection: Transaction, proof: Proof, now_ms: int) -> None:
    """Notes that this proof was used.

    Raises:
        RefusalError: it was used before.
    """
    await connection.execute(_FORGET_SOME, {"before_ms": now_ms})
    row = {"jti_sha256": proof.jti_sha256, "expires_ms": now_ms + 2 * WINDOW_S * 1000}
    if not await database.add(connection, SEEN_PROOFS, row):
        raise replayed()


def replayed() -> RefusalError:
    """The refusal of a proof seen before."""
    return RefusalError(401, "invalid_dpop_proof", "this proof was used before")


async def admit(
    connection: Transaction,
    thumbprint: str,
    description: Description,
    *,
    profile: str,
    enrolment_token_id: str | None,
    now_ms: int,
) -> str:
    """Makes the key's device active, new or again; returns its id."""
    known = await find(connection, thumbprint)
    device_id = known.id if known else id_of(thumbprint)
    values = {
        "thumbprint": thumbprint,
        "name": description.name,
        "hardware": description.hardware,
        "software": description.software,
        "profile": profile,
        "status": "active",
        "enrolment_token_id": enrolment_token_id,
        "changed_ms": now_ms,
    }
    row = {**values, "id": device_id, "created_ms": now_ms}
    insertion = database.insert(connection, DEVICES).values(row)
    await connection.execute(insertion.on_conflict_do_update(index_elements=["id"], set_=values))
    # Filled to the brim by the first mint: since 1970 any bucket has filled up.
    allowance = {"device_id": device_id, "tokens": 0.0, "filled_ms": 0, "day": 0, "sessions": 0, "seconds": 0.0}
    await database.add(connection, ALLOWANCES, allowance)
    return device_id


async def issue_token(
    connection: Transaction, device_id: str, thumbprint: str, now_ms: int, *, begun_ms: int = 0
) -> Secret:
    """A new access token bound to the key; those of the device from before ``begun_ms`` end with it.

    Raises:
        RefusalError: ``too_many_requests``.
    """
    await check_not_too_many(connection, device_id, now_ms)
    await end_tokens(connection, device_id, now_ms, before_ms=begun_ms)
    return await add_token(connection, device_id, thumbprint, now_ms)


async def check_not_too_many(connection: Transaction, device_id: str, now_ms: int) -> None:
    """Passes a device that may have one more token: each is a row that is kept for as long as the past is.

    Raises:
        RefusalError: ``too_many_requests``; Retry-After is when it may.
    """
    since_ms = now_ms - _HOUR_MS
    lately = ACCESS_TOKENS.c.created_ms.between(
        since_ms + 1, now_ms + CLOCKS_DIFFER_MS
    )  # a clock set back is no reason
    made = select(ACCESS_TOKENS.c.created_ms).where(ACCESS_TOKENS.c.device_id == device_id, lately)
    nth = made.order_by(ACCESS_TOKENS.c.created_ms.desc()).offset(TOKENS_AN_HOUR - 1).limit(1)
    first = (await connection.execute(nth)).one_or_none()
    if first is not None:
        raise manners.too_many(first.created_ms - since_ms)


async def add_token(connection: Transaction, device_id: str, thumbprint: str, now_ms: int) -> Secret:
    """A new access token bound to the key, beside those the device has."""
    token = secrets.make(secrets.ACCESS)
    row = {
        "token_sha256": secrets.digest(token),
        "device_id": device_id,
        "thumbprint": thumbprint,
        "created_ms": now_ms,
    }
    await connection.execute(ACCESS_TOKENS.insert().values(row))
    return token


async def authenticate(connection: Transaction, token: str, proof: Proof, now_ms: int) -> Caller:
    """The device behind a token and a proof. The first use of a new key's token ends the old key.

    Raises:
        RefusalError: ``invalid_token`` (unknown, ended, or bound to another key), ``device_suspended``.
    """
    named = {"digest": secrets.digest(token), "thumbprint": proof.thumbprint}
    row = (await connection.execute(_AUTHENTICATE, named)).one_or_none()
    if row is None or row.status in ("revoked", "removed"):
        raise RefusalError(401, "invalid_token", "the token is unknown, revoked or bound to another key")
    if row.status != "active":
        raise RefusalError(403, "device_suspended", "the owner has suspended this device")
    if row.thumbprint != proof.thumbprint:
        await _change_key(connection, row.id, row.thumbprint, token, proof, now_ms)
    if row.last_seen_ms is None or abs(now_ms - row.last_seen_ms) >= _SEEN_EVERY_MS:
        await connection.execute(_SEEN, {"of_device": row.id, "last_seen_ms": now_ms})
    allowance = Allowance(row.tokens, row.filled_ms, row.day, row.sessions, row.seconds)
    return Caller(id=row.id, profile=row.profile, allowance=allowance)


async def _change_key(
    connection: Transaction, device_id: str, old_thumbprint: str, token: str, proof: Proof, now_ms: int
) -> None:
    await _check_still_good(connection, token)
    theirs = await find(connection, proof.thumbprint)
    if theirs is not None and theirs.id != device_id:
        raise RefusalError(401, "invalid_token", "the key has become another device's meanwhile")
    values = {"thumbprint": proof.thumbprint, "changed_ms": now_ms}
    await connection.execute(update(DEVICES).where(DEVICES.c.id == device_id).values(values))
    await preregistrations.hand_over(connection, old_thumbprint, proof.thumbprint)
    await end_tokens(connection, device_id, now_ms, keep=token)
    await audit.note(connection, device_id, "key changed", device_id, "the new key was used", now_ms=now_ms)


async def _check_still_good(connection: Transaction, token: str) -> None:
    """Looks at a token once more, now that no other request of its device's can end it.

    PostgreSQL read it before it waited for the allowance; whoever we waited for may have changed the key.

    Raises:
        RefusalError: ``invalid_token``.
    """
    query = select(ACCESS_TOKENS.c.revoked_ms, DEVICES.c.status).join(DEVICES)
    digest = ACCESS_TOKENS.c.token_sha256 == secrets.digest(token)
    row = (await connection.execute(query.where(digest).with_for_update(of=DEVICES))).one_or_none()
    if row is None or row.revoked_ms is not None or row.status != "active":
        raise RefusalError(401, "invalid_token", "the token has ended meanwhile")


async def offer_key(
    connection: AsyncConnection, caller: Caller, token: str, old_thumbprint: str, new_thumbprint: str, now_ms: int
) -> Secret:
    """A token for a new key beside the old one's. The first of the offered keys that is used ends all others.

    An earlier offer stays: this request may be an old one that was long on its way, while the device has stored the
    key of a later one and forgotten the present key.

    Raises:
        RefusalError: ``invalid_dpop_proof``: the key is another device's; ``invalid_token``, ``too_many_requests``.
    """
    await _check_still_good(connection, token)
    theirs = await find(connection, new_thumbprint)
    if theirs is not None and theirs.id != caller.id:
        raise RefusalError(400, "invalid_dpop_proof", "the new key cannot be used")
    await check_not_too_many(connection, caller.id, now_ms)
    living = (ACCESS_TOKENS.c.device_id == caller.id) & ACCESS_TOKENS.c.revoked_ms.is_(None)
    offers = select(ACCESS_TOKENS.c.token_sha256).where(living, ACCESS_TOKENS.c.thumbprint != old_thumbprint)
    forgotten = offers.order_by(ACCESS_TOKENS.c.created_ms.desc()).offset(_OFFERS_AT_MOST - 1)
    ended = [row.token_sha256 for row in await connection.execute(forgotten)]
    if ended:
        named = ACCESS_TOKENS.c.token_sha256.in_(ended)
        await connection.execute(update(ACCESS_TOKENS).where(named).values(revoked_ms=now_ms))
    return await add_token(connection, caller.id, new_thumbprint, now_ms)


async def remove(connection: Transaction, token: str, proof: Proof, now_ms: int) -> None:
    """A device's own farewell (RFC 7009). An unknown token is fine: it is gone either way.

    Raises:
        RefusalError: the token belongs to another key.
    """
    ended, present = ACCESS_TOKENS.c.revoked_ms, DEVICES.c.thumbprint.label("present")
    query = select(ACCESS_TOKENS.c.device_id, ACCESS_TOKENS.c.thumbprint, ended, present).join(DEVICES)
    row = (await connection.execute(query.where(ACCESS_TOKENS.c.token_sha256 == secrets.digest(token)))).one_or_none()
    if row is None:
        return
    if row.thumbprint != proof.thumbprint:
        raise RefusalError(400, "invalid_grant", "the token is bound to another key")
    if row.revoked_ms is not None and row.thumbprint != row.present:
        return  # of a key that was changed since, and may be in other hands
    await end_tokens(connection, row.device_id, now_ms)
    # What the owner revoked or suspended stays so: a farewell must not be a way back.
    still_active = (DEVICES.c.id == row.device_id) & (DEVICES.c.status == "active")
    gone = await connection.execute(update(DEVICES).where(still_active).values(status="removed", changed_ms=now_ms))
    if gone.rowcount:
        await audit.note(connection, row.device_id, "farewell", row.device_id, now_ms=now_ms)


async def end_tokens(
    connection: Transaction, device_id: str, now_ms: int, *, keep: str = "", before_ms: int = 0
) -> None:
    """No token of the device is good any more, but for the one to keep; with ``before_ms`` only those made before."""
    living = (ACCESS_TOKENS.c.device_id == device_id) & ACCESS_TOKENS.c.revoked_ms.is_(None)
    if before_ms:
        living &= ACCESS_TOKENS.c.created_ms < before_ms
    if keep:
        living &= ACCESS_TOKENS.c.token_sha256 != secrets.digest(keep)
    await connection.execute(update(ACCESS_TOKENS).where(living).values(revoked_ms=now_ms))
