"""The owner's commands on the database. They work while the service runs.

Responsible for: one transaction each, and words for people. Not for: rules (``authorizations``, ``fleet``, …).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from appliance.errors import ApplianceError, ConfigError
from appliance.provisioning import (
    audit,
    authorizations,
    database,
    devices,
    fleet,
    owner_links,
    preregistrations,
    profiles,
    settings,
    tokens,
    transfer,
)
from appliance.provisioning.arguments import DEFAULT_PORT
from appliance.provisioning.settings import Settings


class _Desk(msgspec.Struct, frozen=True):
    """What a command works with."""

    connection: AsyncConnection
    configured: Settings
    now_ms: int


_Command = Callable[[argparse.Namespace, _Desk], Awaitable[str]]


async def run(parsed: argparse.Namespace, data: Path) -> str:
    """Runs one command; returns what to print.

    Raises:
        ApplianceError: with the remedy.
    """
    configured = settings.load(data)
    if parsed.command == "import":
        await database.upgrade(configured.store)  # a fresh store needs no `init` before
    database.check_there(configured.store)
    async with _opened(configured) as engine:
        async with engine.begin() as connection:
            database.check_version(await database.version(connection), configured.store)
        if parsed.command == "export":
            count = await transfer.export_to(engine, Path(parsed.file))
            return f"exported {count} row(s) into {parsed.file}; it holds no secret, but names every device"
        if parsed.command == "import":
            count = await transfer.import_from(engine, Path(parsed.file))
            return f"imported {count} row(s); keep using the same pepper and nonce-secret files"
        command = _COMMANDS[parsed.command, getattr(parsed, "action", "")]
        async with engine.begin() as connection:
            if profile := getattr(parsed, "profile", ""):
                await profiles.check_known(connection, configured, profile)
            return await command(parsed, _Desk(connection, configured, int(time.time() * 1000)))


@contextlib.asynccontextmanager
async def _opened(configured: Settings) -> AsyncIterator[AsyncEngine]:
    engine = database.connect(configured.store)
    try:
        yield engine
    except DatabaseError as error:
        raise database.unusable(configured.store, error) from error
    finally:
        await engine.dispose()


async def sign_in_link(configured: Settings, life_s: int) -> str:
    """A fresh link for ``init``, which has just made the database."""
    async with _opened(configured) as engine, engine.begin() as connection:
        return await owner_links.make(connection, address(configured), life_s=life_s, now_ms=int(time.time() * 1000))


def address(configured: Settings) -> str:
    """Where a browser finds the service: the issuer, or what ``serve`` takes by default."""
    return configured.issuer or f"http://127.0.0.1:{DEFAULT_PORT}"


async def _approve(parsed: argparse.Namespace, desk: _Desk) -> str:
    device_id = await authorizations.approve(
        desk.connection, " ".join(parsed.code), parsed.profile, actor=audit.COMMAND, now_ms=desk.now_ms
    )
    return f"enrolled {device_id}: it notices at its next poll, within {authorizations.INTERVAL_S} s"


async def _sign_in(parsed: argparse.Namespace, desk: _Desk) -> str:
    base = settings.check_issuer(parsed.url, "--url") or address(desk.configured)
    return await owner_links.make(desk.connection, base, now_ms=desk.now_ms)


async def _create_token(parsed: argparse.Namespace, desk: _Desk) -> str:
    token = await tokens.create(
        desk.connection,
        uses=parsed.uses,
        expires_s=parsed.expires_s,
        profile=parsed.profile,
        note=parsed.note,
        actor=audit.COMMAND,
        now_ms=desk.now_ms,
    )
    if parsed.quiet:
        return str(token)
    until = _moment(desk.now_ms + parsed.expires_s * 1000)
    return (
        f"{token}\n\nGood for {parsed.uses} device(s) until {until}. It is not shown again.\n"
        "It goes into voice.toml on a device's card (enrolment_token), or there: voice-appliance enrol --token-file -"
    )


async def _list_tokens(_: argparse.Namespace, desk: _Desk) -> str:
    cells = [
        [
            token.id,
            token.profile,
            f"{token.uses_left} of {token.uses_total}",
            "revoked" if token.revoked_ms else _moment(token.expires_ms),
            token.note,
        ]
        for token in await tokens.listed(desk.connection)
    ]
    return _table(["ID", "PROFILE", "USES LEFT", "EXPIRES", "NOTE"], cells)


async def _revoke_token(parsed: argparse.Namespace, desk: _Desk) -> str:
    await tokens.revoke(desk.connection, parsed.id, actor=audit.COMMAND, now_ms=desk.now_ms)
    return f"token {parsed.id} is revoked; devices enrolled with it stay"


async def _list_devices(_: argparse.Namespace, desk: _Desk) -> str:
    cells = [
        [row.id, row.status, row.profile, row.name, row.hardware, row.software, _moment(row.last_seen_ms)]
        for row in await fleet.listed(desk.connection)
    ]
    return _table(["ID", "STATUS", "PROFILE", "NAME", "HARDWARE", "SOFTWARE", "LAST SEEN"], cells)


async def _rename_device(parsed: argparse.Namespace, desk: _Desk) -> str:
    await fleet.rename(desk.connection, parsed.id, parsed.name, actor=audit.COMMAND, now_ms=desk.now_ms)
    return f"{parsed.id} is called {parsed.name}"


async def _set_profile(parsed: argparse.Namespace, desk: _Desk) -> str:
    await fleet.set_profile(desk.connection, parsed.id, parsed.profile, actor=audit.COMMAND, now_ms=desk.now_ms)
    return f"{parsed.id} gets profile {parsed.profile} from its next session on"


_FROM_NOW_ON = {
    "active": "; it talks at its next press",
    "suspended": "; it is refused from now on, until `devices resume`",
    "revoked": "; it is refused from now on, until it says a new code and you approve that",
}


async def _set_status(parsed: argparse.Namespace, desk: _Desk) -> str:
    status = await fleet.set_status(desk.connection, parsed.id, parsed.action, actor=audit.COMMAND, now_ms=desk.now_ms)
    return f"{parsed.id} is {status}{_FROM_NOW_ON[status]}"


async def _import_devices(parsed: argparse.Namespace, desk: _Desk) -> str:
    entries = list(preregistrations.read(_lines(parsed.file)))
    for profile in {entry.profile for entry in entries} - {""}:
        await profiles.check_known(desk.connection, desk.configured, profile)
    added = await preregistrations.add(desk.connection, entries, parsed.profile, now_ms=desk.now_ms)
    await preregistrations.note_import(desk.connection, added, audit.COMMAND, now_ms=desk.now_ms)
    undo = f"; taken back by `devices unimport {parsed.file}`" if added else ""
    return f"imported {added} key(s), {len(entries) - added} were known{undo}"


async def _list_imported(_: argparse.Namespace, desk: _Desk) -> str:
    cells = [
        [row.thumbprint, row.name, row.profile, _moment(row.created_ms), _moment(row.used_ms), row.device_id or "-"]
        for row in await preregistrations.listed(desk.connection)
    ]
    return _table(["KEY", "NAME", "PROFILE", "IMPORTED", "FIRST USED", "DEVICE"], cells)


async def _unimport_devices(parsed: argparse.Namespace, desk: _Desk) -> str:
    keys = [parsed.keys]
    if not preregistrations.is_thumbprint(parsed.keys):
        keys = [entry.thumbprint for entry in preregistrations.read(_lines(parsed.keys))]
    removed = await preregistrations.remove(desk.connection, {key: devices.id_of(key) for key in keys})
    said = f"removed {removed} key(s), {max(0, len(keys) - removed)} were not in the list"
    if not removed:
        return f"{said}; `devices imported` shows it"
    await preregistrations.note_removal(desk.connection, removed, audit.COMMAND, now_ms=desk.now_ms)
    return f"{said}; devices that enrolled with them stay: `devices revoke` ends one"


async def _list_profiles(_: argparse.Namespace, desk: _Desk) -> str:
    cells = [
        [
            item.name,
            f"stored, version {item.version}" if item.version else "server.toml",
            item.profile.upstream if item.profile else "-",
            item.profile.model if item.profile else item.fault,
        ]
        for item in await profiles.listed(desk.connection, desk.configured)
    ]
    return _table(["NAME", "WHERE", "UPSTREAM", "MODEL"], cells)


async def _show_profile(parsed: argparse.Namespace, desk: _Desk) -> str:
    found = await profiles.get(desk.connection, desk.configured, parsed.name)
    if found is None:
        raise ApplianceError(f"there is no profile {parsed.name[:64]}", hint="`profiles list` shows them")
    shown: object = found.stored
    if found.stored is None and found.profile is not None:  # of the file: without its upstream's key
        shown = {
            "upstream": found.profile.upstream,
            "model": found.profile.model,
            "fallback_models": found.profile.fallback_models,
            "session": found.profile.session,
            "max_session_s": found.profile.max_session_s,
            "limits": found.profile.limits,
        }
    return msgspec.json.format(msgspec.json.encode(shown), indent=2).decode()


async def _put_profile(parsed: argparse.Namespace, desk: _Desk) -> str:
    content = profiles.parse(_content(parsed.file))
    version = await profiles.put(
        desk.connection, desk.configured, parsed.name, content, actor=audit.COMMAND, now_ms=desk.now_ms
    )
    return f"profile {parsed.name} is at version {version}; a running service takes it within seconds"


async def _delete_profile(parsed: argparse.Namespace, desk: _Desk) -> str:
    await profiles.remove(desk.connection, desk.configured, parsed.name, actor=audit.COMMAND, now_ms=desk.now_ms)
    return f"profile {parsed.name} is deleted"


_COMMANDS: Mapping[tuple[str, str], _Command] = {
    ("approve", ""): _approve,
    ("sign-in", ""): _sign_in,
    ("tokens", "create"): _create_token,
    ("tokens", "list"): _list_tokens,
    ("tokens", "revoke"): _revoke_token,
    ("devices", "list"): _list_devices,
    ("devices", "rename"): _rename_device,
    ("devices", "profile"): _set_profile,
    ("devices", "suspend"): _set_status,
    ("devices", "resume"): _set_status,
    ("devices", "revoke"): _set_status,
    ("devices", "import"): _import_devices,
    ("devices", "imported"): _list_imported,
    ("devices", "unimport"): _unimport_devices,
    ("profiles", "list"): _list_profiles,
    ("profiles", "show"): _show_profile,
    ("profiles", "set"): _put_profile,
    ("profiles", "delete"): _delete_profile,
}


def _content(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {name} ({error.strerror})", hint="name a file, or - for stdin") from error


def _lines(name: str) -> list[str]:
    return _content(name).decode("utf-8", "replace").splitlines()


def _moment(at_ms: int | None) -> str:
    if at_ms is None:
        return "-"
    return dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%MZ")


def _table(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows])
    return "\n".join(line.rstrip() for line in lines)
