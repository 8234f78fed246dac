"""Many at once, and replicas that die: nothing is lost, doubled or charged twice, on either store."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from appliance.errors import Secret
from appliance.provisioning import abandoned
from appliance.provisioning.settings import Store
from tests.fakes.upstream import Answer, FakeUpstream
from tests.provisioning.postgres import Postgres
from tests.provisioning.running import Device, command, database_of, enrolled, enrolment_token, make_data, service

pytestmark = pytest.mark.usefixtures("store")
Capsys = pytest.CaptureFixture[str]
FREE = "[profiles.default.limits]\nper_minute = 0\nper_day = 0\nseconds_per_day = 0\n"


def test_a_fleet_and_its_owner_at_once(tmp_path: Path, capsys: Capsys, caplog: pytest.LogCaptureFixture) -> None:
    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url, FREE)
        token = await asyncio.to_thread(enrolment_token, data, capsys, "--uses", "100")
        async with service(data) as running:

            async def live(number: int) -> int:
                device = Device(tmp_path / f"device-{number}", running.url)
                known = await device.enrol(token)
                minter = device.minter(known)
                for _ in range(4):
                    grant = await minter.mint()
                    await minter.report(grant.session_id, duration_s=5, reason="idle", usage={"text_in": 3})
                return 4

            async def own() -> int:
                for words in (("devices", "list"), ("tokens", "create"), ("profiles", "list"), ("doctor",)) * 3:
                    assert await asyncio.to_thread(command, *words, "--data", str(data)) == 0
                return 0

            granted = sum(await asyncio.gather(*(live(number) for number in range(20)), own()))
            assert granted == 80
            assert running.query("select count(*), count(distinct session_id) from mints where outcome = 'minted'") == [
                (80, 80)
            ]
            assert running.query("select count(*), sum(tokens) from reports") == [(80, 240)]
            assert running.query("select sum(sessions), sum(seconds) from allowances") == [(80, 400.0)]
            assert running.query("select uses_left from enrolment_tokens order by created_ms limit 1") == [(80,)]

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))
    assert "locked" not in caplog.text
    assert "deadlock" not in caplog.text


def test_one_device_cannot_outrun_its_bucket(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            await device.send("/v1/sessions", body=b"{}", headers={})  # for the nonce
            keys = [f"key-{number:08d}" for number in range(10)]
            answers = await asyncio.gather(*(device.ask_session(known.token, key=key) for key in keys))
            assert Counter(answer.status for answer in answers) == {201: 3, 429: 7}
            assert running.query("select sessions from allowances") == [(3,)]

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_one_key_is_one_session_however_fast_it_is_repeated(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            await device.send("/v1/sessions", body=b"{}", headers={})
            upstream.script.extend([Answer(delay_s=0.3), Answer(500, b"", delay_s=0.2), Answer(delay_s=0.1)])
            answers = await asyncio.gather(*(device.ask_session(known.token) for _ in range(4)))
            assert Counter(answer.status for answer in answers) == {201: 2, 422: 1, 502: 1}
            sessions = {json.loads(answer.body)["session_id"] for answer in answers if answer.status == 201}
            assert len(sessions) == 1
            assert running.query("select sessions from allowances") == [(1,)]

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_one_enrolment_token_is_spent_once_by_many(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        token = await asyncio.to_thread(enrolment_token, data, capsys, "--uses", "2")
        async with service(data) as running:
            devices = [Device(tmp_path / f"device-{number}", running.url) for number in range(6)]
            found = await asyncio.gather(*(device.enrol(token) for device in devices), return_exceptions=True)
            assert sum(not isinstance(each, BaseException) for each in found) == 2
            assert running.query("select uses_left from enrolment_tokens") == [(0,)]
            assert running.query("select count(*) from devices") == [(2,)]

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


@contextlib.asynccontextmanager
async def replica(data: Path) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The service as people run it, in a process that can be killed."""
    words = ["-m", "appliance.provisioning.cli", "serve", "--data", str(data), "--port", "0"]
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=subprocess.PIPE)
    assert process.stdout
    try:
        yield (await process.stdout.readline()).decode().split()[-1], process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def settled(store: Store, after_s: float) -> int:
    """Looks for abandoned attempts of today, as a replica does that much later."""
    async with database_of(store) as engine:
        now_ms = round((time.time() + after_s) * 1000)
        return await abandoned.settle(engine, now_ms - abandoned.LOOKS_BACK_MS, now_ms)


def test_a_charge_whose_replica_died_is_given_back_when_nobody_repeats(
    store: Store, tmp_path: Path, capsys: Capsys
) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            await device.send("/v1/sessions", body=b"{}", headers={})
            assert (await device.ask_session(known.token, key="key-00000001")).status == 201
            assert (await device.ask_session(known.token, key="key-00000002")).status == 201
            running.query("update mints set outcome = 'pending' where idempotency_key = 'key-00000002'")
            assert await settled(store, after_s=62) == 1
            assert running.query("select sessions from allowances") == [(1,)]
            again = await device.ask_session(known.token, key="key-00000002")  # later than any device would
            assert again.status == 201
            assert running.query("select sessions from allowances") == [(2,)]
            assert await settled(store, after_s=62) == 0

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_replicas_look_for_abandoned_attempts_by_themselves(store: Store, tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        waits: list[float] = []

        def late() -> int:
            return round((time.time() + 62) * 1000)

        async def sleep(wait_s: float) -> None:
            waits.append(wait_s)
            if len(waits) == 3:
                raise asyncio.CancelledError

        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            await device.send("/v1/sessions", body=b"{}", headers={})
            assert (await device.ask_session(known.token)).status == 201
            running.query("update mints set outcome = 'pending'")
            async with database_of(store) as engine:
                with pytest.raises(asyncio.CancelledError):
                    await abandoned.keep_settling(engine, late, lambda: 0.5, sleep)
            assert running.query("select outcome from mints") == [("abandoned",)]
            assert waits == [30.0] * 3

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_replica_killed_in_mid_mint_charges_nobody_twice(store: Store, tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        token = await asyncio.to_thread(enrolment_token, data, capsys)
        async with replica(data) as (url, first):
            device = Device(tmp_path / "device", url)
            known = await device.enrol(token)
            await device.send("/v1/sessions", body=b"{}", headers={})
            upstream.script.append(Answer(delay_s=30))
            asked_at = time.time()
            asking = asyncio.create_task(device.ask_session(known.token))
            while not upstream.asked:  # noqa: ASYNC110 the fake lives in threads of its own
                await asyncio.sleep(0.01)
            first.kill()
            await first.wait()
            with pytest.raises(Exception, match=r"\w"):
                await asking
        async with replica(data) as (url, _):
            device.url, device.nonce = url, None
            again = await device.ask_session(Secret(known.token))
            assert again.status == 201
            content = json.loads(again.body)
            assert content["limits"]["sessions_left_today"] == 199
        async with service(data) as running:
            rows = running.query("select session_id, outcome from mints order by outcome")
            assert rows == [(content["session_id"], "minted"), (content["session_id"], "pending")]
            assert running.query("select sessions from allowances") == [(1,)]
            assert await settled(store, after_s=asked_at + 55 - time.time()) == 0, "somebody may still work at it"
            assert sorted(await asyncio.gather(*(settled(store, after_s=62) for _ in range(2)))) == [0, 1]
            rows = running.query("select outcome from mints order by outcome")
            assert rows == [("abandoned",), ("minted",)]
            assert running.query("select sessions from allowances") == [(1,)], "the repeat has used the charge"

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_database_that_goes_away_is_503_until_it_is_back(
    request: pytest.FixtureRequest,
    store: Store,
    tmp_path: Path,
    capsys: Capsys,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away() -> Callable[[], None]:
        if store.path:
            blocker = sqlite3.connect(store.path, check_same_thread=False)
            blocker.execute("BEGIN EXCLUSIVE")
            return blocker.close
        server: Postgres = request.getfixturevalue("postgres_server")
        await asyncio.to_thread(server.stop)
        return server.start

    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (_, device, known):
            assert (await device.ask_session(known.token)).status == 201
            back = await away()
            refused = await device.ask_session(known.token, key="key-00000002")
            assert (refused.status, json.loads(refused.body)["code"]) == (503, "overloaded")
            assert "retry-after" in refused.headers
            health = await device.send("/healthz", method="GET", body=b"", headers={})
            assert health.status == (200 if store.path else 503)  # SQLite can still read
            await asyncio.to_thread(back)
            assert (await device.ask_session(known.token, key="key-00000002")).status == 201

    monkeypatch.setattr("appliance.provisioning.sqlite.BUSY_S", 0.2)
    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))
    lines = [message for message in caplog.messages if "does not answer" in message]
    assert lines
    assert not any("\n" in line for line in lines)
