"""The next session, made before the present one is broken off: the server ends every session by age.

Responsible for: when to prepare it, setting it up beside the one that serves, and the moment to move to it. Not for:
moving (``websocket``), or whether the conversation can be moved now and what it is told (``protocol``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State as Socket

from appliance.errors import ApplianceError, LinkLost, LinkRefused
from appliance.realtime import policy
from appliance.realtime.dialling import Dialler
from appliance.realtime.facts import Broken, Configured, Refused
from appliance.realtime.protocol import Protocol
from appliance.realtime.session import Need, Ticket, Timing

log = logging.getLogger(__name__)
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


@dataclass(frozen=True, slots=True)
class Opened:
    """A socket, the credential that it was opened with, when that was; a session of its own if it is configured."""

    connection: ClientConnection
    ticket: Ticket
    began_s: float
    successor: Protocol | None = None


class Succession:
    """The successor of one session after another. All calls on the event loop, none blocks."""

    def __init__(
        self, protocol: Protocol, dialler: Dialler, spawn: Spawn, timing: Timing, move: Callable[[Opened], None]
    ) -> None:
        self._protocol, self._dialler, self._spawn, self._timing, self._move = protocol, dialler, spawn, timing, move
        self._ageing = self._old = False
        self.preparing: asyncio.Task[None] | None = None
        self.next: Opened | None = None  # what will replace the present session
        self.closing: set[asyncio.Task[None]] = set()

    def aged(self) -> None:
        """The present session is to be replaced in an idle moment."""
        self._ageing = True
        self.consider()

    def grown_old(self) -> None:
        """The present session is to be replaced soon, also in the middle of what the person says."""
        self._ageing = self._old = True
        self.consider()

    def consider(self) -> None:
        """Prepare a successor or move to it, if this is the moment. Cheap: to be called whenever something happened."""
        if not self._ageing:
            return
        if self.next is not None and self.next.connection.state is not Socket.OPEN:
            self.next = None
        may_move = self._protocol.may_move(old=self._old)
        if self.next is not None:
            if may_move:
                opened, self.next = self.next, None
                self._move(opened)
        elif self.preparing is None and (may_move or self._old):
            self.preparing = self._spawn(self._prepare())

    def forget(self) -> None:
        """The present session is over, or not wanted any more: nor is its successor."""
        self._ageing = self._old = False
        preparing, self.preparing = self.preparing, None
        if preparing is not None:
            preparing.cancel()
        unused, self.next = self.next, None
        if unused is not None:
            self._hang_up(unused.connection)

    async def _prepare(self) -> None:
        """Open and configure another session; failing that, try again later: nobody has lost anything yet."""
        loop = asyncio.get_running_loop()
        try:
            connection, ticket = await self._dialler.dial(Need.ITSELF)
            try:
                async with asyncio.timeout(self._timing.open_s):
                    successor = await self._set_up(connection, ticket)
            except BaseException:
                self._hang_up(connection)
                raise
        except (LinkLost, LinkRefused, ConnectionClosed, TimeoutError) as error:
            words = self._dialler.words(error) if isinstance(error, ApplianceError) else "it was not set up"
            log.warning("no session yet to replace the ageing one: %s", words)
            loop.call_later(self._timing.replace_again_s, self._prepare_again, asyncio.current_task())
            return
        self.preparing, self.next = None, Opened(connection, ticket, loop.time(), successor)
        self.consider()

    def _prepare_again(self, failed: asyncio.Task[None] | None) -> None:
        if self.preparing is failed:  # else the session that was to be replaced is gone
            self.preparing = None
            self.consider()

    async def _set_up(self, connection: ClientConnection, ticket: Ticket) -> Protocol:
        successor = self._protocol.successor(ticket.model, ticket.profile)
        async for frame in connection:
            for fact in successor.receive(frame):
                if isinstance(fact, Refused | Broken):
                    raise LinkRefused(fact.message, hint=policy.hint(fact.code), code=fact.code)
                if isinstance(fact, Configured):
                    return successor
            while (sent := successor.next_frame()) is not None:
                await connection.send(sent.text)
        raise LinkLost("the service accepted us but did not set up the session")

    def _hang_up(self, connection: ClientConnection) -> None:
        ending = self._spawn(connection.close())
        self.closing.add(ending)
        ending.add_done_callback(self.closing.discard)
