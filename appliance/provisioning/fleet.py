"""The fleet as its owner sees and steers it: list, rename, suspend, resume, revoke, another profile.

Responsible for: the owner's side of the table devices. Not for: what devices do themselves (``devices``).
"""

from __future__ import annotations

import msgspec
from sqlalchemy import func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.errors import ApplianceError, ConfigError
from appliance.provisioning import audit, devices
from appliance.provisioning.schema import DEVICES

# What the owner may say: status it leads to, statuses it is possible in.
_WORDS = {
    "suspend": ("suspended", ("active", "suspended")),
    "resume": ("active", ("active", "suspended")),
    "revoke": ("revoked", ("active", "suspended", "removed", "revoked")),
}
_NAME_AT_MOST = 64


class Listed(msgspec.Struct, frozen=True):
    """An enrolled device as lists show it; ``last_seen_ms`` is to the minute, None if it never asked for a session."""

    id: str
    name: str
    status: str
    profile: str
    hardware: str
    software: str
    enrolment_token_id: str | None
    created_ms: int
    changed_ms: int
    last_seen_ms: int | None


_COLUMNS = [DEVICES.c[name] for name in Listed.__struct_fields__]


async def listed(connection: AsyncConnection, *, after_id: str = "", at_most: int = 1_000_000) -> list[Listed]:
    """The devices by id; ``after_id`` continues where a list ended."""
    query = select(*_COLUMNS).where(DEVICES.c.id > after_id).order_by(DEVICES.c.id).limit(at_most)
    return [Listed(**row._asdict()) for row in await connection.execute(query)]


async def found(
    connection: AsyncConnection, *, text: str = "", status: str = "", after_id: str = "", at_most: int = 50
) -> list[Listed]:
    """Devices by name, those that show the text anywhere; ``after_id`` continues where a list ended."""
    by_name = (func.lower(DEVICES.c.name), DEVICES.c.id)
    query = select(*_COLUMNS).order_by(*by_name).limit(at_most)
    if text:
        looked_at = (DEVICES.c.name, DEVICES.c.id, DEVICES.c.hardware, DEVICES.c.software, DEVICES.c.profile)
        query = query.where(or_(*(column.icontains(text, autoescape=True) for column in looked_at)))
    if status:
        query = query.where(DEVICES.c.status == status)
    if after_id:
        last = (await connection.execute(select(*by_name).where(DEVICES.c.id == after_id))).one_or_none()
        if last is None:
            return []
        query = query.where(tuple_(*by_name) > tuple(last))
    return [Listed(**row._asdict()) for row in await connection.execute(query)]


async def counted(connection: AsyncConnection) -> dict[str, int]:
    """How many devices there are of each status."""
    query = select(DEVICES.c.status, func.count().label("devices")).group_by(DEVICES.c.status)
    return {row.status: row.devices for row in await connection.execute(query)}


async def get(connection: AsyncConnection, device_id: str) -> Listed:
    """One device.

    Raises:
        ApplianceError: there is none of this id.
    """
    row = (await connection.execute(select(*_COLUMNS).where(DEVICES.c.id == device_id))).one_or_none()
    if row is None:
        raise _unknown(device_id)
    return Listed(**row._asdict())


async def rename(connection: AsyncConnection, device_id: str, name: str, *, actor: str, now_ms: int) -> None:
    """Another name for a device; it holds until the device enrols again.

    Raises:
        ApplianceError: no such device, or a name that cannot be shown.
    """
    if not name.strip() or len(name) > _NAME_AT_MOST or not name.isprintable():
        raise ConfigError(f"the name {name[:_NAME_AT_MOST]!r}", hint="1 to 64 printable characters")
    await _change(connection, device_id, {"name": name}, now_ms)
    await audit.note(connection, actor, "rename", device_id, f"now {name}", now_ms=now_ms)


async def set_profile(connection: AsyncConnection, device_id: str, profile: str, *, actor: str, now_ms: int) -> None:
    """Another profile, from the device's next session on. The caller has checked that there is one of this name.

    Raises:
        ApplianceError: no such device.
    """
    await _change(connection, device_id, {"profile": profile}, now_ms)
    await audit.note(connection, actor, "profile given", device_id, profile, now_ms=now_ms)


async def set_status(connection: AsyncConnection, device_id: str, word: str, *, actor: str, now_ms: int) -> str:
    """The owner's word on a device, ``suspend``, ``resume`` or ``revoke``; returns its status. Holds at once.

    Raises:
        ApplianceError: no such device, or not in a state that allows this.
    """
    status, possible = _WORDS[word]
    by_id = select(DEVICES.c.status).where(DEVICES.c.id == device_id).with_for_update()
    found = (await connection.execute(by_id)).scalar_one_or_none()
    if found is None:
        raise _unknown(device_id)
    if found not in possible:
        raise ApplianceError(f"device {device_id} is {found}", hint="it has to enrol again")
    if status == "revoked":
        await devices.end_tokens(connection, device_id, now_ms)
    await _change(connection, device_id, {"status": status}, now_ms)
    await audit.note(connection, actor, word, device_id, now_ms=now_ms)
    return status


async def _change(connection: AsyncConnection, device_id: str, values: dict[str, str], now_ms: int) -> None:
    changed = await connection.execute(
        update(DEVICES).where(DEVICES.c.id == device_id).values({**values, "changed_ms": now_ms})
    )
    if changed.rowcount == 0:
        raise _unknown(device_id)


def _unknown(device_id: str) -> ApplianceError:
    return ApplianceError(f"there is no device {device_id[:64]}", hint="`devices list` shows them")
