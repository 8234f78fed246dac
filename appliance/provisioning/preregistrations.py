"""Keys known before they ask: whoever flashes many devices imports their thumbprints, and they enrol by themselves.

Responsible for: the table preregistrations and the form of import files. Each function runs in the caller's
transaction.
"""

from __future__ import annotations

import base64
import binascii
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.errors import ConfigError
from appliance.provisioning import audit, database
from appliance.provisioning.quick import Transaction
from appliance.provisioning.schema import DEVICES, PREREGISTRATIONS

_BATCH = 500
_Item = TypeVar("_Item")


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key by its RFC 7638 thumbprint. An empty name leaves the device its own; an empty profile is the default."""

    thumbprint: str
    name: str = ""
    profile: str = ""


def read(lines: Iterable[str]) -> Iterator[Entry]:
    """The entries of a file: JSON objects, one a line, or CSV ``thumbprint,name,profile``; empty lines and # skipped.

    Raises:
        ConfigError: names the line that cannot be read.
    """
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith(("#", "thumbprint,")):
            continue
        try:
            if text.startswith("{"):
                entry = msgspec.json.decode(text, type=Entry)
            else:
                entry = Entry(*(cell.strip() for cell in next(csv.reader([text]))))
        except (msgspec.DecodeError, TypeError, csv.Error):
            raise _wrong(number, "is neither JSON nor thumbprint,name,profile") from None
        if not is_thumbprint(entry.thumbprint):
            raise _wrong(number, "has no thumbprint of 43 characters")
        if max(len(entry.name), len(entry.profile)) > 64 or not (entry.name + entry.profile).isprintable():
            raise _wrong(number, "has a name or profile that is too long or cannot be shown")
        yield entry


def is_thumbprint(text: str) -> bool:
    """Says whether this is the RFC 7638 thumbprint of a key."""
    try:
        raw = base64.urlsafe_b64decode(text + "=") if text.isascii() and len(text) == 43 else b""
    except binascii.Error:
        return False
    return len(raw) == 32 and base64.urlsafe_b64encode(raw).decode() == text + "="


def _wrong(number: int, what: str) -> ConfigError:
    return ConfigError(f"line {number} {what}", hint="nothing was changed: correct it and try again")


async def add(connection: AsyncConnection, entries: Sequence[Entry], profile: str, *, now_ms: int) -> int:
    """Stores entries; returns how many. Of a key that is known already the entry stays."""
    added = 0
    for some in _batches(entries):
        rows = [
            {"thumbprint": e.thumbprint, "name": e.name, "profile": e.profile or profile, "created_ms": now_ms}
            for e in some
        ]
        insertion = database.insert(connection, PREREGISTRATIONS).values(rows).on_conflict_do_nothing()
        added += (await connection.execute(insertion.execution_options(preserve_rowcount=True))).rowcount
    return added


def _batches(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """Devices wait while a transaction writes: a statement each would take seconds for some ten thousand."""
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


async def use(connection: Transaction, thumbprint: str, *, now_ms: int) -> Entry | None:
    """The entry of a key that asks to be enrolled, marked as used; None for a stranger."""
    table = PREREGISTRATIONS
    by_key = table.c.thumbprint == thumbprint
    row = (await connection.execute(select(table).where(by_key).with_for_update())).one_or_none()
    if row is None:
        return None
    if row.used_ms is None:
        await connection.execute(update(table).where(by_key).values(used_ms=now_ms))
    return Entry(thumbprint=row.thumbprint, name=row.name, profile=row.profile)


class Listed(msgspec.Struct, frozen=True):
    """A key as lists show it; ``device_id`` is empty until a device of this key is enrolled, however it came."""

    thumbprint: str
    name: str
    profile: str
    created_ms: int
    used_ms: int | None
    device_id: str


async def listed(connection: AsyncConnection) -> list[Listed]:
    """The keys known before, by name."""
    table, of_key = PREREGISTRATIONS, DEVICES.c.thumbprint == PREREGISTRATIONS.c.thumbprint
    columns = [table.c[name] for name in Listed.__struct_fields__[:-1]]
    device_id = func.coalesce(DEVICES.c.id, "").label("device_id")
    query = select(*columns, device_id).select_from(table.outerjoin(DEVICES, of_key))
    rows = await connection.execute(query.order_by(func.lower(table.c.name), table.c.thumbprint))
    return [Listed(**row._asdict()) for row in rows]


async def remove(connection: AsyncConnection, keys: Mapping[str, str]) -> int:
    """Takes keys off the list; returns how many were there. A device that is enrolled stays so.

    ``keys``: to each the id of a device whose first one it was: its place in the list may be another key's by now.
    """
    table, removed = PREREGISTRATIONS, 0
    for some in _batches(list(keys)):
        present = select(DEVICES.c.thumbprint).where(DEVICES.c.id.in_([keys[key] for key in some]))
        theirs = table.c.thumbprint.in_(some) | table.c.thumbprint.in_(present)
        removed += (await connection.execute(delete(table).where(theirs))).rowcount
    return removed


async def hand_over(connection: Transaction, old: str, new: str) -> None:
    """A device has changed its key: its place in the list is the new key's, and the old one is a stranger's."""
    table = PREREGISTRATIONS
    row = (await connection.execute(delete(table).where(table.c.thumbprint == old).returning(table))).one_or_none()
    if row is not None:
        await database.add(connection, table, {**row._asdict(), "thumbprint": new})


async def note_import(connection: Transaction, added: int, actor: str, *, now_ms: int) -> None:
    """Leaves a trace of an import."""
    await audit.note(connection, actor, "keys imported", "", f"{added} key(s)", now_ms=now_ms)


async def note_removal(connection: Transaction, removed: int, actor: str, *, now_ms: int) -> None:
    """Leaves a trace of keys taken off the list."""
    await audit.note(connection, actor, "keys removed", "", f"{removed} key(s)", now_ms=now_ms)
