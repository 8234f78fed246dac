"""A small HTTP/1.1 client towards providers: one POST, its whole answer, over connections that are kept.

Responsible for: one exchange, bounded in time and size; idle connections; TLS by the system's roots. Not for: what is
asked (``upstream``), redirects and compression (none is asked for; both are wrong answers). Where the environment names
a proxy (``HTTPS_PROXY``, ``NO_PROXY``) httpx2 does the exchange: it knows proxies, and takes three times as long.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import urllib.request
from collections import deque
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import httptools
import httpx2
import msgspec

CONNECT_WITHIN_S = 5.0
ANSWER_WITHIN_S = 15.0
ANSWER_AT_MOST = 1_048_576  # bytes, headers and all; ours is the session again, 64 KiB at most, and a few members
IDLE_AT_MOST = 100  # half of what `admission` lets in; a handshake takes more than a mint
IDLE_S = 60.0


class NotConnectedError(Exception):
    """No connection came about, so that nothing was asked. The text is the reason's class, and no more."""


class NoAnswerError(Exception):
    """It was asked, and there is no whole answer. The text holds nothing of the answer, which may quote a key."""


class Reply(msgspec.Struct, frozen=True):
    """An answer. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    took_s: float

    def __repr__(self) -> str:
        return f"Reply({self.status})"  # the content is a secret


class Client:
    """Exchanges with any number of providers; close it when done."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, str], deque[_Connection]] = {}
        self._tls: ssl.SSLContext | None = None
        self._proxies = urllib.request.getproxies_environment()
        self._by_proxy: httpx2.AsyncClient | None = None

    async def post(self, url: str, headers: Mapping[str, str], content: bytes) -> Reply:
        """Asks once. Values of headers must be printable ASCII: they are sent as they stand.

        Raises:
            NotConnectedError: nothing was asked; another try harms nobody.
            NoAnswerError: no answer in time, none that is HTTP, too long, or broken off.
        """
        parts = urlsplit(url)
        if self._proxies and self._needs_proxy(parts.scheme, parts.hostname or ""):
            return await self._post_by_proxy(url, headers, content)
        origin = (parts.scheme, parts.netloc)
        connection = self._take(origin) or await self._connect(origin, parts.hostname or "", parts.port)
        head = f"POST {quote(parts.path, safe=_PATH)} HTTP/1.1\r\nHost: {parts.netloc}\r\n{_ALWAYS}"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                request = f"{head}{lines}Content-Length: {len(content)}\r\n\r\n".encode("ascii") + content
                reply = await connection.ask(request)
        except TimeoutError as error:
            raise NoAnswerError(type(error).__name__) from None
        finally:
            if connection.reusable:
                self._keep(origin, connection)
            else:
                connection.close()
        return reply

    async def aclose(self) -> None:
        """Ends what is idle."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()
        await asyncio.sleep(0)  # sockets end with the loop's next turn
        if self._by_proxy:
            await self._by_proxy.aclose()

    def _take(self, origin: tuple[str, str]) -> _Connection | None:
        """The connection that was used last: what is not needed may rest, and end."""
        connections = self._idle.get(origin, ())
        while connections:
            connection = connections.pop()
            if connection.reusable and time.monotonic() - connection.idle_since_s < IDLE_S:
                return connection
            connection.close()
        return None

    def _keep(self, origin: tuple[str, str], connection: _Connection) -> None:
        connection.idle_since_s = time.monotonic()
        connections = self._idle.setdefault(origin, deque())
        connections.append(connection)
        if len(connections) > IDLE_AT_MOST:
            connections.popleft().close()

    async def _connect(self, origin: tuple[str, str], host: str, port: int | None) -> _Connection:
        secure = origin[0] == "https"
        if secure and self._tls is None:
            self._tls = httpx2.create_ssl_context()
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                _, connection = await asyncio.get_running_loop().create_connection(
                    _Connection,
                    host,
                    port or (443 if secure else 80),
                    ssl=self._tls if secure else None,
                    happy_eyeballs_delay=0.25,  # a network that announces IPv6 and drops it must not cost a timeout
                )
        except (OSError, TimeoutError) as error:  # an SSLError is an OSError, too
            raise NotConnectedError(type(error).__name__) from None
        return connection

    def _needs_proxy(self, scheme: str, host: str) -> bool:
        named = scheme in self._proxies or "all" in self._proxies
        return named and not urllib.request.proxy_bypass(host)

    async def _post_by_proxy(self, url: str, headers: Mapping[str, str], content: bytes) -> Reply:
        client = self._by_proxy = self._by_proxy or httpx2.AsyncClient(
            timeout=httpx2.Timeout(ANSWER_WITHIN_S, connect=CONNECT_WITHIN_S)
        )
        body, began_s = bytearray(), time.monotonic()
        try:
            async with client.stream("POST", url, content=content, headers={**headers, **_PLAIN}) as response:
                took_s = time.monotonic() - began_s
                async for piece in response.aiter_raw():
                    body += piece
                    if len(body) > ANSWER_AT_MOST:
                        raise NoAnswerError(_TOO_LONG)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise NotConnectedError(type(error).__name__) from None
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise NoAnswerError(type(error).__name__) from None
        return Reply(response.status_code, response.headers, bytes(body), took_s)


_PATH = "/%~!$&'()*+,;=:@"
_PLAIN = {"Accept-Encoding": "identity"}  # a short answer, and no unpacking of a long one
_ALWAYS = "User-Agent: voice-provisioning\r\nAccept: application/json\r\nAccept-Encoding: identity\r\n"
_TOO_LONG = f"more than {ANSWER_AT_MOST} bytes"


class _Connection(asyncio.Protocol):
    """One connection, which is asked one thing at a time."""

    idle_since_s = 0.0

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Reply] | None = None
        self._began_s = self._took_s = 0.0
        self._received = 0
        self._between = True  # two answers
        self._in_content = False
        self._headers: dict[str, str] = {}
        self._content = bytearray()

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: it stands, and the last one is over to its last byte."""
        return self._transport is not None and self._answer is None and self._between

    async def ask(self, request: bytes) -> Reply:
        """Sends a request and waits for the whole answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._began_s, self._received = time.monotonic(), 0
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Ends it at once: nothing that is still to come is wanted, a farewell neither."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # What the transport calls:

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(type(error).__name__)
        if self._received > ANSWER_AT_MOST:
            self._fail(_TOO_LONG)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._in_content and exc is None and not _FRAMED & self._headers.keys():
            self._finish()  # such an answer ends with its connection (RFC 9112 §6.3)
        self._fail(type(exc or ConnectionResetError()).__name__)

    # What the parser calls:

    def on_message_begin(self) -> None:
        self._between = False
        self._headers = {}
        self._content = bytearray()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._in_content = True
        self._took_s = time.monotonic() - self._began_s

    def on_body(self, body: bytes) -> None:
        self._content += body

    def on_message_complete(self) -> None:
        self._between, self._in_content = True, False
        if self._parser.get_status_code() >= 200:  # else the answer is still to come
            self._finish()

    def _finish(self) -> None:
        answer, self._answer = self._answer, None
        if not self._parser.should_keep_alive():
            self.close()
        if answer is None:  # to no question of ours
            self.close()
        elif not answer.done():
            reply = Reply(self._parser.get_status_code(), self._headers, bytes(self._content), self._took_s)
            answer.set_result(reply)

    def _fail(self, reason: str) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NoAnswerError(reason))
        self._answer = None


_FRAMED = {"content-length", "transfer-encoding"}
