"""What the service answers when the fault is its own, or nobody's: always in the form that its paths speak."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from appliance.provisioning import authorizations, mints
from appliance.provisioning.settings import Store
from tests.fakes.upstream import FakeUpstream
from tests.provisioning.running import Device, enrolled, make_data, service

Capsys = pytest.CaptureFixture[str]
ASKED = "client_id=voice-appliance"


def test_a_fault_of_ours_is_told_in_the_protocols_form(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (_, device, known):
            await device.ask_session(known.token)
            monkeypatch.setattr(mints, "open_one", broken)
            monkeypatch.setattr(authorizations, "open_one", broken)
            session = await device.ask_session(known.token, key="key-00000002")
            opened = await device.form("/oauth/device_authorization", ASKED)
        assert (session.status, session.headers["content-type"]) == (500, "application/problem+json")
        assert json.loads(session.body)["code"] == "server_error"
        assert (opened.status, json.loads(opened.body)["error"]) == (500, "server_error")

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))
    assert any(record.exc_info for record in caplog.records), "the log has the trace"


def test_a_database_that_takes_no_writes_is_told_and_comes_back(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A primary that has become a standby; or a file that another program holds."""

    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        database = f"alter database {urlsplit(store.url).path[1:]}"
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)
            other = sqlite3.connect(store.path or ":memory:", isolation_level=None)
            other.execute("begin immediate")
            if not store.path:
                running.query(f"{database} set default_transaction_read_only = on")
            refused = await device.form("/oauth/device_authorization", ASKED)
            assert (refused.status, json.loads(refused.body)["error"]) == (503, "temporarily_unavailable")
            assert int(refused.headers["retry-after"]) > 0
            other.close()
            if not store.path:
                running.query(f"begin read write; {database} reset all; commit")
                running.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'voice'")
                await device.form("/oauth/device_authorization", ASKED)  # finds the connections ended
            assert (await device.form("/oauth/device_authorization", ASKED)).status == 200

    monkeypatch.setattr("appliance.provisioning.sqlite.BUSY_S", 0.2)
    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_poll_without_its_code_is_no_wrong_code(tmp_path: Path, capsys: Capsys) -> None:
    grant = "grant_type=urn:ietf:params:oauth:grant-type:device_code"

    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (_, device, __):
            for code, error in (
                ("", "invalid_request"),
                ("&device_code=", "invalid_request"),
                ("&device_code=x", "invalid_grant"),
            ):
                refused = await device.form("/oauth/token", f"{ASKED}&{grant}{code}")
                assert (refused.status, json.loads(refused.body)["error"]) == (400, error)

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_wrong_method_is_told_which_ones_there_are(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (_, device, __):
            for path, allowed in (("/v1/sessions", "POST"), ("/v1/device", "GET"), ("/oauth/token", "POST")):
                refused = await device.send(path, method="PUT", body=b"", headers={})
                assert (refused.status, refused.headers.get("allow")) == (405, allowed)

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))
