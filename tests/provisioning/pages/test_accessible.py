"""Every page, light and dark, phone and desk: measured in a real Chromium, not supposed.

The measuring script runs by the debugger, which the page's own policy and missing scripts do not stop.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Page

from tests.provisioning.pages.browsing import DESK, PHONE, Stage, sign_in
from tests.provisioning.pages.test_activate import waiting
from tests.provisioning.pages.visiting import Owner, seed

SMALL = (320, 640)  # WCAG 1.4.10: no scrolling to the side down to here
LONG = "Wohnzimmer-Nordwestecke-unter-dem-Fenster-neben-dem-Regal-links-"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
FAULTS = ("landmarks", "unlabelled", "faintEdges", "pale", "nameless", "captionless", "dangling", "fontless")
FACTS = (Path(__file__).parent / "measure.js").read_text()


async def check(page: Page, where: str) -> None:
    """Looks at the page as it stands, on a phone and a desk, by day and night."""
    for size in (SMALL, PHONE, DESK):
        await page.set_viewport_size({"width": size[0], "height": size[1]})
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            judge(await page.evaluate(FACTS), f"{where} {size[0]} {scheme}", phone=size is not DESK)


def judge(facts: dict[str, Any], where: str, *, phone: bool) -> None:
    assert facts["lang"] == "en", where
    assert re.fullmatch(r".+ · Voice", facts["title"]), where
    levels = facts["levels"]
    assert levels[0] == 1, where
    assert levels.count(1) == 1, where
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), (where, levels)
    for fault in FAULTS:
        assert facts[fault] == [], (where, fault)
    assert facts["wide"] <= 0, where
    assert len(facts["ids"]) == len(set(facts["ids"])), where
    assert facts["skip"] == "#content", where
    if phone:
        assert facts["small"] == [], where


def test_every_page_can_be_read_and_used(tmp_path: Path, stage: Stage) -> None:
    async def story(owner: Owner, page: Page) -> None:
        url = owner.running.url
        for path in ("/sign-in", "/sign-in?token=x"):
            await page.goto(url + path)
            await check(page, path)
        await sign_in(owner, page)
        await check(page, "no device yet")
        _, code, _ = await waiting(owner, tmp_path, LONG, "Raspberry_Pi_Compute_Module_5_Rev_1.0_with_a_very_long_name")
        for path in await furnish(owner):
            await page.goto(url + path)
            await page.evaluate("() => { for (const part of document.querySelectorAll('details')) part.open = true; }")
            await check(page, path)
        await page.goto(f"{url}/activate?user_code={code}")
        await page.get_by_role("button", name="Continue").click()
        await check(page, "confirm")
        await page.goto(f"{url}/activate?user_code=1")
        await page.get_by_role("button", name="Continue").click()
        await check(page, "wrong code")
        await page.goto(f"{url}/tokens")
        await page.get_by_role("button", name="Make a token").click()
        await check(page, "new token")

    stage.play(tmp_path, story)


async def furnish(owner: Owner) -> list[str]:
    """Fills the house with what is long and in every state; returns the pages to look at."""
    ids = await seed(owner.running, owner.clock, 12, talks=25)
    await owner.sign_in()
    await owner.post(f"/devices/{ids[0]}", do="rename", name=LONG)
    await owner.post(f"/devices/{ids[1]}", do="suspend")
    await owner.post(f"/devices/{ids[2]}", do="revoke")
    fields = {"model": "m" * 60, "upstream": "default", "max_session_s": "60", "per_minute": "1", "burst": "1"}
    fields |= {"per_day": "1", "seconds_per_day": "1", "tools": "[]", "session": '{"long": "' + "x" * 300 + '"}'}
    await owner.post("/profiles/+new", name="guests-" * 9, **fields)
    await owner.post("/tokens", note=LONG)
    return [
        "/devices",
        "/devices?q=nobody",
        *(f"/devices/{device_id}" for device_id in ids[:3]),
        "/activate",
        "/usage",
        "/usage?days=90",
        "/tokens",
        "/profiles",
        "/profiles/default",
        "/profiles/+new",
        f"/profiles/{'guests-' * 9}",
        "/audit",
        "/nothing",
    ]
