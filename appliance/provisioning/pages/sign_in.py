"""Sign-in by the one-time link, sign-out, the way to the first page, style sheet and icon.

Responsible for: that only a press on the button spends a link; mail and chat programs fetch links to preview them.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from appliance.provisioning import owner_sessions
from appliance.provisioning.pages import rendering, visits
from appliance.provisioning.pages.guard import PageRoute
from appliance.provisioning.pages.trouble import SeeOther, Trouble
from appliance.provisioning.pages.visits import Writing
from appliance.provisioning.service import CurrentService

router = APIRouter(route_class=PageRoute)

_AGAIN = "On the machine of the service, type: voice-provisioning sign-in. It prints a new link."
_FAULTS = {
    "unknown": (403, "This link is not one of ours", f"Was it copied whole? {_AGAIN}"),
    "used": (410, "This link was used before", f"If that was not you, sign out everywhere. {_AGAIN}"),
    "expired": (410, "This link has expired", _AGAIN),
    "too_many": (429, "Too many wrong links were tried", f"Wait a minute; a right link works all the same. {_AGAIN}"),
}


@router.get("/")
async def front() -> Response:
    """Leads to the devices."""
    return RedirectResponse("/devices", 303)


@router.get("/sign-in")
async def ask(request: Request, service: CurrentService) -> Response:
    """Shows the button that spends the link, or how to get one."""
    token = request.query_params.get("token", "")[:128]
    return rendering.page("sign_in.html", token=token, returns=visits.take_return(service, request))


@router.post("/sign-in")
async def sign_in(request: Request, service: CurrentService) -> Response:
    """Spends the link. The session is a new one at each sign-in, whatever cookie came along."""
    visits.check_origin(service, request)
    form = await visits.read_form(request)
    token = form.get("token", "").strip().rpartition("token=")[2][:128]  # the whole link, pasted, will do
    async with service.engine.begin() as connection:
        old = visits.session_of(service, request)
        redeemed = await owner_sessions.redeem(connection, token, old, service.now_ms())
    if redeemed.session is None:
        status, what, remedy = _FAULTS[redeemed.fault]
        raise Trouble(status, what, remedy, 60 if status == 429 else None)
    raise SeeOther(
        visits.take_return(service, request),
        visits.session_cookie(service, request, redeemed.session, owner_sessions.LIFE_S),
        visits.cookie(service, request, "return", "", 0),
    )


@router.post("/sign-out")
async def sign_out(visit: Writing) -> Response:
    """Ends this session, or with ``everywhere`` all of them and all unused links."""
    async with visit.service.engine.begin() as connection:
        if visit.form.get("everywhere"):
            await owner_sessions.sign_out_everywhere(connection, now_ms=visit.now_ms)
        else:
            await owner_sessions.sign_out(connection, visit.session.id_sha256, now_ms=visit.now_ms)
    raise SeeOther("/sign-in", visits.session_cookie(visit.service, visit.request, "", 0))


@router.get(rendering.STYLE_NAME)
async def style() -> Response:
    """The one style sheet; its name changes with it."""
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(rendering.STYLE, headers=headers, media_type="text/css")


@router.get("/icon.svg")
async def icon() -> Response:
    """The picture in the browser's tab."""
    return Response(rendering.ICON, headers={"Cache-Control": "public, max-age=86400"}, media_type="image/svg+xml")
