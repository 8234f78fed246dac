"""Approve a device by the code it speaks: type it, see who asks, say yes or no (RFC 8628 §3.3).

Responsible for: the two steps, and that guessing gets slower. A code that came with the address only fills the
field: a link from elsewhere must not try codes in the owner's name.
"""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from appliance.provisioning import audit, authorizations, devices, fleet, owner_sessions, profiles, tries
from appliance.provisioning.authorizations import Waiting
from appliance.provisioning.pages import rendering
from appliance.provisioning.pages.guard import PageRoute
from appliance.provisioning.pages.trouble import SeeOther
from appliance.provisioning.pages.visits import Reading, Visit, Writing

router = APIRouter(route_class=PageRoute)


@router.get("/activate")
async def ask(visit: Reading) -> Response:
    """The field for the code."""
    denied = visit.query("done") == "denied"
    return rendering.page("activate.html", visit=visit, code=visit.query("user_code", 16), fault="", denied=denied)


@router.post("/activate")
async def look(visit: Writing) -> Response:
    """Who waits with this code, and the owner's choice."""
    async with visit.service.engine.begin() as connection:
        found = await _try(connection, visit)
        if isinstance(found, Waiting):
            offered = await profiles.listed(connection, visit.service.catalogue.configured)
            usable = [item.name for item in offered if item.profile is not None]
            known = await _known(connection, found)
            return rendering.page(
                "confirm.html", visit=visit, waiting=found, known=known, profiles=usable, now_ms=visit.now_ms
            )
    return _refused(visit, found)


@router.post("/activate/answer")
async def answer(visit: Writing) -> Response:
    """The owner's yes or no."""
    there = ""
    async with visit.service.engine.begin() as connection:
        found = await _try(connection, visit)
        if isinstance(found, Waiting):
            there = await _decide(connection, visit, found)
            await tries.forget(connection, visit.session.id_sha256)
    if isinstance(found, int):
        return _refused(visit, found)
    raise SeeOther(there)


async def _try(connection: AsyncConnection, visit: Visit) -> Waiting | int:
    """Who waits with the form's code, else how long to wait before the next try, in ms. The try is noted."""
    session = visit.session.id_sha256
    await owner_sessions.lock_session(connection, session)
    if wait_ms := await tries.wait_ms(connection, session, visit.now_ms):
        return wait_ms
    found = await authorizations.waiting(connection, visit.form.get("user_code", "")[:32], visit.now_ms)
    if found is not None:
        return found
    await tries.note(connection, session, visit.now_ms)
    await audit.note(connection, audit.OWNER, "wrong code", now_ms=visit.now_ms)
    return await tries.wait_ms(connection, session, visit.now_ms)


def _refused(visit: Visit, wait_ms: int) -> Response:
    fault = "No device waits with this code. Codes live ten minutes: let the device say a new one."
    headers = {}
    if wait_ms:
        fault = f"Too many wrong codes. Try again in {rendering.wait(wait_ms / 1000)}."
        headers = {"Retry-After": str(-(-wait_ms // 1000))}
    code = visit.form.get("user_code", "")[:16]
    status = 429 if wait_ms else 422
    return rendering.page(
        "activate.html", status=status, headers=headers, visit=visit, code=code, fault=fault, denied=False
    )


async def _known(connection: AsyncConnection, waiting: Waiting) -> fleet.Listed | None:
    device = await devices.find(connection, waiting.thumbprint)
    return None if device is None else await fleet.get(connection, device.id)


async def _decide(connection: AsyncConnection, visit: Visit, waiting: Waiting) -> str:
    """Carries out the owner's word; returns where to go on."""
    if visit.form.get("answer") != "approve":
        await authorizations.deny(connection, waiting.user_code, actor=audit.OWNER, now_ms=visit.now_ms)
        return "/activate?done=denied"
    profile = visit.form.get("profile", "")
    await profiles.check_known(connection, visit.service.catalogue.configured, profile)
    device_id = await authorizations.approve(
        connection, waiting.user_code, profile, actor=audit.OWNER, now_ms=visit.now_ms
    )
    name = visit.form.get("name", "").strip()
    if name != waiting.name:
        await fleet.rename(connection, device_id, name, actor=audit.OWNER, now_ms=visit.now_ms)
    return f"/devices/{device_id}?done=approved"
