"""The door: links work once and only by a press; sessions are new, hidden, and end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest

from appliance.provisioning import owner_sessions
from tests.fakes.upstream import FakeUpstream
from tests.provisioning.pages.visiting import DAY_S, Clock, Owner, make_link, run, text_of
from tests.provisioning.running import make_data, service

pytestmark = pytest.mark.usefixtures("store")


def token_of(link: str) -> str:
    return link.partition("token=")[2]


def test_only_a_press_spends_the_link_and_only_once(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        link = await make_link(owner.running, owner.clock)
        path = link.removeprefix(owner.running.url)
        for _ in range(3):  # a mail program looks at it
            shown = await owner.get(path)
            assert shown.status_code == 200
            assert "Sign in on this device" in shown.text
            assert "set-cookie" not in shown.headers
        done = await owner.post("/sign-in", token=token_of(link))
        assert (done.status_code, done.headers["location"]) == (303, "/devices")
        assert (await owner.get("/devices")).status_code == 200
        again = await owner.post("/sign-in", token=token_of(link))
        assert again.status_code == 410
        assert "used before" in again.text
        assert "voice-provisioning sign-in" in again.text
        secrets = (token_of(link), owner.cookie())
        kept = repr(
            [owner.running.query(f"select * from {name}") for name in ("owner_links", "owner_sessions", "audit")]
        )
        assert not any(secret in kept or secret[4:] in kept for secret in secrets)
        assert "sign-in refused" in kept

    run(tmp_path, story, signed_in=False)


def test_the_cookie_is_for_this_host_and_no_script(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        link = await make_link(owner.running, owner.clock)
        done = await owner.post("/sign-in", token=token_of(link))
        cookie = next(value for value in done.headers.get_list("set-cookie") if value.startswith("voice-owner="))
        assert set(cookie.split("; ")[1:]) == {"Path=/", "HttpOnly", "SameSite=Lax", f"Max-Age={30 * DAY_S}"}

    run(tmp_path, story, signed_in=False)


def test_behind_tls_the_cookie_is_bound_to_it(tmp_path: Path) -> None:
    async def told() -> None:
        with FakeUpstream() as upstream:
            data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
            config = data / "server.toml"
            config.write_text('issuer = "https://voice.example"\n' + config.read_text())
            clock = Clock()
            async with service(data, clock) as running, httpx2.AsyncClient(verify=False) as client:
                owner = Owner(running, client, clock)
                link = await make_link(running, clock)
                foreign = await owner.post("/sign-in", {"Origin": "http://voice.example"}, token=token_of(link))
                assert foreign.status_code == 403
                done = await owner.post("/sign-in", {"Origin": "https://voice.example"}, token=token_of(link))
                cookie = done.headers.get_list("set-cookie")[0]
                assert cookie.startswith("__Host-voice-owner=vos_")
                assert set(cookie.split("; ")[1:]) >= {"Secure", "HttpOnly", "Path=/"}
                assert "Domain" not in cookie

    asyncio.run(told())


def test_wrong_and_late_links_say_what_to_do(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        link = await make_link(owner.running, owner.clock)
        owner.clock.now_s += 3_601
        late = await owner.post("/sign-in", token=token_of(link))
        assert (late.status_code, "expired" in late.text) == (410, True)
        for token in ("", "x", "vsl_" + "A" * 43, "'; DROP TABLE owner_links; --", "é" * 500):
            wrong = await owner.post("/sign-in", token=token)
            assert wrong.status_code == 403
            assert "voice-provisioning sign-in" in wrong.text
        assert (await owner.get("/devices")).status_code == 303

    run(tmp_path, story, signed_in=False)


def test_a_flood_of_wrong_links_is_slowed_down_and_does_not_keep_the_owner_out(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        answers = [await owner.post("/sign-in", token=f"wrong-{number}") for number in range(14)]
        assert [answer.status_code for answer in answers] == [403] * 10 + [429] * 4
        assert answers[-1].headers["retry-after"] == "60"
        assert owner.running.query("select count(*) from audit where action = 'sign-in refused'") == [(10,)]
        assert (await owner.sign_in()).status_code == 303
        owner.clock.now_s += 61
        assert (await owner.post("/sign-in", token="wrong")).status_code == 403

    run(tmp_path, story, signed_in=False)


def test_a_whole_pasted_link_will_do(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        link = await make_link(owner.running, owner.clock)
        assert (await owner.post("/sign-in", token=f"  {link} ")).status_code == 303

    run(tmp_path, story, signed_in=False)


def test_a_session_planted_before_is_not_the_one_after(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        owner.client.cookies.set("voice-owner", "vos_planted", domain="127.0.0.1")
        await owner.sign_in()
        first = owner.cookie()
        assert first != "vos_planted"
        await owner.sign_in()
        second = owner.cookie()
        assert second != first
        for old in ("vos_planted", first):
            async with httpx2.AsyncClient(verify=False, cookies={"voice-owner": old}) as thief:
                assert (await thief.get(owner.running.url + "/devices")).status_code == 303
        assert len(owner.running.query("select * from owner_sessions")) == 1

    run(tmp_path, story, signed_in=False)


def test_a_session_lives_thirty_days_from_its_last_use(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        for _ in range(2):
            owner.clock.now_s += 29 * DAY_S
            shown = await owner.get("/devices")
            assert shown.status_code == 200
            assert f"Max-Age={owner_sessions.LIFE_S}" in shown.headers["set-cookie"]
        assert "set-cookie" not in (await owner.get("/devices")).headers
        owner.clock.now_s += 31 * DAY_S
        assert (await owner.get("/devices")).headers["location"] == "/sign-in"

    run(tmp_path, story)


def test_signing_out_ends_one_browser_or_all_and_every_link(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        async with httpx2.AsyncClient(verify=False) as client:
            other = Owner(owner.running, client, owner.clock)
            await other.sign_in()
            stale = owner.cookie()
            assert (await owner.post("/sign-out")).headers["location"] == "/sign-in"
            async with httpx2.AsyncClient(verify=False, cookies={"voice-owner": stale}) as thief:
                assert (await thief.get(owner.running.url + "/devices")).status_code == 303
            assert (await other.get("/devices")).status_code == 200
            await owner.sign_in()
            link = await make_link(owner.running, owner.clock)
            assert (await other.post("/sign-out", everywhere="yes")).status_code == 303
            for browser in (owner, other):
                assert (await browser.get("/devices")).status_code == 303
            assert (await owner.post("/sign-in", token=token_of(link))).status_code == 410
        assert "signed out" in (await owner.post("/devices/d_" + "a" * 20, do="revoke")).text

    run(tmp_path, story)


def test_after_the_sign_in_it_goes_on_where_the_owner_wanted(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        wanted = "/activate?user_code=019-450-730"
        turned = await owner.get(wanted)
        assert (turned.status_code, turned.headers["location"]) == (303, "/sign-in")
        assert "come back" in text_of(await owner.get("/sign-in"))
        assert (await owner.sign_in()).headers["location"] == wanted
        assert 'value="019-450-730"' in (await owner.get(wanted)).text
        assert (await owner.sign_in()).headers["location"] == "/devices"

    run(tmp_path, story, signed_in=False)


ELSEWHERE = [
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "/activate?user_code=1&next=//evil.example",
    "/devices/../../evil",
    "/devices%0d%0aX:y",
    "/sign-out",
    "javascript:alert(1)",
]


def test_no_sign_in_leads_elsewhere(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        for where in ELSEWHERE:
            link = await make_link(owner.running, owner.clock)
            headers = {"Cookie": f"voice-return={where}"}
            done = await owner.post(f"/sign-in?next={where}&return={where}", headers, token=token_of(link))
            assert (done.status_code, done.headers["location"]) == (303, "/devices"), where

    run(tmp_path, story, signed_in=False)
