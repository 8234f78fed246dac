"""The OAuth device grant (RFC 8628) with DPoP: discovery (RFC 8414), asking, polling, refusals in words.

Responsible for: the exchange. Not for: what is kept of it (``enrolment``) and when to begin it (``enrolling``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

import msgspec

from appliance.credentials import reach
from appliance.credentials.http import HttpClient, Response
from appliance.credentials.signed import SignedClient, read, retry_after_s
from appliance.errors import ProvisioningError

CLIENT_ID = "voice-appliance"
_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_SLOW_DOWN_S = 5.0
_PASSES = reach.NETWORK  # RFC 8628 §3.5: a broken network is no answer; ask again, less often

_REFUSALS = {
    "access_denied": ("the service's owner refused this device", "ask the owner of the provisioning service"),
    "expired_token": ("the enrolment was not approved in time", "start it again"),
    "invalid_grant": (
        "the enrolment token is unknown, used up or expired",
        "make a new one with `voice-provisioning tokens create`",
    ),
    "invalid_dpop_proof": (
        "the service did not accept this device's signature",
        "behind a proxy the service must be told its public address (issuer in server.toml)",
    ),
    "use_dpop_nonce": ("the service keeps asking for a newer nonce", "its replicas may not share one nonce secret"),
    "temporarily_unavailable": ("the service is overloaded", "try again in a minute"),
}
_PASSING = {"temporarily_unavailable", "use_dpop_nonce", "server_error", "expired_token"}


class Metadata(msgspec.Struct, frozen=True):
    """What we need of a service's RFC 8414 document."""

    issuer: str
    device_authorization_endpoint: str
    token_endpoint: str
    dpop_signing_alg_values_supported: list[str]
    revocation_endpoint: str = ""


class Waiting(msgspec.Struct, frozen=True):
    """The owner has to approve ``code``, at ``url``, within ``expires_in_s`` of being told."""

    code: str
    url: str
    expires_in_s: float


class Granted(msgspec.Struct, frozen=True):
    """A token, and the id under which the service knows us."""

    access_token: str
    token_type: str
    device_id: str


class _Authorization(msgspec.Struct, frozen=True):
    device_code: str
    user_code: str
    expires_in: float
    verification_uri: str = ""
    interval: float = 5.0


class _OAuthError(msgspec.Struct, frozen=True):
    error: str


async def discover(client: HttpClient, issuer: str) -> Metadata:
    """The service's endpoints.

    Raises:
        ProvisioningError: ``unreachable``, ``bad_answer``, ``bad_url``, or ``wrong_issuer`` when the service goes
            by another address than ``issuer``.
    """
    async with client.connect(issuer) as connection:
        parts = urlsplit(issuer)
        where = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path}"
        response = await connection.request("GET", where, headers={})
    if response.status != 200:
        raise reach.bad_answer(parts.netloc, f"status {response.status} for its description")
    metadata = read(response, Metadata, issuer)
    if metadata.issuer != issuer:
        raise ProvisioningError(
            f"the service at {issuer} calls itself another address",
            hint="set [provisioning] url to the service's issuer, exactly as in its server.toml",
            code="wrong_issuer",
        )
    if "ES256" not in metadata.dpop_signing_alg_values_supported:
        raise reach.bad_answer(parts.netloc, "it does not take ES256 signatures")
    return metadata


async def obtain(
    signed: SignedClient,
    metadata: Metadata,
    description: Mapping[str, str],
    *,
    told: Callable[[Waiting], None],
    sleep: Callable[[float], Awaitable[None]],
) -> Granted:
    """Goes through the grant; ``told`` is called once, if the owner has to approve a code first.

    Args:
        signed: signs and carries the requests.
        metadata: the service's endpoints.
        description: ``name hw sw``, for the owner's list, and ``enrolment_token`` where there is one.
        told: gets the code. A token or a key that the owner entered beforehand needs none.
        sleep: waits the given seconds between polls.

    Raises:
        ProvisioningError: refused, expired or unreachable, see ``code``.
    """
    response = await signed.post_form(metadata.device_authorization_endpoint, {"client_id": CLIENT_ID, **description})
    if response.status != 200:
        raise refusal(response, metadata.issuer)
    authorization = read(response, _Authorization, metadata.issuer)
    if not authorization.expires_in > 0:
        raise reach.bad_answer(urlsplit(metadata.issuer).netloc, "its code is over before it begins")
    waiting = Waiting(_spoken(authorization.user_code), authorization.verification_uri, authorization.expires_in)
    granted = await _await_token(signed, metadata, authorization, lambda: told(waiting), sleep)
    if granted.token_type.lower() != "dpop" or not granted.access_token.isascii():
        raise reach.bad_answer(urlsplit(metadata.issuer).netloc, "its token is not a DPoP token")
    return granted


async def _await_token(
    signed: SignedClient,
    metadata: Metadata,
    authorization: _Authorization,
    told: Callable[[], None],
    sleep: Callable[[float], Awaitable[None]],
) -> Granted:
    fields = {"client_id": CLIENT_ID, "grant_type": _GRANT, "device_code": authorization.device_code}
    interval_s, waited_s, announced = max(1.0, authorization.interval), 0.0, False
    while True:
        try:
            response = await signed.post_form(metadata.token_endpoint, fields)
            if response.status == 200:
                return read(response, Granted, metadata.issuer)
            passes = response.status >= 500 or response.status == 429  # a service, or what is before it, that restarts
            busy = as_refusal("temporarily_unavailable", retry_after_s(response))
            refused = busy if passes else refusal(response, metadata.issuer)
        except ProvisioningError as error:
            if error.code not in _PASSES:
                raise
            refused, passes = error, True
        if refused.code == "slow_down" or passes:
            interval_s += _SLOW_DOWN_S
        elif refused.code != "authorization_pending":
            raise refused
        if not announced and not passes:
            announced = True
            told()
        # Sleeps are counted, not a clock read: the wall clock may leap from 1970 to today while we wait.
        pause_s = max(interval_s, refused.retry_after_s or 0.0)
        waited_s += pause_s
        if waited_s > authorization.expires_in:
            raise refused if passes else as_refusal("expired_token")
        await sleep(pause_s)


def _spoken(code: str) -> str:
    """The code as it is said: digits and dashes only; anything else a service sends is not ours to say or to log."""
    kept = "".join(character for character in code[:40] if character in "0123456789-")
    digits = kept.replace("-", "")
    return "-".join(digits[start : start + 3] for start in range(0, len(digits), 3))


def refusal(response: Response, issuer: str) -> ProvisioningError:
    """The error for an answer that is not the hoped one.

    Raises:
        ProvisioningError: ``bad_answer``: it is no OAuth error at all.
    """
    return as_refusal(read(response, _OAuthError, issuer).error, retry_after_s(response))


def as_refusal(code: str, wait_s: float | None = None) -> ProvisioningError:
    """The error for an OAuth error code."""
    unknown = ("the service refused the enrolment", "its log says why")
    message, hint = _REFUSALS.get(code, unknown)
    if not (code.isascii() and code.replace("_", "").isalnum() and len(code) <= 40):
        code = "refused"  # not a code of OAuth's: keep it out of logs and comparisons
    return ProvisioningError(message, hint=hint, code=code, retry=code in _PASSING, retry_after_s=wait_s)
