"""A session is replaced before the server ends it by age: made before the old one is broken off, on real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from appliance.realtime.facts import Configured, Stage
from tests.fakes.realtime_server import RealtimeServer, Script
from tests.realtime.link import QUICK, Link, say, set_up

AGEING = replace(QUICK, ageing_s=0.1, old_s=60.0, replace_again_s=0.1)
OLD = replace(QUICK, ageing_s=0.1, old_s=0.1)
PCM = bytes([7, 0]) * 4800


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  # a record is watched, not an event
            await asyncio.sleep(0.005)


def said(server: RealtimeServer) -> list[str]:
    """What the server was told in words, in order."""
    return [event["item"]["content"][0]["text"] for event in server.of("conversation.item.create")]


def test_an_idle_session_is_replaced_and_nobody_notices() -> None:
    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url, timing=AGEING) as link:
            link.session.open()
            await link.end()
            link.protocol.say("Hello.")
            link.session.flush()
            await until(lambda: len(link.facts) == 2)
            assert link.facts == [Configured(), Configured()]
            assert link.protocol.stage is Stage.READY
            link.protocol.say("Again.")
            link.session.flush()
            await until(lambda: len(said(server)) >= 3)
            assert said(server)[:3] == ["Hello.", "Hello.", "Again."]
            await until(lambda: link.ended)
            assert [(name, reason) for name, _, reason in link.ended] == [("s1", "rotated")]
            await until(lambda: server.connections[0].close_code is not None)
            assert server.connections[-1].close_code is None

    asyncio.run(main())


def test_the_old_session_serves_until_the_new_one_is_configured() -> None:
    async def main() -> None:
        held = asyncio.Event()

        async def slow(connection: ServerConnection) -> None:
            server.connections.append(connection)
            if len(server.connections) > 1:
                await held.wait()
            await set_up(connection)
            number = server.connections.index(connection)
            heard.extend([(number, json.loads(frame)) async for frame in connection])

        heard: list[tuple[int, Any]] = []
        server = RealtimeServer()
        server._serve = slow  # type: ignore[method-assign]
        timing = replace(AGEING, open_s=5.0)
        async with server, Link(server.url, timing=timing) as link:
            link.session.open()
            await until(lambda: len(server.connections) == 2)
            link.protocol.say("Meanwhile.")
            link.session.flush()
            await asyncio.sleep(0.05)
            held.set()
            await link.end(2)
            await until(lambda: heard)
            link.session.close()
            await until(lambda: len(heard) == 2)
            assert [number for number, _ in heard] == [0, 1], "on the old one, and by the replay"
            assert [event["item"]["content"][0]["text"] for _, event in heard] == ["Meanwhile."] * 2

    asyncio.run(main())


def test_a_session_that_the_service_allows_for_less_time_is_replaced_before_that_is_over() -> None:
    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url, timing=QUICK) as link:
            link.longest_s = 0.12
            link.session.open()
            await link.end()
            link.longest_s = 60.0
            await until(lambda: len(server.connections) == 2)
            await link.end(2)
            assert [reason for _, _, reason in link.ended] in ([], ["rotated"])

    asyncio.run(main())


def test_it_waits_for_an_answer() -> None:
    async def main() -> None:
        async with (
            RealtimeServer(Script(finish=False, reply=bytes(4800))) as server,
            Link(server.url, timing=AGEING) as link,
        ):
            link.session.open()
            await link.end()
            link.protocol.say("Hello?")
            link.protocol.request_response()
            link.session.flush()
            await asyncio.sleep(AGEING.ageing_s * 3)
            assert len(server.connections) == 1
            await server._done("resp_1", "completed")
            await until(lambda: len(server.connections) == 2)
            await link.end(2)
            await until(lambda: len(server.of("conversation.item.create")) == 2)
            assert [event["item"]["role"] for event in server.of("conversation.item.create")] == ["user", "user"]

    asyncio.run(main())


def test_an_old_session_is_left_in_the_middle_of_a_turn_which_is_told_whole() -> None:
    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url, timing=OLD) as link:

            def on_fact(fact: object) -> None:
                if isinstance(fact, Configured) and len(link.facts) == 2:
                    link.session._timing = QUICK  # once is enough

            link.on_fact = on_fact
            link.session.open()
            await link.end()
            link.protocol.begin_turn()
            link.protocol.append(PCM, 0.0)
            link.session.flush()
            await until(lambda: server.pcm == PCM)
            await link.end(2)
            await until(lambda: server.pcm == PCM + PCM)
            link.protocol.append(PCM, 0.2)
            link.protocol.end_turn()
            assert link.protocol.turn_complete() == []
            link.session.flush()
            await server.until("input_audio_buffer.commit")
            assert server.pcm == PCM * 3

    asyncio.run(main())


def test_while_no_other_can_be_had_it_stays_and_tries_again() -> None:
    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url, timing=AGEING) as link:
            link.session.open()
            await link.end()
            server.script.refuse_status = 503
            await until(lambda: link.minted >= 3)
            assert link.facts == [Configured()]
            assert link.protocol.stage is Stage.READY
            assert link.session.last_error == ""
            server.script.refuse_status = 0
            await link.end(2)
            assert link.facts == [Configured(), Configured()]

    asyncio.run(main())


def test_a_successor_that_went_before_it_was_needed_is_replaced() -> None:
    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url, timing=replace(OLD, ageing_s=60.0)) as link:
            link.session.open()
            await link.end()
            link.protocol.say("Hello?")
            link.protocol.blocked = True  # it may not move yet
            await until(lambda: link.session._succession.next)
            await server.connections[-1].close(1001)
            await until(
                lambda: (
                    link.session._succession.next is not None and link.session._succession.next.connection.close_code
                )
            )
            link.protocol.blocked = False
            link.session.flush()
            await link.end(2)
            assert len(server.connections) == 3
            assert link.facts == [Configured(), Configured()]

    asyncio.run(main())


@pytest.mark.parametrize("stage", ["preparing", "next"])
def test_closing_takes_a_successor_along(stage: str) -> None:
    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url, timing=replace(OLD, ageing_s=60.0)) as link:
            link.session.open()
            await link.end()
            server.script.open_delay_s = 0.2 if stage == "preparing" else 0.0
            link.protocol.blocked = True
            await until(lambda: getattr(link.session._succession, stage))
            link.session.close("idle")
            await until(lambda: all(c.close_code is not None for c in server.connections))
            assert [reason for _, _, reason in link.ended] == ["idle"]
            assert link.facts == [Configured()]
        assert not link.session._closing | link.session._succession.closing

    asyncio.run(main())


def test_a_session_that_is_lost_takes_its_successor_along() -> None:
    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url, timing=replace(OLD, ageing_s=60.0)) as link:
            link.session.open()
            await link.end()
            link.protocol.blocked = True
            await until(lambda: link.session._succession.next)
            await server.connections[0].close(1011)
            await link.end(2)
            assert link.session._succession.next is None
            await until(lambda: server.connections[1].close_code is not None)

    asyncio.run(main())


def test_a_successor_refused_by_the_server_is_not_moved_to() -> None:
    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url, timing=AGEING) as link:
            link.session.open()
            await link.end()
            body = {"code": "insufficient_quota", "message": "Pay."}
            server.script.errors = {"session.update": body}
            await until(lambda: link.minted >= 3)
            assert link.facts[0] == Configured()
            await link.end(2)
            assert link.facts == [Configured(), Configured()], "the next attempt went well"

    asyncio.run(main())


def test_frames_still_waiting_go_to_the_new_session_only() -> None:
    """Whatever is said in the very moment of the move is told once, and to the session that goes on."""

    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url, timing=AGEING) as link:

            def on_fact(fact: object) -> None:
                if isinstance(fact, Configured) and len(link.facts) == 2:
                    link.protocol.say("Now.")
                    link.session.flush()

            link.on_fact = on_fact
            link.session.open()
            await link.end(2)
            await until(lambda: said(server))
            await asyncio.sleep(0.05)
            assert said(server) == ["Now."]
            await say(server.connections[-1], "response.created", response={"id": "r"})

    asyncio.run(main())
