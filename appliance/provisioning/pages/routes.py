"""Puts all pages together for ``app``."""

from __future__ import annotations

from fastapi import APIRouter

from appliance.provisioning.pages import activate, audit, devices, profiles, sign_in, tokens, usage

router = APIRouter(include_in_schema=False)
for _room in (sign_in, activate, devices, usage, tokens, profiles, audit):
    router.include_router(_room.router)
