"""Getting a socket to a Realtime session: a credential, a connection, and what each way to be turned away means.

Responsible for: minting and dialling once, with one more credential where the first is refused. Not for: when to try
again (``websocket``) or what is said then (``protocol``).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from dataclasses import replace
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, InvalidURI, WebSocketException
from websockets.http11 import Response

from appliance.errors import ApplianceError, LinkLost, LinkRefused, ProvisioningError
from appliance.realtime.session import Mint, Need, Ticket, Timing

log = logging.getLogger(__name__)
# The library logs every header at DEBUG, and one of ours is the credential.
library_log = logging.getLogger("appliance.realtime.websocket.library")
library_log.setLevel(logging.INFO)
LONGEST_WAIT_S = 60.0  # that a server may ask for
LONGEST_HELD_S = 15.0  # that a person's question is kept for a service which asks us to wait
RATE_LIMITED_S = 2.0  # where it does not say
NOT_YET_VALID = 9  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID
SECRETS_KNOWN = 4
LONGEST_TEXT = 300  # of an error in a server's words
MODEL_GONE = "model_not_found"
SPARE_MARGIN_S = 10.0  # a credential is not used so near its end: the server's count began before ours


class Dialler:
    """Opens sockets. One thread (the event loop)."""

    def __init__(self, mint: Mint, timing: Timing) -> None:
        self._mint, self._timing = mint, timing
        self._secrets: deque[str] = deque(maxlen=SECRETS_KNOWN)
        self._spare: tuple[Ticket, float] | None = None  # minted, shown to no server yet; good until
        self._models: tuple[str, ...] = ()  # that the latest credential is good for, the one in use first
        self._gone: set[str] = set()  # models that were refused, until all of them were
        self.retry_after_s = 0.0  # what was asked for with the latest failure

    def words(self, error: ApplianceError) -> str:
        """Tell an error in a line without our secrets: some words are the server's, who may quote what it was given."""
        words = " ".join(str(error).split())
        for secret in self._secrets:
            words = words.replace(secret, "…")
        return words[:LONGEST_TEXT]

    async def dial(self, need: Need) -> tuple[ClientConnection, Ticket]:
        """Mint a credential and open the socket; a refused credential is minted again once.

        One that could not be used is used at the next attempt: a server that is away must not cost this device the
        sessions that it may have. Where a model is gone, the next one of the profile's list is asked for.

        Raises:
            LinkLost, LinkRefused: it cannot be done, now or until a person acts.
        """
        minted_again = False
        while True:
            spare = self._take_spare() or await self._fresh(need)
            ticket = self._for_a_model(spare[0])
            try:
                return await self._connect(ticket), ticket
            except InvalidStatus as error:
                status, refusal = error.response.status_code, self._refusal(error.response)
                if status in (401, 403) and not minted_again:
                    minted_again = True
                    continue
                if isinstance(refusal, LinkLost) or (again := status == 404 and self.has_another_model()):
                    self._spare = spare
                if isinstance(refusal, LinkLost) or not again:
                    raise refusal from None
            except LinkLost:
                self._spare = spare
                raise

    def _for_a_model(self, ticket: Ticket) -> Ticket:
        """Choose the first of the credential's models that was not refused."""
        models = (ticket.model, *ticket.fallback_models)
        self._models = tuple(model for model in models if model not in self._gone) or models
        return replace(ticket, model=self._models[0])

    def has_another_model(self) -> bool:
        """Take note that the model in use is gone; returns whether there is another to be asked for.

        When all are gone they are asked for again from the first, at the next attempt.
        """
        gone, *others = self._models or ("",)
        if not others:
            self._gone.clear()
            return False
        self._gone.add(gone)
        log.warning("the model %s is not available: %s is asked for", gone, others[0])
        return True

    def _take_spare(self) -> tuple[Ticket, float] | None:
        spare, self._spare = self._spare, None
        return spare if spare is not None and asyncio.get_running_loop().time() < spare[1] else None

    async def _fresh(self, need: Need) -> tuple[Ticket, float]:
        ticket = await self.ticket(need)
        return ticket, asyncio.get_running_loop().time() + ticket.good_for_s - SPARE_MARGIN_S

    async def ticket(self, need: Need) -> Ticket:
        """Mint a credential.

        Raises:
            LinkLost, LinkRefused: it cannot be had, now or until a person acts.
        """
        try:
            ticket = await self._mint(need)
        except ProvisioningError as error:
            # Nobody holds a question for minutes: a long wait is a refusal, which is explained and tried again later.
            if error.retry and (error.retry_after_s or 0.0) <= LONGEST_HELD_S:
                self.retry_after_s = min(error.retry_after_s or 0.0, LONGEST_WAIT_S)
                raise LinkLost(error.message, hint=error.hint, code=error.code) from error
            raise LinkRefused(error.message, hint=error.hint, code=error.code) from error
        if (secret := str(ticket.secret)) and secret not in self._secrets:
            self._secrets.append(secret)
        return ticket

    async def _connect(self, ticket: Ticket) -> ClientConnection:
        separator = "&" if "?" in ticket.url else "?"
        url = f"{ticket.url}{separator}model={quote(ticket.model, safe='')}" if ticket.model else ticket.url
        timing = self._timing
        try:
            return await _Connect(
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
            raise LinkLost(f"no WebSocket at the service: {type(error).__name__}", hint=hint) from None
        except TimeoutError:
            raise LinkLost(f"the service did not answer within {timing.open_s:g} s") from None
        except ssl.SSLCertVerificationError as error:
            hint = "if it is 'not yet valid', the clock of this device is not set yet"
            code = "clock_behind" if error.verify_code == NOT_YET_VALID else "certificate_refused"
            raise LinkLost(f"certificate refused: {error.verify_message}", hint=hint, code=code) from None
        except OSError as error:
            raise LinkLost(f"cannot reach the service: {error.strerror or error}", hint="is the network up?") from None
        except ValueError:  # a port or a host name that cannot be one
            raise _bad_url() from None

    def _refusal(self, response: Response) -> ApplianceError:
        status = response.status_code
        if status in (401, 403):
            return LinkRefused(
                f"the service refuses the session credential (HTTP {status})",
                hint="check the key and the model access in the provisioning service",
                code="invalid_api_key",
            )
        if status == 404:
            return LinkRefused("the model is not available (HTTP 404)", hint="choose another", code=MODEL_GONE)
        if status == 429:
            asked = "".join(response.headers.get_all("Retry-After")[:1])
            self.retry_after_s = min(float(asked), LONGEST_WAIT_S) if asked.isdecimal() else RATE_LIMITED_S
        return LinkLost(f"the service answered HTTP {status}")


class _Connect(connect):
    """Dials without following redirections: only a login page of the network sends us elsewhere."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Take a redirection for the failure that it is."""
        return exc


def _bad_url() -> LinkRefused:
    return LinkRefused("the service named an address that is no WebSocket URL", code="bad_url")
