"""The connection to the database, its transactions and its schema version.

Responsible for: WAL, one write transaction at a time (BEGIN IMMEDIATE), what survives a power cut, upgrades. Not
for: queries (``devices``, ``authorizations``, ``mints``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from appliance.errors import StateError
from appliance.provisioning.schema import REVISION


def connect(path: Path) -> AsyncEngine:
    """An engine over the SQLite file. Dispose of it when done.

    One connection: transactions take turns in a fair queue instead of colliding on the file's lock. Another process
    (the command line) waits on the lock, up to 10 s.
    """
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        connect_args={"timeout": 10},
        hide_parameters=True,  # an error's text must not carry a row
        pool_size=1,
        max_overflow=0,
        pool_timeout=10,
    )
    event.listen(engine.sync_engine, "connect", _on_connect)
    event.listen(engine.sync_engine, "begin", _on_begin)
    return engine


def quick(engine: AsyncEngine) -> AsyncEngine:
    """The same engine for transactions that a power cut may undo (the audit log): no fsync at each commit."""
    return engine.execution_options(durable=False)


def _on_connect(connection: DBAPIConnection, _record: Any) -> None:
    connection.isolation_level = None  # the driver would send its own, later BEGIN
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    level = "FULL" if connection.get_execution_options().get("durable", True) else "NORMAL"
    if connection.info.get("synchronous") != level:  # each statement is a trip to the driver's thread
        connection.exec_driver_sql(f"PRAGMA synchronous={level}")
        connection.info["synchronous"] = level
    # A deferred transaction that reads first and writes later fails at once when another one wrote in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


async def version(connection: AsyncConnection) -> str | None:
    """The schema's version, None for an empty database."""
    if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
        return None
    return (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()


async def upgrade(path: Path) -> str:
    """Brings the schema to this version's; returns a line about what was done.

    Raises:
        StateError: not a database, locked, or made by a newer version.
    """
    engine = connect(path)
    try:
        async with engine.begin() as connection:
            found = await version(connection)
            if found == REVISION:
                return f"kept {path}"
            await connection.run_sync(_run_migrations, path)
    except SQLAlchemyError as error:
        raise StateError(
            f"cannot use the database {path} ({error.__class__.__name__})",
            hint="is it whole, writable, and not in use by another program?",
        ) from error
    finally:
        await engine.dispose()
    return f"{'made' if found is None else 'upgraded'} {path}"


def _run_migrations(connection: Connection, path: Path) -> None:
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
        raise StateError(
            f"{path} was made by a newer version", hint="install that version again, or restore a backup"
        ) from error
