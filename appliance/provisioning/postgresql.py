"""The store for several replicas: PostgreSQL through psycopg, READ COMMITTED, rows locked where two may meet.

Responsible for: the pool, its time limits, the password, finding the server again after it was away. Not for: queries.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from appliance.provisioning import settings

_POOL = 8  # a mint needs one twice, for about a millisecond
_IDLE_S = 2.0  # a connection that rested longer is asked whether it still stands
_UPGRADE_LOCK = 7_205_759_403  # any number, the same in every replica
# A server whose machine or network is gone says nothing; without these its connections would be waited for a quarter of
# an hour.
_GIVEN_UP = {"tcp_user_timeout": 8_000, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
_OPTIONS = (
    "-c statement_timeout=5000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=15000"
    " -c timezone=UTC -c default_transaction_isolation=read\\ committed"
)


def connect(url: str, password_file: Path | None) -> AsyncEngine:
    """An engine with a pool of connections. Dispose of it when done.

    The password is read whenever a connection is made: a changed one needs no restart, and no URL, log or process
    list ever holds it.
    """
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        connect_args={
            "connect_timeout": 5,
            "options": _OPTIONS,
            "application_name": "voice-provisioning",
            **_GIVEN_UP,
        },
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
