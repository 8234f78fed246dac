"""A real browser at the owner's page: a phone or a desk, with what it is asked to look out for.

Scripts are off in every story: the page has none, and has to work without.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from playwright.async_api import Browser, Page, Playwright, async_playwright

from tests.provisioning.pages.visiting import Clock, Owner, make_link, visiting

ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE, DESK = (360, 740), (1200, 800)
Story = Callable[[Owner, Page], Awaitable[None]]


class Stage:
    """The browser, and the loop in which service, device and browser live together."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None

    async def open(self, profile: Path) -> None:
        self._playwright = await async_playwright().start()
        self._browser = await self._playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=ARGUMENTS, env={"HOME": str(profile), "TMPDIR": str(profile)}
        )

    async def close(self) -> None:
        assert self._browser
        assert self._playwright
        await self._browser.close()
        await self._playwright.stop()

    def play(self, tmp_path: Path, story: Story, *, size: tuple[int, int] = PHONE, dark: bool = False) -> None:
        """Tells a story with a signed-out browser of its own."""

        async def told() -> None:
            async with visiting(tmp_path, Clock()) as owner, self.page(size=size, dark=dark) as page:
                await story(owner, page)

        self._runner.run(told())

    @contextlib.asynccontextmanager
    async def page(self, *, size: tuple[int, int], dark: bool) -> AsyncIterator[Page]:
        """An empty browser window. What the page may not do by its own policy is an error here."""
        assert self._browser
        context = await self._browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            java_script_enabled=False,
        )
        context.set_default_timeout(10_000)
        complaints: list[str] = []
        page = await context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("requestfailed", lambda request: complaints.append(f"{request.url} failed"))
        try:
            yield page
            refused = [text for text in complaints if "Content Security Policy" in text or "failed" in text]
            assert not refused
        finally:
            await context.close()


async def sign_in(owner: Owner, page: Page) -> None:
    """By link and press, as the owner does it."""
    await page.goto(await make_link(owner.running, owner.clock))
    await page.get_by_role("button", name="Sign in on this device").click()
    await page.wait_for_url(f"{owner.running.url}/**")
