"""The HTTP client against a real loopback server that misbehaves in every way we know."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from appliance.credentials import reach
from appliance.credentials.http import HttpClient
from appliance.errors import ProvisioningError
from tests.credentials.server import HANG, Scripted, http, scripted
from tests.fakes.certificates import certificate


def run(story: Callable[[Scripted], Awaitable[None]]) -> None:
    async def told() -> None:
        async with scripted() as server:
            await story(server)

    asyncio.run(told())


async def fail(client: HttpClient, url: str) -> ProvisioningError:
    with pytest.raises(ProvisioningError) as refused:
        async with client.connect(url) as connection:
            await connection.request("POST", url, headers={}, body=b"x")
    assert "\n" not in str(refused.value)
    assert refused.value.hint
    return refused.value


def test_an_exchange() -> None:
    async def story(server: Scripted) -> None:
        server.answers = [http(201, {"a": 1}, X_Thing="b"), http(204, b"")]
        async with HttpClient().connect(server.url) as connection:
            first = await connection.request("POST", f"{server.url}/p/q?r=1", headers={"DPoP": "z"}, body=b"hello")
            second = await connection.request("GET", server.url, headers={})
        assert (first.status, first.body, first.headers["x-thing"]) == (201, b'{"a": 1}', "b")
        assert second.status == 204
        assert server.connections == 1
        assert server.heard[0].startswith(b"POST /p/q?r=1 HTTP/1.1\r\n")
        assert server.heard[0].endswith(b"\r\n\r\nhello")
        assert f"host: {server.url[7:]}".encode() in server.heard[0].lower()
        assert b"dpop: z" in server.heard[0].lower()

    run(story)


def test_it_connects_again_when_the_server_closed() -> None:
    async def story(server: Scripted) -> None:
        server.answers = [http(200, {}, Connection="close"), http(200, {})]
        async with HttpClient().connect(server.url) as connection:
            for _ in range(2):
                assert (await connection.request("GET", server.url, headers={})).status == 200
        assert server.connections == 2

    run(story)


def test_a_body_without_a_length_and_one_in_chunks() -> None:
    async def story(server: Scripted) -> None:
        server.answers = [
            b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            b"HTTP/1.0 200 X\r\n\r\nabc",
        ]
        async with HttpClient().connect(server.url) as connection:
            for _ in range(2):
                assert (await connection.request("GET", server.url, headers={})).body == b"abc"

    run(story)


def test_nonsense_is_a_bad_answer() -> None:
    async def story(server: Scripted) -> None:
        client = HttpClient(timeout_s=2, body_at_most=100)
        for answer in (
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"\x00" * 100,
            b"HTTP/1.1 200 X\r\n" + b"a" * 40_000,
            http(200, b"x" * 101),
        ):
            server.answers = [answer]
            error = await fail(client, server.url)
            assert (error.code, error.retry) == ("bad_answer", True), answer[:20]

    run(story)


def test_a_broken_connection_says_so() -> None:
    async def story(server: Scripted) -> None:
        for answer in (b"", b"HTTP/1.0 200 X\r\nContent-Length: 10\r\n\r\nabc"):
            server.answers = [answer]
            error = await fail(HttpClient(timeout_s=2), server.url)
            assert (error.code, error.retry) == ("unreachable", True)
            assert isinstance(error.__cause__, ConnectionError)
            assert "closed the connection" in str(error)

    run(story)


def test_a_silent_server_is_given_up() -> None:
    async def story(server: Scripted) -> None:
        server.answers = [HANG]
        error = await fail(HttpClient(timeout_s=0.05), server.url)
        assert (error.code, error.retry) == ("unreachable", True)
        assert "did not answer within 0.05 s" in str(error)
        await asyncio.wait_for(server.gone.wait(), 2)

    run(story)


def test_cancelling_closes_the_connection() -> None:
    async def story(server: Scripted) -> None:
        server.answers = [HANG]

        async def ask() -> None:
            async with HttpClient().connect(server.url) as connection:
                await connection.request("GET", server.url, headers={})

        task = asyncio.create_task(ask())
        await asyncio.wait_for(server.hung.wait(), 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.gone.wait(), 2)

    run(story)


def test_nobody_there() -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            port = reserved.getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            error = await fail(HttpClient(timeout_s=2), f"http://{host}:{port}")
            assert (error.code, error.retry) == ("unreachable", True)
            assert "refused the connection" in str(error)
        error = await fail(HttpClient(timeout_s=5), "https://no-such-host.invalid")
        assert "was not found" in str(error)
        assert error.code == "unreachable"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        ("https://voice.example.org", True),
        ("http://127.0.0.1:8787", True),
        ("http://localhost:8787", True),
        ("http://[::1]:8787", True),
        ("http://192.168.1.20:8787", True),
        ("http://server.local", True),
        ("http://voice.example.org", False),
        ("http://8.8.8.8", False),
        ("http://local", False),
        ("http://192.168.1.20.evil.example", False),
        ("http://127.0.0.1@evil.example", False),
        ("ftp://127.0.0.1", False),
        ("127.0.0.1:8787", False),
        ("", False),
        ("http://", False),
        ("http://[::1", False),
        ("http://127.0.0.1:99999", False),
        ("https://vöice.example", False),
    ],
)
def test_secrets_leave_the_house_encrypted(url: str, passes: bool) -> None:
    if passes:
        reach.check(url, secure="https", plain="http")
        return
    with pytest.raises(ProvisioningError) as refused:
        reach.check(url, secure="https", plain="http")
    assert (refused.value.code, refused.value.retry) == ("bad_url", False)


@pytest.mark.parametrize(
    ("name", "valid_from_days", "valid_days", "trusted", "said"),
    [
        ("localhost", -1, 2, True, ""),
        ("localhost", 1, 2, True, "not yet valid; this device's clock"),
        ("localhost", -3, 2, True, "has expired"),
        ("elsewhere", -1, 2, True, "for another name"),
        ("localhost", -1, 2, False, "not trusted"),
    ],
)
def test_certificates_are_verified(
    tmp_path: Path, name: str, valid_from_days: int, valid_days: int, trusted: bool, said: str
) -> None:
    public, private = certificate(tmp_path, name, valid_from_days, valid_days)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(public, private)
    theirs = ssl.create_default_context(cafile=str(public)) if trusted else None

    async def story() -> None:
        async with scripted(ours) as server:
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the server's own handshake errors
            server.answers = [http(200, {})]
            client = HttpClient(timeout_s=5, tls=theirs)
            if said:
                error = await fail(client, server.url)
                assert said in str(error)
                code = "clock_behind" if "not yet valid" in said else "certificate_refused"
                assert (error.code, error.retry) == (code, True)
                assert server.heard == []
            else:
                async with client.connect(server.url) as connection:
                    assert (await connection.request("GET", server.url, headers={})).status == 200

    asyncio.run(story())


def test_https_to_a_plain_port() -> None:
    async def story() -> None:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 X\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            error = await fail(HttpClient(timeout_s=2), f"https://127.0.0.1:{port}")
        assert (error.code, error.retry) == ("unreachable", True)
        assert "is this an https address" in str(error)

    asyncio.run(story())


def test_the_import_stays_small() -> None:
    code = (
        "import sys, appliance.credentials.mint;"
        "print(sorted({'numpy', 'joserfc', 'httpx2', 'pydantic', 'fastapi', 'cryptography.x509', 'http.client',"
        "'cryptography.hazmat.primitives.serialization'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
