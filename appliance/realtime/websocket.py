"""The WebSocket transport of a Realtime session.

Responsible for: opening with back-off, the reading and the writing task, and turning every way a socket can end into
one conversation event. Not for: getting a socket (``dialling``), having another one at hand before the server ends
this by age (``succession``), or what is said on it (``protocol``).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from appliance.conversation.events import ENROLMENT_PENDING, LinkLost, LinkRefused
from appliance.errors import ApplianceError
from appliance.errors import LinkLost as LinkLostError
from appliance.errors import LinkRefused as LinkRefusedError
from appliance.realtime import policy
from appliance.realtime.configuration import BEYOND_THE_CORE
from appliance.realtime.dialling import MODEL_GONE, Dialler
from appliance.realtime.facts import Broken, Configured, Fact, Refused
from appliance.realtime.protocol import Protocol
from appliance.realtime.pulse import Pulse
from appliance.realtime.session import AGEING, OLD, Mint, Need, OnFact, OnSent, Ticket, Timing
from appliance.realtime.succession import Opened, Spawn, Succession

log = logging.getLogger(__name__)
OnEnded = Callable[[Ticket, float, str], None]
DOUBLINGS = 16  # of the back-off; its last ceiling is reached long before
NO_CLOSE = 1006  # the socket ended without a closing handshake


class WebSocketSession:
    """A Realtime session over a WebSocket. All calls on the event loop, none blocks.

    ``last_error`` holds the latest failure in words for the status.
    """

    def __init__(
        self,
        protocol: Protocol,
        mint: Mint,
        on_fact: OnFact,
        on_sent: OnSent,
        spawn: Spawn,
        timing: Timing,
        rng: random.Random,
        on_ended: OnEnded = lambda _ticket, _lasted_s, _reason: None,
    ) -> None:
        self._protocol = protocol
        self._dialler = Dialler(mint, timing)
        self._on_fact = on_fact
        self._on_sent = on_sent
        self._spawn = spawn  # of a task group: a bug in here must not go unnoticed
        self._timing = timing
        self._rng = rng
        self._on_ended = on_ended
        self._close_reason = ""
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._connection: ClientConnection | None = None  # where what the protocol has to send goes
        self._pulse: Pulse | None = None  # of that connection
        self._closing: set[asyncio.Task[None]] = set()
        self._succession = Succession(protocol, self._dialler, spawn, timing, self._move)
        self._told_reduced = ""
        self.last_error = ""
        self.trouble = ""

    def open(self, need: Need = Need.WAITING) -> None:
        """Begin to open a session; but for a press, after the back-off. Ends in exactly one event."""
        self.close("reopened")
        self._task = self._spawn(self._live(need, None))

    @property
    def working(self) -> bool:
        """Say whether a session is open or being opened, so that an event will tell of its end."""
        return self._task is not None and not self._task.done()

    def close(self, reason: str = "closed") -> None:
        """Close the session quietly: no event is reported."""
        self._succession.forget()
        self._connection = None
        task, self._task = self._task, None
        if task is not None and not task.done():
            self._close_reason = reason
            self._protocol.disconnected()
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            if task is not asyncio.current_task():
                task.cancel()
            # Else a fact that it reports has led here: it sees that it is not wanted and hangs up.

    async def finish(self) -> None:
        """Close and wait until the socket is closed, a moment at most."""
        self.close("stopped")
        if ending := self._closing | self._succession.closing:
            await asyncio.wait(ending, timeout=self._timing.close_s)

    def flush(self) -> None:
        """Send what the protocol has to send."""
        self._wake.set()
        if self._pulse is not None:
            self._pulse.feel()
        self._succession.consider()

    async def _live(self, need: Need, successor: Opened | None) -> None:
        try:
            if successor is None and need is not Need.PRESS:
                await self._wait_out()
            await self._converse(successor or await self._dial(need))
        except LinkRefusedError as error:
            self._end(error)
            gone = error.code == MODEL_GONE and self._dialler.has_another_model()
            self._on_fact(LinkLost(was_up=True) if gone else LinkRefused(error.code))
        except LinkLostError as error:
            self._failures += 1
            self._end(error)
            self._on_fact(LinkLost(was_up=isinstance(error, _Lost)))

    def _end(self, error: LinkRefusedError | LinkLostError) -> None:
        self._protocol.disconnected()
        self._succession.forget()
        words = self._dialler.words(error)
        known, self.last_error, self.trouble = self.last_error, words, error.code
        told = self.last_error == known or self.trouble == ENROLMENT_PENDING  # whoever enrols has told
        log.log(logging.DEBUG if told else logging.WARNING, "link: %s", self.last_error)

    async def _wait_out(self) -> None:
        """Wait before another attempt: full jitter below an exponential ceiling, or what the server asked for."""
        if self._failures == 0:
            return
        doublings = min(self._failures - 1, DOUBLINGS)
        ceiling = min(self._timing.backoff_last_s, self._timing.backoff_first_s * 2**doublings)
        await asyncio.sleep(max(self._dialler.retry_after_s, self._rng.uniform(0, ceiling)))
        self._dialler.retry_after_s = 0.0

    async def _dial(self, need: Need) -> Opened:
        connection, ticket = await self._dialler.dial(need)
        self._protocol.connected(ticket.model, ticket.profile)
        return Opened(connection, ticket, asyncio.get_running_loop().time())

    # --- a live session ---

    async def _converse(self, opened: Opened) -> None:
        """Read and write until the socket ends or is not wanted any more; raises what ended it."""
        me, loop, timing, reason = asyncio.current_task(), asyncio.get_running_loop(), self._timing, "lost"
        connection, up = opened.connection, opened.successor is not None
        longest_s = opened.ticket.longest_s
        self._connection = connection
        self._pulse = pulse = Pulse(
            connection, lambda: self._protocol.engaged, self._spawn, quiet_s=timing.quiet_s, dead_s=timing.dead_s
        )
        writer = self._spawn(self._write(connection))
        timers = [
            loop.call_at(opened.began_s + min(timing.ageing_s, longest_s * AGEING), self._succession.aged),
            loop.call_at(opened.began_s + min(timing.old_s, longest_s * OLD), self._succession.grown_old),
            greeted := loop.call_later(timing.open_s, connection.transport.abort),
        ]
        if up:
            greeted.cancel()
        try:
            async for frame in connection:
                pulse.heard()
                for fact in self._protocol.receive(frame):
                    if isinstance(fact, Configured):
                        up, self.last_error, self.trouble = True, "", ""
                        greeted.cancel()
                        self._tell_reduced()
                        timers.append(loop.call_later(timing.backoff_last_s, self._proved))
                    _check(fact, up)
                    self._on_fact(fact)
                    if self._task is not me:
                        return  # closed by what the fact led to
                self.flush()
                if self._task is not me:
                    return  # moved away from
        except ConnectionClosed:
            pass
        except LinkRefusedError:
            reason = "refused"
            raise
        finally:
            for timer in timers:
                timer.cancel()
            writer.cancel()
            pulse.close()
            reason = reason if self._task is me else self._close_reason
            self._on_ended(opened.ticket, loop.time() - opened.began_s, reason)
            await connection.close()
        raise self._closed(connection, up)

    def _tell_reduced(self) -> None:
        """Say once which of the owner's wishes this server does not grant, and in whose words."""
        why = self._dialler.words(LinkRefusedError(self._protocol.reduced_because))
        if self._protocol.reduced and why != self._told_reduced:
            log.warning("the server refused our settings, it goes on without %s: %s", BEYOND_THE_CORE, why)
            self._told_reduced = why

    def _proved(self) -> None:
        """The session has lasted: a server that only greets and hangs up does not get this far."""
        self._failures = 0

    def _closed(self, connection: ClientConnection, up: bool) -> ApplianceError:
        code, reason = connection.close_code, connection.close_reason or ""
        if not up and code == NO_CLOSE:
            return LinkLostError("the service accepted us but did not set up the session")
        if code in policy.FATAL_CLOSES:
            name = policy.FATAL_CLOSES[code]
            return LinkRefusedError(f"the server closed with {code} {reason}", hint=policy.hint(name), code=name)
        return _lost(up, f"the session ended ({code} {reason})".replace(" )", ")"), str(code))

    async def _write(self, connection: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                # What a session that was closed or moved away from has not sent yet is the next one's.
                while self._connection is connection and (frame := self._protocol.next_frame()) is not None:
                    await connection.send(frame.text)
                    if frame.captured_at is not None:
                        self._on_sent(frame.captured_at, loop.time())
        except ConnectionClosed:
            pass  # the reader reports how it ended

    def _move(self, opened: Opened) -> None:
        """Go on in the successor: it is told the conversation, and the old session ends."""
        assert opened.successor is not None
        self.close("rotated")
        self._protocol.adopt(opened.successor)
        self._task = self._spawn(self._live(Need.ITSELF, opened))
        log.info("moved to a new session, the old one neared its end")
        self._on_fact(Configured())
        self._wake.set()


def _check(fact: Fact, up: bool) -> None:
    if isinstance(fact, Refused):
        raise LinkRefusedError(fact.message, hint=policy.hint(fact.code), code=fact.code)
    if isinstance(fact, Broken):
        raise _lost(up, fact.message, fact.code)


class _Lost(LinkLostError):
    """A session that had been up was lost."""


def _lost(up: bool, message: str, code: str) -> LinkLostError:
    return (_Lost if up else LinkLostError)(message, code=code)
