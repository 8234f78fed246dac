"""The OAuth half of the protocol: discovery, device grant, revocation.

Responsible for: reading these requests and wording the answers. Not for: the rules (``authorizations``, ``devices``).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from appliance.provisioning import authorizations, devices
from appliance.provisioning.devices import Description
from appliance.provisioning.manners import Asking
from appliance.provisioning.problems import OAUTH_PROBLEMS, RefusalError, printable
from appliance.provisioning.service import CurrentService

CLIENT_ID = "voice-appliance"
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
API_VERSION = 1

router = APIRouter(responses=OAUTH_PROBLEMS)

_POLL_ERRORS = {
    "authorization_pending": "the owner has not approved the code yet",
    "slow_down": "poll less often: five seconds more between polls",
    "expired_token": "the code has expired: start again",
    "access_denied": "the owner has refused this device",
    "invalid_grant": "the device code is unknown or bound to another key",
    "invalid_request": "missing or malformed: device_code",
}


class DeviceAuthorizationForm(BaseModel):
    """RFC 8628 §3.1, with what the device says of itself."""

    client_id: str = Field(max_length=64)
    name: str = Field("", max_length=64)
    hw: str = Field("", max_length=64)
    sw: str = Field("", max_length=64)
    enrolment_token: str | None = Field(None, max_length=128)


class TokenForm(BaseModel):
    """RFC 8628 §3.4."""

    client_id: str = Field(max_length=64)
    grant_type: str = Field(max_length=128)
    device_code: str = Field("", max_length=128)


class RevocationForm(BaseModel):
    """RFC 7009 §2.1."""

    token: str = Field(max_length=128)


class Metadata(BaseModel):
    """RFC 8414, with the addresses of our own."""

    issuer: str
    device_authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str
    sessions_endpoint: str
    device_endpoint: str
    grant_types_supported: list[str]
    response_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    revocation_endpoint_auth_methods_supported: list[str]
    dpop_signing_alg_values_supported: list[str]
    api_version: int


class DeviceAuthorization(BaseModel):
    """RFC 8628 §3.2. ``user_code`` is nine digits, for it is said."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class Granted(BaseModel):
    """RFC 6749 §5.1, with who the device is from now on."""

    access_token: str
    token_type: Literal["DPoP"]
    device_id: str
    issuer: str
    profile: str


@router.get("/.well-known/oauth-authorization-server", response_model=Metadata)
async def discovery(request: Request, service: CurrentService) -> dict[str, Any]:
    """RFC 8414 metadata."""
    issuer = service.issuer(request)
    return {
        "issuer": issuer,
        "device_authorization_endpoint": f"{issuer}/oauth/device_authorization",
        "token_endpoint": f"{issuer}/oauth/token",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "sessions_endpoint": f"{issuer}/v1/sessions",
        "device_endpoint": f"{issuer}/v1/device",
        "grant_types_supported": [GRANT],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "dpop_signing_alg_values_supported": ["ES256"],
        "api_version": API_VERSION,
    }


@router.post("/oauth/device_authorization", response_model=DeviceAuthorization)
async def device_authorization(
    request: Request, service: CurrentService, form: Annotated[DeviceAuthorizationForm, Form()]
) -> dict[str, Any]:
    """Starts an enrolment; with an enrolment token it is approved at once."""
    proof = service.check_proof(request)
    _check_client(form.client_id)
    now_ms = service.now_ms()
    service.manners.check(proof.thumbprint, Asking.ENROLMENT, now_ms)
    description = Description(name=printable(form.name), hardware=printable(form.hw), software=printable(form.sw))
    async with service.engine.begin() as connection:
        await devices.remember(connection, proof, now_ms)
        opened = await authorizations.open_one(connection, proof.thumbprint, description, form.enrolment_token, now_ms)
    code = "-".join(opened.user_code[start : start + 3] for start in (0, 3, 6))
    page = f"{service.issuer(request)}/activate"
    return {
        "device_code": opened.device_code,
        "user_code": code,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?user_code={code}",
        "expires_in": authorizations.LIFE_S,
        "interval": authorizations.INTERVAL_S,
    }


@router.post("/oauth/token", response_model=Granted)
async def token(request: Request, service: CurrentService, form: Annotated[TokenForm, Form()]) -> Response:
    """Trades an approved device code for the device's access token."""
    proof = service.check_proof(request)
    _check_client(form.client_id)
    if form.grant_type != GRANT:
        raise RefusalError(400, "unsupported_grant_type", f"the only grant here is {GRANT}")
    now_ms = service.now_ms()
    service.manners.check(proof.thumbprint, Asking.POLL, now_ms)
    async with service.engine.begin() as connection:
        await devices.remember(connection, proof, now_ms)
        polled = authorizations.Polled(error="invalid_request")  # RFC 6749 §5.2: what is missing is no wrong grant
        if form.device_code:
            polled = await authorizations.poll(connection, form.device_code, proof.thumbprint, now_ms)
    if polled.token is None:
        raise RefusalError(400, polled.error, _POLL_ERRORS[polled.error])
    return JSONResponse(
        {
            "access_token": polled.token,
            "token_type": "DPoP",
            "device_id": polled.device_id,
            "issuer": service.issuer(request),
            "profile": polled.profile,
        }
    )


@router.post("/oauth/revoke", response_class=Response)
async def revoke(request: Request, service: CurrentService, form: Annotated[RevocationForm, Form()]) -> Response:
    """A device's own removal: signed with its key, so that nobody else can remove it."""
    proof = service.check_proof(request)
    now_ms = service.now_ms()
    service.manners.check(proof.thumbprint, Asking.POLL, now_ms)
    async with service.engine.begin() as connection:
        await devices.remember(connection, proof, now_ms)
        await devices.remove(connection, form.token, proof, now_ms)
    return Response(status_code=200)


def _check_client(client_id: str) -> None:
    if client_id != CLIENT_ID:
        raise RefusalError(400, "invalid_client", f"client_id must be {CLIENT_ID}")
