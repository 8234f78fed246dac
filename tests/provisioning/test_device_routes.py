"""The rest of the protocol: a device's own entry, its keys, keys known before, profiles, health, numbers."""

from __future__ import annotations

import asyncio
import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from appliance.credentials import dpop
from appliance.credentials.http import Response
from appliance.credentials.identity import Identity
from appliance.errors import ConfigError, ProvisioningError, Secret
from appliance.provisioning import app, preregistrations, settings
from appliance.provisioning.admission import Admission
from tests.fakes.upstream import Answer, FakeUpstream
from tests.provisioning.running import Device, command, enrolled, enrolment_token, make_data, service

pytestmark = pytest.mark.usefixtures("store")
STATIC = '[profiles.guests]\nkind = "static"\nurl = "wss://a.example"\nmodel = "m"\nkey = "k"\n'
Capsys = pytest.CaptureFixture[str]


async def read(device: Device, token: str, **headers: str) -> Response:
    lines = {"DPoP": device.proof("/v1/device", method="GET", access_token=Secret(token)), **headers}
    lines = {name.replace("_", "-"): value for name, value in lines.items()}
    return await device.send("/v1/device", method="GET", body=b"", headers={**lines, "Authorization": f"DPoP {token}"})


async def change_key(device: Device, new: Identity, token: str, **changes: Any) -> Response:
    url = device.url + "/v1/device/key"
    arguments = {"method": "POST", "url": url, "now_s": 0, "jti": f"new-{os.urandom(4).hex()}", "nonce": device.nonce}
    proof = dpop.proof(new, **{**arguments, "access_token": Secret(token), **changes})
    headers = {
        "DPoP": device.proof("/v1/device/key", access_token=Secret(token)),
        "Authorization": f"DPoP {token}",
        "Content-Type": "application/json",
    }
    return await device.send("/v1/device/key", body=json.dumps({"proof": proof}).encode(), headers=headers)


def code(response: Response) -> str:
    return str(json.loads(response.body)["code"])


def test_a_device_reads_its_entry_once(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            assert (await device.ask_session(known.token)).status == 201
            first = await read(device, known.token)
            assert json.loads(first.body) == {
                "device_id": known.device_id,
                "name": "kitchen",
                "profile": "default",
                "model": "gpt-realtime-1.5",
                "max_session_s": 3600,
                "sessions_left_today": 199,
            }
            tag = first.headers["etag"]
            for wanted in (tag, f'"other", W/{tag}', "*"):
                unchanged = await read(device, known.token, If_None_Match=wanted)
                assert (unchanged.status, unchanged.body) == (304, b"")
            in_two_lines = await read(device, known.token, If_None_Match='"other"', if_none_match=tag)
            assert in_two_lines.status == 304
            data = str(running.data)
            assert await asyncio.to_thread(command, "devices", "rename", known.device_id, "hall", "--data", data) == 0
            changed = await read(device, known.token, If_None_Match=tag)
            assert json.loads(changed.body)["name"] == "hall"
            assert (await read(Device(tmp_path / "thief", running.url), known.token)).status == 401

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_two_keys_overlap_until_the_new_one_was_used(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            assert (await device.ask_session(known.token)).status == 201
            renewed = Device(tmp_path / "new", running.url)
            lost = json.loads((await change_key(device, Identity.generate(), known.token)).body)
            answer = json.loads((await change_key(device, renewed.identity, known.token)).body)
            assert (answer["device_id"], answer["token_type"]) == (known.device_id, "DPoP")
            assert (await device.ask_session(known.token, key="key-00000002")).status == 201
            assert code(await renewed.ask_session(lost["access_token"])) == "invalid_token"  # of another key
            assert (await renewed.ask_session(answer["access_token"], key="key-00000003")).status == 201
            assert running.query("select count(*) from access_tokens where revoked_ms is null") == [(1,)]
            assert code(await device.ask_session(known.token, key="key-00000004")) == "invalid_token"
            assert running.query("select count(distinct device_id), count(*) from mints") == [(1, 3)]
            # The new key is the device now: it may enrol again, and neither key gets past the owner's no.
            token = await asyncio.to_thread(enrolment_token, running.data, capsys, "--uses", "9")
            assert (await renewed.enrol(token)).device_id == known.device_id
            data = str(running.data)
            assert await asyncio.to_thread(command, "devices", "revoke", known.device_id, "--data", data) == 0
            for sent_away in (device, renewed):
                with pytest.raises(Exception, match="refused this device"):
                    await sent_away.enrol(token)

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_key_change_is_signed_by_both_keys(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            await device.ask_session(known.token)
            new = Identity.load_or_create(tmp_path / "new")
            for changes in (
                {"access_token": Secret("vdt_other")},
                {"url": device.url + "/v1/sessions"},
                {"method": "GET"},
            ):
                assert code(await change_key(device, new, known.token, **changes)) == "invalid_dpop_proof"
            assert code(await change_key(device, new, known.token, nonce="AAAA")) == "use_dpop_nonce"
            assert code(await change_key(device, device.identity, known.token)) == "invalid_dpop_proof"
            await change_key(device, new, known.token, jti="same")
            assert code(await change_key(device, new, known.token, jti="same")) == "invalid_dpop_proof"
            other = Device(tmp_path / "other", running.url)
            token = await asyncio.to_thread(enrolment_token, running.data, capsys)
            await other.enrol(token)
            assert code(await change_key(device, other.identity, known.token)) == "invalid_dpop_proof"
            assert (await change_key(Device(tmp_path / "thief", running.url), new, known.token)).status == 401

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_key_that_was_changed_is_a_strangers(tmp_path: Path, capsys: Capsys) -> None:
    """Whoever got hold of the old key, the reason for changing it, must not push the device out with it."""

    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, old, known):
            listed = tmp_path / "keys"
            listed.write_text(old.identity.thumbprint + ",hall\n")
            imports = ("devices", "import", str(listed), "--data", str(running.data))
            assert await asyncio.to_thread(command, *imports) == 0
            new = Device(tmp_path / "new", running.url)
            await old.ask_session(known.token)
            changed = json.loads((await change_key(old, new.identity, known.token)).body)["access_token"]
            await new.ask_session(changed)
            assert (await new.ask_session(changed)).status == 201
            assert running.query("select thumbprint, name from preregistrations") == [(new.identity.thumbprint, "hall")]
            assert await asyncio.to_thread(command, *imports) == 0  # the list as it was is imported once more
            opened = await old.form("/oauth/device_authorization", "client_id=voice-appliance")
            assert running.query("select status from authorizations where user_code <> ''") == [("pending",)]
            assert opened.status == 200
            token = await asyncio.to_thread(enrolment_token, running.data, capsys, "--uses", "5")
            with pytest.raises(ProvisioningError) as refused:
                await old.enrol(token)
            assert refused.value.code == "access_denied"
            assert (await new.ask_session(changed, key="key-00000002")).status == 201
            await new.enrol(None)  # the list knows the new key, so that a device that forgets its token comes back

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_key_that_two_devices_were_offered_is_the_firsts(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, one, known):
            other = Device(tmp_path / "other", running.url)
            theirs = await other.enrol(await asyncio.to_thread(enrolment_token, running.data, capsys))
            both = Device(tmp_path / "both", running.url)
            await one.ask_session(known.token)
            await other.ask_session(theirs.token)
            first = json.loads((await change_key(one, both.identity, known.token)).body)["access_token"]
            second = json.loads((await change_key(other, both.identity, theirs.token)).body)["access_token"]
            await both.ask_session(first)
            assert (await both.ask_session(first)).status == 201
            refused = await both.ask_session(second, key="key-00000002")
            assert (refused.status, code(refused)) == (401, "invalid_token")
            assert (await other.ask_session(theirs.token, key="key-00000003")).status == 201

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_key_known_before_enrols_by_itself(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        identity = Identity.load_or_create(tmp_path / "device")
        listed = tmp_path / "keys.csv"
        other = Identity.load_or_create(tmp_path / "other")
        listed.write_text(f'thumbprint,name\n{identity.thumbprint},lobby\n{{"thumbprint": "{other.thumbprint}"}}\n')
        for expected in ("imported 2", "imported 0"):
            assert await asyncio.to_thread(command, "devices", "import", str(listed), "--data", str(data)) == 0
            assert expected in capsys.readouterr().out
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)

            async def enrol() -> Response:
                opened = await device.form("/oauth/device_authorization", "client_id=voice-appliance&name=own")
                grant = "urn:ietf:params:oauth:grant-type:device_code"
                device_code = json.loads(opened.body)["device_code"]
                form = f"client_id=voice-appliance&grant_type={grant}&device_code={device_code}"
                return await device.form("/oauth/token", form)

            granted = await enrol()
            assert granted.status == 200
            assert running.query("select name, profile, status from devices") == [("lobby", "default", "active")]
            assert (await device.ask_session(json.loads(granted.body)["access_token"])).status == 201
            device_id = identity.device_id
            assert await asyncio.to_thread(command, "devices", "revoke", device_id, "--data", str(data)) == 0
            assert json.loads((await enrol()).body)["error"] == "authorization_pending"

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


@pytest.mark.parametrize(
    "line", ["AAAA", "x" * 43, "A" * 43 + ",n,p,more", '{"thumbprint": 7}', "A" * 43 + "," + "n" * 65, "A" * 42 + "B"]
)
def test_a_list_of_keys_with_a_wrong_line_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match="line 2"):
        list(preregistrations.read(["A" * 43, line]))


def test_profiles_change_without_a_restart(tmp_path: Path, capsys: Capsys, caplog: pytest.LogCaptureFixture) -> None:
    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        token = await asyncio.to_thread(enrolment_token, data, capsys)
        clock = [1e9]
        async with service(data, lambda: clock[0]) as running:
            device = Device(tmp_path / "device", running.url)
            minter = device.minter(await device.enrol(token))
            await minter.mint()
            guests = tmp_path / "guests.json"
            guests.write_text('{"upstream": "default", "model": "gpt-realtime-2", "instructions": "Be short."}')
            for words in (
                ("profiles", "set", "guests", str(guests)),
                ("devices", "profile", device.identity.device_id, "guests"),
            ):
                assert await asyncio.to_thread(command, *words, "--data", str(data)) == 0
            clock[0] += 11
            assert (await minter.mint()).model == "gpt-realtime-2"
            assert upstream.asked[-1].body["session"]["instructions"] == "Be short."
            toml = data / settings.CONFIG_NAME
            good = toml.read_text()
            toml.write_text("= broken")
            clock[0] += 11
            assert (await minter.mint()).model == "gpt-realtime-2"
            toml.write_text(
                good + '[profiles.guests]\nkind = "static"\nurl = "wss://a.example"\nmodel = "m"\nkey = "k"\n'
            )
            clock[0] += 11
            assert (await minter.mint()).url == "wss://a.example"  # the file wins
            toml.write_text(good)
            content = '{"upstream": "gone", "model": "m"}'
            running.query(f"update profiles set content = '{content}'")
            for _ in range(2):
                clock[0] += 11
                with pytest.raises(ProvisioningError) as refused:
                    await minter.mint()
                assert refused.value.code == "unknown_profile"
            assert caplog.text.count("there is no upstream gone") == 1

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_too_many_at_once_are_turned_away_at_the_door(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Admission.__init__, "__defaults__", (2,))

    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            assert (await device.ask_session(known.token)).status == 201
            upstream.script.extend(Answer(delay_s=1.0) for _ in range(2))
            devices = [Device(tmp_path / "device", running.url) for _ in range(6)]
            for each in devices:
                each.nonce = device.nonce
            asked = [each.ask_session(known.token, key=f"door-{at:08d}") for at, each in enumerate(devices)]
            answers = await asyncio.gather(*asked)
            assert sorted(answer.status for answer in answers) == [201, 201, 503, 503, 503, 503]
            refused = [answer for answer in answers if answer.status == 503]
            assert {code(answer) for answer in refused} == {"overloaded"}
            assert all(2 <= int(answer.headers["retry-after"]) <= 10 for answer in refused)
            assert running.query("select count(*) from mints") == [(3,)]
            assert (await device.send("/healthz", method="GET", body=b"", headers={})).body == b"ok\n"

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_numbers_are_for_this_machine_only(tmp_path: Path, capsys: Capsys, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url, '[metrics]\nlisten = "127.0.0.1:0"\n')
        token = await asyncio.to_thread(enrolment_token, data, capsys)
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)
            known = await device.enrol(token)
            await device.minter(known).mint()
            address = next(text for text in caplog.messages if "metrics on" in text).split()[-1]

            def fetch() -> str:
                with urllib.request.urlopen(address, timeout=5) as answer:
                    return str(answer.read().decode())

            shown = await asyncio.to_thread(fetch)
            assert 'voice_provisioning_sessions_total{outcome="minted"} 1.0' in shown
            assert "voice_provisioning_session_seconds_count 1.0" in shown
            assert known.device_id not in shown
            assert (await device.send("/metrics", method="GET", body=b"", headers={})).status == 404

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_the_published_description_is_the_committed_one(tmp_path: Path) -> None:
    described = app.create(settings.load(make_data(tmp_path, "http://127.0.0.1:1"))).openapi()
    text = json.dumps(described, indent=1, ensure_ascii=False) + "\n"
    path = Path(__file__).parents[2] / "docs" / "provisioning-openapi.json"
    if os.environ.get("WRITE_OPENAPI"):
        path.write_text(text)
    assert path.read_text() == text, "run this test with WRITE_OPENAPI=1"
    assert {"/v1/sessions", "/v1/device", "/v1/device/key", "/oauth/token"} <= set(described["paths"])
