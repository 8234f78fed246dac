"""The WebSocket transport on real sockets: how a live session ends, is closed, and what it never tells."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from dataclasses import replace

import pytest
from websockets.asyncio.server import ServerConnection

from appliance.conversation.events import LinkLost, LinkRefused, ResponseStarted
from appliance.realtime.facts import Configured, Fact, Stage
from tests.fakes.realtime_server import RealtimeServer, Script
from tests.realtime.link import QUICK, SECRET, Handler, Link, opened, say, serving, set_up

LOST, LOST_UP = LinkLost(was_up=False), LinkLost(was_up=True)


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (1000, "", LOST_UP),
        (1001, "maximum duration of 60 minutes", LOST_UP),
        (1006, "", LOST_UP),
        (1008, "policy", LOST_UP),
        (1011, "internal error", LOST_UP),
        (1012, "", LOST_UP),
        (1013, "", LOST_UP),
        (4000, "beta_api_shape_disabled", LinkRefused("beta_api_shape_disabled")),
    ],
)
def test_each_way_to_hang_up(code: int, reason: str, expected: Fact) -> None:
    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url) as link:
            link.session.open()
            await link.end()
            await server.hang_up(code, reason)
            assert await link.end(2) == expected
            assert len(link.ends()) == 2
            assert str(code) in link.session.last_error
            assert reason in link.session.last_error
            assert link.protocol.stage is Stage.CLOSED

    asyncio.run(main())


def test_a_hang_up_before_the_session_was_up_is_a_failed_attempt() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.close(1001, "going away")

    async def main() -> None:
        async with serving(handler) as url:
            assert (await opened(url)).facts == [LOST]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"code": "insufficient_quota", "message": "Pay."}, LinkRefused("insufficient_quota")),
        ({"code": "session_expired", "message": "Old."}, LOST_UP),
        ({"type": "server_error", "message": "Sorry."}, LOST_UP),
    ],
)
def test_errors_that_end_a_session(body: dict[str, str], expected: Fact) -> None:
    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url) as link:
            link.session.open()
            await link.end()
            await server.say({"type": "error", "error": body})
            assert await link.end(2) == expected
            assert body["message"] in link.session.last_error

    asyncio.run(main())


def test_a_refused_configuration_is_reduced_and_then_given_up() -> None:
    async def refuse(connection: ServerConnection) -> None:
        await say(connection, "session.created")
        async for frame in connection:
            await say(connection, "error", error={"code": "x", "event_id": json.loads(frame)["event_id"]})

    async def main() -> None:
        async with RealtimeServer(Script(errors={"session.update": {"code": "unknown_parameter"}})) as server:
            assert isinstance((await opened(server.url)).ends()[0], Configured)
            assert len(server.of("session.update")) == 2
        async with serving(refuse) as url:
            assert (await opened(url)).facts == [LinkRefused("x")]

    asyncio.run(main())


def test_settings_that_a_server_does_not_grant_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        refusal = {"code": "unknown_parameter", "message": f"No speed for {SECRET}1."}
        async with RealtimeServer() as server, Link(server.url) as link:
            for number in (1, 2):
                server.script.errors["session.update"] = refusal
                link.session.open()
                await link.end(number)
            assert link.protocol.counters["reduced_sessions"] == 2
            link.session.open()
            await link.end(3)

    asyncio.run(main())
    told = [record.getMessage() for record in caplog.records if "refused our settings" in record.getMessage()]
    assert len(told) == 1
    assert "max_output_tokens" in told[0]
    assert told[0].endswith("No speed for ….")


# --- closing ---


def stopping_at(phase: str) -> Handler:
    """Make a server that goes as far as ``phase``."""

    async def handler(connection: ServerConnection) -> None:
        if phase != "greeting":
            await say(connection, "session.created")
            await connection.recv()
            if phase != "configuring":
                await say(connection, "session.updated")
                if phase == "lost":
                    await connection.close(1011)
        await connection.wait_closed()

    return handler


async def bring_to(link: Link, phase: str) -> None:
    """Open ``link`` as far as ``phase``."""
    if phase == "waiting":
        link.session._failures = 10
    if phase == "minting":
        link.mint = asyncio.Event().wait  # type: ignore[assignment]  # it never returns
    link.session.open()
    if phase in ("up", "lost"):
        await link.end(2 if phase == "lost" else 1)
    elif phase == "dialing":
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    else:
        await asyncio.sleep(0.03)


@pytest.mark.parametrize("phase", ["waiting", "minting", "dialing", "greeting", "configuring", "up", "lost"])
def test_close_is_quiet_in_every_phase_and_it_can_be_opened_again(phase: str) -> None:
    async def main() -> None:
        async with serving(stopping_at(phase)) as url, RealtimeServer() as server, Link(url) as link:
            await bring_to(link, phase)
            before = list(link.facts)
            link.session.close()
            assert link.protocol.stage is Stage.CLOSED
            await link.session.finish()
            await asyncio.sleep(0.02)
            assert link.facts == before
            link.url, link.mint = server.url, link.own_mint
            link.session.open()
            assert isinstance(await link.end(len(link.ends()) + 1), Configured)

    asyncio.run(main())


def test_open_replaces_what_is_open() -> None:
    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url) as link:
            for attempt in range(1, 4):
                link.session.open()
                await link.end(attempt)
            link.session.open()
            link.session.open()
            await link.end(4)
            for connection in server.connections[:-1]:
                await asyncio.wait_for(connection.wait_closed(), 2)
            assert server.connections[-1].state.name == "OPEN"
            assert {type(f) for f in link.facts} == {Configured}

    asyncio.run(main())


def test_a_fact_may_lead_to_closing_and_nothing_of_that_session_follows() -> None:
    """Frames that are already in the buffer are not the next session's."""

    async def handler(connection: ServerConnection) -> None:
        await set_up(connection)
        for number in range(10):
            await say(connection, "response.created", response={"id": f"r{number}"})
        await connection.wait_closed()

    async def main() -> None:
        async with serving(handler) as url, Link(url) as link:

            def react(fact: Fact) -> None:
                if fact == ResponseStarted("r2"):
                    link.session.close()

            link.on_fact = react
            link.session.open()
            await link.until(ResponseStarted("r2"))
            await asyncio.sleep(0.05)
            assert link.facts[-1] == ResponseStarted("r2")

    asyncio.run(main())


def test_a_loss_may_lead_to_the_next_attempt_at_once() -> None:
    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url) as link:
            link.on_fact = lambda fact: link.session.open() if isinstance(fact, LinkLost) else None
            link.session.open()
            await link.end()
            await server.hang_up(1011)
            assert isinstance(await link.end(3), Configured)
            assert [type(f) for f in link.ends()] == [Configured, LinkLost, Configured]

    asyncio.run(main())


def test_a_server_that_does_not_answer_the_close_does_not_hold_us_up() -> None:
    async def handler(connection: ServerConnection) -> None:
        await set_up(connection)
        connection.transport.pause_reading()
        await asyncio.sleep(0.6)
        connection.transport.abort()

    async def main() -> float:
        async with serving(handler) as url, Link(url) as link:
            link.session.open()
            await link.end()
            await asyncio.sleep(0.02)
            began = asyncio.get_running_loop().time()
            await link.session.finish()
            return asyncio.get_running_loop().time() - began

    assert asyncio.run(main()) < 0.45


def test_a_session_that_is_set_up_outlives_the_patience_for_it() -> None:
    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url) as link:
            link.session.open()
            await link.end()
            await asyncio.sleep(QUICK.open_s * 1.2)
            assert [type(f) for f in link.facts] == [Configured]

    asyncio.run(main())


def test_a_server_that_stops_answering_pings_is_lost() -> None:
    async def handler(connection: ServerConnection) -> None:
        await set_up(connection)
        connection.transport.pause_reading()
        await asyncio.sleep(0.5)
        connection.transport.abort()

    async def main() -> None:
        timing = replace(QUICK, ping_interval_s=0.05, ping_timeout_s=0.05, close_s=0.05)
        async with serving(handler) as url, Link(url, timing=timing) as link:
            link.session.open()
            await link.end()
            assert await link.end(2) == LOST_UP

    asyncio.run(main())


# --- secrets and strangers ---


def test_no_secret_is_ever_logged_even_if_the_server_repeats_it(caplog: pytest.LogCaptureFixture) -> None:
    async def echo(connection: ServerConnection) -> None:
        await say(connection, "session.created")
        assert connection.request is not None
        given = connection.request.headers["Authorization"]
        await say(connection, "error", error={"code": "invalid_api_key", "message": f"Bad\nkey: {given} {'x' * 9999}"})
        await connection.wait_closed()

    async def hang_up(connection: ServerConnection) -> None:
        assert connection.request is not None
        await connection.close(1008, connection.request.headers["Authorization"])

    async def main() -> None:
        for handler in (echo, hang_up):
            async with serving(handler) as url:
                link = await opened(url)
                assert SECRET not in link.session.last_error
                assert SECRET not in repr(link.facts)
                assert "\n" not in link.session.last_error
                assert 0 < len(link.session.last_error) <= 300
        async with RealtimeServer(Script(refuse_status=401)) as server:
            assert SECRET not in (await opened(server.url)).session.last_error

    with caplog.at_level(logging.DEBUG, logger="appliance"):
        asyncio.run(main())
    assert len([r for r in caplog.records if r.message.startswith("link: ")]) == 3
    assert SECRET not in caplog.text


def test_the_library_logs_no_headers(caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG websockets logs every header that it sends; ours carries the credential."""

    async def main() -> None:
        async with RealtimeServer() as server:
            await opened(server.url)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())
    ours = [r for r in caplog.records if not r.name.startswith("websockets.server")]
    assert not [r for r in ours if SECRET in r.getMessage()]


def test_nonsense_on_a_live_session_is_counted_and_survived() -> None:
    async def handler(connection: ServerConnection) -> None:
        await set_up(connection)
        for frame in ("nonsense", b"\x00\xff", "[" * 50_000, "{}", '{"type":"response.done"}', '{"type":"error"}'):
            await connection.send(frame)
        await say(connection, "response.created", response={"id": "r1"})
        await connection.wait_closed()

    async def main() -> None:
        async with serving(handler) as url, Link(url) as link:
            link.session.open()
            await link.until(ResponseStarted("r1"))
            assert link.protocol.counters["malformed_frames"] == 3
            assert len(link.ends()) == 1

    asyncio.run(main())


def test_many_sessions_leave_nothing_behind() -> None:
    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url) as link:
            for attempt in range(1, 31):
                link.session.open()
                await link.end(attempt)
            await link.session.finish()
            await asyncio.sleep(0.05)
            gc.collect()
            assert not link.session._closing
            assert len(asyncio.all_tasks()) <= 3

    asyncio.run(main())
