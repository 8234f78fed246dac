"""The WebSocket transport on real sockets: every way to open a session or fail to, each told in one event."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest
from websockets.asyncio.server import ServerConnection

from appliance.conversation.events import LinkLost, LinkRefused, ResponseStarted
from appliance.errors import ProvisioningError
from appliance.realtime.dialling import SPARE_MARGIN_S
from appliance.realtime.facts import Configured, Fact, Stage
from appliance.realtime.session import Need, Ticket
from tests.fakes.realtime_server import RealtimeServer, Script
from tests.realtime.link import QUICK, SECRET, Link, answering, http, opened, say, serving, set_up

LOST, LOST_UP = LinkLost(was_up=False), LinkLost(was_up=True)


def test_a_session_opens_and_sends_what_waited() -> None:
    async def main() -> None:
        async with RealtimeServer(Script(reply=bytes(4800))) as server, Link(server.url) as link:
            link.protocol.begin_turn()
            for number in range(10):
                link.protocol.append(bytes([number, 1]) * 480, number / 50)
            link.protocol.end_turn()
            link.protocol.turn_complete()
            link.protocol.request_response()
            link.session.open()
            assert isinstance(await link.end(), Configured)
            await server.until("response.create")
            assert server.pcm == b"".join(bytes([n, 1]) * 480 for n in range(10))
            kinds = ["session.update", "input_audio_buffer.append", "input_audio_buffer.commit", "response.create"]
            assert server.kinds()[:4] == kinds
            assert [at for at, _ in link.sent] == [0.0, 0.1]
            request = server.connections[0].request
            assert request is not None
            assert request.headers["Authorization"] == f"Bearer {SECRET}1"
            assert request.path.endswith("?model=gpt-realtime-1.5")
            assert "OpenAI-Beta" not in request.headers
            await link.until(ResponseStarted("resp_1"))
            assert link.session.last_error == ""

    asyncio.run(main())


def test_a_slow_upgrade_is_waited_for_up_to_a_limit() -> None:
    async def main() -> None:
        async with RealtimeServer(Script(open_delay_s=0.1)) as server:
            link = await opened(server.url)
            assert isinstance(link.ends()[0], Configured)
        async with RealtimeServer(Script(open_delay_s=0.6)) as server:
            link = await opened(server.url, open_s=0.25)
            assert link.ends() == [LOST]
            assert "within 0.25 s" in link.session.last_error

    asyncio.run(main())


def test_the_model_is_quoted_and_joined_to_what_the_address_has() -> None:
    async def main() -> None:
        async with RealtimeServer() as server:
            await opened(f"{server.url}?a=b", model="some/model&b=c")
            request = server.connections[0].request
            assert request is not None
            assert request.path == "/v1/realtime?a=b&model=some%2Fmodel%26b%3Dc"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "expected", "minted"),
    [
        (401, LinkRefused("invalid_api_key"), 2),
        (403, LinkRefused("invalid_api_key"), 2),
        (404, LinkRefused("model_not_found"), 1),
        (429, LOST, 1),
        (400, LOST, 1),
        (500, LOST, 1),
        (503, LOST, 1),
    ],
)
def test_a_status_at_the_upgrade(status: int, expected: Fact, minted: int) -> None:
    async def main() -> None:
        async with RealtimeServer(Script(refuse_status=status)) as server:
            link = await opened(server.url)
            assert link.facts == [expected]
            assert link.minted == minted
            assert str(status) in link.session.last_error
            assert link.protocol.stage is Stage.CLOSED

    asyncio.run(main())


def test_a_credential_refused_once_is_minted_again() -> None:
    async def main() -> None:
        async with RealtimeServer(Script(refuse_status=401)) as server, Link(server.url) as link:

            async def mint() -> Ticket:
                if link.minted == 1:
                    server.script.refuse_status = 0
                return await link.own_mint()

            link.mint = mint
            link.session.open()
            assert isinstance(await link.end(), Configured)
            assert link.minted == 2

    asyncio.run(main())


PORTAL = http("200 OK", "Content-Type: text/html", body="<html>Welcome to our hotel</html>")


@pytest.mark.parametrize(
    "answer",
    [
        PORTAL,
        http("302 Found", "Location: http://portal.example/login"),
        http("302 Found", "Location: ws://127.0.0.1:1/elsewhere"),
        http("307 Temporary Redirect", "Location: ws://[::1"),
        http("101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: nonsense"),
        b"",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x16\x03\x01\x00\x00" * 30,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    ],
)
def test_whatever_answers_in_the_place_of_the_service_may_go_away_again(answer: bytes) -> None:
    async def main() -> None:
        async with answering(answer) as url:
            link = await opened(url)
            assert link.facts == [LOST]
            assert link.minted == 1
            assert link.session.last_error

    asyncio.run(main())


def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}/"
        link = asyncio.run(opened(url))
    assert link.facts == [LOST]
    assert "cannot reach the service" in link.session.last_error


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "ws://127.0.0.1:99999/", "ws://127.0.0.1:x/", "ws://[::1", f"ws://{'a' * 70}.example/"]
)
def test_an_address_that_is_none_needs_a_person(url: str) -> None:
    assert asyncio.run(opened(url)).facts == [LinkRefused("bad_url")]


@pytest.mark.parametrize("greets", [False, True])
def test_a_server_that_never_sets_up_the_session_is_given_up(greets: bool) -> None:
    async def handler(connection: ServerConnection) -> None:
        if greets:
            await say(connection, "session.created")
        await connection.wait_closed()

    async def main() -> None:
        async with serving(handler) as url:
            link = await opened(url, open_s=0.25)
            assert link.facts == [LOST]
            assert "did not set up" in link.session.last_error

    asyncio.run(main())


@pytest.mark.parametrize(("retry", "expected"), [(True, LOST), (False, LinkRefused("overloaded"))])
def test_a_mint_that_fails(retry: bool, expected: Fact) -> None:
    async def mint() -> Ticket:
        raise ProvisioningError("cannot", hint="wait", code="overloaded", retry=retry, retry_after_s=0.02)

    async def main() -> None:
        async with Link("ws://127.0.0.1:1/") as link:
            link.mint = mint
            link.session.open()
            assert await link.end() == expected
            assert link.session.last_error == "cannot; wait"

    asyncio.run(main())


# --- back-off ---


def test_the_back_off_grows_to_its_ceiling_with_jitter_and_is_forgotten_when_a_session_lasts() -> None:
    async def main() -> None:
        async with RealtimeServer(Script(refuse_status=503)) as server, Link(server.url) as link:
            for attempt in range(1, 6):
                link.session.open()
                await link.end(attempt)
            assert link.rng.asked == [(0, 0.01), (0, 0.02), (0, 0.04), (0, 0.05)]
            server.script.refuse_status = 0
            link.session.open()
            assert isinstance(await link.end(6), Configured)
            await asyncio.sleep(QUICK.backoff_last_s * 2)
            await server.hang_up()
            await link.end(7)
            link.session.open()
            await link.end(8)
            assert link.rng.asked[5:] == [(0, 0.01)]

    asyncio.run(main())


def test_a_server_that_only_greets_does_not_get_us_to_hurry() -> None:
    async def handler(connection: ServerConnection) -> None:
        await set_up(connection)
        await connection.close(1011)

    async def main() -> None:
        async with serving(handler) as url, Link(url) as link:
            for attempt in range(1, 5):
                link.session.open()
                await link.end(2 * attempt)
            assert link.ends()[1::2] == [LOST_UP] * 4
            assert [ceiling for _, ceiling in link.rng.asked] == [0.01, 0.02, 0.04]

    asyncio.run(main())


def test_days_without_a_network_do_not_overflow() -> None:
    async def main() -> None:
        async with Link("ws://127.0.0.1:1/", timing=replace(QUICK, backoff_first_s=1e-6, backoff_last_s=1e-5)) as link:
            link.session._failures = 5000
            link.session.open()
            assert await link.end() == LOST

    asyncio.run(main())


@pytest.mark.parametrize(("headers", "waits"), [((), 2.0), (("Retry-After: 7",), 7.0), (("Retry-After: 999",), 60.0)])
def test_a_server_may_ask_for_patience(headers: tuple[str, ...], waits: float) -> None:
    async def main() -> None:
        async with answering(http("429 Too Many Requests", *headers)) as url:
            link = await opened(url)
            assert link.facts == [LOST]
            assert link.session._dialler.retry_after_s == waits

    asyncio.run(main())


@pytest.mark.parametrize(("status", "minted"), [(503, 1), (429, 1), (401, 4)])
def test_a_credential_that_no_server_has_taken_is_used_at_the_next_attempt(status: int, minted: int) -> None:
    async def main() -> None:
        async with RealtimeServer(Script(refuse_status=status)) as server, Link(server.url) as link:
            link.good_for_s = 60.0
            for count in (1, 2):
                link.session.open(Need.PRESS)
                await link.end(count)
            assert link.minted == minted
            server.script.refuse_status = 0
            link.session.open(Need.PRESS)
            assert isinstance(await link.end(3), Configured)
            await server.hang_up(1006)
            await link.until(LOST_UP)
            before = link.minted
            link.session.open(Need.PRESS)
            await link.end(5)
            assert link.minted == before + 1, "what opened a session is not used again"

    asyncio.run(main())


def test_a_credential_near_its_end_is_not_kept() -> None:
    async def main() -> None:
        async with RealtimeServer(Script(refuse_status=503)) as server, Link(server.url) as link:
            link.good_for_s = SPARE_MARGIN_S
            for count in (1, 2):
                link.session.open(Need.PRESS)
                await link.end(count)
            assert link.minted == 2

    asyncio.run(main())


def test_where_a_model_is_gone_the_next_one_of_the_list_is_asked_for_with_the_same_credential() -> None:
    async def main() -> None:
        async with RealtimeServer(Script(models_gone=("one", "two"))) as server, Link(server.url, model="one") as link:
            link.good_for_s, link.fallback_models = 60.0, ("two", "three")
            link.session.open(Need.PRESS)
            assert isinstance(await link.end(), Configured)
            assert (server.models, link.minted) == (["one", "two", "three"], 1)
            assert link.protocol.model == "three"
            link.session.open(Need.PRESS)
            await link.end(2)
            assert server.models[3:] == ["three"], "what is gone is not asked for again"
            server.script.models_gone = ("one", "two", "three")
            link.session.open(Need.PRESS)
            assert await link.end(3) == LinkRefused("model_not_found")
            server.script.models_gone = ("two", "three")
            link.session.open(Need.PRESS)
            await link.end(4)
            assert link.protocol.model == "one", "when all were gone, one may be back"

    asyncio.run(main())


def test_a_model_that_goes_in_the_middle_costs_the_session_and_not_the_question() -> None:
    gone = {"error": {"type": "invalid_request_error", "code": "model_not_found", "message": "gone"}}

    async def main() -> None:
        async with RealtimeServer() as server, Link(server.url, model="one") as link:
            link.fallback_models = ("two",)
            link.session.open(Need.PRESS)
            await link.end()
            await server.say({"type": "error", **gone})
            assert await link.end(2) == LOST_UP
            link.session.open(Need.PRESS)
            assert isinstance(await link.end(3), Configured)
            assert server.models == ["one", "two"]
            await server.say({"type": "error", **gone})
            assert await link.end(4) == LinkRefused("model_not_found")

    asyncio.run(main())
