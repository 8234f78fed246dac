"""The store for several replicas: PostgreSQL through psycopg, READ COMMITTED, rows locked where two may meet.

Responsible for: connections, their time limits, the password, finding the server again after it was away. Not for:
queries.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import event, make_url, text
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from appliance.provisioning import settings
from appliance.provisioning.quick import QuickTransaction, Values, Wanted

_POOL = 8  # of either kind; a mint needs one twice, for about a millisecond
_IDLE_S = 2.0  # a connection that rested longer is asked whether it still stands
_UPGRADE_LOCK = 7_205_759_403  # any number, the same in every replica
# A server whose machine or network is gone says nothing; without these its connections would be waited for a quarter of
# an hour.
_GIVEN_UP = {"tcp_user_timeout": 8_000, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
_OPTIONS = (
    "-c statement_timeout=5000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=15000"
    " -c timezone=UTC -c default_transaction_isolation=read\\ committed"
)

_ARGUMENTS: dict[str, Any] = {
    "connect_timeout": 5,
    "options": _OPTIONS,
    "application_name": "voice-provisioning",
    **_GIVEN_UP,
}


def connect(url: str, password_file: Path | None) -> AsyncEngine:
    """An engine with a pool of connections. Dispose of it when done.

    The password is read whenever a connection is made: a changed one needs no restart, and no URL, log or process
    list ever holds it.
    """
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        connect_args=_ARGUMENTS,
        hide_parameters=True,  # an error's text must not carry a row
        pool_size=_POOL,
        max_overflow=0,
        pool_timeout=10,
        pool_use_lifo=True,  # what is not needed may rest, and end
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def add_password(_dialect: Any, _record: Any, _arguments: Any, options: dict[str, Any]) -> None:
        if password_file is not None:
            options["password"] = str(settings.read_key(password_file, what="password"))

    event.listen(engine.sync_engine, "checkin", _on_checkin)
    event.listen(engine.sync_engine, "checkout", _on_checkout)
    return engine


def _on_checkin(_connection: Any, record: Any) -> None:
    record.info["rests_since_s"] = time.monotonic()


def _on_checkout(connection: Any, record: Any, _proxy: Any) -> None:
    if time.monotonic() - record.info.get("rests_since_s", float("inf")) < _IDLE_S:
        return
    try:
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute("SELECT 1")
        connection.rollback()
    except psycopg.Error:
        raise DisconnectionError from None  # the pool opens another one


async def lock_upgrades(connection: AsyncConnection) -> None:
    """Lets one replica at a time change the schema: held until the transaction ends."""
    await connection.execute(text("SET LOCAL lock_timeout = '120s'"))
    await connection.execute(text("SET LOCAL statement_timeout = '0'"))
    await connection.execute(text(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})"))


class QuickPostgresql:
    """Transactions on connections of their own: SQLAlchemy's way to one takes longer than the server does.

    A statement that only changes something is not waited for: it travels with the next one, or with COMMIT (libpq's
    pipeline mode), and an error of it is raised there.
    """

    def __init__(self, url: str, password_file: Path | None) -> None:
        self._url = make_url(url)
        self._password_file = password_file
        self._turns = asyncio.Semaphore(_POOL)
        self._resting: list[_Connection] = []  # the last one first: what is not needed may rest, and end

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[QuickTransaction]:
        """Several at a time; others wait for 10 s at most."""
        try:
            async with asyncio.timeout(_TURN_WITHIN_S):
                await self._turns.acquire()
        except TimeoutError:
            raise PoolTimeoutError("all connections are in use") from None
        try:
            connection = await self._take()
            try:
                async with connection.pipeline() as pipeline:
                    await connection.execute("BEGIN", prepare=False)
                    yield QuickTransaction(_DIALECT, functools.partial(_run, pipeline, connection))
                    await connection.execute("COMMIT", prepare=False)
            finally:
                await self._give_back(connection)
        except psycopg.Error as error:
            raise DBAPIError.instance(None, None, error, psycopg.Error, hide_parameters=True) from None
        finally:
            self._turns.release()

    async def close(self) -> None:
        """Ends the connections that rest."""
        while self._resting:
            await self._resting.pop().close()

    async def _take(self) -> _Connection:
        while self._resting:
            connection = self._resting.pop()
            if time.monotonic() - connection.rests_since_s < _IDLE_S:
                return connection
            try:
                await connection.execute("SELECT 1")
                return connection
            except psycopg.Error:
                await connection.close()
        _, options = _DIALECT.create_connect_args(self._url)  # type: ignore[no-untyped-call]
        if self._password_file is not None:
            options["password"] = str(settings.read_key(self._password_file, what="password"))
        return await _Connection.connect(**{**options, **_ARGUMENTS}, autocommit=True)

    async def _give_back(self, connection: _Connection) -> None:
        with contextlib.suppress(psycopg.Error):
            await connection.rollback()  # sends nothing after a COMMIT
        if connection.info.transaction_status is TransactionStatus.IDLE:
            connection.rests_since_s = time.monotonic()
            self._resting.append(connection)
            return
        if connection.closed:
            await self.close()  # the others will have gone with it
        await connection.close()


_TURN_WITHIN_S = 10.0
_DIALECT = psycopg_dialect()  # type: ignore[no-untyped-call]


class _Connection(psycopg.AsyncConnection[Any]):
    rests_since_s = 0.0


async def _run(
    pipeline: psycopg.AsyncPipeline, connection: _Connection, sql: str, values: Values, wanted: Wanted
) -> tuple[list[Any], int]:
    cursor = await connection.execute(sql, values)
    if wanted is Wanted.ROWS:
        return await cursor.fetchall(), cursor.rowcount
    if wanted is Wanted.COUNT:
        await pipeline.sync()
    return [], cursor.rowcount
