"""The owner's commands on the database: approve, devices, tokens. They work while the service runs.

Responsible for: one transaction each, and tables for people. Not for: rules (``authorizations``, ``devices``).
"""

from __future__ import annotations

import argparse
import datetime as dt
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.errors import ConfigError, StateError
from appliance.provisioning import authorizations, database, devices, settings
from appliance.provisioning.schema import DEVICES, ENROLMENT_TOKENS, MINTS, REVISION

_Command = Callable[[argparse.Namespace, AsyncConnection, int], Awaitable[str]]
_STATUS = {"revoke": "revoked", "suspend": "suspended", "resume": "active"}


async def run(parsed: argparse.Namespace, data: Path) -> str:
    """Runs one command; returns what to print.

    Raises:
        ApplianceError: with the remedy.
    """
    configured = settings.load(data)
    profile = getattr(parsed, "profile", "default")
    if profile not in configured.profiles:
        known = ", ".join(sorted(configured.profiles))
        raise ConfigError(f"there is no profile {profile}", hint=f"server.toml has: {known}")
    command = _COMMANDS[parsed.command, getattr(parsed, "action", "")]
    engine = database.connect(configured.database)
    try:
        async with engine.begin() as connection:
            if await database.version(connection) != REVISION:
                raise StateError("the database is not up to date", hint="run init again: it upgrades")
            return await command(parsed, connection, int(time.time() * 1000))
    except OperationalError as error:
        raise StateError(
            f"the database {configured.database} does not answer", hint=f"type: voice-provisioning doctor --data {data}"
        ) from error
    finally:
        await engine.dispose()


async def _approve(parsed: argparse.Namespace, connection: AsyncConnection, now_ms: int) -> str:
    device_id = await authorizations.approve(connection, parsed.code, parsed.profile, now_ms)
    return f"enrolled {device_id}: it notices at its next poll, within {authorizations.INTERVAL_S} s"


async def _create_token(parsed: argparse.Namespace, connection: AsyncConnection, now_ms: int) -> str:
    if parsed.uses < 1 or not 1 <= parsed.expires_s <= 10 * 365 * 86_400:
        raise ConfigError("--uses and --expires-s must be at least 1", hint="and an expiry at most ten years away")
    token = await authorizations.create_token(
        connection, uses=parsed.uses, expires_s=parsed.expires_s, profile=parsed.profile, now_ms=now_ms
    )
    if parsed.quiet:
        return str(token)
    until = _moment(now_ms + parsed.expires_s * 1000)
    return f"{token}\n\nGood for {parsed.uses} device(s) until {until}. It is not shown again."


async def _list_tokens(_: argparse.Namespace, connection: AsyncConnection, _now_ms: int) -> str:
    rows = await connection.execute(select(ENROLMENT_TOKENS).order_by(ENROLMENT_TOKENS.c.created_ms))
    cells = [[row.id, row.profile, f"{row.uses_left} of {row.uses_total}", _moment(row.expires_ms)] for row in rows]
    return _table(["ID", "PROFILE", "USES LEFT", "EXPIRES"], cells)


async def _list_devices(_: argparse.Namespace, connection: AsyncConnection, _now_ms: int) -> str:
    last = func.max(MINTS.c.at_ms).label("last_ms")
    query = select(DEVICES, last).outerjoin(MINTS).group_by(*DEVICES.c).order_by(DEVICES.c.created_ms)
    cells = [
        [row.id, row.status, row.profile, row.name, row.hardware, row.software, _moment(row.last_ms)]
        for row in await connection.execute(query)
    ]
    return _table(["ID", "STATUS", "PROFILE", "NAME", "HARDWARE", "SOFTWARE", "LAST ASKED"], cells)


async def _set_status(parsed: argparse.Namespace, connection: AsyncConnection, now_ms: int) -> str:
    status = _STATUS[parsed.action]
    await devices.set_status(connection, parsed.id, status, now_ms)
    return f"{parsed.id} is {status}"


_COMMANDS: Mapping[tuple[str, str], _Command] = {
    ("approve", ""): _approve,
    ("tokens", "create"): _create_token,
    ("tokens", "list"): _list_tokens,
    ("devices", "list"): _list_devices,
    ("devices", "suspend"): _set_status,
    ("devices", "resume"): _set_status,
    ("devices", "revoke"): _set_status,
}


def _moment(at_ms: int | None) -> str:
    if at_ms is None:
        return "-"
    return dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%MZ")


def _table(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows])
    return "\n".join(line.rstrip() for line in lines)
