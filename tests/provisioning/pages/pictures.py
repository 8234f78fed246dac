"""Makes the pictures of docs/owner-page.md: ``python -m tests.provisioning.pages.pictures``."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from playwright.async_api import Page

from tests.provisioning.pages.browsing import DESK, PHONE, Stage, sign_in
from tests.provisioning.pages.test_activate import waiting
from tests.provisioning.pages.visiting import Owner, seed

WHERE = Path(__file__).resolve().parents[3] / "docs" / "pictures"


async def phone(owner: Owner, page: Page) -> None:
    ids = await seed(owner.running, owner.clock, 5, talks=25)
    await sign_in(owner, page)
    await owner.sign_in()
    await owner.post(f"/devices/{ids[4]}", do="suspend")
    await page.goto(owner.running.url + "/devices")
    await page.screenshot(path=WHERE / "owner-devices.png")
    _, code, _ = await waiting(owner, Path(tempfile.mkdtemp(dir=owner.running.data)), "garage", "Raspberry Pi 5")
    await page.goto(f"{owner.running.url}/activate?user_code={code}")
    await page.get_by_role("button", name="Continue").click()
    await page.screenshot(path=WHERE / "owner-approve.png")


async def desk(owner: Owner, page: Page) -> None:
    await seed(owner.running, owner.clock, 9, talks=25)
    await sign_in(owner, page)
    await page.goto(owner.running.url + "/usage")
    await page.screenshot(path=WHERE / "owner-usage.png")


def main() -> None:
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as directory:
        stage = Stage(runner)
        places = [Path(directory) / name for name in ("chromium", "phone", "desk")]
        for place in places:
            place.mkdir()
        runner.run(stage.open(places[0]))
        stage.play(places[1], phone, size=PHONE)
        stage.play(places[2], desk, size=DESK, dark=True)
        runner.run(stage.close())


if __name__ == "__main__":
    main()
