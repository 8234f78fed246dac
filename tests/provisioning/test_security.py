"""What an attacker may try with a proof, a token or a body; every one of these must bounce."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from appliance.credentials.enrolment import Enrolment
from appliance.credentials.http import Response
from appliance.errors import Secret
from appliance.provisioning import nonces
from tests.fakes.upstream import FakeUpstream
from tests.provisioning.running import Device, Running, enrolled, enrolment_token, make_data, service
from tests.provisioning.test_proofs import forgeries

pytestmark = pytest.mark.usefixtures("store")
Attack = Callable[[Running, Device, Enrolment], Awaitable[None]]


def code_of(response: Response) -> str:
    content = json.loads(response.body)
    return str(content.get("code") or content["error"])


def run(tmp_path: Path, capsys: Any, attack: Attack) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            await device.ask_session(known.token)  # the device itself gets through
            await attack(running, device, known)
            assert len(upstream.minted) == 1
            assert running.query("select count(*) from mints where outcome = 'minted'") == [(1,)]

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_replayed_proof(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (_, device, known):
            await device.ask_session(known.token)
            proof = device.proof("/v1/sessions", access_token=known.token)
            assert (await device.ask_session(known.token, proof=proof, key="key-00000002")).status == 201
            for key in ("key-00000002", "key-00000003"):
                again = await device.ask_session(known.token, proof=proof, key=key)
                assert (again.status, code_of(again)) == (401, "invalid_dpop_proof")
            assert len(upstream.minted) == 2

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_replayed_enrolment_and_poll(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def attack(_: Running, device: Device, __: Enrolment) -> None:
        for path, body in (
            ("/oauth/device_authorization", "client_id=voice-appliance"),
            ("/oauth/token", "client_id=voice-appliance&grant_type=urn:ietf:params:oauth:grant-type:device_code"),
            ("/oauth/revoke", "token=x"),
        ):
            await device.form(path, body, jti=f"same{path}")
            assert code_of(await device.form(path, body, jti=f"same{path}")) == "invalid_dpop_proof"

    run(tmp_path, capsys, attack)


def test_no_stale_or_foreign_nonce(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def attack(running: Running, device: Device, known: Enrolment) -> None:
        own = nonces.issue(b"x" * 32, running.url, time.time())
        good = device.nonce or ""
        changed = good[:-1] + ("B" if good.endswith("A") else "A")
        for nonce in (own, None, "", "é", "AAAA", changed):
            refused = await device.ask_session(known.token, nonce=nonce)
            assert (refused.status, code_of(refused)) == (401, "use_dpop_nonce")
            assert 'error="use_dpop_nonce"' in refused.headers["www-authenticate"]
            assert refused.headers["dpop-nonce"]

    run(tmp_path, capsys, attack)


def test_a_nonce_lives_one_to_two_windows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        token = await asyncio.to_thread(enrolment_token, data, capsys)
        clock = [time.time()]
        async with service(data, lambda: clock[0]) as running:
            device = Device(tmp_path / "device", running.url)
            known = await device.enrol(token)
            await device.ask_session(known.token)
            nonce = device.nonce
            clock[0] += nonces.WINDOW_S
            assert (await device.ask_session(known.token, nonce=nonce, key="key-00000002")).status == 201
            clock[0] += nonces.WINDOW_S
            assert code_of(await device.ask_session(known.token, nonce=nonce, key="key-00000003")) == "use_dpop_nonce"

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_another_key_address_method_or_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def attack(running: Running, device: Device, known: Enrolment) -> None:
        thief = Device(tmp_path / "thief", running.url)
        stolen = await thief.ask_session(known.token)
        assert (stolen.status, code_of(stolen)) == (401, "invalid_token")
        unbound = await device.ask_session(known.token, access_token=Secret("vdt_other"))
        assert code_of(unbound) == "invalid_dpop_proof"
        unknown = await device.ask_session("vdt_" + "A" * 43)
        assert code_of(unknown) == "invalid_token"
        changes: list[dict[str, Any]] = [
            {"url": "https://evil.example/v1/sessions"},
            {"url": running.url + "/v1/sessions/1/report"},
            {"url": running.url.replace("http://", "https://") + "/v1/sessions"},
            {"method": "GET"},
            {"jti": ""},
            {"jti": "j" * 129},
        ]
        for change in changes:
            refused = await device.ask_session(known.token, **change)
            assert (refused.status, code_of(refused)) == (401, "invalid_dpop_proof"), change
        bearer = {"Authorization": f"Bearer {known.token}", "Idempotency-Key": "key-00000009"}
        plain = await device.send("/v1/sessions", body=b"{}", headers={**bearer, "Content-Type": "application/json"})
        assert code_of(plain) == "invalid_token"

    run(tmp_path, capsys, attack)


def test_forged_proofs_over_the_wire(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def attack(running: Running, device: Device, known: Enrolment) -> None:
        good = device.proof("/v1/sessions", access_token=known.token)
        thief = Device(tmp_path / "thief", running.url)
        for forged in forgeries(good, thief.proof("/v1/sessions", access_token=known.token)):
            if forged.isascii() and forged:
                refused = await device.ask_session(known.token, proof=forged)
                assert (refused.status, code_of(refused)) == (401, "invalid_dpop_proof"), forged[:200]

    run(tmp_path, capsys, attack)


def test_huge_and_deep_bodies_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def attack(_: Running, device: Device, known: Enrolment) -> None:
        huge = await device.ask_session(known.token, body=b'{"profile": "' + b"x" * 40_000 + b'"}')
        assert huge.status in (400, 413)
        for body in (b"[" * 30_000, b'{"a":' * 6_000, b"\xff", b"null", b""):
            assert (await device.ask_session(known.token, body=body)).status == 400
        for depth in (100, 900, 5_000):
            nested = b'{"duration_s": 1, "reason": "x", "usage": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
            headers = {
                "DPoP": device.proof("/v1/sessions/x/report", access_token=known.token),
                "Authorization": f"DPoP {known.token}",
                "Content-Type": "application/json",
            }
            assert (await device.send("/v1/sessions/x/report", body=nested, headers=headers)).status in (400, 404)

    run(tmp_path, capsys, attack)


def test_a_configured_issuer_is_the_only_address(tmp_path: Path) -> None:
    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        toml = data / "server.toml"
        toml.write_text('issuer = "https://voice.example"\n' + toml.read_text())
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)
            refused = await device.form("/oauth/device_authorization", "client_id=voice-appliance")
            assert code_of(refused) == "invalid_dpop_proof"
            url = "https://voice.example/oauth/device_authorization"
            behind_proxy = await device.form("/oauth/device_authorization", "client_id=voice-appliance", url=url)
            assert json.loads(behind_proxy.body)["verification_uri"] == "https://voice.example/activate"
            with pytest.raises(Exception, match="calls itself another address"):
                await device.enrol(Secret("vet_x"))

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_strangers_cannot_fill_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        async with service(data) as running:
            answers = []
            for number in range(4):
                device = Device(tmp_path / f"d{number}", running.url)
                answers.append(await device.form("/oauth/device_authorization", "client_id=voice-appliance"))
            assert [answer.status for answer in answers] == [200, 200, 200, 503]
            assert "retry-after" in answers[3].headers
            first = Device(tmp_path / "d0", running.url)
            again = await first.form("/oauth/device_authorization", "client_id=voice-appliance")
            assert again.status == 200  # its own earlier one makes room

    monkeypatch.setattr("appliance.provisioning.authorizations._PENDING_AT_MOST", 3)
    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_strangers_who_do_not_wait_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        clock = [time.time()]
        async with service(data, lambda: clock[0]) as running:
            ask, answers = "client_id=voice-appliance", []
            waiter = Device(tmp_path / "waiter", running.url)
            opened = json.loads((await waiter.form("/oauth/device_authorization", ask)).body)
            poll = f"{ask}&grant_type=urn:ietf:params:oauth:grant-type:device_code&device_code={opened['device_code']}"
            for number in range(3):
                stranger = Device(tmp_path / f"d{number}", running.url)
                answers.append((await stranger.form("/oauth/device_authorization", ask)).status)
            assert answers == [200, 200, 503]
            clock[0] += 61
            assert code_of(await waiter.form("/oauth/token", poll)) == "authorization_pending"
            late = Device(tmp_path / "late", running.url)
            assert (await late.form("/oauth/device_authorization", ask)).status == 200
            assert code_of(await waiter.form("/oauth/token", poll)) in ("authorization_pending", "slow_down")
            assert running.query("select count(*) from authorizations") == [(2,)]

    monkeypatch.setattr("appliance.provisioning.authorizations._PENDING_AT_MOST", 3)
    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


@pytest.mark.parametrize("name", ["'); DROP TABLE devices; --", "<script>alert(1)</script>", "a\x00b\x1b[2J", "é" * 64])
def test_a_hostile_name_is_only_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        token = await asyncio.to_thread(enrolment_token, data, capsys)
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)
            form = urlencode({"client_id": "voice-appliance", "name": name, "hw": name, "enrolment_token": token})
            assert (await device.form("/oauth/device_authorization", form)).status == 200
            shown = "".join(letter if letter.isprintable() else "?" for letter in name)
            assert running.query("select name, hardware, status from devices") == [(shown, shown, "active")]
            for hostile in ("' OR '1'='1", "%27%20OR%201=1", "%00", "..%2f..", "é"):
                path = f"/v1/sessions/{quote(hostile, safe='%')}/report"
                answer = await device.send(path, body=b"{}", headers={"Content-Type": "application/json"})
                assert answer.status in (400, 401, 404)
                assert code_of(await device.ask_session(hostile if hostile.isascii() else "x")) == "invalid_token"

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))
