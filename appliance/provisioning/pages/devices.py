"""The fleet: the list, and each device with what its owner may do to it.

Responsible for: these pages. A list is read page by page and never as a whole: there may be a hundred thousand.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from appliance.errors import ApplianceError
from appliance.provisioning import audit, fleet, history, profiles, usage
from appliance.provisioning.pages import plots, rendering
from appliance.provisioning.pages.guard import PageRoute
from appliance.provisioning.pages.trouble import SeeOther, Trouble
from appliance.provisioning.pages.visits import Reading, Visit, Writing
from appliance.provisioning.usage import DAY_MS

router = APIRouter(prefix="/devices", route_class=PageRoute)

PAGE = 50
SESSIONS_PAGE = 20
DAYS = 30
STATUSES = ("active", "suspended", "revoked", "removed")
_DONE = {
    "approved": "Approved. The device notices within a few seconds and says so.",
    "rename": "Renamed.",
    "profile": "Profile changed. It holds from the next conversation on.",
    "suspend": "Suspended. The device is refused from now on, and keeps its place here.",
    "resume": "Resumed. The device may talk again.",
    "revoke": "Revoked. The device is refused from now on, and can only come back with a new code that you approve.",
}
_DeviceId = Annotated[str, Path(pattern=r"^d_[a-z2-7]{20}$")]


@router.get("")
async def show_list(visit: Reading) -> Response:
    """The devices by name, fifty at a time."""
    text, status, after = visit.query("q"), visit.query("status"), visit.query("after")
    status = status if status in STATUSES else ""
    async with visit.service.engine.begin() as connection:
        counts = await fleet.counted(connection)
        found = await fleet.found(connection, text=text, status=status, after_id=after, at_most=PAGE + 1)
        shown = found[:PAGE]
        from_ms, until_ms = _lately(visit)
        used = await usage.of_devices(connection, [item.id for item in shown], from_ms=from_ms, until_ms=until_ms)
    return rendering.page(
        "devices.html",
        visit=visit,
        rows=[(item, used.get(item.id, usage.Used())) for item in shown],
        more_after=shown[-1].id if len(found) > PAGE else "",
        counts=counts,
        statuses=STATUSES,
        query={"q": text, "status": status, "after": after},
        now_ms=visit.now_ms,
        days=DAYS,
    )


@router.get("/{device_id}")
async def show_one(visit: Reading, device_id: _DeviceId) -> Response:
    """One device: what it is, what it used, its sessions, and what can be done to it."""
    from_ms, until_ms = _lately(visit)
    async with visit.service.engine.begin() as connection:
        device = await _get(connection, device_id)
        days = await usage.per_day(connection, from_ms=from_ms, until_ms=until_ms, device_id=device_id)
        sessions = await history.attempts(
            connection, device_id, before=visit.query("before"), at_most=SESSIONS_PAGE + 1
        )
        offered = await profiles.listed(connection, visit.service.catalogue.configured)
    usable = [item.name for item in offered if item.profile is not None]
    return rendering.page(
        "device.html",
        visit=visit,
        device=device,
        done=_DONE.get(visit.query("done"), ""),
        sessions=sessions[:SESSIONS_PAGE],
        older=sessions[SESSIONS_PAGE - 1].jti_sha256 if len(sessions) > SESSIONS_PAGE else "",
        paging=bool(visit.query("before")),
        profiles=usable if device.profile in usable else [device.profile, *usable],
        charts=plots.charts({used.day: used for used in days}, from_ms // DAY_MS, DAYS),
        now_ms=visit.now_ms,
        days=DAYS,
    )


@router.post("/{device_id}")
async def change(visit: Writing, device_id: _DeviceId) -> Response:
    """Rename, another profile, suspend, resume, revoke."""
    word = visit.form.get("do", "")
    async with visit.service.engine.begin() as connection:
        await _get(connection, device_id)
        await _change(connection, visit, device_id, word)
    raise SeeOther(f"/devices/{device_id}?done={word}")


async def _change(connection: AsyncConnection, visit: Visit, device_id: str, word: str) -> None:
    if word == "rename":
        name = visit.form.get("name", "").strip()
        await fleet.rename(connection, device_id, name, actor=audit.OWNER, now_ms=visit.now_ms)
    elif word == "profile":
        profile = visit.form.get("profile", "")
        await profiles.check_known(connection, visit.service.catalogue.configured, profile)
        await fleet.set_profile(connection, device_id, profile, actor=audit.OWNER, now_ms=visit.now_ms)
    elif word in ("suspend", "resume", "revoke"):
        await fleet.set_status(connection, device_id, word, actor=audit.OWNER, now_ms=visit.now_ms)
    else:
        raise Trouble(400, "The form does not say what to do", "Go back and press one of its buttons.")


async def _get(connection: AsyncConnection, device_id: str) -> fleet.Listed:
    try:
        return await fleet.get(connection, device_id)
    except ApplianceError:
        raise Trouble(404, "There is no such device", "The list of devices shows those there are.") from None


def _lately(visit: Visit) -> tuple[int, int]:
    """The last thirty days, today included, as milliseconds."""
    tomorrow_ms = (visit.now_ms // DAY_MS + 1) * DAY_MS
    return tomorrow_ms - DAYS * DAY_MS, tomorrow_ms
