"""From one store to the other and back with nothing lost."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import JSON, BigInteger, Double, Integer, String, Table, func, insert, select

from appliance.errors import StateError
from appliance.provisioning import database, transfer
from appliance.provisioning.schema import METADATA
from appliance.provisioning.settings import Store
from tests.provisioning.conftest import postgres_store
from tests.provisioning.postgres import Postgres
from tests.provisioning.running import database_of

# What PostgreSQL cannot hold in a text, NUL, the service lets in nowhere; nor halves of surrogate pairs.
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=16)
numbers = st.floats(allow_nan=False, allow_infinity=False)
documents = st.dictionaries(texts, st.integers(-(2**53), 2**53) | numbers | texts)
KINDS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (JSON, documents),
    (Double, numbers),
    (Integer, st.integers(-(2**31), 2**31 - 1)),
    (BigInteger, st.integers(-(2**63), 2**63 - 1)),
    (String, texts),
]


def values(table: Table) -> st.SearchStrategy[dict[str, Any]]:
    columns = {}
    for column in table.columns:
        strategy = next(made for kind, made in KINDS if isinstance(column.type, kind))
        columns[column.name] = st.none() | strategy if column.nullable else strategy
    return st.fixed_dictionaries(columns)


@st.composite
def contents(draw: st.DrawFn) -> dict[str, list[dict[str, Any]]]:
    """Rows for every table that fit together."""
    drawn: dict[str, list[dict[str, Any]]] = {}
    for table in METADATA.sorted_tables:
        rows = draw(st.lists(values(table), max_size=3))
        for number, row in enumerate(rows):
            for column in table.columns:
                if column.primary_key or column.unique:
                    row[column.name] = number + 1 if isinstance(column.type, Integer) else f"k{number}"
                for key in column.foreign_keys:
                    there = [other[key.column.name] for other in drawn[key.column.table.name]]
                    at = number if column.primary_key else 0
                    row[column.name] = there[at] if at < len(there) else None
        drawn[table.name] = [row for row in rows if all(row[c.name] is not None or c.nullable for c in table.columns)]
    return drawn


async def all_rows(store: Store) -> dict[str, list[Any]]:
    async with database_of(store) as engine, engine.begin() as connection:
        found = {}
        for table in METADATA.sorted_tables:
            rows = [row._asdict() for row in await connection.execute(select(table))]
            found[table.name] = sorted(rows, key=repr)
        return found


@pytest.fixture
def fresh(tmp_path: Path, postgres_server: Postgres, postgres_template: str) -> Any:
    numbers = itertools.count()

    async def make(kind: str) -> Store:
        directory = tmp_path / str(next(numbers))
        directory.mkdir()
        if kind == "postgresql":
            name = await asyncio.to_thread(postgres_server.create, postgres_template)
            return postgres_store(postgres_server, name, directory)
        store = Store(path=directory / "a.sqlite3")
        await database.upgrade(store)
        return store

    return make


@given(content=contents())
@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_there_and_back_again(fresh: Any, tmp_path: Path, content: dict[str, list[dict[str, Any]]]) -> None:
    async def story() -> None:
        stores = [await fresh(kind) for kind in ("sqlite", "postgresql", "sqlite")]
        async with database_of(stores[0]) as engine, engine.begin() as connection:
            for table in METADATA.sorted_tables:
                if content[table.name]:
                    await connection.execute(insert(table), content[table.name])
        expected = await all_rows(stores[0])
        assert sum(map(len, expected.values())) == sum(map(len, content.values()))
        for source, target in itertools.pairwise(stores):
            path = tmp_path / "export.jsonl"
            async with database_of(source) as engine:
                count = await transfer.export_to(engine, path)
            async with database_of(target) as engine:
                assert await transfer.import_from(engine, path) == count
            path.unlink()
            assert await all_rows(target) == expected

    asyncio.run(story())


def test_an_import_is_whole_or_nothing(fresh: Any, tmp_path: Path) -> None:
    async def story() -> None:
        source, target = await fresh("sqlite"), await fresh("postgresql")
        path = tmp_path / "export.jsonl"
        rows = [
            {"at_ms": number, "actor": "owner", "action": "did", "subject": "", "detail": "é"}
            for number in range(1_200)
        ]
        async with database_of(source) as engine:
            async with engine.begin() as connection:
                await connection.execute(insert(METADATA.tables["audit"]), rows)
            assert await transfer.export_to(engine, path) == 1_200
            with pytest.raises(StateError, match="cannot make"):
                await transfer.export_to(engine, path)
            with pytest.raises(StateError, match="not empty: audit"):
                await transfer.import_from(engine, path)
        assert path.stat().st_mode & 0o777 == 0o600
        whole = path.read_bytes()
        lines = whole.splitlines(keepends=True)
        async with database_of(target) as engine:
            for content, message in (
                (b"", "is no export"),
                (b"\xff\xfe\n", "is no export"),
                (lines[0].replace(b'"schema":"', b'"schema":"9'), "made with schema 9"),
                (b"".join(lines[:-1]), "cut or damaged"),
                (whole[:-40], "cut or damaged"),
                (b"".join(lines[:50] + lines[51:]), "cut or damaged"),
                (whole + lines[1], "cut or damaged"),
                (whole.replace(b'"table":"audit"', b'"table":"none"'), "no table of ours"),
                (whole.replace(b'"actor"', b'"author"'), "does not fit"),
            ):
                path.write_bytes(content)
                with pytest.raises(StateError, match=message):
                    await transfer.import_from(engine, path)
            path.write_bytes(whole)
            assert await transfer.import_from(engine, path) == 1_200
            async with engine.begin() as connection:  # numbers go on where they ended
                await connection.execute(insert(METADATA.tables["audit"]).values(rows[0]))
                newest = select(func.max(METADATA.tables["audit"].c.id))
                assert (await connection.execute(newest)).scalar_one() == 1_201
            with pytest.raises(StateError, match="cannot read"):
                await transfer.import_from(engine, tmp_path / "none")

    asyncio.run(story())
