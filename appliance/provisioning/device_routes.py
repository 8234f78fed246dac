"""What a device may do with its own entry: read it, and change its key.

Responsible for: ``GET /v1/device`` and ``POST /v1/device/key``. Neither is ever needed for talking.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Body
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from appliance.provisioning import audit, devices, fleet
from appliance.provisioning import limits as quota
from appliance.provisioning.manners import Asking
from appliance.provisioning.problems import PROBLEMS, RefusalError
from appliance.provisioning.proofs import PROOF_AT_MOST
from appliance.provisioning.service import CurrentService, access_token

router = APIRouter(prefix="/v1", responses=PROBLEMS)


class DeviceEntry(BaseModel):
    """What the service knows of the device. ``model`` is null while its profile cannot be used."""

    device_id: str
    name: str
    profile: str
    model: str | None
    max_session_s: int | None
    sessions_left_today: int | None


class KeyChange(BaseModel):
    """A DPoP proof made with the new key for this same request, ``ath`` included: its header carries the new key."""

    proof: str = Field(max_length=PROOF_AT_MOST)


class KeyChanged(BaseModel):
    """The token of the new key. The old key and token are good until this one is first used."""

    access_token: str
    token_type: str = "DPoP"  # noqa: S105 a kind of token
    device_id: str


@router.get("/device", response_model=DeviceEntry, responses={304: {"description": "as the ETag says: unchanged"}})
async def read_device(request: Request, service: CurrentService) -> Response:
    """The device's own entry, with an ETag. To be asked at most hourly."""
    token = access_token(request)
    proof = service.check_proof(request, token)
    now_ms = service.now_ms()
    service.manners.check(proof.thumbprint, Asking.OWN_ENTRY, now_ms)
    await service.catalogue.refresh(now_ms)
    async with service.engine.begin() as connection:
        caller = await devices.authenticate(connection, token, proof, now_ms)
        await devices.remember(connection, proof, now_ms)
        entry = await fleet.get(connection, caller.id)
        offer = service.catalogue.offer(caller.profile)
    content = DeviceEntry(
        device_id=caller.id,
        name=entry.name,
        profile=caller.profile,
        model=offer.profile.model if offer else None,
        max_session_s=offer.profile.max_session_s if offer else None,
        sessions_left_today=quota.left_today(caller.allowance, offer.profile.limits, now_ms) if offer else None,
    ).model_dump()
    tag = f'"{hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:32]}"'
    if _matches(",".join(request.headers.getlist("if-none-match")), tag):  # a list may come in several lines
        return Response(status_code=304, headers={"ETag": tag})
    return JSONResponse(content, headers={"ETag": tag})


def _matches(wanted: str, tag: str) -> bool:
    """RFC 9110 §13.1.2, the weak comparison."""
    return wanted.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in wanted.split(","))


@router.post("/device/key", response_model=KeyChanged)
async def change_key(request: Request, service: CurrentService, body: Annotated[KeyChange, Body()]) -> Any:
    """Offers a new key: signed by the old one, with a proof by the new one. The device keeps its id."""
    token = access_token(request)
    proof = service.check_proof(request, token)
    new = service.check_one_proof([body.proof], request, token)
    if new.thumbprint == proof.thumbprint:
        raise RefusalError(400, "invalid_dpop_proof", "the new key is the old one")
    now_ms = service.now_ms()
    service.manners.check(proof.thumbprint, Asking.OWN_ENTRY, now_ms)
    async with service.engine.begin() as connection:
        caller = await devices.authenticate(connection, token, proof, now_ms)
        await devices.remember(connection, proof, now_ms)
        await devices.remember(connection, new, now_ms)
        issued = await devices.offer_key(connection, caller, token, proof.thumbprint, new.thumbprint, now_ms)
        await audit.note(connection, caller.id, "key offered", caller.id, now_ms=now_ms)
    return {"access_token": issued, "token_type": "DPoP", "device_id": caller.id}
