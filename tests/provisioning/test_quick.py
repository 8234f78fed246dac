"""Quick transactions on both stores: whole or not at all, whatever happens in them, and where they have to wait."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from appliance.provisioning import database, postgresql, sqlite
from appliance.provisioning.postgresql import QuickPostgresql
from appliance.provisioning.quick import Quick
from appliance.provisioning.schema import DEVICES, PREREGISTRATIONS, REPORTS, SEEN_PROOFS
from appliance.provisioning.settings import Store
from tests.provisioning.postgres import Postgres

Story = Callable[[Quick], Awaitable[None]]
DEVICE = {
    "name": "kitchen",
    "hardware": "pi",
    "software": "1",
    "profile": "default",
    "status": "active",
    "created_ms": 1,
    "changed_ms": 1,
}


def run(store: Store, story: Story) -> None:
    async def told() -> None:
        if store.path:
            store.path.parent.mkdir(exist_ok=True)
        await database.upgrade(store)
        async with opened(store) as quick:
            await story(quick)

    asyncio.run(told())


@contextlib.asynccontextmanager
async def opened(store: Store) -> AsyncIterator[Quick]:
    quick = database.quick(store)
    try:
        yield quick
    finally:
        await quick.close()


async def note(quick: Quick, key: str) -> bool:
    async with quick.begin() as connection:
        return await database.add(connection, SEEN_PROOFS, {"jti_sha256": key, "expires_ms": 5})


async def noted(quick: Quick) -> list[str]:
    async with quick.begin() as connection:
        rows = (await connection.execute(select(SEEN_PROOFS).order_by(SEEN_PROOFS.c.jti_sha256))).all()
        return [row.jti_sha256 for row in rows]


def test_rows_come_by_name_and_an_insert_is_counted(store: Store) -> None:
    async def story(quick: Quick) -> None:
        assert await note(quick, "a")
        assert not await note(quick, "a")
        row = {"thumbprint": "t", "name": "hall", "profile": "p", "created_ms": 7}
        async with quick.begin() as connection:
            assert await database.add(connection, PREREGISTRATIONS, row)
            gone = (
                delete(PREREGISTRATIONS)
                .where(PREREGISTRATIONS.c.thumbprint == bindparam("of"))
                .returning(PREREGISTRATIONS)
            )
            found = (await connection.execute(gone, {"of": "t"})).one_or_none()
            assert found._asdict() == {**row, "used_ms": None}
            assert (await connection.execute(gone, {"of": "t"})).one_or_none() is None
        assert await noted(quick) == ["a"]

    run(store, story)


def test_values_of_json_are_written_and_never_read(store: Store) -> None:
    async def story(quick: Quick) -> None:
        report = {"device_id": "d", "at_ms": 1, "duration_s": 2.5, "reason": "idle", "usage": {"text_in": 5}}
        async with quick.begin() as connection:
            await connection.execute(insert(DEVICES).values(id="d", thumbprint="t", **DEVICE))
            for session in ("s1", "s2"):
                assert await database.add(connection, REPORTS, {"session_id": session, **report})
            with pytest.raises(AssertionError):
                await connection.execute(select(REPORTS))
        engine = database.connect(store)
        async with engine.begin() as reading:
            assert (await reading.execute(select(REPORTS.c.usage, REPORTS.c.duration_s))).all() == [
                ({"text_in": 5}, 2.5)
            ] * 2
        await engine.dispose()

    run(store, story)


@pytest.mark.parametrize("how", ["raises", "is cancelled", "breaks a rule", "breaks a rule unnoticed"])
def test_what_does_not_end_well_is_undone(store: Store, how: str) -> None:
    async def story(quick: Quick) -> None:
        began = asyncio.Event()

        async def fail() -> None:
            async with quick.begin() as connection:
                assert await database.add(connection, SEEN_PROOFS, {"jti_sha256": "a", "expires_ms": 5})
                began.set()
                if how == "raises":
                    raise ZeroDivisionError
                if how == "is cancelled":
                    await asyncio.sleep(60)
                for key in ("x", "y"):
                    row = {"id": key, "thumbprint": "same" if how == "breaks a rule" else key, **DEVICE}
                    await connection.execute(insert(DEVICES).values(row))
                await connection.execute(update(DEVICES).values(thumbprint="one for all"))

        failing = asyncio.create_task(fail())
        await began.wait()
        if how == "is cancelled":
            failing.cancel()
        with pytest.raises(
            {"raises": ZeroDivisionError, "is cancelled": asyncio.CancelledError}.get(how, IntegrityError)
        ):
            await failing
        assert await noted(quick) == []
        assert await note(quick, "a")

    run(store, story)


def test_a_log_that_is_emptied_as_it_grows(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("quick") / "provisioning.sqlite3"

    async def story(quick: Quick) -> None:
        for number in range(5 * sqlite.CHECKPOINT_EVERY):
            assert await note(quick, f"{number:064d}")
        assert len(await noted(quick)) == 5 * sqlite.CHECKPOINT_EVERY
        assert path.with_name(f"{path.name}-wal").stat().st_size < 4_000_000

    run(Store(path=path), story)


def test_a_commit_that_waits_for_the_disk_is_finished_although_nobody_waits_for_it(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(quick: Quick) -> None:
        for number in range(20):
            asking = asyncio.create_task(note(quick, f"{number:02d}"))
            for _ in range(4):  # it stands at the thread by then
                await asyncio.sleep(0)
            assert not asking.done()
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
            assert len(await noted(quick)) == number + 1

    monkeypatch.setattr(sqlite, "CHECKPOINT_EVERY", 1)
    run(Store(path=tmp_path_factory.mktemp("quick") / "provisioning.sqlite3"), story)


def test_another_programs_lock_is_waited_for_but_not_for_ever(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path_factory.mktemp("quick") / "provisioning.sqlite3"

    async def story(quick: Quick) -> None:
        await noted(quick)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            asking = asyncio.create_task(note(quick, "a"))
            await asyncio.sleep(0.05)
            assert not asking.done()
            other.execute("COMMIT")
            assert await asking
            monkeypatch.setattr(sqlite, "BUSY_S", 0.05)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(OperationalError, match="locked"):
                await note(quick, "b")
        assert await note(quick, "b")

    run(Store(path=path), story)


def test_more_than_there_are_connections_wait(postgres_database: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(quick: Quick) -> None:
        assert isinstance(quick, QuickPostgresql)
        await asyncio.gather(*(note(quick, f"{number:02d}") for number in range(40)))
        assert len(await noted(quick)) == 40
        assert len(quick._resting) == postgresql._POOL
        monkeypatch.setattr(postgresql, "_TURN_WITHIN_S", 0.05)
        async with contextlib.AsyncExitStack() as holding:
            for _ in range(postgresql._POOL):
                await holding.enter_async_context(quick.begin())
            with pytest.raises(PoolTimeoutError):
                await note(quick, "too many")
        assert await note(quick, "again")

    run(postgres_database, story)


def test_connections_that_went_with_the_server_are_found_out(
    postgres_server: Postgres, postgres_database: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(quick: Quick) -> None:
        await asyncio.gather(*(note(quick, f"{number:02d}") for number in range(4)))
        await asyncio.to_thread(postgres_server.stop, signal.SIGINT)
        with pytest.raises(DBAPIError):
            await noted(quick)
        await asyncio.to_thread(postgres_server.start)
        assert len(await noted(quick)) == 4, "one has told for all"
        monkeypatch.setattr(postgresql, "_IDLE_S", 0.0)
        await asyncio.to_thread(postgres_server.stop, signal.SIGINT)
        await asyncio.to_thread(postgres_server.start)
        assert len(await noted(quick)) == 4, "one that rested is asked first"

    run(postgres_database, story)
