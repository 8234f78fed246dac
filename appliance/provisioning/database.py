"""The way into the database, whichever store it is; its transactions, inserts and schema version.

Responsible for: choosing the store, upgrades. Not for: what is particular to one (``sqlite``, ``postgresql``), and
queries (``devices``, ``authorizations``, ``mints``, …).

Rules that hold on both: a row that two requests may want is read ``with_for_update()`` (SQLite leaves that out: there
a transaction is alone), and a row that may be there already is put in with `add`, or `insert` and ``on_conflict_…``,
since an IntegrityError ends a transaction of PostgreSQL.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Connection, Delete, Exists, Table, bindparam, delete, inspect, select, text
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from appliance.errors import StateError
from appliance.provisioning import postgresql, sqlite
from appliance.provisioning.postgresql import QuickPostgresql
from appliance.provisioning.quick import Quick, Transaction
from appliance.provisioning.schema import REVISION
from appliance.provisioning.settings import Store
from appliance.provisioning.sqlite import QuickSqlite

if TYPE_CHECKING:
    from sqlalchemy.dialects.sqlite import Insert

_RETRY_S = 1.0


def connect(store: Store) -> AsyncEngine:
    """An engine over the store. Dispose of it when done."""
    return sqlite.connect(store.path) if store.path else postgresql.connect(store.url, store.password_file)


def quick(store: Store) -> Quick:
    """Short transactions that a power cut may undo, beside those of an engine over the same store."""
    return QuickSqlite(store.path) if store.path else QuickPostgresql(store.url, store.password_file)


def unsynced(engine: AsyncEngine) -> AsyncEngine:
    """The same engine for transactions that a power cut may undo: SQLite leaves out the fsync at each commit."""
    return engine.execution_options(durable=False)


def insert(connection: Transaction, table: Table) -> Insert:
    """An INSERT that takes ``on_conflict_do_nothing`` and ``on_conflict_do_update``, which both stores word alike."""
    return _insert(connection.dialect.name, table)


def _insert(dialect: str, table: Table) -> Insert:
    if dialect == "postgresql":
        return postgresql_dialect.insert(table)  # type: ignore[return-value]  # the same two methods
    return sqlite_dialect.insert(table)


async def add(connection: Transaction, table: Table, row: dict[str, Any], *, unless: Exists | None = None) -> bool:
    """Inserts a row, unless one of its key or of a unique column is there already, or ``unless`` holds; tells which.

    ``unless`` may name columns of the row as parameters.
    """
    statement = _addition(connection.dialect.name, table, tuple(row), unless)
    return (await connection.execute(statement, row)).rowcount > 0


@functools.cache  # to build a statement takes as long as to run it
def _addition(dialect: str, table: Table, names: tuple[str, ...], unless: Exists | None) -> Insert:
    insertion = _insert(dialect, table)
    if unless is not None:
        values = (bindparam(name, type_=table.c[name].type) for name in names)
        insertion = insertion.from_select(names, select(*values).where(~unless))
    # Without the option SQLAlchemy leaves the count of an INSERT unknown, but on SQLite.
    return insertion.on_conflict_do_nothing().execution_options(preserve_rowcount=True)


def forgetting(key: Column[Any], moment: Column[Any], at_most: int) -> Delete:
    """A DELETE of a few rows whose moment is before the parameter ``before_ms``.

    Those that another request is busy with are left to it: no two wait for each other.
    """
    past = select(key).where(moment < bindparam("before_ms")).limit(at_most).with_for_update(skip_locked=True)
    return delete(key.table).where(key.in_(past))


async def version(connection: AsyncConnection) -> str | None:
    """The schema's version, None for an empty database."""
    if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
        return None
    return (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()


def check_there(store: Store) -> None:
    """Passes a store that may be opened: SQLite makes a file that is missing, and an empty fleet is no fleet.

    Raises:
        StateError: the file is missing.
    """
    if store.path and not store.path.exists():
        raise StateError(f"{store.path} is missing", hint="restore a backup, or run init again to start empty")


def check_version(found: str | None, store: Store) -> None:
    """Passes this version's schema.

    Raises:
        StateError: it is another one.
    """
    if found is not None and found > REVISION:
        raise _newer(str(store))
    if found != REVISION:
        raise StateError(f"schema {found or 'none'} in {store}, wanted {REVISION}", hint="run init again: it upgrades")


def _newer(where: str) -> StateError:
    return StateError(f"{where} was made by a newer version", hint="install that version again, or restore a backup")


async def upgrade(
    store: Store, *, patience_s: float = 0.0, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> str:
    """Brings the schema to this version's; returns a line about what was done.

    Several replicas may do this at once: one works, the others wait and find it done. With patience, waits for a
    server that is not up yet.

    Raises:
        StateError: not a database, locked, not reachable, or made by a newer version.
    """
    engine = connect(store)
    try:
        while True:
            try:
                return await _upgrade(engine, store)
            except OperationalError:
                if patience_s <= 0 or store.path:
                    raise
                patience_s -= _RETRY_S
                await sleep(_RETRY_S)
    except SQLAlchemyError as error:
        raise unusable(store, error) from error
    finally:
        await engine.dispose()


def unusable(store: Store, error: SQLAlchemyError) -> StateError:
    """The error for a store that fails; the driver's own first line says how, the rest repeats the statement."""
    said = str(getattr(error, "orig", None) or type(error).__name__).partition("\n")[0][:200]
    remedy = "is it whole, writable, and not in use by another program? Damaged: stop the service, restore a backup"
    if "disk is full" in said:
        remedy = "free some space where it is"
    if not store.path:
        remedy = "does it run, do user, database and password fit?"
    return StateError(f"cannot use the database {store} ({said})", hint=remedy)


async def _upgrade(engine: AsyncEngine, store: Store) -> str:
    async with engine.begin() as connection:
        if not store.path:
            await postgresql.lock_upgrades(connection)
        found = await version(connection)
        if found == REVISION:
            return f"kept {store}"
        await connection.run_sync(_run_migrations, str(store))
    return f"{'made' if found is None else 'upgraded'} {store}"


def _run_migrations(connection: Connection, where: str) -> None:
    # Half a second of imports that only a new or an old database needs.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise _newer(where) from error
