"""Session credentials for the daemon: identity and enrolment on one side, tickets for the session on the other.

Responsible for: enrolling at first need (by the owner's token, by a key that the service knows, else by a code that is
said), minting as often as the pacing allows, and delivering session reports. Not for: the protocol of any
of these (``credentials``).
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import math
import os
import random
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from appliance import __version__, pins
from appliance.config import Config
from appliance.conversation.events import ENROLMENT_PENDING, Enrolled, EnrolmentEnded
from appliance.credentials.pacing import Pacing
from appliance.credentials.storage import IDENTITY_FILE
from appliance.enrolling import Enroller, Spawn, enrolment_token
from appliance.errors import ConfigError, ProvisioningError, Secret, StateError
from appliance.realtime import profile as profiles
from appliance.realtime.session import Need, Ticket
from appliance.reports import Report, Reports
from appliance.system import timesync

if TYPE_CHECKING:  # at run time they are imported when the first of them is needed: readiness does not wait
    from appliance.credentials.enrolment import Enrolment
    from appliance.credentials.grant import Waiting
    from appliance.credentials.identity import Identity
    from appliance.credentials.mint import Minter

log = logging.getLogger(__name__)
ENROLMENT_FILE = "enrolment.json"
REMINDED_EVERY_S = 60.0  # the conversation's timer asks us to try by ourselves so often, in step with other devices'
CLOCK_WAIT_S = 3.0  # of one try: the next is only made, and told about, after it; a question waits 20 s for all
SHORTEST_SESSION_S = 60.0  # however little a profile allows: each one costs a credential
TOKEN_REFUSED = ("access_denied", "invalid_grant")


class Tickets:
    """Mints session credentials. One thread (the event loop)."""

    def __init__(
        self,
        config: Config,
        *,
        spawn: Spawn | None = None,
        tell: Callable[[Enrolled | EnrolmentEnded], None] = lambda _: None,
        tools: tuple[dict[str, object], ...] = (),
        rng: random.Random | None = None,
    ) -> None:
        """``spawn`` runs what goes on in the background, ``tell`` hears how an enrolment there has ended.

        ``tools`` are this device's, declared for a service that binds them to the credential with its profile's.
        """
        self._config, self._tools = config, tools
        self._directory = Path(config.state.directory)
        self._address = pins.parse(config.provisioning.url)
        self._identity: Identity | None = None
        self._context: ssl.SSLContext | None = None
        if not os.path.exists(self._directory / IDENTITY_FILE):  # noqa: PTH110  # Path.exists() raises where it may not look
            self.load_identity()  # a disk that cannot hold it must be known before we say that we are ready
        self._minter: Minter | None = None
        self._dead: Secret | None = None  # the token of a stored enrolment that the service does not know any more
        self._refused_token: Secret | None = None
        self._spawn: Spawn = spawn or (lambda work: asyncio.get_running_loop().create_task(work))
        self._enroller = Enroller(lambda told: self.enrol(None, told), self._spawn, tell)
        self._pacing = Pacing((rng or random.Random()).uniform)  # noqa: S311  # jitter needs no secrecy
        self._last: ProvisioningError | None = None  # what keeps us from a session, as far as is known
        self._by_itself = self._minted = False  # the last ticket was nobody's wish; it was granted
        self._delivery: asyncio.Task[None] | None = None
        self._behind_s: float | None = None  # wall clock minus monotonic, while the clock is known to be behind
        self.reports = Reports()

    def load_identity(self) -> Identity:
        """Load the device's key, make it at first. Costs a tenth of a second on a small board.

        Raises:
            StateError: it cannot be read or stored, or is torn.
        """
        from appliance.credentials.identity import Identity

        if self._identity is None:
            self._identity = Identity.load_or_create(self._directory)
        return self._identity

    @property
    def thumbprint(self) -> str:
        """The thumbprint of this device's key, "" until that is loaded."""
        return self._identity.thumbprint if self._identity is not None else ""

    def load(self) -> None:
        """Load what minting needs, the key included. In a thread: it takes long enough to be felt at a press.

        Raises:
            StateError: the key cannot be read, or is torn.
        """
        for name in ("enrolment", "mint"):
            importlib.import_module(f"appliance.credentials.{name}")
        self.load_identity()
        self.reports.load(self._directory)

    # --- minting ---

    async def mint(self, need: Need = Need.PRESS) -> Ticket:
        """Mint a credential for one session; whether that could be opened is to be told: :meth:`opened`, or not.

        Raises:
            ProvisioningError: not enrolled, refused, the service cannot be reached, it is too early to ask again, or
                a file that is needed for it cannot be read or written: the appliance goes on and shows that.
        """
        self._minted = False
        await self._keep_pace(need)
        self._by_itself = need is Need.ITSELF
        if self._behind_s is not None and need is Need.WAITING:
            await self._await_time(self._behind_s)
        try:
            ticket = await self._mint(need)
        except (ConfigError, StateError) as error:
            raise ProvisioningError(error.message, hint=error.hint, code="local_file") from error
        except ProvisioningError as error:
            if error.code == ENROLMENT_PENDING:
                raise
            self._failed(error)
            if error.code != "quota_exceeded":
                raise
            raise _final(error, error.retry_after_s) from error  # said at once: a question must not hang on it
        self._minted, self._behind_s = True, None
        return ticket

    def opened(self) -> None:
        """The session for which the last ticket was minted is open: all is well."""
        self._pacing.succeeded()
        self._last = None

    def refused(self, code: str, words: str) -> None:
        """A session was refused; if the ticket was good, by the Realtime server, which is paced like the service."""
        if self._minted:
            self._failed(ProvisioningError(words, code=code))

    def clock_is_behind(self) -> None:
        """Somebody's certificate is not valid yet by our clock: a person's next try waits until that is set."""
        self._behind_s = time.time() - asyncio.get_running_loop().time()

    def _failed(self, error: ProvisioningError) -> None:
        now_s = asyncio.get_running_loop().time()
        self._pacing.failed(now_s, error.code, error.retry_after_s, by_itself=self._by_itself)
        self._last, self._behind_s = error, None
        if error.code == "clock_behind":
            self.clock_is_behind()

    async def _keep_pace(self, need: Need) -> None:
        """Raise what the service said last, where it is too early to ask it again; wait where that is nearly over.

        Asked at the reminders alone, all who were refused in one second would come back in one second.
        """
        now_s, last = asyncio.get_running_loop().time(), self._last
        if last is None:
            return
        if need is Need.ITSELF:
            due_s = self._pacing.due_s()
            if due_s is None or due_s - now_s >= REMINDED_EVERY_S:
                raise _final(last)
            await asyncio.sleep(max(0.0, due_s - now_s))
        elif held_s := self._pacing.held_s(now_s):
            raise _final(last, held_s)

    async def _await_time(self, offset_s: float) -> None:
        log.info("waiting for the time, %g s at most", CLOCK_WAIT_S)
        monotonic = asyncio.get_running_loop().time
        done = await timesync.synchronised(
            CLOCK_WAIT_S, offset_s=offset_s, wall=time.time, monotonic=monotonic, sleep=asyncio.sleep
        )
        log.info("the clock is set" if done else "the clock is still not set")

    async def _mint(self, need: Need) -> Ticket:
        profile = self._config.provisioning.profile
        minter = self._minter or await self._begin(need)
        try:
            grant = await minter.mint("websocket", profile, self._tools)
        except ProvisioningError as error:
            if error.code != "invalid_token":
                raise
            self._minter = None
            if self._key_was_changed():
                log.info("this device's key was changed meanwhile")
            else:
                log.warning("%s", error)
                self._dead = minter.token
            minter = await self._begin(need)
            grant = await minter.mint("websocket", profile, self._tools)
        tls = await self._tls(grant.url)
        model = grant.model or self._config.realtime.model
        return Ticket(
            grant.url,
            model,
            grant.value,
            tls,
            grant.session_id,
            good_for_s=grant.expires_in_s,
            longest_s=max(grant.limits.max_session_s or math.inf, SHORTEST_SESSION_S),
            fallback_models=grant.fallback_models,
            profile=profiles.read(grant.session, binds_tools=grant.binds_tools),
        )

    def _key_was_changed(self) -> bool:
        """Take the key from its file again: `voice-appliance rotate-key` may have put another one there."""
        before, self._identity = self.load_identity().thumbprint, None
        return self.load_identity().thumbprint != before

    async def _tls(self, url: str) -> ssl.SSLContext | None:
        """Make the TLS context once, in a thread: loading the root certificates would hold up audio on the loop."""
        if not url.startswith(("https:", "wss:")):
            return None
        if self._context is None:
            self._context = await asyncio.to_thread(ssl.create_default_context)
        return self._context

    async def _begin(self, need: Need) -> Minter:
        from appliance.credentials import enrolment
        from appliance.credentials.http import HttpClient
        from appliance.credentials.mint import Minter

        known = enrolment.load(self._directory)
        if known is not None and (known.issuer != self._address.issuer or known.token == self._dead):
            known = None  # the owner moved this device to another service, or that one has forgotten it
        known = known or await self._become_known(need)
        client = HttpClient(tls=await self._tls(known.issuer), pins=self._address.pins)
        self._minter = Minter(known, self.load_identity(), client=client, now=time.time)
        self._dead = None
        return self._minter

    # --- enrolling ---

    async def _become_known(self, need: Need) -> Enrolment:
        """Enrol by the owner's token if there is one that was not refused, else by a code, which a person asks for."""
        token = enrolment_token(self._config)
        if token is not None and token != self._refused_token:
            self._enroller.close()
            try:
                return await self.enrol(token)
            except ProvisioningError as error:
                if error.code in TOKEN_REFUSED:
                    self._refused_token = token  # said once; the next press asks the owner by a code
                raise
        if need is Need.ITSELF and self._last is not None:
            raise self._last  # nobody is there to hear a code
        return await self._enroller.obtain()

    async def enrol(self, token: Secret | None, told: Callable[[Waiting], None] = lambda _: None) -> Enrolment:
        """Enrol at the configured service; ``told`` gets the code that its owner has to approve, if it wants one.

        Raises:
            ProvisioningError: no service given, refused, or out of reach.
            StateError: the result could not be stored.
        """
        if not self._address.issuer:
            raise ProvisioningError(
                "no provisioning service is configured", hint="set [provisioning] url", code="no_provisioning"
            )
        from appliance.credentials import enrolment
        from appliance.credentials.http import HttpClient

        done = await enrolment.enrol(
            self._address.issuer,
            self.load_identity(),
            directory=self._directory,
            token=token,
            name=os.uname().nodename,
            hardware=self._config.board,
            software=__version__,
            client=HttpClient(tls=await self._tls(self._address.issuer), pins=self._address.pins),
            now=time.time,
            sleep=asyncio.sleep,
            told=told,
        )
        self._dead = None
        log.info("enrolled at %s as %s", done.issuer, done.device_id)
        return done

    @property
    def code(self) -> str:
        """The digits that wait to be approved, "" if none do."""
        return self._enroller.code.digits if self._enroller.code else ""

    @property
    def was_enrolled(self) -> bool:
        """Say whether the service knew this device before it did no longer."""
        return self._dead is not None

    @property
    def last_error(self) -> str:
        """Why the last enrolment by code came to nothing."""
        return self._enroller.ended

    def status(self) -> dict[str, object]:
        """Build the status of the enrolment; whether a stored one still holds is known only once it was used."""
        waiting = self._enroller.status(asyncio.get_running_loop().time())
        if waiting is not None:
            return waiting
        if self._dead is not None:
            return {"state": "revoked"}
        stored = os.path.exists(self._directory / ENROLMENT_FILE)  # noqa: PTH110  # Path.exists() raises where it may not look
        return {"state": "enrolled" if stored else "none"}

    # --- reports ---

    def deliver(self) -> None:
        """Send the reports that wait, in the background; one attempt, no timer. For a moment when nobody waits."""
        if self._minter is not None and self.reports.waiting and (self._delivery is None or self._delivery.done()):
            self._delivery = self._spawn(self.reports.deliver(self._send, asyncio.get_running_loop().time))

    async def _send(self, report: Report) -> None:
        if self._minter is not None:
            await self._minter.report(
                report.session_id,
                duration_s=report.duration_s,
                reason=report.reason,
                model=report.model,
                usage=report.usage,
            )

    def close(self) -> None:
        """End what goes on in the background; what was not reported is left to the next run."""
        self._enroller.close()
        if self._delivery is not None:
            self._delivery.cancel()
        self.reports.save(self._directory)


def _final(error: ProvisioningError, wait_s: float | None = None) -> ProvisioningError:
    """The same refusal as one that no further try follows; with how long it stands, if that is known."""
    hint = error.hint if wait_s is None else f"{error.hint}; for {wait_s:.0f} s more nothing is asked"
    return ProvisioningError(error.message, hint=hint, code=error.code, retry_after_s=wait_s)
