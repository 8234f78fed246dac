"""The client towards providers: what it makes of servers that are slow, odd, or end where they should not."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from appliance.provisioning import provider_http
from appliance.provisioning.provider_http import Client, NoAnswerError, NotConnectedError
from tests.fakes.certificates import certificate as make_certificate
from tests.fakes.upstream import KEY, FakeUpstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


HANG_UP = b"<hang up>"


@dataclass
class Provider:
    """Answers each request with the next of the ``answers``; after one with ``HANG_UP`` at its end it hangs up."""

    answers: list[bytes]
    url: str = ""
    connections: int = 0
    asked: list[bytes] = field(default_factory=list)
    serving: list[asyncio.Task[None]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self.serving.append(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.asked.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0)
                writer.write(answer.removesuffix(HANG_UP))
                await writer.drain()
                if answer.endswith(HANG_UP):
                    break
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()


Story = Callable[[Client, Provider], Awaitable[None]]


@contextlib.asynccontextmanager
async def provider(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Provider]:
    made = Provider(list(answers))
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.url = f"{'https://localhost' if tls else 'http://127.0.0.1'}:{server.sockets[0].getsockname()[1]}/v1/realtime/client_secrets"
    async with server:
        yield made


def run(story: Story, *answers: bytes, tls: ssl.SSLContext | None = None) -> None:
    async def told() -> None:
        async with provider(*answers, tls=tls) as made:
            async with contextlib.aclosing(Client()) as client:
                await story(client, made)
            await asyncio.gather(*made.serving)

    asyncio.run(told())


async def post(client: Client, made: Provider) -> tuple[int, bytes]:
    reply = await client.post(made.url, {"Authorization": "Bearer x"}, b'{"a": 1}')
    return reply.status, reply.content


def test_exchanges_share_a_connection() -> None:
    async def story(client: Client, made: Provider) -> None:
        for _ in range(3):
            assert await post(client, made) == (200, b"{}")
        assert made.connections == 1
        assert made.asked[0] == made.asked[2]
        assert made.asked[0].startswith(b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: 127.0.0.1:")
        assert made.asked[0].endswith(b'Authorization: Bearer x\r\nContent-Length: 8\r\n\r\n{"a": 1}')
        await asyncio.gather(*(post(client, made) for _ in range(4)))
        assert made.connections == 4, "one is asked one thing at a time"

    run(story, *[OK] * 7)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n{}" + HANG_UP,
        b"HTTP/1.0 200 OK\r\n\r\n{}" + HANG_UP,
        OK + HANG_UP,
        OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot asked",
    ],
    ids=["interim", "chunked", "to the end", "HTTP/1.0", "hangs up", "says it closes", "says too much"],
)
def test_each_form_of_an_answer_is_read_and_the_next_exchange_has_its_own(answer: bytes) -> None:
    async def story(client: Client, made: Provider) -> None:
        assert await post(client, made) == (200, b"{}")
        await asyncio.sleep(0.02)  # until the end of the connection is noticed
        assert await post(client, made) == (201, b"second")

    run(story, answer, b"HTTP/1.1 201 Created\r\nContent-Length: 6\r\n\r\nsecond")


@pytest.mark.parametrize(
    "answer",
    [
        HANG_UP,
        b"ek_secret\r\n\r\n",
        OK.replace(b"2\r\n", b"3\r\n") + HANG_UP,
        b"HTTP/1.1 200 ek_secret" + HANG_UP,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nek_secret",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: ek_secret\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + bytes(1_100_000),
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
    ],
    ids=["nothing", "no HTTP", "cut", "cut head", "no chunks", "upgrade", "long", "long head", "slow"],
)
def test_what_is_no_answer_is_told_without_its_words(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_http, "ANSWER_WITHIN_S", 0.5)

    async def story(client: Client, made: Provider) -> None:
        with pytest.raises(NoAnswerError) as refused:
            await post(client, made)
        assert "ek_" not in str(refused.value)
        assert str(refused.value)
        assert await post(client, made) == (200, b"{}")
        assert made.connections == 2

    run(story, answer, OK)


def test_an_exchange_that_is_given_up_leaves_nothing_behind() -> None:
    async def story(client: Client, made: Provider) -> None:
        asking = asyncio.create_task(post(client, made))
        while not made.asked:  # noqa: ASYNC110 there is nothing to wait for but the provider
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await post(client, made) == (200, b"{}")
        assert made.connections == 2

    run(story, b"HTTP/1.1 200 OK\r\n", OK)


def test_a_connection_that_rested_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(client: Client, made: Provider) -> None:
        await asyncio.gather(*(post(client, made) for _ in range(3)))
        assert made.connections == 3
        monkeypatch.setattr(provider_http, "IDLE_S", 0.0)
        await post(client, made)
        assert made.connections == 4

    monkeypatch.setattr(provider_http, "IDLE_AT_MOST", 2)
    run(story, *[OK] * 4)


def test_nobody_there() -> None:
    async def story(client: Client, _: Provider) -> None:
        for url, reason in (
            ("http://127.0.0.1:1/", "ConnectionRefusedError"),
            ("http://nowhere.invalid/", "gaierror"),
        ):
            with pytest.raises(NotConnectedError, match=f"^{reason}$"):
                await client.post(url, {}, b"")

    run(story)


@pytest.mark.parametrize("known", [True, False])
def test_a_provider_has_to_prove_its_name(known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = make_certificate(tmp_path, "localhost", -1, 90)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    async def story(client: Client, made: Provider) -> None:
        if known:
            assert await post(client, made) == await post(client, made) == (200, b"{}")
            assert made.connections == 1
            made.url = made.url.replace("localhost", "127.0.0.1")
        with pytest.raises(NotConnectedError, match=r"^SSLCertVerificationError$"):
            await post(client, made)

    if known:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    run(story, OK, OK, tls=tls)


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(proxy: FakeUpstream) -> None:
        async with contextlib.aclosing(Client()) as client:
            reply = await client.post("http://provider.invalid/x", {"Authorization": f"Bearer {KEY}"}, b"{}")
            assert (reply.status, reply.headers["x-request-id"]) == (200, "req_fake")
            assert proxy.asked[0].path == "http://provider.invalid/x"
            assert proxy.minted[0] not in repr(reply)
            assert proxy.minted[0].encode() in reply.content
            with pytest.raises(NotConnectedError):
                await client.post("http://localhost:1/", {}, b"")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        async with contextlib.aclosing(Client()) as client:
            with pytest.raises(NotConnectedError):
                await client.post("http://provider.invalid/x", {}, b"{}")

    with FakeUpstream() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "localhost")
        asyncio.run(story(proxy))
