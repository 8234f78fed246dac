"""How long a stranger may take to say what he wants: uvicorn itself waits for the rest of a request for ever.

Responsible for: ending connections that are open without a whole request. Without it a few hundred that send a byte now
and then would hold every file handle of the process, and no device would get in.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

WHOLE_WITHIN_S = 10.0  # from the connection, or the request's first byte, to its last; ours take two packets


class Connection(H11Protocol):
    """One connection, closed when a request on it does not become whole in time."""

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request has to follow."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request, which do not prolong its time."""
        super().data_received(data)
        self._watch()

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
        if resting or self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._forget()
        elif self._limit is None:
            self._limit = self.loop.call_later(WHOLE_WITHIN_S, self.transport.abort)

    def _forget(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
