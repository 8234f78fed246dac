"""The default store: one SQLite file for one process that serves, and the commands beside it.

Responsible for: WAL, one write transaction at a time (BEGIN IMMEDIATE), what survives a power cut. Not for: queries.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy import URL, Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from appliance.errors import StateError


def connect(path: Path) -> AsyncEngine:
    """An engine over the file. Dispose of it when done.

    One connection: transactions take turns in a fair queue instead of colliding on the file's lock. Another process
    (the command line) waits on the lock, up to 10 s.
    """

    async def open_one() -> _Connection:
        connection = _Connection(lambda: sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False), 64)
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
_INSTANT = ("cursor",)  # makes an object; touches no file


class _Connection(aiosqlite.Connection):
    """A connection whose quick transactions run where they are asked for, but for their begin and their end.

    Each call would be a trip to the driver's thread and back, eight of them for a statement or two: twice the time of
    everything else. Between begin and end of a transaction the file is ours alone, so that what a mint does there,
    a row found by its key, waits for nobody and takes microseconds. What may wait, for another process's lock or
    for the disk, goes to the thread; so does everything of other transactions, which may read a lot.
    """

    at_hand = False

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._connection is not None and (self.at_hand or fn.__name__ in _INSTANT):
            return fn(*args, **kwargs)
        return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]

    async def commit(self) -> None:
        self.at_hand = False
        await super().commit()

    async def rollback(self) -> None:
        self.at_hand = False
        if self.in_transaction:  # the pool asks for one after every commit too
            await super().rollback()

    async def close(self) -> None:
        self.at_hand = False
        await super().close()


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
    driver = connection.connection.driver_connection
    assert isinstance(driver, _Connection)
    driver.at_hand = level == "NORMAL"
