"""The port itself: the mint over HTTP, who gets a session, and how sessions end."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from openai.types.realtime import ClientSecretCreateResponse
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from appliance.errors import Secret
from appliance.local.minting import Mint
from tests.local.client import KEY, Bench, Client, bench


class Clock:
    """Unix time the test can put forward."""

    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def on_port(story: Callable[[Bench], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def tell() -> None:
        async with bench(**options) as stage:
            await story(stage)

    asyncio.run(tell())


async def post(
    stage: Bench, body: bytes | None, *, key: str | None = KEY, path: str = "/v1/realtime/client_secrets"
) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key is not None else {})
    request = urllib.request.Request(f"http://127.0.0.1:{stage.port}{path}", body, headers)

    def send() -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    return await asyncio.to_thread(send)


async def mint(stage: Bench, **request: Any) -> tuple[int, Any]:
    return await post(stage, json.dumps(request).encode())


async def refusal(stage: Bench, **options: Any) -> tuple[int, Any]:
    with pytest.raises(InvalidStatus) as refused:
        async with stage.session(**options):
            pass
    return refused.value.response.status_code, json.loads(bytes(refused.value.response.body or b"null"))


def test_a_minted_secret_opens_its_session() -> None:
    async def story(stage: Bench) -> None:
        session = {"type": "realtime", "model": "gpt-realtime-2.1", "instructions": "bound"}
        status, minted = await mint(stage, session=session, expires_after={"anchor": "created_at", "seconds": 60})
        assert status == 200
        ClientSecretCreateResponse.model_validate(minted)
        assert minted["value"].startswith("ek_")
        assert minted["expires_at"] == 1_000_060
        assert minted["session"]["instructions"] == "bound"
        for query in ("?model=gpt-realtime-2.1", ""):
            async with stage.session(bearer=minted["value"], query=query) as client:
                assert client.seen[0]["session"]["instructions"] == "bound"
                assert client.seen[0]["session"]["model"] == "gpt-realtime-2.1"

    on_port(story)


def test_an_empty_request_mints_for_ten_minutes() -> None:
    async def story(stage: Bench) -> None:
        for body in (b"", b"{}"):
            status, minted = await post(stage, body)
            assert (status, minted["expires_at"]) == (200, 1_000_600)

    on_port(story)


def test_an_expired_secret_opens_nothing_and_ends_nothing() -> None:
    clock = Clock()

    async def story(stage: Bench) -> None:
        _, minted = await mint(stage, expires_after={"anchor": "created_at", "seconds": 10})
        clock.now_s += 9.9
        async with stage.session(bearer=minted["value"]) as client:
            clock.now_s += 0.2
            assert (await refusal(stage, bearer=minted["value"]))[0] == 401
            assert (await client.ask("Hello"))["status"] == "completed"

    on_port(story, mint=Mint(clock))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"anchor": "created_at", "seconds": 9}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "created_at", "seconds": 7201}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "now"}}, "expires_after.anchor"),
        ({"session": {"type": "realtime", "temperature": 1}}, "session.temperature"),
        ({"session": {"model": "gpt-realtime"}}, "session.type"),
        ({"session": {"type": "realtime", "model": "gpt-5"}}, "session.model"),
        ({"seconds": 60}, "seconds"),
        ([], "event"),
    ],
)
def test_requests_that_mint_nothing(body: Any, param: str) -> None:
    async def story(stage: Bench) -> None:
        status, answer = await post(stage, json.dumps(body).encode())
        assert (status, answer["error"]["param"]) == (400, param)

    on_port(story)


def test_http_errors() -> None:
    async def story(stage: Bench) -> None:
        assert (await post(stage, b"{"))[0] == 400
        assert (await post(stage, b"x" * 2_000_000))[0] == 413
        assert (await post(stage, b"{}", path="/v1/other"))[0] == 404
        assert (await post(stage, None))[0] == 405
        assert (await post(stage, None, path="/v1/realtime"))[0] == 426
        for key in (None, "", "ek_1234"):
            status, answer = await post(stage, b"{}", key=key)
            assert status == 401
            assert "ek_1234" not in json.dumps(answer)

    on_port(story)


def test_only_the_given_key_is_taken() -> None:
    async def story(stage: Bench) -> None:
        status, answer = await post(stage, b"{}", key="sk-wrong")
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
        assert (await post(stage, b"{}", key="sk-right"))[0] == 200
        assert (await refusal(stage, bearer="sk-wrong"))[1]["error"]["code"] == "invalid_api_key"
        async with stage.session(bearer="sk-right"):
            pass

    on_port(story, mint=Mint(Clock(), Secret("sk-right")))


def test_upgrades_that_are_refused() -> None:
    async def story(stage: Bench) -> None:
        assert (await refusal(stage, bearer="ek_unknown"))[0] == 401
        assert (await refusal(stage, bearer=""))[0] == 401
        assert (await refusal(stage, query=""))[1]["error"]["code"] == "missing_model"
        status, answer = await refusal(stage, query="?model=gpt-unknown")
        assert (status, answer["error"]["code"]) == (404, "model_not_found")
        assert (await refusal(stage, query="?model=gpt-realtime-1.5&intent=transcription"))[0] == 400
        assert (await refusal(stage, query="/translations?model=gpt-realtime-1.5"))[0] == 404

    on_port(story)


def test_a_connection_serves_several_requests_and_survives_garbage() -> None:
    async def story(stage: Bench) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        for method in (b"GET", b"HEAD", b"GET"):
            writer.write(method + b" /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 404")
            if method == b"GET":
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                assert b"Invalid URL" in await reader.readexactly(length)
        writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()

    on_port(story)


def test_a_bad_handshake_is_answered() -> None:
    async def story(stage: Bench) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(
            b"GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()

    on_port(story)


def test_the_beta_protocol_is_gone() -> None:
    async def story(stage: Bench) -> None:
        headers = {"Authorization": f"Bearer {KEY}", "OpenAI-Beta": "realtime=v1"}
        url = f"ws://127.0.0.1:{stage.port}/v1/realtime?model=gpt-realtime"
        async with connect(url, additional_headers=headers) as socket:
            assert (await Client(socket).error())["code"] == "beta_api_shape_disabled"
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4000

    on_port(story)


def test_an_hour_is_the_most() -> None:
    async def story(stage: Bench) -> None:
        async with stage.session() as client:
            assert (await client.error())["code"] == "session_expired"
            with pytest.raises(ConnectionClosed) as closed:
                await client.receive()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001

    on_port(story, session_s=0.1)


def test_closing_the_server_says_goodbye() -> None:
    async def tell() -> None:
        async with bench() as stage:
            session = stage.session()
            client = await session.__aenter__()
            await client.send("response.create")
        with pytest.raises(ConnectionClosed) as closed:
            await client.until("never")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        await session.__aexit__(None, None, None)

    asyncio.run(tell())


def test_the_delays_for_tests() -> None:
    async def story(stage: Bench) -> None:
        begin = time.monotonic()
        async with stage.session() as client:
            assert time.monotonic() - begin >= 0.2
            begin = time.monotonic()
            await client.ask("Hello")
            assert time.monotonic() - begin >= 0.3

    on_port(story, open_delay_s=0.2, think_delay_s=0.3)


def test_fragments_pings_and_a_client_that_vanishes() -> None:
    async def story(stage: Bench) -> None:
        async with stage.session() as client:

            async def pieces() -> Any:
                yield '{"type": "session.update", "session": '
                yield '{"type": "realtime"}}'

            await client.socket.send(pieces())
            await client.until("session.updated")
            await (await client.socket.ping())
            await client.send("response.create")
            client.socket.transport.abort()
        async with stage.session() as client:
            assert (await client.ask("Hello"))["status"] == "completed"

    on_port(story)
