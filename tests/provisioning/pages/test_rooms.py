"""Devices, tokens, profiles, audit and usage: what the owner sees and does there, on both stores."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import cast
from urllib.parse import quote

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from appliance.provisioning import audit, database, settings
from appliance.provisioning.pages import devices
from appliance.provisioning.pages.usage import CountedDays
from appliance.provisioning.service import Service
from appliance.provisioning.usage import Used
from tests.provisioning.pages.visiting import Clock, Owner, name, run, seed, text_of, transact
from tests.provisioning.running import Device

pytestmark = pytest.mark.usefixtures("store")


def names(page: str) -> list[str]:
    return re.findall(r'<a href="/devices/d_\w+">([^<]+)</a>', page)


async def walk(owner: Owner, path: str) -> list[list[str]]:
    """The names on each page, from the first to the last."""
    pages = []
    while path:
        page = (await owner.get(path)).text
        pages.append(names(page))
        found = re.search(r'href="([^"]+)">Next page', page)
        path = found[1].replace("&amp;", "&") if found else ""
    return pages


def test_a_long_list_comes_in_pages_that_miss_and_repeat_nothing(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        assert "No device yet" in text_of(await owner.get("/devices"))
        ids = await seed(owner.running, owner.clock, 120, talks=3)
        await owner.post(f"/devices/{ids[0]}", do="rename", name="hall")  # two of one name
        pages = await walk(owner, "/devices")
        assert [len(page) for page in pages] == [50, 50, 20]
        shown = [item for page in pages for item in page]
        assert sorted(shown) == sorted(["hall", *(name(number) for number in range(1, 120))])
        assert shown == sorted(shown, key=str.lower)
        first = (await owner.get("/devices?q=Attic&status=active")).text
        assert "all (120)" in first
        assert len(names(first)) == 17
        assert re.search(r"3<span class=\"label\"> talks", (await owner.get("/devices?q=Workshop")).text)

    run(tmp_path, story)


def test_searching_takes_words_as_they_are(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        ids = await seed(owner.running, owner.clock, 4)
        await owner.post(f"/devices/{ids[0]}", do="rename", name="100%_Küche\\")
        for wanted, expected in (
            ("%", ["100%_Küche\\"]),
            ("_küche\\", ["100%_Küche\\"]),
            ("HALL", ["hall"]),
            (ids[3], [name(3)]),
            ("zero 2", ["hall"]),
            ("' OR 1=1 --", []),
            ("\x00\x1b", ["100%_Küche\\", "hall", "Living room", "Workshop"]),
            ("x" * 10_000, []),
        ):
            page = await owner.get(f"/devices?q={quote(wanted)}&status=%27nonsense&after=")
            assert page.status_code == 200
            assert names(page.text) == expected, wanted
        assert names((await owner.get("/devices?after=d_nothing")).text) == []
        assert names((await owner.get("/devices?status=revoked")).text) == []

    run(tmp_path, story)


def test_one_device_is_steered_from_its_page(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        (device_id,) = await seed(owner.running, owner.clock, 1, talks=25)
        path = f"/devices/{device_id}"
        for do, value, words in (
            ("rename", {"name": " Küche 2 "}, "Renamed"),
            ("suspend", {}, "Suspended"),
            ("resume", {}, "Resumed"),
            ("profile", {"profile": "default"}, "Profile changed"),
            ("revoke", {}, "Revoked"),
        ):
            done = await owner.post(path, do=do, **value)
            assert done.headers["location"] == f"{path}?done={do}"
            assert words in text_of(await owner.get(done.headers["location"]))
        assert owner.running.query("select name, status from devices") == [("Küche 2", "revoked")]
        refused = await owner.post(path, do="resume")
        assert refused.status_code == 409
        assert "It has to enrol again" in text_of(refused)
        for wrong in ({"do": "profile", "profile": "none"}, {"do": "rename", "name": "\x1b"}, {"do": "rename"}):
            assert (await owner.post(path, **wrong)).status_code == 409
        assert (await owner.post(path, do="explode")).status_code == 400
        assert (await owner.post("/devices/d_" + "z" * 20, do="revoke")).status_code == 404
        assert (await owner.get("/devices/d_" + "z" * 20)).status_code == 404
        assert "<script" not in (await owner.get(f"{path}?done=<script>")).text

    run(tmp_path, story)


def test_a_device_shows_its_conversations_and_their_outcome(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        (device_id,) = await seed(owner.running, owner.clock, 1, talks=25)
        page = await owner.get(f"/devices/{device_id}")
        assert page.text.count('class="when"') == devices.SESSIONS_PAGE
        assert "quota exceeded" in text_of(page)
        assert "goodbye" in text_of(page)
        older = re.search(r'href="([^"]+)">Older', page.text)
        assert older
        rest = await owner.get(older[1])
        assert rest.text.count('class="when"') == 5
        times = re.findall(r'class="when">([^<]+)<', page.text + rest.text)
        assert len(times) == len(set(times)) == 25
        assert '<desc id="cost-desc">$' in page.text
        assert (await owner.get(f"/devices/{device_id}?before=%27nothing")).status_code == 200

    run(tmp_path, story)


def test_a_token_is_shown_once_works_and_ends(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        fields = {"uses": "2", "expires_s": "3600", "profile": "default", "note": "for the hall"}
        made = await owner.post("/tokens", **fields)
        token = re.search(r">(vet_[\w-]{43})<", made.text)
        assert token
        assert "Good for 2 devices" in text_of(made)
        shown = await owner.get("/tokens")
        assert token[1] not in shown.text
        assert "for the hall usable default 0 of 2 used ends in 1 hour" in text_of(shown)
        device = Device(tmp_path / "device", owner.running.url)
        enrolled = await device.form(
            "/oauth/device_authorization", f"client_id=voice-appliance&enrolment_token={token[1]}"
        )
        assert enrolled.status == 200
        ((token_id,),) = owner.running.query("select id from enrolment_tokens")
        assert (await owner.post(f"/tokens/{token_id}/revoke")).headers["location"] == "/tokens?done=revoked"
        assert "revoked default 1 of 2 used" in text_of(await owner.get("/tokens?done=revoked"))
        assert (await owner.post(f"/tokens/{token_id}/revoke")).status_code == 409
        for wrong in ({"uses": "0"}, {"uses": "x"}, {"uses": "9" * 30}, {"expires_s": "-1"}, {"profile": "none"}):
            refused = await owner.post("/tokens", **{**fields, **wrong})
            assert refused.status_code == 422
            assert 'role="alert"' in refused.text
            assert 'value="for the hall"' in refused.text  # nothing typed is lost
        assert owner.running.query("select count(*) from enrolment_tokens") == [(1,)]

    run(tmp_path, story)


GUESTS = {
    "name": "guests",
    "upstream": "default",
    "model": "gpt-realtime-2",
    "voice": "marin",
    "instructions": "Be short.\r\nBe kind.",
    "tools": '[{"type": "function", "name": "lamp"}]',
    "session": '{"audio": {"input": {"noise_reduction": null}}}',
    "max_session_s": "900",
    "per_minute": "2.5",
    "burst": "2",
    "per_day": "7",
    "seconds_per_day": "1234567",
}


def test_a_profile_is_made_changed_and_deleted(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        (device_id,) = await seed(owner.running, owner.clock, 1)
        assert (await owner.post("/profiles/+new", **GUESTS)).headers["location"] == "/profiles?done=saved"
        ((content,),) = owner.running.query("select content from profiles")
        kept = json.loads(content) if isinstance(content, str) else content
        assert kept["instructions"] == "Be short.\nBe kind."
        assert kept["tools"] == [{"type": "function", "name": "lamp"}]
        assert kept["limits"] == {"per_minute": 2.5, "burst": 2, "per_day": 7, "seconds_per_day": 1234567}
        shown = (await owner.get("/profiles/guests")).text
        for part in (
            "Be kind.</textarea>",
            'value="2.5"',
            'value="1234567"',
            "noise_reduction",
            'name="version" value="1"',
        ):
            assert part in shown
        assert "already" in text_of(await owner.post("/profiles/+new", **GUESTS))
        changed = {**GUESTS, "version": "1", "voice": "cedar"}
        assert (await owner.post("/profiles/guests", **changed)).status_code == 303
        meanwhile = await owner.post("/profiles/guests", **{**changed, "instructions": "typed long"})
        assert meanwhile.status_code == 422
        assert "changed meanwhile" in text_of(meanwhile)
        assert "typed long" in meanwhile.text
        assert owner.running.query("select version from profiles") == [(2,)]
        await owner.post(f"/devices/{device_id}", do="profile", profile="guests")
        used = await owner.post("/profiles/guests", do="delete")
        assert (used.status_code, "1 device(s) use profile guests" in text_of(used)) == (409, True)
        await owner.post(f"/devices/{device_id}", do="profile", profile="default")
        assert (await owner.post("/profiles/guests", do="delete")).headers["location"] == "/profiles?done=deleted"
        assert (await owner.get("/profiles/guests")).status_code == 404

    run(tmp_path, story)


WRONG: list[tuple[dict[str, str], str]] = [
    ({"name": "a b"}, "letters, digits"),
    ({"name": "default"}, "already"),
    ({"upstream": "https://evil.example"}, "no upstream"),
    ({"model": ""}, "name the model"),
    ({"tools": "[{"}, "ools is not JSON"),
    ({"tools": "{}"}, "tools"),
    ({"tools": "[" * 20_000}, "ools is not JSON"),
    ({"session": '{"model": "other"}'}, "model"),
    ({"max_session_s": "long"}, "ongest conversation 'long'"),
    ({"max_session_s": "nan"}, "max_session_s"),
    ({"per_day": "1e999"}, "per_day"),
    ({"burst": "0"}, "burst"),
    ({"instructions": "x" * 70_000}, "longer"),
    ({"base_url": "https://evil.example", "upstream": "x"}, "no upstream"),
]


def test_a_profile_that_cannot_be_is_told_and_not_lost(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        for change, message in WRONG:
            refused = await owner.post("/profiles/+new", **{**GUESTS, **change})
            assert refused.status_code == 422, change
            assert message in text_of(refused), change
            assert "Be kind." in refused.text or "instructions" in change
        assert owner.running.query("select * from profiles") == []

    run(tmp_path, story)


def test_profiles_of_the_file_are_shown_and_copied_but_not_changed(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        assert "read-only" in text_of(await owner.get("/profiles"))
        shown = text_of(await owner.get("/profiles/default"))
        assert "stands in server.toml" in shown
        assert "gpt-realtime-1.5" in shown
        for fields in ({"do": "delete"}, {**GUESTS, "version": "0"}):
            refused = await owner.post("/profiles/default", **fields)
            assert refused.status_code in (409, 422)
            assert "stands in server.toml" in text_of(refused)
        copy = (await owner.get("/profiles/+new?from=default")).text
        assert 'value="gpt-realtime-1.5"' in copy
        assert (await owner.get("/profiles/+new?from=none")).status_code == 404
        everything = "".join(
            [(await owner.get(path)).text for path in ("/profiles", "/profiles/default", "/profiles/+new")]
        )
        assert "provider.key" not in everything

    run(tmp_path, story)


def test_a_profile_that_went_bad_says_so_and_can_be_mended_or_deleted(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        bad = {"unreadable": {"model": 7}, "stranded": {"upstream": "gone", "model": "m"}}
        for number, (profile, content) in enumerate(bad.items()):
            values = f"('{profile}', '{json.dumps(content)}', 3, {number})"
            owner.running.query(f"insert into profiles (name, content, version, changed_ms) values {values}")
        shown = text_of(await owner.get("/profiles"))
        assert "there is no upstream gone" in shown
        assert "Profile unreadable" in shown
        for profile in bad:
            page = await owner.get(f"/profiles/{profile}")
            assert page.status_code == 200
            assert 'role="alert"' in page.text
        assert "unreadable" not in (await owner.get("/activate")).text
        mended = await owner.post("/profiles/unreadable", **{**GUESTS, "version": "3"})
        assert mended.status_code == 303
        assert (await owner.post("/profiles/stranded", do="delete")).status_code == 303

    run(tmp_path, story)


def test_the_audit_is_filtered_and_paged(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        ids = await seed(owner.running, owner.clock, 2)

        async def many(connection: AsyncConnection) -> None:
            for number in range(60):
                await audit.note(connection, ids[0], "did", ids[0], f"detail {number}", now_ms=owner.clock.now_ms)

        await transact(owner.running, many)
        await owner.post(f"/devices/{ids[1]}", do="suspend")
        page = await owner.get("/audit")
        assert page.text.count('class="when"') == 50
        older = re.search(r'href="([^"]+)">Older', page.text)
        assert older
        rest = await owner.get(older[1].replace("&amp;", "&"))
        details = re.findall(r"detail \d+", page.text + rest.text)
        assert len(details) == len(set(details)) == 60
        assert "owner suspend" in text_of(await owner.get(f"/audit?subject={ids[1]}&actor=owner"))
        assert (await owner.get("/audit?action=suspend")).text.count('class="when"') == 1
        assert "No entry fits" in text_of(await owner.get("/audit?actor=nobody&before=١٢"))
        assert (await owner.get("/audit?before=%27;DROP")).status_code == 200

    run(tmp_path, story)


def test_usage_is_plotted_and_stands_in_a_table(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        await seed(owner.running, owner.clock, 3, talks=25)
        page = await owner.get("/usage")
        sessions = owner.running.query("select count(*) from mints where outcome = 'minted'")[0][0]
        assert f"{sessions} in 30 days; most on" in page.text
        rows = re.findall(r'<tr><th scope="row">.*?</tr>', page.text)
        assert len(rows) == 30
        assert rows[0].startswith('<tr><th scope="row">15 Jan<')
        assert sum(int(re.findall(r'class="n">(\d+)<', row)[0]) for row in rows) == sessions
        assert 'aria-current="true">90 days' in (await owner.get("/usage?days=90")).text
        assert 'aria-current="true">30 days' in (await owner.get("/usage?days=9999999")).text

    run(tmp_path, story)


class SlowService:
    """A service in whose database a day takes half a second to count."""

    def __init__(self, engine: AsyncEngine, clock: Clock, counted: CountedDays) -> None:
        self.engine = engine
        self._clock = clock
        self._counted = counted

    def now(self) -> float:
        return self._clock.now_s + 0.5 * len(self._counted._days)

    def now_ms(self) -> int:
        return int(self.now() * 1000)


def test_days_that_take_long_to_count_are_counted_bit_by_bit_and_once(tmp_path: Path) -> None:
    async def story(owner: Owner) -> None:
        await seed(owner.running, owner.clock, 1, talks=25)
        engine = database.connect(settings.load(owner.running.data).store)
        counted = CountedDays()
        slow = cast("Service", SlowService(engine, owner.clock, counted))
        missing: list[int] = []
        days: dict[int, Used] = {}
        while not missing or missing[-1]:
            days, left = await counted.last(slow, 30)
            assert len(days) == 30 - left
            missing.append(left)
        assert missing == [24, 19, 14, 9, 4, 0]
        assert sum(used.sessions for used in days.values()) == 22
        await engine.dispose()

    run(tmp_path, story)
