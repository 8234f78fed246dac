"""The set-up page in the real Chromium, as a phone shows it, without scripts. The Wi-Fi is a recording.

``python -m tests.hotspot.test_browser FOLDER`` leaves the pictures there.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from appliance.first_boot import networks
from tests.hotspot.house import House
from tests.provisioning.pages.browsing import ARGUMENTS, DESK, PHONE

SMALL = (320, 568)
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    profile = str(tmp_path_factory.mktemp("chromium"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=ARGUMENTS, env={"HOME": profile, "TMPDIR": profile}
        )
        yield browser
        browser.close()


def visit(browser: Browser, house: House, *, size: tuple[int, int] = PHONE, dark: bool = False) -> Page:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        java_script_enabled=False,
    )
    context.set_default_timeout(10_000)
    page = context.new_page()
    page.goto(f"http://{house.host}/")
    return page


def fill(page: Page, **fields: str) -> None:
    labels = {
        "wifi": "Your Wi-Fi",
        "password": "Its password",
        "country": "Country",
        "url": "Address",
        "token": "Enrolment token",
    }
    for name, value in fields.items():
        page.get_by_label(labels[name], exact=True).fill(value)
    page.get_by_role("button", name="Connect").click()


def test_a_phone_sets_the_appliance_up(house: House, browser: Browser) -> None:
    house.nmcli.around("Home", "Neighbours")
    house.nmcli.refuses(networks.number("Home"))
    with house:
        house.opened()
        page = visit(browser, house)
        fill(page, wifi="Home", password="short", url="http://192.168.1.10:8787")
        alert = page.get_by_role("alert")
        assert "The password of 'Home' has 5 characters" in alert.inner_text()
        assert page.get_by_label("Its password").input_value() == ""
        assert page.get_by_label("Address").input_value() == "http://192.168.1.10:8787"
        fill(page, password="wrong horse", token="vet_abcdefghijk")
        assert page.get_by_role("heading").inner_text() == "Connecting to Home"
        house.opened()
        page = visit(browser, house)
        assert "Home could not be joined" in page.get_by_role("alert").inner_text()
        house.nmcli.refuses()
        page.get_by_label("It does not show its name").check()
        fill(page, wifi="Home", password="correct horse", country="de")
        assert page.get_by_role("heading").inner_text() == "Connecting to Home"
        assert house.ended() is True
    found = house.machine.settings()
    home = found[f"etc/NetworkManager/system-connections/{networks.file_name('Home')}"]
    assert "psk=correct\\shorse" in home
    assert "hidden=true" in home
    assert found["etc/voice-appliance/enrolment-token"] == "vet_abcdefghijk\n"


@pytest.mark.parametrize("size", [SMALL, PHONE, DESK])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_and_can_be_read_and_touched(house: House, browser: Browser, size: tuple[int, int], dark: bool) -> None:
    with house:
        house.opened()
        house.post({"wifi": "x" * 33})
        page = visit(browser, house, size=size, dark=dark)
        assert page.evaluate(OVERFLOW) == 0
        for field in page.locator("input:visible:not([type=checkbox]), button").all():
            box = field.bounding_box()
            assert box
            assert box["height"] >= 44, "a thumb"
            assert box["width"] >= 200
        for field in page.locator("input:visible").all():
            assert field.get_attribute("id") or field.locator("xpath=ancestor::label").count() == 1, "has a label"
        fonts = page.locator("body").evaluate("body => parseFloat(getComputedStyle(body).fontSize)")
        assert fonts >= 16, "else phones zoom in"


def test_it_can_be_used_by_keyboard_alone(house: House, browser: Browser) -> None:
    with house:
        house.opened()
        page = visit(browser, house)
        page.get_by_label("Your Wi-Fi").focus()
        page.keyboard.type("Home")
        page.keyboard.press("Tab")
        page.keyboard.type("correct horse")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Connecting to Home").wait_for()
        assert house.ended() is True


def pictures(folder: Path) -> None:
    """Take the pictures that a person looks at."""
    with tempfile.TemporaryDirectory() as root, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        with House(Path(root) / "house") as house:
            house.opened()
            for name, size, dark in (("form", PHONE, False), ("form-dark", PHONE, True), ("form-small", SMALL, False)):
                visit(browser, house, size=size, dark=dark).screenshot(path=folder / f"{name}.png", full_page=True)
            page = visit(browser, house)
            fill(page, wifi="Home", password="short")
            page.screenshot(path=folder / "form-wrong.png", full_page=True)
            fill(page, password="correct horse")
            page.screenshot(path=folder / "connecting.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    pictures(Path(sys.argv[1]))
