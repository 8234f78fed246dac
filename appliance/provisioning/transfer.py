"""Moves everything from one store to another: SQLite to PostgreSQL when one box is not enough, and back.

One JSON line per row between a first line that says what it is and a last one that counts, so that a cut file is
noticed. Streamed: size does not matter. There are no secrets in it but hashes, yet it lists the whole fleet. Whoever
may write such a file decides who is enrolled and signed in: import only your own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from appliance.errors import StateError
from appliance.provisioning import owner_links
from appliance.provisioning.schema import AUDIT, METADATA, OWNER_LINKS, REVISION

FORMAT = "voice-provisioning export"
VERSION = 1
_BATCH = 500


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    version: int
    schema: str


class _Line(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A row of a table, or the end."""

    table: str = ""
    row: dict[str, Any] | None = None
    rows: int | None = None


async def export_to(engine: AsyncEngine, path: Path) -> int:
    """Writes every row, as of one moment, into a new file (0600); returns how many. The service may run.

    Raises:
        StateError: the file is there already or cannot be written.
    """
    with _new_file(path) as file:
        async with _snapshot(engine).begin() as connection:
            return await _write(connection, file)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = "name a new file in a directory of yours"
        raise StateError(f"cannot make {path} ({error.strerror})", hint=hint) from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)  # half an export looks like a whole one
        if isinstance(error, OSError):
            raise StateError(f"cannot write {path} ({error.strerror})", hint="is the disk full?") from error
        raise


def _snapshot(engine: AsyncEngine) -> AsyncEngine:
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="REPEATABLE READ")
    return engine.execution_options(reading=True)


async def _write(connection: AsyncConnection, file: IO[bytes]) -> int:
    head = _Head(format=FORMAT, version=VERSION, schema=REVISION)
    file.write(msgspec.json.encode(head) + b"\n")
    count = 0
    for table in METADATA.sorted_tables:
        async with connection.stream(select(table)) as rows:
            async for row in rows:
                file.write(msgspec.json.encode(_Line(table=str(table.name), row=row._asdict())) + b"\n")
                count += 1
    file.write(msgspec.json.encode(_Line(rows=count)) + b"\n")
    return count


async def import_from(engine: AsyncEngine, path: Path) -> int:
    """Reads an export into an empty store, wholly or not at all; returns how many rows.

    Raises:
        StateError: the store is not empty, or the file cannot be read, is cut, or is of another schema.
    """
    try:
        with path.open("rb") as file:
            async with engine.begin() as connection:
                await _check_empty(connection)
                count = await _read(connection, file, path)
                await _restart_counters(connection)
    except OSError as error:
        raise StateError(f"cannot read {path} ({error.strerror})", hint="name a file made by `export`") from error
    except (SQLAlchemyError, OverflowError) as error:  # a number that SQLite cannot hold is not one of its errors
        raise StateError(
            f"{path} holds a row that does not fit ({type(error).__name__})", hint="nothing was imported: export again"
        ) from error
    return count


async def _check_empty(connection: AsyncConnection) -> None:
    # `init` leaves a link to the owner's page and says so in the audit: that is no content.
    await connection.execute(delete(OWNER_LINKS))
    await connection.execute(delete(AUDIT).where(AUDIT.c.action == owner_links.MADE))
    for table in METADATA.sorted_tables:
        if (await connection.execute(select(func.count()).select_from(select(table).limit(1).subquery()))).scalar_one():
            raise StateError(f"the store is not empty: {table.name} has rows", hint="import into a fresh one")


async def _read(connection: AsyncConnection, file: IO[bytes], path: Path) -> int:
    try:
        head = msgspec.json.decode(file.readline(), type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError):
        head = _Head(format="", version=0, schema="")
    if head.format != FORMAT:
        raise StateError(f"{path} is no export of voice-provisioning", hint="name a file made by `export`")
    if (head.version, head.schema) != (VERSION, REVISION):
        raise StateError(
            f"{path} was made with schema {head.schema}, this is {REVISION}",
            hint="export again after `init` of this version there",
        )
    count = 0
    for table, rows in _batches(_lines(file, path)):
        try:
            await connection.execute(insert(METADATA.tables[table]), rows)
        except (KeyError, TypeError):
            raise StateError(f"{path} holds a row of no table of ours", hint="export again") from None
        count += len(rows)
    return count


def _lines(file: IO[bytes], path: Path) -> Iterator[_Line]:
    count = 0
    decoder = msgspec.json.Decoder(_Line)
    for raw in file:
        try:
            line = decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            break
        if line.row is None:
            if line.rows == count and not file.read(1):
                return
            break
        count += 1
        yield line
    raise StateError(f"{path} is cut or damaged after {count} row(s)", hint="nothing was imported: export again")


def _batches(lines: Iterable[_Line]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    table = ""
    rows: list[dict[str, Any]] = []
    for line in lines:
        if rows and (line.table != table or len(rows) == _BATCH):
            yield table, rows
            rows = []
        table = line.table
        rows.append(line.row or {})
    if rows:
        yield table, rows


async def _restart_counters(connection: AsyncConnection) -> None:
    if connection.dialect.name == "postgresql":  # SQLite counts on from the greatest id by itself
        following = "(SELECT coalesce(max(id), 0) + 1 FROM audit)"
        await connection.execute(text(f"SELECT setval(pg_get_serial_sequence('audit', 'id'), {following}, false)"))
