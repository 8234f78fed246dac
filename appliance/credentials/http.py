"""A small HTTP/1.1 client: asyncio streams and h11, bounded in time and size, cancellable at any await.

Responsible for: one exchange, and failures in words a user understands. Not for: signatures, redirects (refused by
the caller as a wrong answer), proxies, cookies.

Servers are always verified: against the system's roots, or against pins. A pinned server has to prove that it holds
one of the pinned keys, before a byte of ours is sent; its certificate's chain, name and dates then say nothing more,
so a home server may sign its own, and a device whose clock stands in 1970 can still tell it from an impostor.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, urlsplit

import h11
import msgspec

from appliance.credentials import reach
from appliance.errors import ProvisioningError
from appliance.pins import canonical


class Response(msgspec.Struct, frozen=True):
    """Status, headers (names in lower case) and the whole body."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpClient:
    """Settings of the exchanges and the TLS context, which is made at the first https request (tens of ms on a Pi)."""

    def __init__(
        self,
        *,
        timeout_s: float = 10.0,
        body_at_most: int = 131_072,  # a grant tells a profile's session, which may be half of that
        tls: ssl.SSLContext | None = None,
        pins: frozenset[bytes] = frozenset(),
    ) -> None:
        self.timeout_s = timeout_s
        self.body_at_most = body_at_most
        self.pins = pins
        self._tls = None if pins else tls

    @property
    def pinned(self) -> str:
        """The pins as text, "" if there are none."""
        return canonical(self.pins)

    def connect(self, url: str) -> Connection:
        """Exchanges with the host of ``url``, over one connection while the server keeps it open.

        Raises:
            ProvisioningError: ``bad_url``: not http(s), plain http to a host outside this house, or plain http from
                a service that is pinned.
        """
        reach.check(url, secure="https", plain="http")
        if self.pins and not url.startswith("https:"):
            raise ProvisioningError(
                "the pinned service names an unencrypted address", hint="its issuer must be https", code="bad_url"
            )
        return Connection(self, urlsplit(url))

    def tls(self) -> ssl.SSLContext:
        """The context of connections; with pins it verifies nothing: :class:`Connection` does."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
            if self.pins:
                self._tls.check_hostname = False
                self._tls.verify_mode = ssl.CERT_NONE
        return self._tls

    def trusts(self, certificate: bytes | None) -> bool:
        """Says whether a server with this certificate (DER) may be talked to: always without pins, as TLS decided."""
        return not self.pins or spki_sha256(certificate or b"") in self.pins


def spki_sha256(certificate: bytes) -> bytes:
    """SHA-256 of the public key of a certificate (DER), b"" if it is none we can read."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return b""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


class Connection:
    """One connection, used as an async context manager; opened by the first request, again if the server closed it."""

    def __init__(self, client: HttpClient, origin: SplitResult) -> None:
        self._client = client
        self._origin = origin
        self._host = origin.hostname or ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._machine = h11.Connection(h11.CLIENT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    async def request(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"") -> Response:
        """Sends one request and returns the whole answer.

        Raises:
            ProvisioningError: a code of ``reach.NETWORK`` (retry helps; ``__cause__`` is a ConnectionError when the
                connection broke), ``bad_answer`` (not HTTP, or too long), or ``wrong_key`` (not the pinned one).
        """
        try:
            async with asyncio.timeout(self._client.timeout_s):
                return await self._exchange(method, url, headers, body)
        except (OSError, TimeoutError) as error:
            self._close()
            raise reach.unreachable(self._origin.netloc, error, self._client.timeout_s) from error
        except h11.RemoteProtocolError as error:
            self._close()
            raise reach.bad_answer(self._origin.netloc, "it does not speak HTTP") from error

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        reader, writer = self._streams or await self._open()
        target = url[len(f"{self._origin.scheme}://{self._origin.netloc}") :] or "/"
        lines = {
            "Host": self._origin.netloc,
            "User-Agent": "voice-appliance",
            "Accept": "application/json",
            **headers,
            "Content-Length": str(len(body)),
        }
        for event in (
            h11.Request(method=method, target=target, headers=list(lines.items())),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            writer.write(self._machine.send(event) or b"")
        await writer.drain()
        response = await self._receive(reader)
        if self._machine.our_state is h11.DONE and self._machine.their_state is h11.DONE:
            self._machine.start_next_cycle()
        else:
            self._close()
        return response

    async def _receive(self, reader: asyncio.StreamReader) -> Response:
        status, headers, body = 0, {}, bytearray()
        while True:
            event = await self._next_event(reader)
            if isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._client.body_at_most:
                    self._close()
                    raise reach.bad_answer(
                        self._origin.netloc, f"its answer is longer than {self._client.body_at_most} bytes"
                    )
            elif isinstance(event, h11.EndOfMessage):
                return Response(status=status, headers=headers, body=bytes(body))

    async def _next_event(self, reader: asyncio.StreamReader) -> h11.Event:
        ended = False
        while True:
            try:
                event = self._machine.next_event()
            except h11.RemoteProtocolError:
                if ended:
                    raise ConnectionResetError("closed before the end of its answer") from None
                raise
            if event is not h11.NEED_DATA:
                assert not isinstance(event, type)  # PAUSED comes only to those who pipeline
                return event
            data = await reader.read(16_384)
            ended = not data
            self._machine.receive_data(data)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        secure = self._origin.scheme == "https"
        self._machine = h11.Connection(h11.CLIENT)
        streams = await asyncio.open_connection(
            self._host,
            self._origin.port or (443 if secure else 80),
            ssl=self._client.tls() if secure else None,
            happy_eyeballs_delay=0.25,  # a router that announces IPv6 and drops it must not cost a timeout
        )
        secured = streams[1].get_extra_info("ssl_object")
        if secured is not None and not self._client.trusts(secured.getpeercert(binary_form=True)):
            streams[1].transport.abort()
            raise reach.wrong_key(self._origin.netloc)
        self._streams = streams
        return streams

    def _close(self) -> None:
        if self._streams is not None:
            # Not writer.close(): that would wait for the peer's TLS goodbye, and everything we wanted is here.
            self._streams[1].transport.abort()
            self._streams = None
