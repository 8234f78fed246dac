"""How much and how long a stranger may say before his request is whole: uvicorn itself reads a head of any length, and
waits for the rest of a request for ever.

Responsible for: ending connections that are open without a whole request. Without it a few hundred that send a byte now
and then would hold every file handle of the process, and no device would get in.
"""  # noqa: D205 the fact takes two lines

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

WHOLE_WITHIN_S = 10.0  # from the connection, or the request's first byte, to its last; ours take two packets
HEAD_AT_MOST = 16_384  # bytes; ours is about 1,500


class Connection(HttpToolsProtocol):
    """One connection, closed when a request on it does not become whole in time, or has too long a head."""

    _limit: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0
    _whole = False  # the last request that has begun

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request has to follow."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request, which do not prolong its time."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_AT_MOST and not self.transport.is_closing():
                self.send_400_response("The head of the request is too long.")
        self._watch()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes, self._whole = True, 0, False

    def on_headers_complete(self) -> None:
        """The request's head has come."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request's last byte has come."""
        super().on_message_complete()
        self._whole = True

    def on_response_complete(self) -> None:
        """What came meanwhile may be the beginning of the next request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever wanted it."""
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        resting = self.timeout_keep_alive_task is not None  # between two requests uvicorn has a limit of its own
        if self._whole and (resting or not self.cycle.response_complete):
            self._forget()
        elif self._limit is None:
            self._limit = self.loop.call_later(WHOLE_WITHIN_S, self.transport.abort)

    def _forget(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
