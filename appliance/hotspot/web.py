"""Serves the set-up page: a process without any right, which hears strangers and asks ``session`` to judge the form.

Started with two descriptors: the listening socket, and a pair to whoever started it. Over the pair go lines of JSON:
``Offer`` in, then a ``Form`` out and an ``Answer`` in, as often as people try. The pair's end is this process's end.
Responsible for: HTTP as far as a form needs it, and its defences. Not for: what the settings mean.

Defences: only our own address is answered with the page (other names, as of DNS rebinding or of a phone that looks for
a login page, are sent there); a form counts with this process's own mark in it, and from our own page.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
from urllib.parse import parse_qs

import h11
import msgspec
from msgspec import Struct

from appliance.hotspot import page

MOST_CONNECTIONS = 24
LONGEST_HEAD, LONGEST_BODY = 16 * 1024, 8 * 1024
PATIENCE_S = 15.0
POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = [
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
]


class Offer(Struct, frozen=True):
    """What the page begins with: the Wi-Fis around, and what went wrong the last time."""

    names: tuple[str, ...] = ()
    problem: str = ""


class Form(Struct, frozen=True):
    """What somebody entered, by ``page.FIELDS``."""

    fields: dict[str, str]


class Answer(Struct, frozen=True):
    """``problem``: it cannot be so; "": it is taken."""

    problem: str = ""


class Reply(Struct, frozen=True):
    """A response."""

    status: int
    body: str = ""
    kind: str = "text/html; charset=utf-8"
    location: str = ""


class Site:
    """The page and its form. One form is judged at a time."""

    def __init__(self, host: str, offer: Offer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """``host`` is our own address as browsers write it; ``reader`` and ``writer`` are the pair."""
        self._host, self._offer, self._reader, self._writer = host, offer, reader, writer
        self._mark = secrets.token_urlsafe(24)
        self._judging = asyncio.Lock()
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self._taken = False
        self._open = 0

    async def answer(self, request: h11.Request, body: bytes) -> Reply:
        """Answer one request."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        method, path = request.method.decode("latin-1"), request.target.decode("latin-1").partition("?")[0]
        if headers.get("host", "") != self._host:
            return Reply(302, location=f"http://{self._host}/") if method in ("GET", "HEAD") else Reply(403)
        if (method, path) == ("GET", "/style.css"):
            return Reply(200, page.STYLE, kind="text/css; charset=utf-8")
        if method in ("GET", "HEAD"):
            if path != "/":
                return Reply(302, location=f"http://{self._host}/")
            return Reply(200, page.form(self._offer.names, self._mark, problem=self._offer.problem))
        if (method, path) == ("POST", "/"):
            return await self._post(headers, body)
        return Reply(405, page.refused("This page has one form."))

    async def _post(self, headers: dict[str, str], body: bytes) -> Reply:
        origin = headers.get("origin")
        try:
            sent = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=16, errors="strict")
        except ValueError:
            return Reply(400, page.refused("The form could not be read."))
        fields = {name: values[0] for name, values in sent.items()}
        marked = secrets.compare_digest(fields.get("csrf", "").encode(), self._mark.encode())
        if not marked or origin not in (None, f"http://{self._host}"):
            return Reply(403, page.refused("This form is out of date, or did not come from this page."))
        async with self._judging:
            if self._taken:
                return Reply(409, page.refused("The settings were taken already."))
            entered = {name: fields.get(name, "") for name in page.FIELDS}
            problem = await self._judge(Form(entered))
            if problem:
                return Reply(422, page.form(self._offer.names, self._mark, problem=problem, entered=entered))
            self._taken = True
        return Reply(200, page.accepted(entered["wifi"]))

    async def _judge(self, form: Form) -> str:
        self._writer.write(msgspec.json.encode(form) + b"\n")
        await self._writer.drain()
        return msgspec.json.decode(await self._answers.get(), type=Answer).problem

    async def until_over(self) -> None:
        """Take the answers in, until the other end of the pair is closed."""
        while line := await self._reader.readline():
            await self._answers.put(line)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, for one request. Whatever comes, nothing of it is let out of here."""
        self._open += 1
        try:
            if self._open <= MOST_CONNECTIONS:
                async with asyncio.timeout(PATIENCE_S):
                    await self._exchange(reader, writer)
        except (TimeoutError, OSError, h11.RemoteProtocolError, EOFError, msgspec.DecodeError):
            pass
        finally:
            self._open -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HEAD)
        request, body = await _request(link, reader)
        reply = Reply(413, page.refused("That is too long.")) if body is None else await self.answer(request, body)
        data = reply.body.encode()
        headers = [*HEADERS, ("Content-Type", reply.kind), ("Content-Length", str(len(data)))]
        headers += [("Location", reply.location)] if reply.location else []
        sent = link.send(h11.Response(status_code=reply.status, headers=headers)) or b""
        writer.write(sent + (b"" if request.method == b"HEAD" else link.send(h11.Data(data=data)) or b""))
        await writer.drain()


async def _request(link: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request, bytes | None]:
    """Read one request with its body; ``None`` for one that is too long."""
    request: h11.Request | None = None
    body = b""
    while True:
        event = link.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(4096)
            if not data and request is None:
                raise EOFError
            link.receive_data(data)
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
            if len(body) > LONGEST_BODY and request is not None:
                return request, None
        elif request is not None:
            return request, body
        else:
            raise EOFError


async def serve(listening: socket.socket, pair: socket.socket) -> None:
    """Serve until the other end of ``pair`` closes."""
    reader, writer = await asyncio.open_unix_connection(sock=pair)
    offer = msgspec.json.decode(await reader.readline(), type=Offer)
    address, port = listening.getsockname()[:2]
    site = Site(address if port == 80 else f"{address}:{port}", offer, reader, writer)
    server = await asyncio.start_server(site.serve, sock=listening, limit=LONGEST_HEAD)
    try:
        await site.until_over()
    finally:
        server.close()
        writer.close()


def main() -> int:
    """Serve with the descriptors named on the command line."""
    listening, pair = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    asyncio.run(serve(listening, pair))
    return 0


if __name__ == "__main__":
    sys.exit(main())
