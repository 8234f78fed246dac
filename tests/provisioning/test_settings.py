"""The data directory and the database schema."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from appliance.errors import ApplianceError, ConfigError, StateError
from appliance.provisioning import database, initialise, settings
from appliance.provisioning.initialise import Choices
from appliance.provisioning.schema import METADATA, REVISION

PROFILE = '[profiles.default]\nkind = "openai"\napi_key_file = "k"\n[profiles.default.session]\nmodel = "m"\n'
STATIC = '[profiles.default]\nkind = "static"\nmodel = "m"\n'


def test_init_makes_private_files_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = initialise.prepare(data, Choices(issuer="https://voice.example/", model='a "quoted" \\ model'))
    assert all(line.startswith("made") for line in made)
    assert data.stat().st_mode & 0o777 == 0o700
    for path in data.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    first = settings.load(data)
    assert first.issuer == "https://voice.example"
    assert isinstance(first.profiles["default"], settings.OpenAIProfile)
    assert first.profiles["default"].model == 'a "quoted" \\ model'
    assert all(line.startswith("kept") for line in initialise.prepare(data, Choices()))
    again = settings.load(data)
    assert (again.pepper, again.nonce_secret) == (first.pepper, first.nonce_secret)
    assert first.pepper != first.nonce_secret
    assert first.pepper.hex() not in repr(first)
    with pytest.raises(ConfigError, match="exists already"):
        initialise.prepare(data, Choices(model="other"))


def test_a_refused_choice_leaves_no_configuration(tmp_path: Path) -> None:
    for choices in (
        Choices(issuer="voice.example"),
        Choices(base_url="ftp://x"),
        Choices(base_url="http://api.example.com"),
        Choices(upstream="static", url="https://x", key_file="k"),
        Choices(upstream="static", url="wss://x"),
    ):
        with pytest.raises(ConfigError):
            initialise.prepare(tmp_path, choices)
    initialise.prepare(tmp_path, Choices(upstream="static", url="wss://x", key_file="k"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("= nonsense", "server.toml: "),
        ("", "missing required field `profiles`"),
        ("[profiles.other]\n" + PROFILE.replace("default", "other").partition("\n")[2], r"no \[profiles.default\]"),
        (PROFILE.replace("openai", "whatever"), "whatever"),
        (PROFILE.replace("api_key_file", "api_key_fle"), "api_key_fle"),
        (PROFILE.replace('model = "m"', 'type = "realtime"'), "session: .*model"),
        (PROFILE.replace('model = "m"', 'model = "m"\ntype = "transcription"'), "session: "),
        ('issuer = "https://a/path"\n' + PROFILE, "issuer"),
        ('issuer = "http://voice.example"\n' + PROFILE, "not encrypted"),
        (STATIC + 'url = "wss://a"\n', "key_file or key"),
        (STATIC + 'url = "wss://a"\nkey = "a"\nkey_file = "b"\n', "key_file or key"),
        (STATIC + 'url = "ws://a.example"\nkey = "a"\n', "unencrypted"),
        (STATIC + 'url = "wss://a"\nkey = "a"\nmax_session_s = 0\n', "max_session_s"),
    ],
)
def test_a_wrong_file_is_named_with_the_reason(tmp_path: Path, content: str, message: str) -> None:
    initialise.prepare(tmp_path, Choices())
    (tmp_path / "server.toml").write_text(content)
    with pytest.raises(ConfigError, match=message) as refused:
        settings.load(tmp_path)
    assert "server.toml" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.hint


def test_a_lost_or_torn_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="init --data"):
        settings.load(tmp_path)
    initialise.prepare(tmp_path, Choices())
    (tmp_path / "pepper").write_bytes(b"short")
    with pytest.raises(StateError, match="pepper is damaged"):
        settings.load(tmp_path)
    (tmp_path / "pepper").unlink()
    with pytest.raises(StateError, match="pepper"):
        settings.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"\xff", b"a\nb"])
def test_a_key_file_holds_one_word(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="key file"):
        settings.read_key(path)


def test_migrations_and_tables_agree(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite3"

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, METADATA))

    async def story() -> None:
        assert (await database.upgrade(path)).startswith("made")
        assert (await database.upgrade(path)).startswith("kept")
        engine = database.connect(path)
        async with engine.begin() as connection:
            assert await database.version(connection) == REVISION
            assert await connection.run_sync(differences) == []
            assert (await connection.execute(text("PRAGMA journal_mode"))).scalar() == "wal"
        async with engine.begin() as connection:
            row = {"token": "vdt_hash", "device": "nobody"}
            orphan = text("INSERT INTO access_tokens VALUES (:token, :device, '', 0, 0)")
            with pytest.raises(IntegrityError) as refused:
                await connection.execute(orphan, row)
        assert "vdt_hash" not in str(refused.value)
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        await engine.dispose()
        with pytest.raises(StateError, match="newer version"):
            await database.upgrade(path)

    asyncio.run(story())


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite3"
    path.write_bytes(b"this is not a database, whatever its name may say" * 100)
    with pytest.raises(ApplianceError, match="cannot use the database"):
        asyncio.run(database.upgrade(path))


def test_writers_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite3"

    async def story() -> None:
        engine = database.connect(path)
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE counter (n INTEGER)"))
            await connection.execute(text("INSERT INTO counter VALUES (0)"))

        async def count(durable: bool) -> None:
            async with (engine if durable else database.quick(engine)).begin() as connection:
                found = (await connection.execute(text("SELECT n FROM counter"))).scalar_one()
                await asyncio.sleep(0)
                await connection.execute(text("UPDATE counter SET n = :n"), {"n": found + 1})
                level = (await connection.execute(text("PRAGMA synchronous"))).scalar_one()
                assert level == (2 if durable else 1)

        await asyncio.gather(*(count(number % 2 == 0) for number in range(20)))
        async with engine.begin() as connection:
            assert (await connection.execute(text("SELECT n FROM counter"))).scalar_one() == 20
        await engine.dispose()

    asyncio.run(story())
