"""Keys that were imported: listed, taken off the list again, one or a file's, whatever became of them since."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from appliance.credentials.identity import Identity
from appliance.errors import Secret
from tests.fakes.upstream import FakeUpstream
from tests.provisioning.running import Device, command, make_data, service
from tests.provisioning.test_device_routes import change_key, read

Capsys = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("store")


def test_a_list_of_keys_has_a_way_back(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)

        async def say(*words: str, code: int = 0) -> str:
            capsys.readouterr()
            assert await asyncio.to_thread(command, "devices", *words, "--data", str(data)) == code
            captured = capsys.readouterr()
            return captured.out + captured.err

        keys = [Identity.load_or_create(tmp_path / name) for name in ("lobby", "attic", "cellar")]
        listed = tmp_path / "keys.csv"
        names = ("Lobby", "attic", "cellar")
        lines = [f"{key.thumbprint},{name}" for key, name in zip(keys, names, strict=True)]
        listed.write_text("thumbprint,name\n" + "\n".join(lines) + "\n")
        assert "devices unimport" in await say("import", str(listed))
        found = await say("imported")
        assert [line.split()[1] for line in found.splitlines()] == ["NAME", "attic", "cellar", "Lobby"]

        async with service(data) as running:
            lobby, attic = (Device(tmp_path / name, running.url) for name in ("lobby", "attic"))
            known = await lobby.enrol(None)
            found = await say("imported")
            assert [line.split()[-1] for line in found.splitlines()] == ["DEVICE", "-", "-", known.device_id]

            assert "removed 1 key(s), 0 were not" in await say("unimport", keys[1].thumbprint)
            assert "removed 0 key(s), 1 were not" in await say("unimport", keys[1].thumbprint)
            opened = await attic.form("/oauth/device_authorization", "client_id=voice-appliance")
            assert opened.status == 200
            assert running.query("select status from authorizations order by created_ms desc limit 1") == [("pending",)]

            # The device changes its key, and its place in the list with it: the file takes that off, too.
            new = Device(tmp_path / "new", running.url)
            await read(lobby, known.token)
            token = Secret(json.loads((await change_key(lobby, new.identity, known.token)).body)["access_token"])
            await read(new, token)
            assert (await read(new, token)).status == 200
            assert new.identity.thumbprint in await say("imported")
            assert "removed 2 key(s), 1 were not in the list; devices" in await say("unimport", str(listed))
            assert len((await say("imported")).splitlines()) == 1
            assert (await read(new, token)).status == 200, "who is enrolled stays"
            done = "select action, detail from audit where action like 'keys %' order by id"
            assert running.query(done) == [
                ("keys imported", "3 key(s)"),
                ("keys removed", "1 key(s)"),
                ("keys removed", "2 key(s)"),
            ]
        listed.write_text("nonsense\n")
        assert "line 1" in await say("unimport", str(listed), code=78)
        assert "cannot read" in await say("unimport", str(tmp_path / "none"), code=78)

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_long_list_goes_in_and_out_in_few_statements(tmp_path: Path, capsys: Capsys) -> None:
    data = make_data(tmp_path, "http://127.0.0.1:1")
    keys = [base64.urlsafe_b64encode(number.to_bytes(32, "big")).decode().rstrip("=") for number in range(1_200)]
    listed, statements = tmp_path / "keys", list[str]()
    listed.write_text("\n".join([*keys, keys[7]]) + "\n")

    def count(_: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", count)
    try:
        for word, said in (
            ("import", "imported 1200 key(s), 1 were known"),
            ("import", "imported 0 key(s), 1201 were known"),
            ("unimport", "removed 1200 key(s), 1 were not"),
        ):
            assert command("devices", word, str(listed), "--data", str(data)) == 0
            assert said in capsys.readouterr().out
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    assert sum("preregistrations" in statement for statement in statements) <= 9
