"""The JSON half of the protocol: a device asks for a session and reports how it went.

Responsible for: the order of checks, and that every attempt is in the audit log. Not for: the provider (``upstream``).
"""

from __future__ import annotations

import logging
import math
import re
import time
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Body, Path
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from appliance.provisioning import declarations, devices, mints, provider_bucket, secrets
from appliance.provisioning.catalogue import Offer
from appliance.provisioning.declarations import MOST, Declaration
from appliance.provisioning.manners import Asking
from appliance.provisioning.mints import Attempt, Opened
from appliance.provisioning.problems import PROBLEMS, RefusalError, invalid_request, printable
from appliance.provisioning.service import CurrentService, Service, access_token
from appliance.provisioning.telling import told
from appliance.provisioning.upstream import Minted, UpstreamError

_log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1", responses=PROBLEMS)

_STATUS = {"upstream_unavailable": 502, "spend_limit": 429, "overloaded": 503}
_DETAIL = {
    "upstream_unavailable": "the speech provider cannot be used now; this service's log says why",
    "spend_limit": "the provider's spending limit is reached",
    "overloaded": "the provider is busy",
}
_OVERLOADED_RETRY_S = 5
_USAGE_AT_MOST = 2_048  # bytes, kept for every conversation; ours are about 100


class SessionRequest(msgspec.Struct, frozen=True):
    """What a device asks for."""

    transport: Annotated[str, msgspec.Meta(max_length=16)] = "websocket"
    profile: Annotated[str, msgspec.Meta(max_length=64)] = "default"
    tools: Annotated[tuple[Declaration, ...], msgspec.Meta(max_length=MOST)] = ()


class SessionReport(BaseModel):
    """How a session went, in the device's own words."""

    duration_s: float = Field(ge=0, le=86_400, allow_inf_nan=False)
    reason: str = Field(max_length=64)
    usage: dict[str, Any] = Field(default_factory=dict)
    model: str = Field("", max_length=64)


class Connect(BaseModel):
    """Where the session is opened; with the same secret the ``fallback_models`` may be asked for, in their order."""

    url: str
    model: str
    fallback_models: list[str] = Field(default_factory=list)


class SessionLimits(BaseModel):
    """What is left; null where there is no limit."""

    max_session_s: int
    sessions_left_today: int | None


class SessionGrant(BaseModel):
    """A short-lived secret. ``kind`` tells it from what other transports may get one day.

    ``session`` is what the profile says of the session, in the provider's form, without tools: the device repeats it in
    its own ``session.update``, but for what its owner has set otherwise. Absent where the profile says nothing.
    ``tools`` is "bound" where the secret's sessions have the profile's tools and the device's, as it declared them: it
    must not name any itself, which would replace them. Absent otherwise.
    """

    session_id: str
    kind: Literal["client_secret"]
    value: str
    expires_in: int
    connect: Connect
    limits: SessionLimits
    session: dict[str, Any] = Field(default_factory=dict)
    tools: Literal["bound"] | None = None


_KEY = re.compile(r"[\x21-\x7e]{8,64}", re.ASCII)
_decode = msgspec.json.Decoder(SessionRequest).decode
_, _schemas = msgspec.json.schema_components([SessionRequest])
_schemas["SessionRequest"]["properties"]["tools"]["items"] = _schemas["Declaration"]
_schemas["Declaration"]["properties"]["parameters"] = {"type": "object", "default": {}}
_FORM: dict[str, Any] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": True,
            "schema": {"type": "string", "minLength": 8, "maxLength": 64, "pattern": r"^[\x21-\x7e]+$"},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _schemas["SessionRequest"]}},
    },
}


# Read by hand, and described by hand: on this one way the framework's reading costs as much as a signature's check.
@router.post("/sessions", status_code=201, response_model=SessionGrant, openapi_extra=_FORM)
async def create_session(request: Request) -> Response:
    """Mints a short-lived secret for one session."""
    started_s = time.perf_counter()
    service: Service = request.app.state.service
    idempotency_key = request.headers.get("idempotency-key", "")
    if not _KEY.fullmatch(idempotency_key):
        raise invalid_request("missing or malformed: idempotency-key")
    try:
        body = _decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid_request("missing or malformed: body") from None
    declarations.check(body.tools)
    token = access_token(request)
    proof = service.check_proof(request, token)
    now_ms = service.now_ms()
    service.manners.check(proof.thumbprint, Asking.SESSION, now_ms)
    if wait_ms := service.provider.wait_ms(now_ms):
        raise provider_bucket.refusal(wait_ms, service.random)
    await service.catalogue.refresh(now_ms)
    async with service.quick.begin() as connection:
        caller = await devices.authenticate(connection, token, proof, now_ms)
        offer = _choose(service, caller.profile, body)
        attempt = Attempt(idempotency_key=idempotency_key, profile=caller.profile, transport=body.transport)
        opened = await mints.open_one(connection, caller, offer.profile.limits, proof, attempt, now_ms)
    if opened.refused:
        service.observe(mints.QUOTA, time.perf_counter() - started_s)
        detail = f"this device has had {opened.refused.reason}"
        raise RefusalError(429, mints.QUOTA, detail, retry_after_s=math.ceil(opened.refused.after_ms / 1000))
    try:
        if wait_ms := await service.provider.take(now_ms):
            raise provider_bucket.refusal(wait_ms, service.random)
        minted = await offer.upstream.mint(secrets.safety_identifier(service.settings.pepper, caller.id), body.tools)
    except (UpstreamError, RefusalError) as error:
        request_id = error.request_id if isinstance(error, UpstreamError) else None
        async with service.quick.begin() as connection:
            await mints.settle(connection, proof, error.code, _ms_since(started_s), None, request_id)
            await mints.give_back(connection, caller.id, opened.session_id, now_ms)
        service.observe(error.code, time.perf_counter() - started_s)
        if isinstance(error, RefusalError):
            raise
        _log.warning("mint device=%s profile=%s outcome=%s: %s", caller.id, caller.profile, error.code, error.detail)
        raise RefusalError(
            _STATUS[error.code], error.code, _DETAIL[error.code], retry_after_s=_retry_after_s(error)
        ) from None
    async with service.quick.begin() as connection:
        await mints.settle(connection, proof, "minted", _ms_since(started_s), minted.value, minted.request_id)
    service.observe("minted", time.perf_counter() - started_s)
    return JSONResponse(_granted(opened, minted, offer), 201)


def _ms_since(started_s: float) -> int:
    return round((time.perf_counter() - started_s) * 1000)


def _choose(service: Service, device_profile: str, body: SessionRequest) -> Offer:
    """The device's own profile under the name "default"; another by its name, if it is the device's."""
    if body.transport != "websocket":
        raise RefusalError(400, "unsupported_transport", "this service offers websocket")
    offer = service.catalogue.offer(device_profile)
    if body.profile not in ("default", device_profile) or offer is None:
        raise RefusalError(404, "unknown_profile", "there is no such profile for this device")
    return offer


def _granted(opened: Opened, minted: Minted, offer: Offer) -> dict[str, Any]:
    upstream, session = offer.upstream, told(offer.profile.session)
    return {
        "session_id": opened.session_id,
        "kind": "client_secret",
        "value": minted.value,
        "expires_in": minted.expires_in_s,
        "connect": {
            "url": upstream.connect_url,
            "model": minted.model,
            "fallback_models": list(upstream.fallback_models),
        },
        "limits": {"max_session_s": upstream.max_session_s, "sessions_left_today": opened.sessions_left},
        **({"session": session} if session else {}),
        **({"tools": "bound"} if upstream.binds_tools else {}),
    }


def _retry_after_s(error: UpstreamError) -> int | None:
    return (error.retry_after_s or _OVERLOADED_RETRY_S) if error.code == "overloaded" else None


@router.post("/sessions/{session_id}/report", status_code=204)
async def report(
    request: Request,
    service: CurrentService,
    session_id: Annotated[str, Path(max_length=36, pattern=r"^[\x21-\x7e]+$")],
    body: Annotated[SessionReport, Body()],
) -> Response:
    """Stores how a session went."""
    token = access_token(request)
    proof = service.check_proof(request, token)
    usage = _plain(body.usage)
    now_ms = service.now_ms()
    service.manners.check(proof.thumbprint, Asking.REPORT, now_ms)
    async with service.quick.begin() as connection:
        caller = await devices.authenticate(connection, token, proof, now_ms)
        await devices.remember(connection, proof, now_ms)
        await mints.report(
            connection,
            caller,
            session_id,
            duration_s=body.duration_s,
            reason=printable(body.reason),
            usage=usage,
            model=printable(body.model),
            now_ms=now_ms,
        )
    return Response(status_code=204)


def _plain(usage: dict[str, Any]) -> dict[str, Any]:
    """As both stores can keep it: short, no infinities, no halves of characters.

    Raises:
        RefusalError: it cannot be kept.
    """
    try:
        text = msgspec.json.encode(usage)
        if len(text) > _USAGE_AT_MOST:
            raise invalid_request(f"usage is longer than {_USAGE_AT_MOST} bytes")
        plain: dict[str, Any] = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError):
        raise invalid_request("missing or malformed: usage") from None
    return plain
