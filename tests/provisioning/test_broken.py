"""An installation in ten kinds of trouble: each command tells one line with the remedy, and nobody a traceback."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.provisioning import settings
from tests.fakes.upstream import KEY
from tests.provisioning.running import command

Capsys = pytest.CaptureFixture[str]


def _rubbish(data: Path) -> None:
    (data / settings.DATABASE_NAME).write_bytes(b"rubbish" * 1000)


def _cut(data: Path) -> None:
    path = data / settings.DATABASE_NAME
    path.write_bytes(path.read_bytes()[:20_000])


def _newer(data: Path) -> None:
    with sqlite3.connect(data / settings.DATABASE_NAME) as connection:
        connection.execute("update alembic_version set version_num = '0099'")
    connection.close()


def _postgresql(data: Path) -> None:
    with (data / settings.CONFIG_NAME).open("a") as file:
        file.write('[store]\nurl = "postgresql+psycopg://voice@127.0.0.1:1/voice"\n')


def _misspelled(data: Path) -> None:
    path = data / settings.CONFIG_NAME
    path.write_text(path.read_text().replace("key_file", "keyfile"))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "rubbish": (_rubbish, "file is not a database"),
    "cut": (_cut, "malformed"),
    "empty": (lambda data: (data / settings.DATABASE_NAME).write_bytes(b""), "schema none"),
    "missing": (lambda data: (data / settings.DATABASE_NAME).unlink(), "restore a backup, or run init again"),
    "newer": (_newer, "made by a newer version"),
    "no server": (_postgresql, "connection failed"),
    "no TOML": (lambda data: (data / settings.CONFIG_NAME).write_text("[x"), "correct the file"),
    "misspelled": (_misspelled, "`keyfile`"),
    "pepper": (lambda data: (data / settings.PEPPER_NAME).write_text("x"), "is damaged"),
    "no secret": (lambda data: (data / settings.NONCE_SECRET_NAME).unlink(), "cannot read"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_whatever_is_broken_is_told_with_its_remedy(how: str, tmp_path: Path, capsys: Capsys) -> None:
    data, (breaks, said) = tmp_path / "data", BROKEN[how]
    key = tmp_path / "key"
    key.write_text(KEY)
    static = ("--upstream", "static", "--url", "ws://127.0.0.1:9/v1/realtime", "--key-file", str(key))
    assert command("init", "--data", str(data), *static) == 0
    (data / settings.DATABASE_NAME).with_suffix(".sqlite3-wal").unlink(missing_ok=True)
    breaks(data)
    capsys.readouterr()
    before = sorted(path.name for path in data.iterdir())
    commands = [["devices", "list"], ["approve", "1"], ["export", str(tmp_path / "all")], ["sign-in"]]
    if how not in ("empty", "no server"):  # an empty file is a new database; a server is waited for
        commands.append(["serve", "--port", "0"])
    for words in commands:
        assert command(*words, "--data", str(data)) in (1, 78), words
        shown = capsys.readouterr()
        assert said in shown.err, words
        assert len(shown.err.splitlines()) == 1, shown.err
        assert "; " in shown.err, "what to do is missing"
        assert not shown.out
    assert command("doctor", "--data", str(data)) == 1
    told = capsys.readouterr().out
    assert said in told
    assert told.count("FAIL") == told.count("->")
    assert KEY not in told
    assert [name for name in before if not (data / name).exists()] == []
    assert not (tmp_path / "all").exists()
    if how == "missing":
        assert not (data / settings.DATABASE_NAME).exists(), "nobody made an empty one in its place"


HEAD = '{"format":"voice-provisioning export","version":1,"schema":"0002"}\n'
ENTRY = '{{"table":"audit","row":{{"id":{},"at_ms":1,"actor":"x","action":"y","subject":"","detail":""}}}}\n'


@pytest.mark.parametrize(
    "content",
    [
        HEAD + ENTRY.format("9" * 30) + '{"rows":1}',
        HEAD + '{"table":"reports","row":{"usage":' + "[" * 100_000 + "]" * 100_000 + "}}\n",
        HEAD + '{"table":"sqlite_master","row":{"name":"x"}}\n{"rows":1}',
        HEAD + '{"table":"audit","row":{"id; drop table audit":1}}\n{"rows":1}',
        HEAD + ENTRY.format('"1"') * 2 + '{"rows":2}',
        HEAD,
        "\x00\xff",
    ],
)
def test_a_hostile_export_is_refused_as_a_whole(content: str, tmp_path: Path, capsys: Capsys) -> None:
    data, key = tmp_path / "data", tmp_path / "key"
    key.write_text(KEY)
    static = ("--upstream", "static", "--url", "ws://127.0.0.1:9/v1/realtime", "--key-file", str(key))
    assert command("init", "--data", str(data), *static) == 0
    (tmp_path / "hostile").write_bytes(content.encode("latin-1"))
    capsys.readouterr()
    assert command("import", str(tmp_path / "hostile"), "--data", str(data)) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    with sqlite3.connect(data / settings.DATABASE_NAME) as connection:
        assert connection.execute("select count(*) from audit where actor = 'x'").fetchone() == (0,)
    connection.close()
