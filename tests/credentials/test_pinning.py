"""Pins against real TLS servers: the key decides, and nothing is sent before it has."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.credentials import enrolment
from appliance.credentials.enrolment import Enrolment
from appliance.credentials.http import HttpClient, spki_sha256
from appliance.credentials.identity import Identity
from appliance.credentials.mint import Minter
from appliance.errors import ProvisioningError, Secret
from tests.credentials.server import Scripted, http, scripted
from tests.fakes.certificates import certificate


def server_context(public: Path, private: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return context


def pin_of(public: Path) -> bytes:
    return spki_sha256(x509.load_pem_x509_certificate(public.read_bytes()).public_bytes(Encoding.DER))


async def get(client: HttpClient, server: Scripted) -> int:
    server.answers = [http(200, {})]
    async with client.connect(server.url) as connection:
        return (await connection.request("GET", server.url, headers={"Authorization": "secret"})).status


@pytest.mark.parametrize(
    ("name", "from_days", "valid_days"),
    [("localhost", -1, 30), ("elsewhere.example", -1, 30), ("localhost", -30, 1), ("localhost", 365, 30)],
    ids=["self-signed", "another name", "expired", "not yet valid, as with a clock of 1970"],
)
def test_the_pinned_key_is_enough(tmp_path: Path, name: str, from_days: int, valid_days: int) -> None:
    public, private = certificate(tmp_path, name, from_days, valid_days)

    async def story() -> None:
        async with scripted(server_context(public, private)) as server:
            other = b"\x01" * 32
            assert await get(HttpClient(timeout_s=5, pins=frozenset({other, pin_of(public)})), server) == 200
            assert server.heard

    asyncio.run(story())


def test_another_key_is_refused_before_a_byte_is_sent_even_if_the_system_trusts_it(tmp_path: Path) -> None:
    public, private = certificate(tmp_path, "localhost", -1, 30)
    trusting = ssl.create_default_context(cafile=str(public))

    async def story() -> None:
        async with scripted(server_context(public, private)) as server:
            client = HttpClient(timeout_s=5, tls=trusting, pins=frozenset({b"\x01" * 32}))
            with pytest.raises(ProvisioningError, match="another key") as refused:
                await get(client, server)
            assert (refused.value.code, refused.value.retry) == ("wrong_key", False)
            assert "[provisioning] url" in refused.value.hint
            await asyncio.wait_for(server.gone.wait(), 5)
            assert server.heard == []
            assert await get(HttpClient(timeout_s=5, tls=trusting), server) == 200

    asyncio.run(story())


def test_a_pinned_service_does_not_lead_to_an_unencrypted_address() -> None:
    client = HttpClient(pins=frozenset({b"\x01" * 32}))
    with pytest.raises(ProvisioningError, match="unencrypted") as refused:
        client.connect("http://127.0.0.1:80/token")
    assert refused.value.code == "bad_url"


def test_enrolment_keeps_the_pins_and_minting_is_held_to_them(tmp_path: Path) -> None:
    public, private = certificate(tmp_path, "localhost", -1, 30)
    identity = Identity.load_or_create(tmp_path / "state")

    async def story() -> None:
        async with scripted(server_context(public, private)) as server:
            url = server.url
            known = {
                "issuer": url,
                "device_authorization_endpoint": f"{url}/da",
                "token_endpoint": f"{url}/token",
                "dpop_signing_alg_values_supported": ["ES256"],
            }
            opened = {"device_code": "dc", "user_code": "019450730", "expires_in": 60}
            granted = {"access_token": "vdt_x", "token_type": "DPoP", "device_id": "d_x"}
            server.answers = [http(200, known), http(200, opened), http(200, granted)]
            client = HttpClient(timeout_s=5, pins=frozenset({pin_of(public)}))

            async def sleep(_: float) -> None:
                raise AssertionError("approved at once")

            done = await enrolment.enrol(
                url,
                identity,
                directory=tmp_path / "state",
                token=Secret("vet_x"),
                name="n",
                hardware="h",
                software="s",
                client=client,
                now=lambda: 0.0,
                sleep=sleep,
                told=lambda _: None,
            )
            assert done == Enrolment(url, "d_x", Secret("vdt_x"), client.pinned)
            assert enrolment.load(tmp_path / "state") == done
            minter = Minter(done, identity, client=HttpClient(pins=frozenset({b"\x02" * 32})), now=lambda: 0.0)
            with pytest.raises(ProvisioningError) as refused:
                await minter.mint()
            assert refused.value.code == "wrong_key"
            assert not any(b"vdt_x" in heard for heard in server.heard)

    asyncio.run(story())
