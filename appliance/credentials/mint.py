"""Short-lived Realtime secrets, one per conversation, from the provisioning service that knows this device.

Responsible for: ``POST /v1/sessions``, its retries, and refusals in words a user understands; what the service knows of
this device (``GET /v1/device``). Not for: when to ask
and how long to wait between tries (the session's owner decides, from ``retry`` and ``retry_after_s``).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from appliance.credentials import reach
from appliance.credentials.enrolment import Enrolment
from appliance.credentials.http import HttpClient, Response
from appliance.credentials.identity import Identity
from appliance.credentials.signed import SignedClient, read, retry_after_s
from appliance.errors import ProvisioningError, Secret


class Limits(msgspec.Struct, frozen=True):
    """What the service allows; None where it does not say."""

    max_session_s: float | None = None
    sessions_left_today: int | None = None


class Grant(msgspec.Struct, frozen=True):
    """Leave to open one Realtime session, to be used within ``expires_in_s`` of receiving it."""

    session_id: str
    value: Secret
    expires_in_s: float
    url: str
    model: str
    limits: Limits
    fallback_models: tuple[
        str, ...
    ] = ()  # to be asked for in their order, with the same value, where the model is gone
    session: object = None  # the profile's settings, as the service says them
    binds_tools: bool = False  # to the secret: the profile's, and ours


class Entry(msgspec.Struct, frozen=True):
    """What the service knows of this device; ``model`` is None while its profile cannot be used."""

    name: str
    profile: str
    model: str | None = None
    sessions_left_today: int | None = None


class _Kind(msgspec.Struct, frozen=True):
    kind: str


class _Connect(msgspec.Struct, frozen=True):
    url: str
    model: str
    fallback_models: tuple[str, ...] = ()


class _ClientSecret(msgspec.Struct, frozen=True):
    session_id: str
    value: str
    expires_in: float
    connect: _Connect
    limits: Limits = Limits()
    session: Any = None
    tools: Any = None


class _Problem(msgspec.Struct, frozen=True):
    code: str


# code: what happened, what to do, whether waiting helps. The codes are the protocol's.
_REFUSALS = {
    "invalid_token": (
        "this device is not (any more) enrolled",
        "press, and have the code approved that it says; or give it an enrolment token (`voice-appliance enrol`)",
        False,
    ),
    "invalid_dpop_proof": (
        "the service did not accept this device's signature",
        "behind a proxy the service must be told its public address (issuer in server.toml)",
        False,
    ),
    "device_suspended": (
        "this device is suspended",
        "its owner can lift that with `voice-provisioning devices resume`",
        False,
    ),
    "quota_exceeded": ("this device has used up its conversations for now", "wait, or raise its quota", True),
    "spend_limit": (
        "the provider's spending limit is reached",
        "the owner of the provider account has to raise it or add credit",
        False,
    ),
    "too_many_requests": ("this device has asked its service for this too often", "wait some minutes", True),
    "overloaded": ("the service is overloaded", "try again in a moment", True),
    "upstream_unavailable": ("the speech provider is not available", "the service's log says why", True),
    "unknown_profile": ("the service has no such profile", "its profiles are in server.toml", False),
    "idempotency_key_reused": ("the service took this request for an older one", "try again", True),
    "unsupported_transport": ("the service does not offer this transport", "use websocket", False),
    "use_dpop_nonce": (
        "the service keeps asking for a newer nonce",
        "its replicas may not share one nonce secret",
        True,
    ),
}


class Minter:
    """Asks for secrets. Keeps the next nonce, so that a mint is one round trip while the last one is fresh."""

    def __init__(
        self, enrolment: Enrolment, identity: Identity, *, client: HttpClient, now: Callable[[], float]
    ) -> None:
        self._enrolment = enrolment
        self._signed = SignedClient(identity, client, now=now)
        self._url = f"{enrolment.issuer}/v1/sessions"

    @property
    def token(self) -> Secret:
        """The token that it mints with."""
        return self._enrolment.token

    async def mint(
        self, transport: str = "websocket", profile: str = "default", tools: Sequence[Mapping[str, object]] = ()
    ) -> Grant:
        """A fresh grant. A broken connection is tried once more, under the same Idempotency-Key: never two sessions.

        ``tools`` are the functions of this device, for the service to bind beside its profile's.

        Raises:
            ProvisioningError: refused, unreachable or a nonsense answer; ``code``, ``retry``, ``retry_after_s``.
        """
        content: dict[str, object] = {"transport": transport, "profile": profile}
        if tools:
            content["tools"] = tools
        key = {"Idempotency-Key": str(uuid.uuid4())}
        try:
            response = await self._signed.post_json(self._url, content, token=self._enrolment.token, headers=key)
        except ProvisioningError as error:
            # A timeout is not tried again: the user has waited long enough to be told.
            if not isinstance(error.__cause__, ConnectionError):
                raise
            response = await self._signed.post_json(self._url, content, token=self._enrolment.token, headers=key)
        if response.status != 201:
            raise refusal(response, self._url)
        return _grant(response, self._url)

    async def entry(self) -> Entry:
        """What the service knows of this device. Nothing is minted by it.

        Raises:
            ProvisioningError: refused (not enrolled any more, suspended), unreachable or a nonsense answer.
        """
        url = f"{self._enrolment.issuer}/v1/device"
        response = await self._signed.get(url, token=self._enrolment.token)
        if response.status != 200:
            raise refusal(response, url)
        return read(response, Entry, url)

    async def report(
        self, session_id: str, *, duration_s: float, reason: str, usage: Mapping[str, object], model: str = ""
    ) -> None:
        """Tells the service how a session went. Best effort: nothing depends on it.

        Raises:
            ProvisioningError: refused or unreachable.
        """
        url = f"{self._url}/{quote(session_id, safe='')}/report"
        content = {"duration_s": duration_s, "reason": reason, "usage": dict(usage), "model": model}
        response = await self._signed.post_json(url, content, token=self._enrolment.token)
        # It, or the proxy before it, restarts or has too much to do: whatever the body says, it was not taken.
        if response.status >= 500 or response.status == 429:
            raise reach.unwell(urlsplit(url).netloc, response.status, retry_after_s(response))
        if response.status not in (200, 204):
            raise refusal(response, url)


def _grant(response: Response, url: str) -> Grant:
    where = urlsplit(url).netloc
    kind = read(response, _Kind, url).kind
    if kind != "client_secret":
        raise reach.bad_answer(where, "it grants a kind of access this version does not know")
    answer = read(response, _ClientSecret, url)
    if not answer.value or not answer.value.isascii() or not answer.value.isprintable() or answer.expires_in <= 0:
        raise reach.bad_answer(where, "its secret cannot be used")
    try:
        reach.check(answer.connect.url, secure="wss", plain="ws")
    except ProvisioningError as error:
        raise reach.bad_answer(where, "it sends us to an address that cannot be used") from error
    return Grant(
        session_id=answer.session_id,
        value=Secret(answer.value),
        expires_in_s=answer.expires_in,
        url=answer.connect.url,
        model=answer.connect.model,
        limits=answer.limits,
        fallback_models=answer.connect.fallback_models,
        session=answer.session,
        binds_tools=answer.tools == "bound",
    )


def refusal(response: Response, url: str) -> ProvisioningError:
    """The error for a refusal (RFC 9457), in words."""
    problem, wait_s = read(response, _Problem, url), retry_after_s(response)
    if problem.code not in _REFUSALS:
        what = f"status {response.status} with a code we do not know"
        return reach.bad_answer(urlsplit(url).netloc, what, wait_s)
    message, hint, retry = _REFUSALS[problem.code]
    return ProvisioningError(message, hint=hint, code=problem.code, retry=retry, retry_after_s=wait_s)
