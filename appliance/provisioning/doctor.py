"""Looks for what is wrong with an installation and says what to do.

Responsible for: ``voice-provisioning doctor``. Reads, and mints one secret that it throws away: nothing less shows
that key, model and network work together.
"""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import msgspec
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from appliance.errors import ApplianceError
from appliance.provisioning import database, secrets, settings, upstream
from appliance.provisioning.configuration import OpenAISource, Profile
from appliance.provisioning.schema import DEVICES, REVISION
from appliance.provisioning.settings import Settings

_CLOCK_OFF_AT_MOST_S = 120.0
_SHIPPED = 1_735_689_600  # 2025-01-01: an earlier clock was never set


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at; ``remedy`` is empty when it is well."""

    what: str
    remedy: str = ""


async def examine(data: Path) -> AsyncIterator[Finding]:
    """Everything there is to look at, as it is found."""
    try:
        configured = settings.load(data)
    except ApplianceError as error:
        yield Finding(f"configuration: {error.message}", error.hint or "correct it")
        return
    yield Finding(f"configuration: {len(configured.profiles)} profile(s), issuer {configured.issuer or 'by request'}")
    for path in _private_files(configured):
        if path.exists() and path.stat().st_mode & 0o077:
            yield Finding(f"{path} can be read by others", f"type: chmod 600 {path}")
    yield await _database(configured)
    async with upstream.http_client() as client:
        for name, profile in configured.profiles.items():
            yield await _profile(configured, name, profile, client)
        yield await _clock(configured, client)


def _private_files(configured: Settings) -> list[Path]:
    names = [settings.PEPPER_NAME, settings.NONCE_SECRET_NAME, settings.DATABASE_NAME, settings.CONFIG_NAME]
    for source in configured.sources.values():
        name = source.api_key_file if isinstance(source, OpenAISource) else source.key_file
        names += [name] if name else []
    return [configured.path(name) for name in names]


async def _database(configured: Settings) -> Finding:
    path = configured.store.path
    if path and not path.exists():
        return Finding(f"database: {path} is missing", "restore a backup, or run init again to start empty")
    engine = database.connect(configured.store)
    try:
        async with engine.connect() as connection:
            found = await database.version(connection)
            if found != REVISION:
                return Finding(f"database: schema {found}, wanted {REVISION}", "run init again: it upgrades")
            said = (await connection.execute(text("PRAGMA quick_check"))).scalar() if path else "ok"
            if said != "ok":
                return Finding("database: damaged", "stop the service and restore a backup")
            active = select(func.count()).select_from(DEVICES).where(DEVICES.c.status == "active")
            return Finding(f"database: whole, {(await connection.execute(active)).scalar_one()} active device(s)")
    except SQLAlchemyError as error:
        return Finding(
            f"database: cannot be used ({type(error).__name__})", f"is {configured.store} up, whole and writable?"
        )
    finally:
        await engine.dispose()


async def _profile(configured: Settings, name: str, profile: Profile, client: httpx2.AsyncClient) -> Finding:
    source = upstream.build(configured, profile, client)
    started_s = time.perf_counter()
    try:
        await source.mint(secrets.safety_identifier(configured.pepper, "doctor"))
    except upstream.UpstreamError as error:
        return Finding(f"profile {name}: {error.detail}", "correct key, base_url, session or the provider account")
    took_ms = (time.perf_counter() - started_s) * 1000
    if isinstance(profile.source, OpenAISource):
        return Finding(f"profile {name}: minted a secret for {source.model} in {took_ms:.0f} ms and threw it away")
    parts = urlsplit(source.connect_url)
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    try:
        async with asyncio.timeout(5):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except (OSError, TimeoutError):
        return Finding(f"profile {name}: nothing listens at {source.connect_url}", "start that server or correct url")
    writer.close()
    return Finding(f"profile {name}: key readable, {source.connect_url} listens")


async def _clock(configured: Settings, client: httpx2.AsyncClient) -> Finding:
    if time.time() < _SHIPPED:
        return Finding("clock: never set", "start time synchronisation: timedatectl set-ntp true")
    for source in configured.sources.values():
        if not isinstance(source, OpenAISource):
            continue
        try:
            date = (await client.get(source.base_url)).headers.get("date", "")
            theirs_s = email.utils.parsedate_to_datetime(date).timestamp()
        except (httpx2.TransportError, ValueError):
            continue
        off_s = time.time() - theirs_s
        if abs(off_s) > _CLOCK_OFF_AT_MOST_S:
            return Finding(f"clock: {off_s:+.0f} s from the provider's", "type: timedatectl set-ntp true")
        return Finding("clock: agrees with the provider's")
    return Finding("clock: set (no provider to compare with)")
