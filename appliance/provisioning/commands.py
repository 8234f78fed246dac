"""The owner's commands on the database: approve, devices, tokens. They work while the service runs.

Responsible for: one transaction each, and tables for people. Not for: rules (``authorizations``, ``devices``).
"""

from __future__ import annotations

import argparse
import datetime as dt
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.errors import StateError
from appliance.provisioning import audit, authorizations, database, fleet, profiles, settings, tokens
from appliance.provisioning.schema import REVISION

_Command = Callable[[argparse.Namespace, AsyncConnection, int], Awaitable[str]]


async def run(parsed: argparse.Namespace, data: Path) -> str:
    """Runs one command; returns what to print.

    Raises:
        ApplianceError: with the remedy.
    """
    configured = settings.load(data)
    command = _COMMANDS[parsed.command, getattr(parsed, "action", "")]
    engine = database.connect(configured.store)
    try:
        async with engine.begin() as connection:
            if await database.version(connection) != REVISION:
                raise StateError("the database is not up to date", hint="run init again: it upgrades")
            if profile := getattr(parsed, "profile", ""):
                await profiles.check_known(connection, configured, profile)
            return await command(parsed, connection, int(time.time() * 1000))
    except OperationalError as error:
        raise StateError(
            f"the database {configured.store} does not answer", hint=f"type: voice-provisioning doctor --data {data}"
        ) from error
    finally:
        await engine.dispose()


async def _approve(parsed: argparse.Namespace, connection: AsyncConnection, now_ms: int) -> str:
    device_id = await authorizations.approve(
        connection, parsed.code, parsed.profile, actor=audit.COMMAND, now_ms=now_ms
    )
    return f"enrolled {device_id}: it notices at its next poll, within {authorizations.INTERVAL_S} s"


async def _create_token(parsed: argparse.Namespace, connection: AsyncConnection, now_ms: int) -> str:
    token = await tokens.create(
        connection,
        uses=parsed.uses,
        expires_s=parsed.expires_s,
        profile=parsed.profile,
        note=parsed.note,
        actor=audit.COMMAND,
        now_ms=now_ms,
    )
    if parsed.quiet:
        return str(token)
    until = _moment(now_ms + parsed.expires_s * 1000)
    return f"{token}\n\nGood for {parsed.uses} device(s) until {until}. It is not shown again."


async def _list_tokens(_: argparse.Namespace, connection: AsyncConnection, _now_ms: int) -> str:
    cells = [
        [
            token.id,
            token.profile,
            f"{token.uses_left} of {token.uses_total}",
            "revoked" if token.revoked_ms else _moment(token.expires_ms),
            token.note,
        ]
        for token in await tokens.listed(connection)
    ]
    return _table(["ID", "PROFILE", "USES LEFT", "EXPIRES", "NOTE"], cells)


async def _revoke_token(parsed: argparse.Namespace, connection: AsyncConnection, now_ms: int) -> str:
    await tokens.revoke(connection, parsed.id, actor=audit.COMMAND, now_ms=now_ms)
    return f"token {parsed.id} is revoked; devices enrolled with it stay"


async def _list_devices(_: argparse.Namespace, connection: AsyncConnection, _now_ms: int) -> str:
    cells = [
        [row.id, row.status, row.profile, row.name, row.hardware, row.software, _moment(row.last_seen_ms)]
        for row in await fleet.listed(connection)
    ]
    return _table(["ID", "STATUS", "PROFILE", "NAME", "HARDWARE", "SOFTWARE", "LAST SEEN"], cells)


async def _rename_device(parsed: argparse.Namespace, connection: AsyncConnection, now_ms: int) -> str:
    await fleet.rename(connection, parsed.id, parsed.name, actor=audit.COMMAND, now_ms=now_ms)
    return f"{parsed.id} is called {parsed.name}"


async def _set_status(parsed: argparse.Namespace, connection: AsyncConnection, now_ms: int) -> str:
    status = await fleet.set_status(connection, parsed.id, parsed.action, actor=audit.COMMAND, now_ms=now_ms)
    return f"{parsed.id} is {status}"


_COMMANDS: Mapping[tuple[str, str], _Command] = {
    ("approve", ""): _approve,
    ("tokens", "create"): _create_token,
    ("tokens", "list"): _list_tokens,
    ("tokens", "revoke"): _revoke_token,
    ("devices", "list"): _list_devices,
    ("devices", "rename"): _rename_device,
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
