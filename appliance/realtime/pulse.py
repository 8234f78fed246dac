"""Whether the other end of a session is still there, while somebody waits for it.

A peer that lost its power, or a router that forgot us, closes nothing: the socket stays open and silent, and the
keep-alive of an idle session takes most of a minute to notice. While somebody talks or waits that is too long, so
after a short silence a ping goes out, and a silence that goes on is the end of the session, as if it had been reset.
Responsible for: that judgement and carrying it out on one connection. Not for: what follows (``websocket``).
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import logging
import socket
import struct
import termios
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

log = logging.getLogger(__name__)
LOOK_S = 1.0
BYTES_ACKED = 120  # of struct tcp_info <linux/tcp.h>: a u64


@dataclass(slots=True)
class Signs:
    """What was heard of the other end, and what of ours arrived there. Times are monotonic seconds."""

    heard_at: float
    moved_at: float = 0.0
    acked: int = -1

    def sent(self, now: float, acked: int, waiting: int) -> None:
        """Note what the other end's system has taken so far, and how much still waits on the way there."""
        if acked != self.acked or not waiting:
            self.acked = acked
            self.moved_at = now if waiting else self.moved_at

    def silent_s(self, now: float) -> float:
        """Say how long there has been no sign of life; a slow line that still carries ours is one."""
        return now - max(self.heard_at, self.moved_at)


class Pulse:
    """Watches one connection while ``engaged()``. One thread (the event loop)."""

    def __init__(
        self,
        connection: ClientConnection,
        engaged: Callable[[], bool],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        *,
        quiet_s: float,
        dead_s: float,
    ) -> None:
        self._connection, self._engaged, self._spawn = connection, engaged, spawn
        self._quiet_s, self._dead_s = quiet_s, dead_s
        self._loop = asyncio.get_running_loop()
        self._signs = Signs(self._loop.time())
        self._asked = False
        self._timer: asyncio.TimerHandle | None = None

    def heard(self) -> None:
        """Note that something came."""
        self._signs.heard_at, self._asked = self._loop.time(), False

    def feel(self) -> None:
        """Begin to watch, if somebody is engaged; it ends by itself."""
        if self._timer is None and self._engaged():
            self.heard()
            self._timer = self._loop.call_later(min(LOOK_S, self._quiet_s), self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._engaged():
            return
        now = self._loop.time()
        self._signs.sent(now, *_on_the_way(self._connection))
        silent_s = self._signs.silent_s(now)
        if silent_s > self._dead_s:
            log.warning("the server has given no sign of life for %.0f s", silent_s)
            self._connection.transport.abort()
            return
        if silent_s >= self._quiet_s and not self._asked:
            self._asked = True
            self._spawn(self._ask())
        self._timer = self._loop.call_later(min(LOOK_S, self._quiet_s), self._look)

    async def _ask(self) -> None:
        try:
            await (await self._connection.ping())
        except ConnectionClosed:
            return
        self.heard()

    def close(self) -> None:
        """Watch no longer."""
        self._engaged = lambda: False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _on_the_way(connection: ClientConnection) -> tuple[int, int]:
    """Return how many bytes of ours the other end's system has acknowledged, and how many it has not."""
    raw = connection.transport.get_extra_info("socket")
    waiting = array.array("i", [0])
    try:
        told = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED + 8)
        fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, waiting)
        acked: int = struct.unpack_from("Q", told, BYTES_ACKED)[0]
    except (OSError, struct.error):  # closed meanwhile, or a system that does not tell
        return 0, 0
    return acked, waiting[0] + connection.transport.get_write_buffer_size()
