"""Requests that do not come from the owner's own hand: each must bounce, on every path there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from fastapi.routing import APIRoute

from appliance.errors import ConfigError
from appliance.provisioning import fleet, owner_sessions
from appliance.provisioning.pages import guard, routes
from tests.provisioning.pages.visiting import Owner, run, seed

OPEN = {"/", "/sign-in", "/icon.svg"}  # to strangers


def paths(method: str, device_id: str = "d_" + "a" * 20) -> Iterator[str]:
    examples = {"device_id": device_id, "token_id": "abcdefgh", "name": "default"}
    for room in routes.ROOMS:
        for route in room.router.routes:
            assert isinstance(route, APIRoute)
            if method in (route.methods or ()):
                yield re.sub(r"{(\w+)}", lambda found: examples[found[1]], route.path)


def test_strangers_see_nothing_and_change_nothing(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        shown = {path: (await owner.get(path)) for path in paths("GET")}
        assert {path for path, answer in shown.items() if answer.headers.get("location") != "/sign-in"} == {
            path for path in shown if path in OPEN or path.startswith("/style-")
        }
        posted = {path: await owner.post(path) for path in paths("POST") if path != "/sign-in"}
        assert len(posted) == 8
        assert {answer.status_code for answer in posted.values()} == {401}

    run(tmp_path, story, signed_in=False)


FORGED = [
    {"csrf": ""},
    {"csrf": "0" * 64},
    {"csrf": "é"},
    {"csrf": "of another session"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
]


def test_a_forged_form_changes_nothing(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        (device_id,) = await seed(owner.running, owner.clock, 1)
        async with httpx2.AsyncClient(verify=False) as client:
            other = Owner(owner.running, client, owner.clock)
            await other.sign_in()
        before = state(owner)
        for forged in FORGED:
            fields = {"do": "revoke", "answer": "approve", "user_code": "1"}
            headers = {name: value for name, value in forged.items() if name != "csrf"}
            if "csrf" in forged:
                fields["csrf"] = other.csrf if "another" in forged["csrf"] else forged["csrf"]
            for path in paths("POST", device_id):
                if path != "/sign-in":
                    assert (await owner.post(path, headers, **fields)).status_code == 403, (path, forged)
        assert state(owner) == before
        assert (await owner.post(f"/devices/{device_id}", do="suspend")).status_code == 303  # the true one gets through

    run(tmp_path, story)


def state(owner: Owner) -> list[object]:
    tables = ("audit", "devices", "enrolment_tokens", "profiles", "owner_sessions", "code_tries")
    return [owner.running.query(f"select * from {table}") for table in tables]


def test_a_browser_on_plain_http_sends_no_fetch_metadata_and_still_gets_through(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        data = {"csrf": owner.csrf}
        for headers in ({"Origin": owner.running.url}, {}):
            answer = await owner.client.post(owner.running.url + "/tokens", data=data, headers=headers)
            assert answer.status_code == 200

    run(tmp_path, story)


def test_every_answer_says_who_may_do_what_with_it(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        (device_id,) = await seed(owner.running, owner.clock, 1)
        answers = [await owner.get(path) for path in paths("GET", device_id)]
        answers += [await owner.get(path) for path in ("/nothing", "/devices/d_no", "/devices/d_" + "z" * 20)]
        answers += [await owner.post(path, csrf="") for path in paths("POST")]
        for answer in answers:
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "form-action 'self'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == guard.HEADERS["Referrer-Policy"]
            if not answer.url.path.startswith(("/style-", "/icon")):
                assert answer.headers["cache-control"] == "no-store"
            active = re.search(r"<script|<iframe|\son\w+=|\sstyle=|(?:src|href|action)=.?(?:https?:|//)", answer.text)
            assert active is None, (answer.url, active)
        style = next(answer for answer in answers if answer.url.path.startswith("/style-"))
        assert "url(" not in style.text
        assert "@import" not in style.text

    run(tmp_path, story)


def test_what_no_browser_sends_is_told_off_as_a_page(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        url, headers = owner.running.url + "/tokens", {"Origin": owner.running.url}
        json = await owner.client.post(url, json={"csrf": owner.csrf}, headers=headers)
        assert json.status_code == 415
        form = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
        for content, status in (
            (f"csrf={owner.csrf}&note=%00".encode(), 400),
            (b"\xff\xfe", 400),
            (b"a=b&" * 50, 400),
            (b"note=" + b"x" * 40_000, 413),
        ):
            answer = await owner.client.post(url, content=content, headers=form)
            assert answer.status_code == status
            assert answer.text.startswith("<!doctype html>")
        assert owner.running.query("select count(*) from enrolment_tokens") == [(0,)]

    run(tmp_path, story)


def test_a_wrong_address_is_a_page_for_people_and_json_for_devices(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        for path in ("/nothing", "/devices/x", "/profiles/a%20b", "/devices/d_%00", "/devicez"):
            answer = await owner.get(path)
            assert answer.status_code == 404, path
            assert "There is no" in answer.text or "nothing here" in answer.text
        for path, accept in (("/v1/nothing", "text/html"), ("/nothing", "*/*")):
            answer = await owner.client.get(owner.running.url + path, headers={"Accept": accept})
            assert answer.json()["code"] == "not_found"
        assert (await owner.get("/openapi.json")).status_code == 404 or "/devices" not in (
            await owner.get("/openapi.json")
        ).json()["paths"]

    run(tmp_path, story)


def test_a_stranger_is_told_no_path_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(*_: object) -> None:
        raise ConfigError("cannot read the password file /srv/voice/database.password", hint="put it there")

    async def story(owner: Owner) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(owner_sessions, "redeem", gone)
            answer = await owner.post("/sign-in", token="x")
        assert answer.status_code == 503
        assert "/srv" not in answer.text

    run(tmp_path, story, signed_in=False)


def test_what_breaks_is_told_as_a_page_without_its_insides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(owner: Owner) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("the inside")

        with monkeypatch.context() as patch:
            patch.setattr(fleet, "counted", broken)
            failed = await owner.get("/devices")
        assert failed.status_code == 500
        assert "could not be made" in failed.text
        assert "the inside" in caplog.text
        owner.running.query("alter table devices rename to away")
        lost = await owner.get("/devices")
        assert (lost.status_code, lost.headers["retry-after"]) == (503, "5")
        for page in (failed, lost):
            assert page.text.startswith("<!doctype html>")
            assert page.headers["x-frame-options"] == "DENY"
            assert "voice-provisioning doctor" in page.text or page is failed
            for inside in ("the inside", "Traceback", "sqlite", "SELECT", "away"):
                assert inside not in page.text

    run(tmp_path, story)
