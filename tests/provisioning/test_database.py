"""The schema and its transactions, on both stores."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Column, Connection, Integer, MetaData, Table, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from appliance.errors import ApplianceError, StateError
from appliance.provisioning import database, migrations
from appliance.provisioning.schema import METADATA, REVISION
from appliance.provisioning.settings import Store
from appliance.provisioning.sqlite import QuickSqlite
from tests.provisioning.conftest import postgres_store
from tests.provisioning.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store without any schema."""
    if request.param == "sqlite":
        return Store(path=tmp_path / "a.sqlite3")
    server: Postgres = request.getfixturevalue("postgres_server")
    return postgres_store(server, server.create(), tmp_path)


def run(store: Store, story: Callable[[AsyncEngine], Awaitable[None]]) -> None:
    async def told() -> None:
        engine = database.connect(store)
        try:
            await story(engine)
        finally:
            await engine.dispose()

    asyncio.run(told())


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, METADATA))


def migrate_to(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    known = (
        connection.execute(text("select version_num from alembic_version")).scalar() if has_version(connection) else ""
    )
    (command.downgrade if known and known > revision else command.upgrade)(config, revision)


def has_version(connection: Connection) -> bool:
    return connection.dialect.has_table(connection, "alembic_version")


def test_migrations_and_tables_agree(empty_store: Store) -> None:
    async def story(engine: AsyncEngine) -> None:
        assert (await database.upgrade(empty_store)).startswith("made")
        assert (await database.upgrade(empty_store)).startswith("kept")
        async with engine.begin() as connection:
            assert await database.version(connection) == REVISION
            assert await connection.run_sync(differences) == []
            if empty_store.path:
                assert (await connection.execute(text("PRAGMA journal_mode"))).scalar() == "wal"
            else:
                said = (await connection.execute(text("SHOW transaction_isolation"))).scalar()
                assert said == "read committed"
        orphan = text("INSERT INTO access_tokens VALUES (:token, :device, '', 0, 0)")
        async with engine.connect() as connection:
            with pytest.raises(IntegrityError) as refused:
                await connection.execute(orphan, {"token": "vdt_hash", "device": "nobody"})
        assert "vdt_hash" not in str(refused.value)
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(StateError, match="newer version"):
            await database.upgrade(empty_store)

    run(empty_store, story)


FIRST_ROWS = [
    "INSERT INTO enrolment_tokens VALUES ('tok', 'hash1', 'default', 3, 2, 1000, 9000)",
    "INSERT INTO devices VALUES ('d_a', 'thumb-a', 'kitchen', 'pi', '0.1', 'default', 'active', 'tok', 1000, 2000)",
    "INSERT INTO devices VALUES ('d_b', 'thumb-b', 'hall', 'pi', '0.1', 'default', 'revoked', NULL, 1500, 2500)",
    "INSERT INTO access_tokens VALUES ('hash2', 'd_a', 'thumb-a', 1000, NULL)",
    "INSERT INTO authorizations VALUES ('hash3', '123456789', 't', 'n', 'h', 's', 'pending', 5, NULL, 1000, 9000)",
    "INSERT INTO seen_proofs VALUES ('hash4', 9000)",
    "INSERT INTO mints VALUES ('j1', 's1', 'd_a', 'k1', 'default', 'websocket', 3000, 'minted', 5, 'ab', 'req')",
    "INSERT INTO mints VALUES ('j2', 's2', 'd_a', 'k2', 'default', 'websocket', 4000, 'overloaded', 5, NULL, NULL)",
    """INSERT INTO reports VALUES ('s1', 'd_a', 5000, 9, 'idle', '{"text_in": 5, "text_cached": 2, "audio_out": 4}')""",
    """INSERT INTO reports VALUES ('s2', 'd_a', 5000, 1, 'idle', '{"total_tokens": 7, "text_in": -1}')""",
]


def test_a_full_first_schema_comes_up_with_nothing_lost(empty_store: Store) -> None:
    async def story(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await connection.run_sync(migrate_to, "0001")
            for row in FIRST_ROWS:
                await connection.exec_driver_sql(row)
        assert (await database.upgrade(empty_store)).startswith("upgraded")

        async def query(sql: str) -> list[tuple[object, ...]]:
            async with engine.begin() as connection:
                return [tuple(row) for row in await connection.execute(text(sql))]

        assert await query("select id, name, last_seen_ms from devices order by id") == [
            ("d_a", "kitchen", 4000),
            ("d_b", "hall", None),
        ]
        assert await query("select device_id, tokens from allowances order by device_id") == [
            ("d_a", 0.0),
            ("d_b", 0.0),
        ]
        assert await query("select id, uses_left, note, revoked_ms from enrolment_tokens") == [("tok", 2, "", None)]
        reports = await query("select session_id, tokens, model, cost_usd from reports order by session_id")
        assert reports == [("s1", 9, "", None), ("s2", 7, "", None)]
        for table, rows in (("access_tokens", 1), ("authorizations", 1), ("seen_proofs", 1), ("mints", 2)):
            assert await query(f"select count(*) from {table}") == [(rows,)]
        async with engine.begin() as connection:
            await connection.run_sync(migrate_to, "0001")
        assert len(await query("select * from reports")) == 2
        assert (await database.upgrade(empty_store)).startswith("upgraded")

    run(empty_store, story)


def test_several_replicas_may_upgrade_at_once(empty_store: Store) -> None:
    async def story(_: AsyncEngine) -> None:
        said = await asyncio.gather(*(database.upgrade(empty_store) for _ in range(4)))
        assert sorted(line.partition(" ")[0] for line in said) == ["kept", "kept", "kept", "made"]

    run(empty_store, story)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite3"
    path.write_bytes(b"this is not a database, whatever its name may say" * 100)
    with pytest.raises(ApplianceError, match="cannot use the database"):
        asyncio.run(database.upgrade(Store(path=path)))


def test_a_server_that_is_not_there_is_waited_for_and_then_named(tmp_path: Path) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    store = Store(url=f"postgresql+psycopg://voice@/none?host={tmp_path}")
    with pytest.raises(StateError, match="does it run"):
        asyncio.run(database.upgrade(store, patience_s=3, sleep=sleep))
    assert waited == [1.0, 1.0, 1.0]


def test_a_wrong_password_is_not_shown(postgres_database: Store) -> None:
    assert postgres_database.password_file
    postgres_database.password_file.write_text("wrong-word")
    with pytest.raises(StateError) as refused:
        asyncio.run(database.upgrade(postgres_database))
    assert "wrong-word" not in f"{refused.value!r} {refused.value.__cause__!r}"


def test_a_server_that_says_nothing_any_more_is_given_up(postgres_database: Store) -> None:
    """Asked of the driver: to pull the plug takes another machine."""

    async def story(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            raw = await connection.get_raw_connection()
            assert raw.driver_connection is not None
            told = raw.driver_connection.info.get_parameters()
            assert int(told["tcp_user_timeout"]) < 10_000, "sooner than a device gives up"
            assert int(told["keepalives_idle"]) + 3 * int(told["keepalives_interval"]) <= 30

    run(postgres_database, story)


def test_the_server_may_go_away_and_come_back(
    postgres_server: Postgres, postgres_database: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(engine: AsyncEngine) -> None:
        async def ask() -> object:
            async with engine.begin() as connection:
                return (await connection.execute(text("select count(*) from devices"))).scalar_one()

        await asyncio.gather(*(ask() for _ in range(3)))
        postgres_server.stop(signal.SIGINT)
        with pytest.raises(DBAPIError):
            await ask()
        await asyncio.to_thread(postgres_server.start)
        assert await ask() == 0
        # Nobody notices when it went while we rested: whoever comes first asks whether the connection stands.
        monkeypatch.setattr("appliance.provisioning.postgresql._IDLE_S", 0.0)
        postgres_server.stop(signal.SIGINT)
        await asyncio.to_thread(postgres_server.start)
        assert await ask() == 0

    run(postgres_database, story)


COUNTER = Table("counter", MetaData(), Column("id", Integer, primary_key=True), Column("n", Integer))


def test_writers_take_turns(store: Store) -> None:
    async def story(engine: AsyncEngine) -> None:
        quick = database.quick(store)
        async with engine.begin() as connection:
            await connection.run_sync(COUNTER.create)
            await connection.execute(COUNTER.insert().values(id=1, n=0))

        async def count(durable: bool) -> None:
            async with (engine if durable else quick).begin() as connection:
                found = (await connection.execute(select(COUNTER).with_for_update())).one_or_none()
                await asyncio.sleep(0)
                assert found
                await connection.execute(update(COUNTER).values(n=found.n + 1))
                if isinstance(quick, QuickSqlite):
                    assert quick._connection
                    assert quick._connection.execute("PRAGMA synchronous").fetchall() == [(1,)]

        await asyncio.gather(*(count(number % 2 == 0) for number in range(300)))
        async with engine.begin() as connection:
            assert (await connection.execute(select(COUNTER.c.n))).scalar_one() == 300
            if store.path:
                assert (await connection.execute(text("PRAGMA synchronous"))).scalar_one() == 2
        await quick.close()

    if store.path:
        store.path.parent.mkdir(exist_ok=True)
    run(store, story)
