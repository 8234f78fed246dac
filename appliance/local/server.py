"""The listener: one port for the mint (HTTP) and the sessions (WebSocket).

Responsible for: reading a request head with h11, answering HTTP, handing an upgrade to ``websocket`` and a
session. Not for: the protocol inside (``session``) or keys (``minting``).

h11 reads every request, because ``websockets`` takes no request with a body; an upgrade's head is then written
out again for ``websockets``, which wants to read it itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qs, urlsplit

import h11
import msgspec

from appliance.local.config import SESSION_MINUTES
from appliance.local.minting import Mint, Rejected
from appliance.local.schema import Json
from appliance.local.session import Session
from appliance.local.speech import Listener, Talker
from appliance.local.websocket import WebSocket

log = logging.getLogger(__name__)

_MINT_PATH = "/v1/realtime/client_secrets"
_SESSION_PATH = "/v1/realtime"
_MAX_BODY_BYTES = 2**20
_HEAD_S = 30.0
_BETA = (b"openai-beta", b"realtime=v1")


def _local_now() -> datetime:
    return datetime.now().astimezone()


@dataclass(frozen=True)
class Backend:
    """What every connection shares.

    ``open_delay_s`` holds back the answer to an upgrade and ``think_delay_s`` every reply: both for tests.
    """

    mint: Mint
    listener: Listener
    talker: Talker
    now: Callable[[], datetime] = _local_now
    open_delay_s: float = 0.0
    think_delay_s: float = 0.0
    session_s: float = SESSION_MINUTES * 60


@dataclass(frozen=True)
class _Request:
    """A request that was read whole."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]  # names in lower case
    head: bytes
    body: bytes

    def header(self, name: bytes) -> str:
        return next((value.decode("latin-1") for key, value in self.headers if key == name), "")

    @property
    def path(self) -> str:
        return urlsplit(self.target).path.rstrip("/")

    def query(self, name: str) -> str | None:
        values = parse_qs(urlsplit(self.target).query).get(name)
        return values[0] if values else None

    @property
    def bearer(self) -> str | None:
        scheme, _, credential = self.header(b"authorization").partition(" ")
        return credential.strip() if scheme.lower() == "bearer" else None

    @property
    def is_upgrade(self) -> bool:
        return self.header(b"upgrade").lower() == "websocket"


@contextlib.asynccontextmanager
async def serving(backend: Backend, host: str, port: int) -> AsyncIterator[int]:
    """Serve while inside; yields the port that was bound. Leaving closes every session with 1001.

    Raises:
        OSError: the address cannot be bound.
    """
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await _serve_connection(backend, reader, writer)
        except asyncio.CancelledError:
            pass  # the server is closing, and asyncio would log a cancelled connection as an error
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, host, port)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


async def _serve_connection(backend: Backend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=2**16)
    while True:
        try:
            async with asyncio.timeout(_HEAD_S):
                request = await _read_request(http, reader)
        except (TimeoutError, ConnectionError):
            return
        except h11.RemoteProtocolError as problem:
            if http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                status = problem.error_status_hint
                await _respond(http, writer, status, Rejected(status, "We could not read your request.").body())
            return
        if request is None:
            return
        try:
            if request.is_upgrade:
                settings = _admit(backend, request)
                await asyncio.sleep(backend.open_delay_s)
                await _serve_session(backend, settings, request, http.trailing_data[0], reader, writer)
                return
            await _respond(http, writer, 200, _answer(backend, request))
        except Rejected as rejected:
            await _respond(http, writer, rejected.status, rejected.body(), bodiless=request.method == "HEAD")
        if http.our_state is not h11.DONE:
            return
        http.start_next_cycle()


async def _read_request(http: h11.Connection, reader: asyncio.StreamReader) -> _Request | None:
    """The next request of the connection; None at its end."""
    request: h11.Request | None = None
    body = b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(2**16))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MAX_BODY_BYTES:
                raise h11.RemoteProtocolError("the body is too large", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            method, target = request.method.decode(), request.target.decode("ascii")
            return _Request(method, target, list(request.headers), _head(request), body)
        else:
            return None


def _head(request: h11.Request) -> bytes:
    lines = [b"%s %s HTTP/%s" % (request.method, request.target, request.http_version)]
    lines += [name + b": " + value for name, value in request.headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _answer(backend: Backend, request: _Request) -> Json:
    """The body of a plain HTTP request that succeeds.

    Raises:
        Rejected: it does not.
    """
    if request.path == _SESSION_PATH and request.method == "GET":
        raise Rejected(426, "A WebSocket upgrade is expected here.")
    if request.path != _MINT_PATH:
        raise Rejected(404, f"Invalid URL ({request.method} {request.path[:100]})")
    if request.method != "POST":
        raise Rejected(405, f"Not allowed to {request.method} on {_MINT_PATH}.")
    try:
        wanted = msgspec.json.decode(request.body) if request.body else None
    except (msgspec.DecodeError, RecursionError):
        raise Rejected(400, "We could not parse the JSON body of your request.") from None
    return backend.mint.create(request.bearer, wanted)


def _admit(backend: Backend, request: _Request) -> Json:
    if request.path != _SESSION_PATH:
        raise Rejected(404, f"Invalid URL ({request.method} {request.path[:100]})")
    settings = backend.mint.admit(request.bearer, request.query("model"))
    if request.query("intent") == "transcription" or request.query("call_id") is not None:
        raise Rejected(400, "This local backend serves realtime conversations only.", code="invalid_value")
    return settings


async def _respond(
    http: h11.Connection, writer: asyncio.StreamWriter, status: int, answer: Json, *, bodiless: bool = False
) -> None:
    body = msgspec.json.encode(answer)
    headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
    if http.their_state is not h11.DONE:
        headers.append(("connection", "close"))
    writer.write(http.send(h11.Response(status_code=status, headers=headers)) or b"")
    if not bodiless:
        writer.write(http.send(h11.Data(data=body)) or b"")
    writer.write(http.send(h11.EndOfMessage()) or b"")
    with contextlib.suppress(ConnectionError):
        await writer.drain()


async def _serve_session(
    backend: Backend,
    settings: Json,
    request: _Request,
    rest: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    socket = WebSocket(reader, writer)
    if not socket.open(request.head, rest):
        await socket.flush()
        return
    session = Session(
        settings,
        listener=backend.listener,
        talker=backend.talker,
        send=socket.send,
        flush=socket.flush,
        now=backend.now,
        think_delay_s=backend.think_delay_s,
    )
    if _BETA in request.headers:
        session.refuse_beta()
        await socket.close(4000, "invalid_request_error.beta_api_shape_disabled")
        return
    began = time.monotonic()
    code, reason = 1011, "internal error"
    try:
        async with asyncio.timeout(backend.session_s):
            await session.run(socket.messages())
        code, reason = 1000, ""
    except TimeoutError:
        session.expire()
        code, reason = 1001, "Your session hit the maximum duration of 60 minutes."
    except asyncio.CancelledError:
        code, reason = 1001, "The server is shutting down."
        raise
    finally:
        await socket.close(code, reason)
        log.info("session %s ended after %.0f s", settings["id"], time.monotonic() - began)
