"""Becoming known to a provisioning service: OAuth device grant (RFC 8628) with DPoP, once in a device's life.

Responsible for: discovery (RFC 8414), the grant, revocation (RFC 7009) and the file ``enrolment.json``. Not for:
the key (``identity``) and what the token is good for (``mint``). A power cut at any point is healed by
enrolling again: services do not count a second use of the same enrolment token by the same key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from appliance.credentials import reach, storage
from appliance.credentials.http import HttpClient, Response
from appliance.credentials.identity import Identity
from appliance.credentials.signed import SignedClient, read
from appliance.errors import ProvisioningError, Secret, StateError

FILE_NAME = "enrolment.json"
_CLIENT_ID = "voice-appliance"
_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_SLOW_DOWN_S = 5.0

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


class Enrolment(msgspec.Struct, frozen=True):
    """The outcome that is kept: which service knows us, under which id, and our token for it."""

    issuer: str
    device_id: str
    token: Secret


class _Authorization(msgspec.Struct, frozen=True):
    device_code: str
    expires_in: float
    interval: float = 5.0


class _TokenAnswer(msgspec.Struct, frozen=True):
    access_token: str
    token_type: str
    device_id: str


class _OAuthError(msgspec.Struct, frozen=True):
    error: str


async def discover(client: HttpClient, url: str) -> Metadata:
    """The service's endpoints.

    Raises:
        ProvisioningError: ``unreachable``, ``bad_answer``, ``bad_url``, or ``wrong_issuer`` when the service goes
            by another address than ``url``.
    """
    issuer = url.rstrip("/")
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


async def enrol(
    url: str,
    identity: Identity,
    *,
    directory: Path,
    token: Secret | None,
    name: str,
    hardware: str,
    software: str,
    client: HttpClient,
    now: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> Enrolment:
    """Enrols with an enrolment token and keeps the result in ``directory``.

    Args:
        url: the service's issuer.
        identity: the device's key.
        directory: state directory.
        token: enrolment token from the service's owner.
        name: what the owner will see in the list of devices.
        hardware: board, for the same list.
        software: version, for the same list.
        client: carries the requests.
        now: wall clock in seconds; may be wrong.
        sleep: waits the given seconds between polls.

    Raises:
        ProvisioningError: refused or unreachable, see ``code``.
        StateError: the result could not be stored.
    """
    if not token:
        raise ProvisioningError(
            "this device has no enrolment token",
            hint="make one with `voice-provisioning tokens create` and pass it to `voice-appliance enrol`",
            code="no_enrolment_token",
        )
    metadata = await discover(client, url)
    signed = SignedClient(identity, client, now=now)
    fields = {"client_id": _CLIENT_ID, "hw": hardware, "sw": software, "name": name, "enrolment_token": str(token)}
    response = await signed.post_form(metadata.device_authorization_endpoint, fields)
    if response.status != 200:
        raise _refusal(response, metadata.issuer)
    authorization = read(response, _Authorization, metadata.issuer)
    granted = await _await_token(signed, metadata, authorization, sleep)
    if granted.token_type.lower() != "dpop" or not granted.access_token.isascii():
        raise reach.bad_answer(urlsplit(url).netloc, "its token is not a DPoP token")
    enrolment = Enrolment(issuer=metadata.issuer, device_id=granted.device_id, token=Secret(granted.access_token))
    save(enrolment, directory)
    return enrolment


async def _await_token(
    signed: SignedClient,
    metadata: Metadata,
    authorization: _Authorization,
    sleep: Callable[[float], Awaitable[None]],
) -> _TokenAnswer:
    fields = {"client_id": _CLIENT_ID, "grant_type": _GRANT, "device_code": authorization.device_code}
    interval_s, waited_s = max(1.0, authorization.interval), 0.0
    while True:
        try:
            response = await signed.post_form(metadata.token_endpoint, fields)
            if response.status == 200:
                return read(response, _TokenAnswer, metadata.issuer)
            refusal = _refusal(response, metadata.issuer)
        except ProvisioningError as error:
            if error.code != "unreachable":
                raise
            refusal = error  # RFC 8628 §3.5: a broken network is no answer; ask again, less often
        if refusal.code in ("slow_down", "unreachable"):
            interval_s += _SLOW_DOWN_S
        elif refusal.code != "authorization_pending":
            raise refusal
        # Sleeps are counted, not a clock read: the wall clock may leap from 1970 to today while we wait.
        waited_s += interval_s
        if waited_s > authorization.expires_in:
            raise refusal if refusal.code == "unreachable" else _refused("expired_token")
        await sleep(interval_s)


def _refusal(response: Response, issuer: str) -> ProvisioningError:
    return _refused(read(response, _OAuthError, issuer).error)


def _refused(code: str) -> ProvisioningError:
    unknown = ("the service refused the enrolment", "its log says why")
    message, hint = _REFUSALS.get(code, unknown)
    if not (code.isascii() and code.replace("_", "").isalnum() and len(code) <= 40):
        code = "refused"  # not a code of OAuth's: keep it out of logs and comparisons
    return ProvisioningError(message, hint=hint, code=code, retry=code in _PASSING)


async def revoke(enrolment: Enrolment, identity: Identity, *, client: HttpClient, now: Callable[[], float]) -> None:
    """Asks the service to forget this device (factory reset signs its own removal). Local files stay: `forget`.

    Raises:
        ProvisioningError: refused or unreachable.
    """
    metadata = await discover(client, enrolment.issuer)
    if not metadata.revocation_endpoint:
        raise reach.bad_answer(urlsplit(enrolment.issuer).netloc, "it offers no revocation")
    signed = SignedClient(identity, client, now=now)
    fields = {"client_id": _CLIENT_ID, "token": str(enrolment.token), "token_type_hint": "access_token"}
    response = await signed.post_form(metadata.revocation_endpoint, fields)
    if response.status != 200:
        raise _refusal(response, enrolment.issuer)


def save(enrolment: Enrolment, directory: Path) -> None:
    """Stores the enrolment, whole or not at all, readable by its owner only.

    Raises:
        StateError: disk full, read-only, not permitted.
    """
    content = {"issuer": enrolment.issuer, "device_id": enrolment.device_id, "token": str(enrolment.token)}
    with storage.locked(directory):
        storage.write(directory / FILE_NAME, msgspec.json.encode(content) + b"\n")


def load(directory: Path) -> Enrolment | None:
    """The stored enrolment, None before the first.

    Raises:
        StateError: the file is damaged or cannot be read.
    """
    path = directory / FILE_NAME
    data = storage.read(path)
    if data is None:
        return None
    try:
        stored = msgspec.json.decode(data, type=dict[str, str])
        enrolment = Enrolment(stored["issuer"], stored["device_id"], Secret(stored["token"]))
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        raise StateError(f"{path} is damaged", hint="delete it and enrol this device again") from None
    return enrolment


def forget(directory: Path) -> None:
    """Removes the stored enrolment.

    Raises:
        StateError: read-only, not permitted.
    """
    with storage.locked(directory):
        storage.erase(directory / FILE_NAME)
