"""Fixtures of the provisioning tests: what uses ``store`` runs once on SQLite and once on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.provisioning import database
from appliance.provisioning.settings import Store
from tests.provisioning import postgres, running
from tests.provisioning.postgres import Postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with postgres.running() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database that holds the schema and nothing else."""
    name = postgres_server.create()
    asyncio.run(database.upgrade(postgres_store(postgres_server, name, tmp_path_factory.mktemp("template"))))
    return name


def postgres_store(server: Postgres, name: str, directory: Path) -> Store:
    password_file = directory / "database.password"
    password_file.write_text(postgres.PASSWORD + "\n")
    password_file.chmod(0o600)
    return Store(url=server.url(name), password_file=password_file)


@pytest.fixture
def postgres_database(postgres_server: Postgres, postgres_template: str, tmp_path: Path) -> Iterator[Store]:
    """A fresh database with the schema."""
    name = postgres_server.create(postgres_template)
    yield postgres_store(postgres_server, name, tmp_path)
    postgres_server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store with the schema, which `running.make_data` writes into server.toml."""
    if request.param == "sqlite":
        chosen = Store(path=tmp_path / "data" / "provisioning.sqlite3")
    else:
        chosen = request.getfixturevalue("postgres_database")
    running.CHOSEN.append(chosen)
    yield chosen
    running.CHOSEN.pop()
