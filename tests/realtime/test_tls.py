"""TLS as it is in the field: a real certificate on a real socket, trusted or not."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from appliance.conversation.events import LinkLost
from appliance.errors import Secret
from appliance.realtime.facts import Configured
from appliance.realtime.session import Ticket
from tests.fakes.certificates import certificate
from tests.realtime.link import SECRET, Link, set_up


@pytest.mark.parametrize(
    ("name", "from_days", "trusted", "words"),
    [
        ("localhost", -1, True, ""),
        ("localhost", -1, False, "certificate refused"),
        ("elsewhere.example", -1, True, "certificate refused"),
        ("localhost", 1, True, "the clock of this device"),
    ],
    ids=["trusted", "unknown issuer", "wrong host", "not yet valid"],
)
def test_the_servers_certificate_is_verified(
    tmp_path: Path, name: str, from_days: int, trusted: bool, words: str
) -> None:
    public, private = certificate(tmp_path, name, from_days, 30)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(public, private)
    theirs = ssl.create_default_context(cafile=str(public)) if trusted else ssl.create_default_context()

    async def greet(connection: ServerConnection) -> None:
        await set_up(connection)
        await connection.wait_closed()

    async def story() -> None:
        async with serve(greet, "127.0.0.1", 0, ssl=ours, compression=None) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with Link(f"wss://localhost:{port}/v1/realtime") as link:

                async def mint() -> Ticket:
                    return Ticket(link.url, link.model, Secret(SECRET), theirs)

                link.mint = mint
                link.session.open()
                assert await link.end() == (LinkLost(was_up=False) if words else Configured())
                assert words in link.session.last_error

    asyncio.run(story())
