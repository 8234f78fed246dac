"""Puts all pages together for ``app``."""

from __future__ import annotations

from fastapi import FastAPI

from appliance.provisioning.pages import activate, audit, devices, profiles, sign_in, tokens, usage

ROOMS = (sign_in, activate, devices, usage, tokens, profiles, audit)


def install(app: FastAPI) -> None:
    """Adds the pages to the application; they are no part of its published description."""
    app.state.counted_days = usage.CountedDays()
    for room in ROOMS:
        app.include_router(room.router, include_in_schema=False)
