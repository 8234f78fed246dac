"""Whose wish an opening is: a press waits for nothing, and who opened a session learns how it ended."""

from __future__ import annotations

import asyncio
import logging

import pytest

from appliance.conversation.events import LinkLost, LinkRefused
from appliance.errors import ProvisioningError
from appliance.realtime.facts import Configured
from appliance.realtime.session import Need, Ticket
from tests.fakes.realtime_server import RealtimeServer, Script
from tests.realtime.link import Link


def test_a_press_does_not_wait_out_the_back_off_of_earlier_failures() -> None:
    async def main() -> None:
        async with RealtimeServer(Script(refuse_status=503)) as server, Link(server.url) as link:
            for attempt in range(1, 4):
                link.session.open(Need.PRESS)
                await link.end(attempt)
            assert link.rng.asked == []
            link.session.open(Need.ITSELF)
            await link.end(4)
            assert len(link.rng.asked) == 1
            assert link.needs == [Need.PRESS] * 3 + [Need.ITSELF]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wait_s", "expected"), [(None, LinkLost), (10.0, LinkLost), (60.0, LinkRefused), (3600.0, LinkRefused)]
)
def test_a_question_is_kept_for_seconds_not_for_minutes(wait_s: float | None, expected: type) -> None:
    async def mint() -> Ticket:
        raise ProvisioningError("used up", code="quota_exceeded", retry=True, retry_after_s=wait_s)

    async def main() -> None:
        async with Link("ws://127.0.0.1:1/") as link:
            link.mint = mint
            link.session.open(Need.PRESS)
            assert isinstance(await link.end(), expected)
            assert link.session.trouble == "quota_exceeded"

    asyncio.run(main())


def test_who_opened_a_session_learns_how_it_ended() -> None:
    async def main() -> None:
        async with RealtimeServer(Script()) as server, Link(server.url) as link:
            link.session.open(Need.PRESS)
            assert isinstance(await link.end(), Configured)
            link.session.close("idle")
            link.session.open(Need.PRESS)
            await link.end(2)
            await server.hang_up()
            await link.end(3)
            link.session.open(Need.PRESS)
            await link.end(4)
            await link.session.finish()
            assert [(name, reason) for name, _, reason in link.ended] == [
                ("s1", "idle"),
                ("s2", "lost"),
                ("s3", "stopped"),
            ]
            assert all(lasted_s >= 0 for _, lasted_s, _ in link.ended)

    asyncio.run(main())


def test_the_same_refusal_again_is_no_news_for_the_journal(caplog: pytest.LogCaptureFixture) -> None:
    async def mint() -> Ticket:
        raise ProvisioningError("suspended", code="device_suspended")

    async def main() -> None:
        async with Link("ws://127.0.0.1:1/") as link:
            link.mint = mint
            for attempt in range(1, 4):
                link.session.open(Need.ITSELF)
                await link.end(attempt)

    with caplog.at_level(logging.WARNING, "appliance"):
        asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == ["link: suspended"]
