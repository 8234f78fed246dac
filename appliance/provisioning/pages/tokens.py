"""Enrolment tokens: the list, a new one, the end of one. A token is shown once, on the page that made it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from appliance.errors import ConfigError
from appliance.provisioning import audit, profiles, tokens
from appliance.provisioning.pages import rendering
from appliance.provisioning.pages.guard import PageRoute
from appliance.provisioning.pages.trouble import SeeOther
from appliance.provisioning.pages.visits import Reading, Visit, Writing

router = APIRouter(prefix="/tokens", route_class=PageRoute)

SHOWN = 200
LIVES = ((3_600, "an hour"), (86_400, "a day"), (604_800, "a week"), (2_592_000, "30 days"), (31_536_000, "a year"))
_DEFAULTS = {"uses": "1", "expires_s": "86400", "profile": "default", "note": ""}


@router.get("")
async def show_list(visit: Reading) -> Response:
    """The tokens, and the form for a new one."""
    return await _list(visit, _DEFAULTS)


@router.post("")
async def create(visit: Writing) -> Response:
    """Makes one and shows it, this once."""
    form = {**_DEFAULTS, **visit.form}
    try:
        uses, expires_s = _whole(form["uses"], "number of devices"), _whole(form["expires_s"], "life")
        async with visit.service.engine.begin() as connection:
            await profiles.check_known(connection, visit.service.catalogue.configured, form["profile"])
            token = await tokens.create(
                connection,
                uses=uses,
                expires_s=expires_s,
                profile=form["profile"],
                note=form["note"].strip(),
                actor=audit.OWNER,
                now_ms=visit.now_ms,
            )
    except ConfigError as error:
        return await _list(visit, form, fault=error)
    until_ms = visit.now_ms + expires_s * 1000
    return rendering.page("token.html", visit=visit, token=str(token), uses=uses, until_ms=until_ms)


@router.post("/{token_id}/revoke")
async def revoke(visit: Writing, token_id: Annotated[str, Path(pattern="^[a-z2-7]{8}$")]) -> Response:
    """Ends one."""
    async with visit.service.engine.begin() as connection:
        await tokens.revoke(connection, token_id, actor=audit.OWNER, now_ms=visit.now_ms)
    raise SeeOther("/tokens?done=revoked")


async def _list(visit: Visit, form: dict[str, str], fault: ConfigError | None = None) -> Response:
    async with visit.service.engine.begin() as connection:
        found = await tokens.listed(connection, at_most=SHOWN + 1)
        offered = await profiles.listed(connection, visit.service.catalogue.configured)
    return rendering.page(
        "tokens.html",
        status=422 if fault else 200,
        visit=visit,
        tokens=found[:SHOWN],
        more=len(found) > SHOWN,
        profiles=[item.name for item in offered if item.profile is not None],
        lives=LIVES,
        form=form,
        fault=fault,
        done=visit.query("done"),
        now_ms=visit.now_ms,
    )


def _whole(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise ConfigError(f"the {what} {text[:32]!r}", hint="a whole number")
    return int(text)
