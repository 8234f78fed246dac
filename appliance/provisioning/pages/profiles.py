"""Profiles: the list, and a form for those of the database. Those of ``server.toml`` are shown, not changed.

Responsible for: these pages, and reading the form. Not for: what a profile may say (``configuration``). An upstream
is chosen among those configured; no address can be typed here.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from appliance.errors import ConfigError
from appliance.provisioning import audit, profiles
from appliance.provisioning.configuration import OpenAISource, Profile, StoredProfile
from appliance.provisioning.pages import rendering
from appliance.provisioning.pages.guard import PageRoute
from appliance.provisioning.pages.trouble import SeeOther, Trouble
from appliance.provisioning.pages.visits import Reading, Visit, Writing

router = APIRouter(prefix="/profiles", route_class=PageRoute)

_Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_DONE = {"saved": "Saved. Devices get it with their next conversation.", "deleted": "Deleted."}
_LIMITS = ("per_minute", "burst", "per_day", "seconds_per_day")
_EMPTY = StoredProfile(upstream="", model="")
_LABELS = {  # as the form has them
    "max_session_s": "longest conversation",
    "per_minute": "conversations a minute",
    "burst": "number at once",
    "per_day": "conversations a day",
    "seconds_per_day": "seconds a day",
}


@router.get("")
async def show_list(visit: Reading) -> Response:
    """All profiles."""
    async with visit.service.engine.begin() as connection:
        found = await profiles.listed(connection, visit.service.catalogue.configured)
    done = _DONE.get(visit.query("done"), "")
    return rendering.page("profiles.html", visit=visit, profiles=found, done=done, now_ms=visit.now_ms)


@router.get("/+new")
async def show_new(visit: Reading) -> Response:
    """An empty form, or a copy of another profile."""
    source = visit.query("from")
    configured = visit.service.catalogue.configured
    stored = StoredProfile(upstream="default", model=configured.profiles["default"].model)
    if source:
        async with visit.service.engine.begin() as connection:
            stored = _as_stored(await _get(connection, visit, source))
    return _form(visit, name="", fields=_fields(stored), version=0)


@router.get("/{name}")
async def show_one(visit: Reading, name: _Name) -> Response:
    """The form of a stored profile; a profile of the file, to read."""
    async with visit.service.engine.begin() as connection:
        found = await _get(connection, visit, name)
    if found.version == 0:
        fields = _fields(_as_stored(found))
        return rendering.page("profile_of_file.html", visit=visit, listed=found, fields=fields)
    return _form(visit, name=name, fields=_fields(_as_stored(found)), version=found.version, fault=found.fault)


@router.post("/+new")
async def create(visit: Writing) -> Response:
    """Stores a new profile."""
    return await _save(visit, visit.form.get("name", "").strip(), new=True)


@router.post("/{name}")
async def change(visit: Writing, name: _Name) -> Response:
    """Stores a changed profile, or deletes it."""
    if visit.form.get("do") == "delete":
        async with visit.service.engine.begin() as connection:
            configured = visit.service.catalogue.configured
            await profiles.remove(connection, configured, name, actor=audit.OWNER, now_ms=visit.now_ms)
        raise SeeOther("/profiles?done=deleted")
    return await _save(visit, name, new=False)


async def _save(visit: Visit, name: str, *, new: bool) -> Response:
    seen = visit.form.get("version", "")
    try:
        content = _read(visit.form)
        configured = visit.service.catalogue.configured
        async with visit.service.engine.begin() as connection:
            there = await profiles.get(connection, configured, name[:64])
            _check_place(name, there, seen, new=new)
            await profiles.put(connection, configured, name, content, actor=audit.OWNER, now_ms=visit.now_ms)
    except ConfigError as error:
        version = int(seen) if not new and seen.isdigit() else 0
        return _form(visit, name=name, fields=visit.form, version=version, fault=str(error), status=422)
    raise SeeOther("/profiles?done=saved")


def _check_place(name: str, there: profiles.Listed | None, seen_version: str, *, new: bool) -> None:
    if new and there is not None:
        raise ConfigError(f"there is a profile {name[:64]} already", hint="choose another name")
    if not new and (there is None or str(there.version) != seen_version):
        raise ConfigError("the profile was changed meanwhile", hint="copy what you typed, and open the profile again")


def _form(
    visit: Visit, *, name: str, fields: dict[str, str], version: int, fault: str = "", status: int = 200
) -> Response:
    sources = visit.service.catalogue.configured.sources
    upstreams = {
        key: source.base_url if isinstance(source, OpenAISource) else source.url for key, source in sources.items()
    }
    return rendering.page(
        "profile.html",
        status=status,
        visit=visit,
        name=name,
        fields={**_fields(_EMPTY), **fields},
        version=version,
        upstreams=upstreams,
        fault=fault,
    )


async def _get(connection: AsyncConnection, visit: Visit, name: str) -> profiles.Listed:
    found = await profiles.get(connection, visit.service.catalogue.configured, name)
    if found is None:
        raise Trouble(404, "There is no such profile", "The list of profiles shows those there are.")
    return found


def _as_stored(listed: profiles.Listed) -> StoredProfile:
    if listed.stored is not None:
        return listed.stored
    # One that cannot even be read is an empty form with its fault: to be filled anew, or deleted.
    return _EMPTY if listed.profile is None else _from_file(listed.profile)


def _from_file(profile: Profile) -> StoredProfile:
    """What a profile of ``server.toml`` would be as a stored one."""
    session = {key: value for key, value in profile.session.items() if key not in ("type", "model")}
    instructions, tools = session.pop("instructions", ""), session.pop("tools", [])
    return StoredProfile(
        upstream=profile.upstream,
        model=profile.model,
        fallback_models=profile.fallback_models,
        instructions=instructions if isinstance(instructions, str) else "",
        tools=tools if isinstance(tools, list) else [],
        session=session,
        max_session_s=profile.max_session_s,
        limits=profile.limits,
    )


def _fields(stored: StoredProfile) -> dict[str, str]:
    """A profile as a form holds it."""
    return {
        "upstream": stored.upstream,
        "model": stored.model,
        "fallback_models": ", ".join(stored.fallback_models),
        "voice": stored.voice,
        "instructions": stored.instructions,
        "tools": _pretty(stored.tools) if stored.tools else "",
        "session": _pretty(stored.session) if stored.session else "",
        "max_session_s": str(stored.max_session_s),
        **{name: str(getattr(stored.limits, name)).removesuffix(".0") for name in _LIMITS},
    }


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _read(form: dict[str, str]) -> StoredProfile:
    """The profile of a form.

    Raises:
        ConfigError: a field that cannot be read; names it.
    """
    limits = {name: _number(form, name) for name in _LIMITS}
    content = {
        **{name: form.get(name, "").strip() for name in ("upstream", "model", "voice", "instructions")},
        "fallback_models": form.get("fallback_models", "").replace(",", " ").split(),
        "tools": _json(form, "tools", "[]"),
        "session": _json(form, "session", "{}"),
        "max_session_s": _number(form, "max_session_s"),
        "limits": limits,
    }
    return profiles.parse(content)


def _number(form: dict[str, str], name: str) -> float | int:
    text = form.get(name, "").strip()
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"{_LABELS[name]} {text[:32]!r}", hint="it must be a number") from None
    return int(value) if value.is_integer() else value


def _json(form: dict[str, str], name: str, empty: str) -> Any:
    text = form.get(name, "").strip() or empty
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ConfigError(f"{name} is not JSON: {str(error)[:200]}", hint="correct it, or leave it empty") from None
