"""The audit: who did what, the newest first, page by page."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from appliance.provisioning import audit, owner_links
from appliance.provisioning.pages import rendering
from appliance.provisioning.pages.guard import PageRoute
from appliance.provisioning.pages.visits import Reading

router = APIRouter(prefix="/audit", route_class=PageRoute)

PAGE = 50
ACTORS = (audit.OWNER, audit.COMMAND)
# To choose from while typing; others are found too.
ACTIONS = (
    "approve",
    "deny",
    "enrolled",
    "farewell",
    "key changed",
    "key offered",
    "keys imported",
    "keys removed",
    "profile changed",
    "profile deleted",
    "profile given",
    "rename",
    "resume",
    "revoke",
    "sign-in",
    owner_links.MADE,
    "sign-in refused",
    "sign-out",
    "sign-out everywhere",
    "suspend",
    "token made",
    "token revoked",
    "wrong code",
)


@router.get("")
async def show(visit: Reading) -> Response:
    """The entries, all or those of one subject, actor or action."""
    query = {name: visit.query(name).strip() for name in ("subject", "actor", "action")}
    before = visit.query("before", 18)
    async with visit.service.engine.begin() as connection:
        found = await audit.entries(
            connection, before_id=int(before) if before.isdecimal() else None, at_most=PAGE + 1, **query
        )
    return rendering.page(
        "audit.html",
        visit=visit,
        entries=found[:PAGE],
        older=found[PAGE - 1].id if len(found) > PAGE else 0,
        paging=bool(before),
        query=query,
        actors=ACTORS,
        actions=ACTIONS,
    )
