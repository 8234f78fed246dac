"""The default store: one SQLite file for one process that serves, and the commands beside it.

Responsible for: WAL, one write transaction at a time (BEGIN IMMEDIATE), what survives a power cut. Not for: queries.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy import URL, Connection, event
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from appliance.errors import StateError
from appliance.provisioning.quick import QuickTransaction, Values, Wanted


def connect(path: Path) -> AsyncEngine:
    """An engine over the file. Dispose of it when done.

    One connection: transactions take turns in a fair queue instead of colliding on the file's lock. Another process
    (the command line) waits on the lock, up to 10 s.
    """

    async def open_one() -> aiosqlite.Connection:
        connection = aiosqlite.connect(path, timeout=BUSY_S)
        connection._thread.daemon = True  # noqa: SLF001 as SQLAlchemy does: a forgotten one must not keep us alive
        await connection
        try:
            await _use_wal(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        async_creator=open_one,
        hide_parameters=True,  # an error's text must not carry a row
        pool_size=1,
        max_overflow=0,
        pool_timeout=10,
    )
    event.listen(engine.sync_engine, "connect", _on_connect)
    event.listen(engine.sync_engine, "begin", _on_begin)
    return engine


@contextlib.contextmanager
def served_alone(path: Path) -> Iterator[None]:
    """Keeps a second process from serving the same file for the block: two would hold up each other's devices.

    Raises:
        StateError: one does already.
    """
    beside = path.with_name("serving.lock")  # not the file itself, whose locks are SQLite's
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(f"cannot write {beside} ({error.strerror})", hint="check owner and free space") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        hint = "stop that one; several at once need PostgreSQL ([store] in server.toml)"
        raise StateError(f"another voice-provisioning serves {path}", hint=hint) from None
    try:
        yield
    finally:
        os.close(handle)


async def _use_wal(connection: aiosqlite.Connection) -> None:
    """A lasting property of the file, which the first to open it sets."""
    for again in reversed(range(WAL_TRIES)):
        try:
            await (await connection.execute("PRAGMA journal_mode=WAL")).close()
        except sqlite3.OperationalError:
            # Two that want to set it at once hold each other up; SQLite then tells one without waiting.
            if not again:
                raise
            await asyncio.sleep(WAL_EVERY_S)
        else:
            return


BUSY_S = 10.0
WAL_TRIES, WAL_EVERY_S = 40, 0.05


def _on_connect(connection: DBAPIConnection, _record: Any) -> None:
    connection.isolation_level = None  # the driver would send its own, later BEGIN
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    if connection.get_execution_options().get("reading"):
        connection.exec_driver_sql("BEGIN")  # sees one moment, and nobody waits for it
        return
    level = "FULL" if connection.get_execution_options().get("durable", True) else "NORMAL"
    if connection.info.get("synchronous") != level:  # each statement is a trip to the driver's thread
        connection.exec_driver_sql(f"PRAGMA synchronous={level}")
        connection.info["synchronous"] = level
    # A deferred transaction that reads first and writes later fails at once when another one wrote in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


class QuickSqlite:
    """Transactions that run where they are asked for, in the event loop, on a connection of their own.

    Between begin and end of a transaction the file is ours alone, so that what a mint does there, a row found by its
    key, waits for nobody and takes microseconds; a trip to a thread and back takes more. A power cut may undo the last
    ones: without an fsync COMMIT only hands the rows to the system. What waits for the disk, the checkpoint and the
    commit after it, which begins the log anew, goes to a thread; what waits for another connection's lock asks again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._turn = asyncio.Lock()
        self._commits = 0

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[QuickTransaction]:
        """One at a time, in the order in which they come."""
        async with self._turn:
            try:
                connection = self._connection = self._connection or _open_quick(self._path)
                await _begin_when_free(connection)
                try:
                    yield QuickTransaction(_DIALECT, functools.partial(_run, connection))
                    await self._commit(connection)
                finally:
                    if connection.in_transaction:
                        connection.rollback()
            except sqlite3.Error as error:
                raise DBAPIError.instance(None, None, error, sqlite3.Error, hide_parameters=True) from None

    async def _commit(self, connection: sqlite3.Connection) -> None:
        self._commits += 1
        if self._commits % CHECKPOINT_EVERY > 1:
            connection.commit()
            return
        checkpoint = self._commits % CHECKPOINT_EVERY == 0
        await _uninterrupted(asyncio.to_thread(_commit_to_disk, connection, checkpoint=checkpoint))

    async def close(self) -> None:
        """Lets go of the file."""
        async with self._turn:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


CHECKPOINT_EVERY = 100  # commits, which are some 600 pages of the log
_ASKED_AGAIN_S = 0.002
_DIALECT = dialect(paramstyle="named")


def _open_quick(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    for setting in ("foreign_keys=ON", "synchronous=NORMAL", "wal_autocheckpoint=0"):
        connection.execute(f"PRAGMA {setting}")
    return connection


async def _begin_when_free(connection: sqlite3.Connection) -> None:
    until_s = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until_s:
                raise
        await asyncio.sleep(_ASKED_AGAIN_S)


async def _run(connection: sqlite3.Connection, sql: str, values: Values, _: Wanted) -> tuple[list[Any], int]:
    cursor = connection.execute(sql, values)
    return cursor.fetchall(), cursor.rowcount


def _commit_to_disk(connection: sqlite3.Connection, *, checkpoint: bool) -> None:
    connection.commit()
    if checkpoint:
        with contextlib.suppress(sqlite3.OperationalError):  # what is committed stays so; the next one tries again
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


async def _uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Waits to its end, also when cancelled meanwhile: the connection is the thread's so long."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
