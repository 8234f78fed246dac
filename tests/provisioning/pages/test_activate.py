"""Approving by spoken code, with a real device at the other end; and guessing codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest

from tests.provisioning.pages.visiting import Owner, run, text_of
from tests.provisioning.running import Device

pytestmark = pytest.mark.usefixtures("store")
Poll = Callable[[], Awaitable[Any]]
HOSTILE = "<script>alert(1)</script>'\"><img src=x onerror=alert(1)>"


async def waiting(owner: Owner, tmp_path: Path, name: str = "garage", hw: str = "Pi 5") -> tuple[Device, str, Poll]:
    """A device that has spoken its code, and how it asks whether it was approved."""
    device = Device(tmp_path / "device", owner.running.url)
    form = urlencode({"client_id": "voice-appliance", "name": name, "hw": hw, "sw": "0.1.0"})
    opened = json.loads((await device.form("/oauth/device_authorization", form)).body)
    grant = "urn:ietf:params:oauth:grant-type:device_code"

    async def poll() -> Any:
        fields = {"client_id": "voice-appliance", "grant_type": grant, "device_code": opened["device_code"]}
        return json.loads((await device.form("/oauth/token", urlencode(fields))).body)

    return device, opened["user_code"], poll


def test_the_owner_sees_who_asks_and_lets_it_in(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        device, code, poll = await waiting(owner, tmp_path)
        assert (await poll())["error"] == "authorization_pending"
        shown = await owner.get(f"/activate?user_code={code}")
        assert f'value="{code}"' in shown.text
        assert "garage" not in shown.text  # the address alone tries no code
        asked = text_of(await owner.post("/activate", user_code=f" {code.replace('-', ' ')} "))
        for part in ("garage", "Pi 5", "0.1.0", device.identity.thumbprint[:8], code):
            assert part in asked
        done = await owner.post("/activate/answer", user_code=code, answer="approve", name="hall", profile="default")
        assert done.headers["location"] == f"/devices/{device.identity.device_id}?done=approved"
        assert "Approved" in text_of(await owner.get(done.headers["location"]))
        granted = await poll()
        assert granted["access_token"].startswith("vdt_")
        assert (await device.ask_session(granted["access_token"])).status == 201
        assert owner.running.query("select name, profile, status from devices") == [("hall", "default", "active")]
        assert ("approve",) in owner.running.query("select action from audit where actor = 'owner'")

    run(tmp_path, story)


def test_the_owner_refuses(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        _, code, poll = await waiting(owner, tmp_path)
        done = await owner.post("/activate/answer", user_code=code, answer="deny", name="")
        assert done.headers["location"] == "/activate?done=denied"
        assert "Refused" in text_of(await owner.get("/activate?done=denied"))
        assert (await poll())["error"] == "access_denied"
        assert (await owner.post("/activate", user_code=code)).status_code == 422
        assert owner.running.query("select status from devices") == []

    run(tmp_path, story)


def test_a_name_or_profile_that_cannot_be_leaves_the_device_waiting(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        _, code, poll = await waiting(owner, tmp_path)
        for wrong in ({"name": ""}, {"name": "x" * 65}, {"name": "a\x1bb"}, {"name": "x", "profile": "none"}):
            fields = {"user_code": code, "answer": "approve", "profile": "default", **wrong}
            refused = await owner.post("/activate/answer", **fields)
            assert refused.status_code == 409
            assert "hint" not in refused.text
        assert (await poll())["error"] == "authorization_pending"

    run(tmp_path, story)


def test_a_device_that_was_revoked_is_known_again(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        device, code, poll = await waiting(owner, tmp_path)
        fields = {"answer": "approve", "name": "hall", "profile": "default"}
        await owner.post("/activate/answer", user_code=code, **fields)
        await poll()
        path = f"/devices/{device.identity.device_id}"
        await owner.post(path, do="revoke")
        assert "let it say a new code" in text_of(await owner.get(path))
        _, code, poll = await waiting(owner, tmp_path)
        asked = text_of(await owner.post("/activate", user_code=code))
        assert "was here before, as hall revoked" in asked
        await owner.post("/activate/answer", user_code=code, **fields)
        assert (await poll())["access_token"]

    run(tmp_path, story)


def test_what_a_device_says_of_itself_stays_text(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        device, code, _ = await waiting(owner, tmp_path, HOSTILE, HOSTILE)
        pages = [await owner.post("/activate", user_code=code)]
        pages.append(await owner.post("/activate", user_code=HOSTILE[:32]))
        pages.append(await owner.get("/activate?" + urlencode({"user_code": HOSTILE})))
        fields = {"user_code": code, "answer": "approve", "name": "2" + HOSTILE, "profile": "default"}
        assert (await owner.post("/activate/answer", **fields)).status_code == 303
        await owner.post("/tokens", note=HOSTILE)
        shown = ("/devices", f"/devices/{device.identity.device_id}", "/audit", f"/devices?q={HOSTILE[:9]}", "/tokens")
        pages += [await owner.get(path) for path in shown]
        fields = {"name": HOSTILE, "tools": HOSTILE, "instructions": "</textarea>" + HOSTILE}
        pages.append(await owner.post("/profiles/+new", **fields))
        pages.append(await owner.get("/audit?" + urlencode({"subject": HOSTILE, "action": HOSTILE})))
        for page in pages:
            assert page.status_code in (200, 422)
            assert "<script" not in page.text
            assert "<img" not in page.text
            assert "</textarea>&lt;" not in page.text
        silent = [page.url for page in pages if "&lt;script&gt;" not in page.text]
        assert not silent

    run(tmp_path, story)


async def guess(owner: Owner, *, times: int) -> list[httpx2.Response]:
    return [await owner.post("/activate", user_code=f"{number:09d}") for number in range(times)]


def test_who_guesses_waits_longer_each_time(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        _, code, _ = await waiting(owner, tmp_path)
        answers = await guess(owner, times=7)
        assert [answer.status_code for answer in answers] == [422] * 4 + [429] * 3
        assert answers[-1].headers["retry-after"] == "30"
        assert "Try again in 30 seconds" in text_of(answers[-1])
        # Not even the right one now, on either path.
        assert (await owner.post("/activate", user_code=code)).status_code == 429
        right = {"user_code": code, "answer": "approve", "name": "x", "profile": "default"}
        assert (await owner.post("/activate/answer", **right)).status_code == 429
        owner.clock.now_s += 30
        (answer,) = await guess(owner, times=1)
        assert answer.headers["retry-after"] == "60"
        owner.clock.now_s += 60
        assert (await owner.post("/activate", user_code=code)).status_code == 200
        assert (await owner.post("/activate/answer", **right)).status_code == 303
        assert [answer.status_code for answer in await guess(owner, times=4)] == [422] * 4
        noted = owner.running.query("select count(*) from audit where action = 'wrong code'")
        assert noted == [(10,)]

    run(tmp_path, story)


def test_many_sessions_do_not_make_many_guesses(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        at_ms = owner.clock.now_ms
        for number in range(59):  # of other sessions
            owner.running.query(f"insert into code_tries values ('session-{number}', {at_ms - number * 1_000})")
        assert [answer.status_code for answer in await guess(owner, times=1)] == [429]
        await owner.sign_in()
        (answer,) = await guess(owner, times=1)
        assert answer.status_code == 429
        assert 3_000 < int(answer.headers["retry-after"]) <= 3_600
        owner.clock.now_s += 3_601
        assert [answer.status_code for answer in await guess(owner, times=1)] == [422]

    run(tmp_path, story)


def test_many_guesses_at_once_are_no_way_round(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        answers = await asyncio.gather(*(owner.post("/activate", user_code=f"{number:09d}") for number in range(12)))
        assert sorted(answer.status_code for answer in answers) == [422] * 4 + [429] * 8
        assert owner.running.query("select count(*) from code_tries") == [(5,)]

    run(tmp_path, story)
