"""The default store: one SQLite file for one process that serves, and the commands beside it.

Responsible for: WAL, one write transaction at a time (BEGIN IMMEDIATE), what survives a power cut. Not for: queries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


def connect(path: Path) -> AsyncEngine:
    """An engine over the file. Dispose of it when done.

    One connection: transactions take turns in a fair queue instead of colliding on the file's lock. Another process
    (the command line) waits on the lock, up to 10 s.
    """
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        connect_args={"timeout": 10},
        hide_parameters=True,  # an error's text must not carry a row
        pool_size=1,
        max_overflow=0,
        pool_timeout=10,
    )
    event.listen(engine.sync_engine, "connect", _on_connect)
    event.listen(engine.sync_engine, "begin", _on_begin)
    return engine


def _on_connect(connection: DBAPIConnection, _record: Any) -> None:
    connection.isolation_level = None  # the driver would send its own, later BEGIN
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
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
