"""The WebSocket transport of a Realtime session.

Responsible for: opening (mint, dial, greet) with back-off, the reading and the writing task, and turning every
way a socket can end into one conversation event. Not for: what is said on it (``protocol``).
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.http11 import Response

from appliance.conversation.events import ENROLMENT_PENDING, LinkLost, LinkRefused, SessionExpiring
from appliance.errors import ApplianceError, ProvisioningError
from appliance.errors import LinkLost as LinkLostError
from appliance.errors import LinkRefused as LinkRefusedError
from appliance.realtime import policy
from appliance.realtime.facts import Broken, Configured, Refused
from appliance.realtime.protocol import Protocol
from appliance.realtime.session import Mint, Need, OnFact, OnSent, Ticket

log = logging.getLogger(__name__)
# The library logs every header at DEBUG, and one of ours is the credential.
library_log = logging.getLogger(f"{__name__}.library")
library_log.setLevel(logging.INFO)
OnEnded = Callable[[Ticket, float, str], None]
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
DOUBLINGS = 16  # of the back-off; its last ceiling is reached long before
LONGEST_WAIT_S = 60.0  # that a server may ask for
LONGEST_HELD_S = 15.0  # that a person's question is kept for a service which asks us to wait
RATE_LIMITED_S = 2.0  # where it does not say
NO_CLOSE = 1006  # the socket ended without a closing handshake
NOT_YET_VALID = 9  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID
LONGEST_TEXT = 300  # of an error in a server's words


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient the transport is."""

    open_s: float = 10.0
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 30.0
    backoff_first_s: float = 0.5
    backoff_last_s: float = 8.0
    expiring_s: float = 50 * 60
    close_s: float = 1.0


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
        self._mint = mint
        self._on_fact = on_fact
        self._on_sent = on_sent
        self._spawn = spawn  # of a task group: a bug in here must not go unnoticed
        self._timing = timing
        self._rng = rng
        self._on_ended = on_ended
        self._close_reason = ""
        self._failures = 0
        self._retry_after_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        self._secret = ""
        self.last_error = ""
        self.trouble = ""

    def open(self, need: Need = Need.WAITING) -> None:
        """Begin to open a session; but for a press, after the back-off. Ends in exactly one event."""
        self.close("reopened")
        self._task = self._spawn(self._live(need))

    def close(self, reason: str = "closed") -> None:
        """Close the session quietly: no event is reported."""
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
        if self._closing:
            await asyncio.wait(self._closing, timeout=self._timing.close_s)

    def flush(self) -> None:
        """Send what the protocol has to send."""
        self._wake.set()

    async def _live(self, need: Need) -> None:
        try:
            if need is not Need.PRESS:
                await self._wait_out()
            await self._converse(*await self._dial(need))
        except LinkRefusedError as error:
            self._end(error)
            self._on_fact(LinkRefused(error.code))
        except LinkLostError as error:
            self._failures += 1
            self._end(error)
            self._on_fact(LinkLost(was_up=isinstance(error, _Lost)))

    def _end(self, error: LinkRefusedError | LinkLostError) -> None:
        self._protocol.disconnected()
        words = " ".join(str(error).split())  # some of them are the server's, who may quote what it was given
        if self._secret:
            words = words.replace(self._secret, "…")
        known, self.last_error, self.trouble = self.last_error, words[:LONGEST_TEXT], error.code
        told = self.last_error == known or self.trouble == ENROLMENT_PENDING  # whoever enrols has told
        log.log(logging.DEBUG if told else logging.WARNING, "link: %s", self.last_error)

    async def _wait_out(self) -> None:
        """Wait before another attempt: full jitter below an exponential ceiling, or what the server asked for."""
        if self._failures == 0:
            return
        doublings = min(self._failures - 1, DOUBLINGS)
        ceiling = min(self._timing.backoff_last_s, self._timing.backoff_first_s * 2**doublings)
        await asyncio.sleep(max(self._retry_after_s, self._rng.uniform(0, ceiling)))
        self._retry_after_s = 0.0

    async def _dial(self, need: Need) -> tuple[ClientConnection, Ticket]:
        """Mint a credential and open the socket; a refused credential is minted again once."""
        for attempt in (1, 2):
            ticket = await self._ticket(need)
            try:
                return await self._connect(ticket), ticket
            except InvalidStatus as error:
                if error.response.status_code in (401, 403) and attempt == 1:
                    continue
                raise self._refusal(error.response) from None
        raise AssertionError("unreachable: the second attempt returns or raises")

    async def _ticket(self, need: Need) -> Ticket:
        try:
            ticket = await self._mint(need)
            self._secret = str(ticket.secret)
            return ticket
        except ProvisioningError as error:
            # Nobody holds a question for minutes: a long wait is a refusal, which is explained and tried again later.
            if error.retry and (error.retry_after_s or 0.0) <= LONGEST_HELD_S:
                self._retry_after_s = min(error.retry_after_s or 0.0, LONGEST_WAIT_S)
                raise LinkLostError(error.message, hint=error.hint, code=error.code) from error
            raise LinkRefusedError(error.message, hint=error.hint, code=error.code) from error

    async def _connect(self, ticket: Ticket) -> ClientConnection:
        separator = "&" if "?" in ticket.url else "?"
        url = f"{ticket.url}{separator}model={quote(ticket.model, safe='')}" if ticket.model else ticket.url
        timing = self._timing
        try:
            connection = await _Connect(
                url,
                ssl=ticket.tls,
                additional_headers={"Authorization": f"Bearer {ticket.secret}"},
                user_agent_header="voice-appliance",
                logger=library_log,
                open_timeout=timing.open_s,
                close_timeout=timing.close_s,
                ping_interval=timing.ping_interval_s,
                ping_timeout=timing.ping_timeout_s,
                max_size=None,
                compression=None,
            )
        except InvalidStatus:
            raise
        except InvalidURI:
            raise _bad_url() from None
        except WebSocketException as error:
            hint = "something between us answers in its place, such as a login page of the network"
            raise LinkLostError(f"no WebSocket at the service: {type(error).__name__}", hint=hint) from None
        except TimeoutError:
            raise LinkLostError(f"the service did not answer within {timing.open_s:g} s") from None
        except ssl.SSLCertVerificationError as error:
            hint = "if it is 'not yet valid', the clock of this device is not set yet"
            code = "clock_behind" if error.verify_code == NOT_YET_VALID else "certificate_refused"
            raise LinkLostError(f"certificate refused: {error.verify_message}", hint=hint, code=code) from None
        except OSError as error:
            raise LinkLostError(
                f"cannot reach the service: {error.strerror or error}", hint="is the network up?"
            ) from None
        except ValueError:  # a port or a host name that cannot be one
            raise _bad_url() from None
        self._protocol.connected(ticket.model)
        return connection

    def _refusal(self, response: Response) -> ApplianceError:
        status = response.status_code
        if status in (401, 403):
            return LinkRefusedError(
                f"the service refuses the session credential (HTTP {status})",
                hint="check the key and the model access in the provisioning service",
                code="invalid_api_key",
            )
        if status == 404:
            return LinkRefusedError(
                "the model is not available (HTTP 404)", hint="choose another", code="model_not_found"
            )
        if status == 429:
            asked = "".join(response.headers.get_all("Retry-After")[:1])
            self._retry_after_s = min(float(asked), LONGEST_WAIT_S) if asked.isdecimal() else RATE_LIMITED_S
        return LinkLostError(f"the service answered HTTP {status}")

    async def _converse(self, connection: ClientConnection, ticket: Ticket) -> None:
        """Read and write until the socket ends or is not wanted any more; raises what ended it."""
        me, loop, timing = asyncio.current_task(), asyncio.get_running_loop(), self._timing
        up, began_s, reason = False, loop.time(), "lost"
        writer = self._spawn(self._write(connection))
        timers = [
            loop.call_later(timing.expiring_s, lambda: self._on_fact(SessionExpiring())),
            greeted := loop.call_later(timing.open_s, connection.transport.abort),
        ]
        try:
            async for frame in connection:
                for fact in self._protocol.receive(frame):
                    if isinstance(fact, Configured):
                        up, self.last_error, self.trouble = True, "", ""
                        greeted.cancel()
                        timers.append(loop.call_later(timing.backoff_last_s, self._proved))
                    elif isinstance(fact, Refused):
                        reason = "refused"
                        raise LinkRefusedError(fact.message, hint=policy.hint(fact.code), code=fact.code)
                    elif isinstance(fact, Broken):
                        raise _lost(up, fact.message, fact.code)
                    self._on_fact(fact)
                    if self._task is not me:
                        return  # closed by what the fact led to
                self._wake.set()
        except ConnectionClosed:
            pass
        finally:
            for timer in timers:
                timer.cancel()
            writer.cancel()
            self._on_ended(ticket, loop.time() - began_s, reason if self._task is me else self._close_reason)
            await connection.close()
        raise self._closed(connection, up)

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
                while (frame := self._protocol.next_frame()) is not None:
                    await connection.send(frame.text)
                    if frame.captured_at is not None:
                        self._on_sent(frame.captured_at, loop.time())
        except ConnectionClosed:
            pass  # the reader reports how it ended


class _Connect(connect):
    """Dials without following redirections: only a login page of the network sends us elsewhere."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Take a redirection for the failure that it is."""
        return exc


class _Lost(LinkLostError):
    """A session that had been up was lost."""


def _bad_url() -> LinkRefusedError:
    return LinkRefusedError("the service named an address that is no WebSocket URL", code="bad_url")


def _lost(up: bool, message: str, code: str) -> LinkLostError:
    return (_Lost if up else LinkLostError)(message, code=code)
