"""Puts all pages together for ``app``."""

from __future__ import annotations

from fastapi import APIRouter

from appliance.provisioning.pages import activate, audit, devices, profiles, sign_in, tokens, usage

ROOMS = (sign_in, activate, devices, usage, tokens, profiles, audit)

router = APIRouter(include_in_schema=False)
for _room in ROOMS:
    router.include_router(_room.router)
