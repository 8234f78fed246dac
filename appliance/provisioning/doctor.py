"""Looks for what is wrong with an installation and says what to do.

Responsible for: ``voice-provisioning doctor``. Reads, and mints one secret per profile that it throws away: nothing
less shows that key, model and network work together.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import msgspec
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.errors import ApplianceError, ConfigError, StateError
from appliance.provisioning import certificates, database, profiles, secrets, settings, upstream
from appliance.provisioning.certificates import Certificate
from appliance.provisioning.configuration import OpenAISource, Profile
from appliance.provisioning.schema import DEVICES, REVISION
from appliance.provisioning.settings import Settings

_CLOCK_OFF_AT_MOST_S = 120.0
_SHIPPED = 1_735_689_600  # 2025-01-01: an earlier clock was never set
_RENEW_DAYS = 14


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at; ``remedy`` is empty when it is well."""

    what: str
    remedy: str = ""


async def examine(data: Path, certificate: Path | None = None) -> AsyncIterator[Finding]:
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
    offered: dict[str, Profile] = dict(configured.profiles)
    async for finding in _database(configured, offered):
        yield finding
    async with upstream.http_client() as client:
        for name, profile in offered.items():
            yield await _profile(configured, name, profile, client)
            if profile.has_tools and not isinstance(profile.source, OpenAISource):
                what = f"profile {name}: its tools have no effect, a static server has none bound to its key"
                yield Finding(what, "take them out, or choose an upstream of kind openai")
        yield await _clock(configured, client)
    async for finding in _certificates(configured, certificate):
        yield finding


def _private_files(configured: Settings) -> list[Path]:
    names = [settings.PEPPER_NAME, settings.NONCE_SECRET_NAME, settings.DATABASE_NAME, settings.CONFIG_NAME]
    for source in configured.sources.values():
        name = source.api_key_file if isinstance(source, OpenAISource) else source.key_file
        names += [name] if name else []
    beside = [configured.store.password_file] if configured.store.password_file else []
    return [*(configured.path(name) for name in names), *beside]


async def _database(configured: Settings, offered: dict[str, Profile]) -> AsyncIterator[Finding]:
    try:
        database.check_there(configured.store)
    except StateError as error:
        yield Finding(f"database: {error.message}", error.hint)
        return
    engine = database.connect(configured.store)
    try:
        async with engine.connect() as connection:
            database.check_version(await database.version(connection), configured.store)
            yield await _state_of(connection, sqlite=configured.store.path is not None)
            for listed in await profiles.listed(connection, configured):
                if listed.profile is None:
                    yield Finding(listed.fault, f"correct it: voice-provisioning profiles set {listed.name} FILE")
                else:
                    offered[listed.name] = listed.profile
    except (ConfigError, StateError) as error:
        yield Finding(f"database: {error.message}", error.hint)
    except SQLAlchemyError as error:
        unusable = database.unusable(configured.store, error)
        yield Finding(f"database: {unusable.message}", unusable.hint)
    finally:
        await engine.dispose()


async def _state_of(connection: AsyncConnection, *, sqlite: bool) -> Finding:
    active = select(func.count()).select_from(DEVICES).where(DEVICES.c.status == "active")
    devices = f"schema {REVISION}, {(await connection.execute(active)).scalar_one()} active device(s)"
    if not sqlite:
        server = (await connection.execute(text("SHOW server_version"))).scalar()
        recovering = (await connection.execute(text("SELECT pg_is_in_recovery()"))).scalar()
        if recovering:
            return Finding("database: a standby, which takes no writes", "name the primary in store.url")
        return Finding(f"database: PostgreSQL {server}, {devices}")
    if (said := (await connection.execute(text("PRAGMA quick_check"))).scalar()) != "ok":
        return Finding(f"database: damaged ({str(said)[:80]})", "stop the service and restore a backup")
    if (mode := (await connection.execute(text("PRAGMA journal_mode"))).scalar()) != "wal":
        return Finding(f"database: journal mode {mode}, wanted wal", "put the data directory on a local disk")
    return Finding(f"database: SQLite, whole, WAL, {devices}")


async def _profile(configured: Settings, name: str, profile: Profile, client: httpx2.AsyncClient) -> Finding:
    source = upstream.build(configured, profile, client)
    started_s = time.perf_counter()
    try:
        minted = await source.mint(secrets.safety_identifier(configured.pepper, "doctor"))
    except upstream.UpstreamError as error:
        remedy = "correct key, base_url, session or the provider account"
        if error.detail.startswith(upstream.NO_ANSWER):
            remedy = "is this machine on the network, and base_url right?"
        return Finding(f"profile {name}: {error.detail}", remedy)
    took_ms = (time.perf_counter() - started_s) * 1000
    if isinstance(profile.source, OpenAISource):
        return Finding(f"profile {name}: minted a secret for {minted.model} in {took_ms:.0f} ms and threw it away")
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


async def _certificates(configured: Settings, path: Path | None) -> AsyncIterator[Finding]:
    host = urlsplit(configured.issuer).hostname or ""
    if path is not None:
        try:
            yield judge(f"certificate {path}", certificates.read(path), host, dt.datetime.now(dt.UTC))
        except ConfigError as error:
            yield Finding(error.message, error.hint)
    if not configured.issuer.startswith("https://"):
        return
    try:
        shown = await _shown(host, urlsplit(configured.issuer).port or 443)
    except (OSError, TimeoutError) as error:
        what = f"certificate: nothing answers TLS at {configured.issuer} ({type(error).__name__})"
        yield Finding(what, "start the service or its proxy, check DNS and port")
        return
    yield judge(f"certificate at {configured.issuer}", shown, host, dt.datetime.now(dt.UTC))


async def _shown(host: str, port: int) -> Certificate:
    # Only looked at: nothing is sent over this connection, so it may be shown anything.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with asyncio.timeout(5):
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
        raw = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
    return certificates.from_der(raw)


def judge(what: str, found: Certificate, host: str, now: dt.datetime) -> Finding:
    """What a certificate is worth to devices that call ``host``."""
    left = (found.ends - now).days
    if found.ends <= now:
        return Finding(f"{what}: ended on {found.ends:%Y-%m-%d}", "renew it; devices refuse it, but for pinned ones")
    if left < _RENEW_DAYS:
        return Finding(f"{what}: ends in {left} day(s)", "renew it, with the same key if devices have its pin")
    if host and not found.fits(host):
        return Finding(
            f"{what}: made out to {', '.join(found.names) or 'nobody'}", f"get one for {host}, or use its pin"
        )
    return Finding(f"{what}: good for {left} day(s); pin spki-sha256={found.pin}")
