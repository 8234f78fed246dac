"""Stored profiles, beside those of ``server.toml``, which cannot be changed here and win.

Responsible for: the table profiles. Each function runs in the caller's transaction.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.errors import ApplianceError, ConfigError
from appliance.provisioning import audit, configuration, database
from appliance.provisioning.configuration import Profile, StoredProfile
from appliance.provisioning.schema import DEVICES, ENROLMENT_TOKENS, PREREGISTRATIONS, PROFILES
from appliance.provisioning.settings import Settings


class Listed(msgspec.Struct, frozen=True):
    """A profile by its name; ``stored`` is None for one of ``server.toml``, ``fault`` says why one cannot be used."""

    name: str
    profile: Profile | None
    stored: StoredProfile | None = None
    version: int = 0
    changed_ms: int | None = None
    fault: str = ""


async def listed(connection: AsyncConnection, settings: Settings) -> list[Listed]:
    """All profiles by name. A stored one whose upstream has left ``server.toml`` is listed with its fault."""
    found = {name: Listed(name=name, profile=profile) for name, profile in settings.profiles.items()}
    for row in await connection.execute(select(PROFILES)):
        if row.name not in found:
            found[row.name] = _read(settings, row)
    return [found[name] for name in sorted(found)]


async def get(connection: AsyncConnection, settings: Settings, name: str) -> Listed | None:
    """One profile by its name, None if there is none."""
    if name in settings.profiles:
        return Listed(name=name, profile=settings.profiles[name])
    row = (await connection.execute(select(PROFILES).where(PROFILES.c.name == name))).one_or_none()
    return None if row is None else _read(settings, row)


def _read(settings: Settings, row: Any) -> Listed:
    stored, profile, fault = None, None, ""
    try:
        stored = msgspec.convert(row.content, StoredProfile)
        profile = configuration.from_stored(f"profile {row.name}", stored, settings.sources)
    except msgspec.ValidationError as error:
        fault = f"profile {row.name}: {error}"
    except ConfigError as error:
        fault = str(error)
    return Listed(
        name=row.name, profile=profile, stored=stored, version=row.version, changed_ms=row.changed_ms, fault=fault
    )


async def check_known(connection: AsyncConnection, settings: Settings, name: str) -> None:
    """Passes the name of a profile that a device could use.

    Raises:
        ConfigError: there is none of this name, or it cannot be used.
    """
    found = await get(connection, settings, name)
    if found is None:
        known = ", ".join(item.name for item in await listed(connection, settings))
        raise ConfigError(f"there is no profile {name[:64]}", hint=f"there are: {known}")
    if found.profile is None:
        raise ConfigError(found.fault, hint="correct it with `profiles set`")


def parse(content: bytes | dict[str, Any]) -> StoredProfile:
    """A stored profile from JSON or its parts.

    Raises:
        ConfigError: it has another form; names the member.
    """
    try:
        if isinstance(content, bytes):
            return msgspec.json.decode(content, type=StoredProfile)
        return msgspec.convert(content, StoredProfile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the profile cannot be read: {error}", hint="`profiles show NAME` shows the form") from None


async def put(
    connection: AsyncConnection, settings: Settings, name: str, content: StoredProfile, *, actor: str, now_ms: int
) -> int:
    """Stores a profile, new or changed; returns its version. Devices get it within seconds, running sessions never.

    Raises:
        ConfigError: the name is taken by ``server.toml`` or cannot be one, or the content cannot be used.
    """
    configuration.check_name("profiles", name)
    if name in settings.profiles:
        raise ConfigError(f"profile {name} stands in server.toml", hint="edit it there, or choose another name")
    configuration.from_stored(f"profile {name}", content, settings.sources)
    table = PROFILES
    row = {"name": name, "content": msgspec.to_builtins(content), "version": 1, "changed_ms": now_ms}
    changed = {"content": row["content"], "version": table.c.version + 1, "changed_ms": now_ms}
    insertion = database.insert(connection, table).values(row)
    await connection.execute(insertion.on_conflict_do_update(index_elements=["name"], set_=changed))
    version = (await connection.execute(select(table.c.version).where(table.c.name == name))).scalar_one()
    detail = f"version {version}: {content.model} at {content.upstream}"
    await audit.note(connection, actor, "profile changed", name, detail, now_ms=now_ms)
    return int(version)


async def remove(connection: AsyncConnection, settings: Settings, name: str, *, actor: str, now_ms: int) -> None:
    """Deletes a stored profile that no device uses, and none would get by a token or an imported key.

    Raises:
        ApplianceError: of ``server.toml``, unknown, or in use.
    """
    if name in settings.profiles:
        raise ConfigError(f"profile {name} stands in server.toml", hint="delete it there")
    using = select(func.count()).select_from(DEVICES).where(DEVICES.c.profile == name, DEVICES.c.status != "removed")
    if used := (await connection.execute(using)).scalar_one():
        raise ApplianceError(f"{used} device(s) use profile {name[:64]}", hint="give them another one first")
    if coming := await _promised(connection, name, now_ms):
        hint = "revoke the tokens (`tokens list`), take the keys off (`devices imported`), or keep it"
        raise ApplianceError(f"profile {name[:64]} is what {coming} would give a device", hint=hint)
    if (await connection.execute(delete(PROFILES).where(PROFILES.c.name == name))).rowcount == 0:
        raise ApplianceError(f"there is no stored profile {name[:64]}", hint="`profiles list` shows them")
    await audit.note(connection, actor, "profile deleted", name, now_ms=now_ms)


async def _promised(connection: AsyncConnection, name: str, now_ms: int) -> str:
    tokens, keys = ENROLMENT_TOKENS, PREREGISTRATIONS
    usable = tokens.c.revoked_ms.is_(None) & (tokens.c.uses_left > 0) & (tokens.c.expires_ms >= now_ms)
    found = []
    for what, table, coming in (("token(s)", tokens, usable), ("imported key(s)", keys, keys.c.used_ms.is_(None))):
        query = select(func.count()).select_from(table).where(table.c.profile == name, coming)
        if count := (await connection.execute(query)).scalar_one():
            found.append(f"{count} {what}")
    return " and ".join(found)
