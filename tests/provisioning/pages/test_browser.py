"""The whole way in a real Chromium without scripts: on a phone, and with the keyboard alone."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Page, expect

from tests.provisioning.pages.browsing import DESK, Stage, sign_in
from tests.provisioning.pages.test_activate import waiting
from tests.provisioning.pages.visiting import Owner, make_link, seed


def test_a_device_from_its_code_to_its_end_on_a_phone(tmp_path: Path, stage: Stage) -> None:
    async def story(owner: Owner, page: Page) -> None:
        device, code, poll = await waiting(owner, tmp_path)
        # The link that the device shows, first; the sign-in leads back to it.
        await page.goto(f"{owner.running.url}/activate?user_code={code}")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        await sign_in(owner, page)
        await expect(page.get_by_label("Code")).to_have_value(code)
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_role("main")).to_contain_text(device.identity.thumbprint[:8])
        await page.get_by_label("Name").fill("Küche")
        await page.get_by_role("button", name="Approve").click()
        await expect(page.get_by_role("status")).to_contain_text("Approved")
        token = (await poll())["access_token"]
        assert (await device.ask_session(token, key="key-00000001")).status == 201

        await page.get_by_role("button", name="Suspend").click()
        await expect(page.get_by_role("status")).to_contain_text("Suspended")
        assert (await device.ask_session(token, key="key-00000002")).status == 403
        await page.get_by_role("button", name="Resume").click()
        await expect(page.get_by_role("status")).to_contain_text("Resumed")
        assert (await device.ask_session(token, key="key-00000003")).status == 201
        await page.get_by_label("Name").fill("Küche, links")
        await page.get_by_role("button", name="Rename").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Küche, links")
        await page.get_by_text("Revoke this device").click()
        await page.get_by_role("button", name="Revoke").click()
        await expect(page.get_by_role("status")).to_contain_text("Revoked")
        assert (await device.ask_session(token, key="key-00000004")).status == 401
        await page.get_by_role("link", name="All devices").click()
        await expect(page.get_by_role("row").nth(1)).to_contain_text("revoked")
        await page.get_by_role("button", name="Sign out", exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        await page.go_back()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")

    stage.play(tmp_path, story)


def test_a_token_and_a_profile_on_a_phone(tmp_path: Path, stage: Stage) -> None:
    async def story(owner: Owner, page: Page) -> None:
        await sign_in(owner, page)
        await page.get_by_role("link", name="Tokens").click()
        await page.get_by_label("Number of devices").fill("3")
        await page.get_by_label("Good for").select_option("a week")
        await page.get_by_role("button", name="Make a token").click()
        token = await page.get_by_label("Token").input_value()
        assert token.startswith("vet_")
        await page.get_by_role("link", name="I have copied it").click()
        await expect(page.get_by_role("row").nth(1)).to_contain_text("0 of 3")

        await page.get_by_role("link", name="Profiles").click()
        await page.get_by_role("link", name="New profile").click()
        await page.get_by_label("Name").fill("guests")
        await page.get_by_label("Instructions").fill("Be short.\n<Be kind.>")
        await page.get_by_text("Tools and further settings").click()
        await page.get_by_label("Tools", exact=True).fill("[{")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("alert")).to_contain_text("Tools is not JSON")
        await page.get_by_label("Tools", exact=True).fill('[{"type": "function", "name": "lamp"}]')
        await page.get_by_role("button", name="Save").click()
        await page.get_by_role("link", name="guests").click()
        await expect(page.get_by_label("Instructions")).to_have_value("Be short.\n<Be kind.>")
        await page.get_by_label("Voice").fill("marin")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("status")).to_contain_text("Saved")
        await page.get_by_role("link", name="guests").click()
        await page.get_by_text("Delete this profile").click()
        await page.get_by_role("button", name="Delete").click()
        await expect(page.get_by_role("status")).to_contain_text("Deleted")

    stage.play(tmp_path, story)


def test_approving_with_the_keyboard_alone(tmp_path: Path, stage: Stage) -> None:
    async def story(owner: Owner, page: Page) -> None:
        _, code, poll = await waiting(owner, tmp_path)
        await page.goto(await make_link(owner.running, owner.clock))

        async def tab_to(words: str) -> None:
            """Tabs on until the wanted part has the focus."""
            for _ in range(30):
                await page.keyboard.press("Tab")
                focused = page.locator(":focus")
                text = await focused.inner_text() or await focused.get_attribute("id") or ""
                if text.strip() == words:
                    assert await focused.evaluate("part => getComputedStyle(part).outlineStyle") == "solid"
                    return
            raise AssertionError(f"no way to {words!r} with the Tab key")

        await tab_to("Sign in on this device")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Devices")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")  # the first stop skips the navigation
        await tab_to("Approve a device")
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("Code")).to_be_visible()
        await tab_to("user_code")
        await page.keyboard.type(code)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Is this your device?")
        await tab_to("Approve")
        await tab_to("Approve")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("Approved")
        assert (await poll())["access_token"]

    stage.play(tmp_path, story, size=DESK)


def test_two_hundred_devices_are_searched_and_turned_over(tmp_path: Path, stage: Stage) -> None:
    async def story(owner: Owner, page: Page) -> None:
        await seed(owner.running, owner.clock, 200)
        await sign_in(owner, page)
        await expect(page.get_by_role("row")).to_have_count(51)
        await page.get_by_role("link", name="Next page").click()
        await expect(page.get_by_role("link", name="First page")).to_be_visible()
        await page.get_by_label("Search").fill("zero 2")
        await page.keyboard.press("Enter")
        await page.get_by_role("link", name="Next page").click()
        await expect(page.get_by_label("Search")).to_have_value("zero 2")
        await expect(page.get_by_role("row")).to_have_count(18)

    stage.play(tmp_path, story)
