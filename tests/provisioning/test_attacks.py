"""Attacks across the seams: lying addresses, other devices' things, lines for the log, a server clock that leaps."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest

from appliance.credentials import dpop
from appliance.errors import ProvisioningError, Secret
from tests.fakes.upstream import Answer, FakeUpstream
from tests.provisioning.running import Device, enrolled, enrolment_token, make_data, service
from tests.provisioning.test_device_routes import change_key, read
from tests.provisioning.test_security import code_of

Capsys = pytest.CaptureFixture[str]
HOSTS = ("x/v1/sessions?", "x/v1/sessions#", "x?", "@x", "a b", "x\\y", "x:99999", "[::1", "x/../v1", "")
FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example", "X-Forwarded-For": "10.0.0.1"}


def test_no_header_makes_a_proof_fit_another_address(tmp_path: Path, capsys: Capsys) -> None:
    """A proof for one path must not be good at another one, whatever the request calls its host."""

    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            assert (await device.ask_session(known.token)).status in (201, 401)
            secure = running.url.replace("http://", "https://")
            lies = [({"Host": host}, running.url) for host in HOSTS]
            lies += [(FORWARDED, secure), (FORWARDED, "https://evil.example")]
            for headers, base in lies:
                proof = dpop.proof(
                    device.identity,
                    method="POST",
                    url=f"{base}/v1/sessions",
                    now_s=0,
                    jti=str(time.monotonic_ns()),
                    nonce=device.nonce,
                    access_token=known.token,
                )
                lines = {"DPoP": proof, "Authorization": f"DPoP {known.token}", "Content-Type": "application/json"}
                body = json.dumps({"proof": proof}).encode()
                refused = await device.send("/v1/device/key", body=body, headers={**lines, **headers})
                assert refused.status in (400, 401), headers
                if refused.status == 401:
                    assert code_of(refused) in ("invalid_dpop_proof", "use_dpop_nonce")
            assert running.query("select count(*) from access_tokens") == [(1,)]
            described = await device.send(
                "/.well-known/oauth-authorization-server", method="GET", body=b"", headers=FORWARDED
            )
            assert json.loads(described.body)["issuer"] == running.url

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_another_devices_token_and_sessions_are_out_of_reach(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, victim, known):
            session = (await victim.minter(known).mint()).session_id
            thief = Device(tmp_path / "thief", running.url)
            own = await thief.enrol(await asyncio.to_thread(enrolment_token, running.data, capsys))
            await thief.ask_session(own.token)
            for token, status in ((own.token, 404), (known.token, 401)):
                path = f"/v1/sessions/{session}/report"
                lines = {
                    "DPoP": thief.proof(path, access_token=token),
                    "Authorization": f"DPoP {token}",
                    "Content-Type": "application/json",
                }
                refused = await thief.send(path, body=b'{"duration_s": 80000, "reason": "x"}', headers=lines)
                assert refused.status == status
            assert (await read(thief, known.token)).status == 401
            fresh = Device(tmp_path / "fresh", running.url).identity
            assert (await change_key(thief, fresh, known.token)).status == 401
            assert (await change_key(thief, fresh, own.token, nonce="old")).status == 401
            assert (await change_key(thief, victim.identity, own.token)).status == 400
            assert (await thief.form("/oauth/revoke", urlencode({"token": known.token}))).status == 400
            assert running.query("select count(*) from reports") == [(0,)]
            await victim.minter(known).mint()

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_nobody_writes_lines_of_his_own_into_the_log(
    tmp_path: Path, capsys: Capsys, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="appliance")
    forged = "x\r\nERROR appliance: all is lost"

    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        token = await asyncio.to_thread(enrolment_token, data, capsys)
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)
            form = {
                "client_id": "voice-appliance",
                "name": forged,
                "hw": forged,
                "sw": forged,
                "enrolment_token": token,
            }
            opened = await device.form("/oauth/device_authorization", urlencode(form))
            poll = {
                "client_id": "voice-appliance",
                "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
                "device_code": json.loads(opened.body)["device_code"],
            }
            token = Secret(json.loads((await device.form("/oauth/token", urlencode(poll))).body)["access_token"])
            upstream.script.append(Answer.failure(500, forged, X_Request_Id="req ERROR all is lost"))
            assert (await device.ask_session(token, key="key-00000002")).status in (401, 502)
            assert (await device.ask_session(token, key="key-00000003")).status in (201, 502)
            await device.send(
                "/%0d%0aERROR%20all%20is%20lost", method="GET", body=b"", headers={"User-Agent": "all is lost"}
            )

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))
    assert any("outcome=" in record.getMessage() for record in caplog.records)
    for record in caplog.records:
        assert record.getMessage().isprintable(), record
        assert "all is lost" not in record.getMessage()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("leap_s", [3_600, -3_600, 90_000, -90_000])
def test_a_server_whose_clock_leaps_keeps_its_devices(leap_s: int, tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url, "[fleet]\nmints_per_s = 1\n")
        token = await asyncio.to_thread(enrolment_token, data, capsys, "--expires-s", "604800")
        clock = [time.time()]
        async with service(data, lambda: clock[0]) as running:
            device = Device(tmp_path / "device", running.url)
            minter = device.minter(await device.enrol(token))
            waiter = Device(tmp_path / "waiter", running.url)

            async def soon() -> None:
                """Within two seconds, as whoever presses again."""
                with contextlib.suppress(ProvisioningError):
                    await minter.mint()
                    return
                clock[0] += 2
                await minter.mint()

            await minter.mint()
            await waiter.form("/oauth/device_authorization", "client_id=voice-appliance")
            clock[0] += leap_s
            await soon()
            await waiter.form("/oauth/device_authorization", "client_id=voice-appliance")  # tells the new nonce
            again = await waiter.form("/oauth/device_authorization", "client_id=voice-appliance")
            assert again.status == 200
            clock[0] -= leap_s
            await soon()
            assert running.query("select count(*) from mints where outcome = 'minted'") == [(3,)]

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))
