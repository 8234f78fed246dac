"""Device and service against each other over loopback, with a device clock that stands in 1970."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from pathlib import Path

import pytest

from appliance.credentials import enrolment
from appliance.errors import ProvisioningError
from appliance.provisioning import settings
from tests.fakes.upstream import FakeUpstream
from tests.provisioning.running import Device, command, enrolled, enrolment_token, make_data, service

pytestmark = pytest.mark.usefixtures("store")
Capsys = pytest.CaptureFixture[str]


def test_a_device_in_1970_enrols_and_mints(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            assert known == enrolment.load(device.directory)
            assert known.device_id == device.identity.device_id
            assert known.token.startswith("vdt_")
            grant = await device.minter(known).mint()
            assert grant.value == upstream.minted[-1]
            assert 50 < grant.expires_in_s <= 60
            assert grant.url == f"ws{upstream.url[4:]}/v1/realtime"
            assert grant.model == "gpt-realtime-1.5"
            assert (grant.limits.max_session_s, grant.limits.sessions_left_today) == (3600, 199)
            (row,) = running.query("select session_id, outcome, upstream_request_id, secret_sha256_prefix from mints")
            assert row == (
                grant.session_id,
                "minted",
                "req_fake",
                hashlib.sha256(grant.value.encode()).hexdigest()[:16],
            )
            asked = upstream.asked[-1]
            assert asked.path == "/v1/realtime/client_secrets"
            assert asked.body["session"] == {"type": "realtime", "model": "gpt-realtime-1.5"}
            assert asked.body["expires_after"] == {"anchor": "created_at", "seconds": 60}
            pepper = settings.load(running.data).pepper
            named = hmac.new(pepper, known.device_id.encode(), hashlib.sha256).hexdigest()
            assert asked.headers["openai-safety-identifier"] == named

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_the_second_mint_is_one_round_trip(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (_, device, known):
            minter = device.minter(known)
            first = await minter.mint()
            sent: list[str] = []
            connect = device.client.connect

            def counted(url: str) -> object:
                connection = connect(url)
                request = connection.request

                async def noted(*arguments: object, **options: object) -> object:
                    sent.append(str(arguments[1]))
                    return await request(*arguments, **options)  # type: ignore[arg-type]

                connection.request = noted  # type: ignore[method-assign, assignment]
                return connection

            device.client.connect = counted  # type: ignore[method-assign, assignment]
            second = await minter.mint()
            assert len(sent) == 1
            assert first.session_id != second.session_id

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_spoken_code_is_approved_on_the_command_line(tmp_path: Path) -> None:
    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)
            opened = await device.form("/oauth/device_authorization", "client_id=voice-appliance&name=hall")
            answer = json.loads(opened.body)
            assert len(answer["user_code"]) == 11
            poll = (
                "client_id=voice-appliance&grant_type=urn:ietf:params:oauth:grant-type:device_code"
                f"&device_code={answer['device_code']}"
            )
            waiting = await device.form("/oauth/token", poll)
            assert json.loads(waiting.body)["error"] == "authorization_pending"
            hasty = await device.form("/oauth/token", poll)
            assert json.loads(hasty.body)["error"] == "slow_down"
            said = answer["user_code"].split("-")  # as one hears it
            assert await asyncio.to_thread(command, "approve", *said, "--data", str(data)) == 0
            granted = await device.form("/oauth/token", poll)
            assert granted.status == 200
            # The answer may get lost on the way, and be asked for again; or the first poll may be the one that comes
            # late: the device has one token of the two, and nobody else its key.
            again = json.loads((await device.form("/oauth/token", poll)).body)["access_token"]
            first = json.loads(granted.body)["access_token"]
            assert first != again
            assert (await device.ask_session(first)).status == 201
            assert (await device.ask_session(again, key="key-00000002")).status == 201
            thief = Device(tmp_path / "thief", running.url)
            assert json.loads((await thief.form("/oauth/token", poll)).body)["error"] == "invalid_grant"

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_an_enrolment_token_counts_devices_not_tries(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        token = await asyncio.to_thread(enrolment_token, data, capsys, "--uses", "1")
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)
            first = await device.enrol(token)
            second = await device.enrol(token)  # power was cut before the first was stored
            assert first.device_id == second.device_id
            assert first.token != second.token
            with pytest.raises(ProvisioningError) as refused:
                await Device(tmp_path / "other", running.url).enrol(token)
            assert refused.value.code == "invalid_grant"
            assert not refused.value.retry
            assert running.query("select uses_left from enrolment_tokens") == [(0,)]

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_revocation_is_immediate_and_no_token_brings_the_device_back(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            minter, data = device.minter(known), str(running.data)

            async def refusal() -> str:
                with pytest.raises(ProvisioningError) as refused:
                    await minter.mint()
                assert refused.value.hint
                return refused.value.code

            assert await asyncio.to_thread(command, "devices", "suspend", known.device_id, "--data", data) == 0
            assert await refusal() == "device_suspended"
            assert await asyncio.to_thread(command, "devices", "resume", known.device_id, "--data", data) == 0
            await minter.mint()
            assert await asyncio.to_thread(command, "devices", "revoke", known.device_id, "--data", data) == 0
            assert await refusal() == "invalid_token"
            token = await asyncio.to_thread(enrolment_token, running.data, capsys)
            with pytest.raises(ProvisioningError) as refused:
                await device.enrol(token)
            assert refused.value.code == "access_denied"

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_factory_reset_signs_its_own_removal(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            thief = Device(tmp_path / "thief", running.url)
            assert (await thief.form("/oauth/revoke", f"token={known.token}")).status == 400
            await device.minter(known).mint()
            await enrolment.revoke(known, device.identity, client=device.client, now=lambda: 0.0)
            with pytest.raises(ProvisioningError, match="not \\(any more\\) enrolled"):
                await device.minter(known).mint()
            assert running.query("select status from devices") == [("removed",)]
            await enrolment.revoke(known, device.identity, client=device.client, now=lambda: 0.0)

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_report_is_stored_once_and_only_for_own_sessions(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            minter = device.minter(known)
            grant = await minter.mint()
            for duration_s in (42.5, 99.0):
                await minter.report(grant.session_id, duration_s=duration_s, reason="idle", usage={"total_tokens": 7})
            assert running.query("select duration_s, reason, tokens from reports") == [(42.5, "idle", 7)]
            with pytest.raises(ProvisioningError):
                await minter.report("someone-elses", duration_s=1, reason="idle", usage={})

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))
