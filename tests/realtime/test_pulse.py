"""A server that is gone without a word: noticed while somebody waits, and only then."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from appliance.conversation.events import LinkLost
from appliance.realtime.facts import Configured
from appliance.realtime.pulse import Signs
from tests.fakes.proxy import Proxy, Weather
from tests.fakes.realtime_server import RealtimeServer, Script
from tests.realtime.link import QUICK, Link

WATCHFUL = replace(QUICK, quiet_s=0.05, dead_s=0.4)


@pytest.mark.parametrize(
    ("moves", "silent_s"),
    [
        ([], 9.0),  # nothing was sent
        ([(1, 100, 50), (8, 100, 50)], 8.0),  # what was sent is not taken any more
        ([(1, 100, 50), (8, 150, 50)], 1.0),  # it is taken, slowly
        ([(1, 100, 50), (8, 150, 0)], 8.0),  # all of it was taken, and nobody answers
    ],
)
def test_a_slow_line_that_carries_ours_is_a_sign_of_life(moves: list[tuple[int, int, int]], silent_s: float) -> None:
    signs = Signs(heard_at=0.0)
    for now, acked, waiting in moves:
        signs.sent(float(now), acked, waiting)
    assert signs.silent_s(9.0) == silent_s


def ask(link: Link) -> None:
    """Talk, and wait for an answer."""
    link.protocol.begin_turn()
    link.protocol.append(bytes(9600), 0.0)
    link.protocol.end_turn()
    link.protocol.turn_complete()
    link.protocol.request_response()
    link.session.flush()


async def told(link: Link, seconds: float) -> bool:
    """Whether the session is lost within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await link.until(LinkLost(was_up=True))
    except TimeoutError:
        return False
    return True


def story(script: Script, *, dead: bool, asked: bool) -> bool:
    async def main() -> bool:
        async with RealtimeServer(script) as server:
            proxy = Proxy(int(server.url.rsplit(":", 1)[1].split("/")[0]))
            await proxy.start()
            async with Link(f"ws://127.0.0.1:{proxy.port}/v1/realtime", timing=WATCHFUL) as link:
                link.session.open()
                assert isinstance(await link.end(), Configured)
                if dead:
                    proxy.die()
                if asked:
                    ask(link)
                lost = await told(link, 1.5)
            await proxy.set(Weather())
            await proxy.stop()
        return lost

    return asyncio.run(main())


def test_a_peer_that_is_gone_is_noticed_by_who_waits_for_it() -> None:
    assert story(Script(silent=True), dead=True, asked=True)


def test_a_server_that_thinks_for_long_is_there_and_is_waited_for() -> None:
    assert not story(Script(silent=True), dead=False, asked=True)


def test_an_idle_session_is_left_to_its_keep_alive() -> None:
    assert not story(Script(silent=True), dead=True, asked=False)
