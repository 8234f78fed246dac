"""Looks for what is wrong with an installation and says what to do.

Responsible for: ``voice-provisioning doctor``. Reads, and mints one secret per profile that it throws away: nothing
less shows that key, model and network work together.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import email.utils
import shutil
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
from appliance.provisioning.provider_http import Client
from appliance.provisioning.schema import DEVICES, REVISION
from appliance.provisioning.settings import Settings

_CLOCK_OFF_AT_MOST_S = 120.0
_SHIPPED = 1_735_689_600  # 2025-01-01: an earlier clock was never set
_RENEW_DAYS = 14
_FREE_AT_LEAST = 50_000_000  # bytes
_REFUSED = "devices refuse it, for unencrypted they take addresses and .local names only"
_IN_HOUSE = "use {}://, its address in the house, or its .local name"


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
    if not devices_take(configured.issuer):
        yield Finding(f"issuer {configured.issuer}: {_REFUSED}", _IN_HOUSE.format("https"))
    for path in _private_files(configured):
        if _open_to_others(path):
            yield Finding(f"{path} can be read by others", f"type: chmod 600 {path}")
    offered: dict[str, Profile] = dict(configured.profiles)
    async for finding in _database(configured, offered):
        yield finding
    if configured.store.path and (low := _room(data)):
        yield low
    async with contextlib.aclosing(Client()) as client:
        for name, profile in offered.items():
            yield await _profile(configured, name, profile, client)
            if profile.has_tools and not isinstance(profile.source, OpenAISource):
                what = f"profile {name}: its tools have no effect, a static server has none bound to its key"
                yield Finding(what, "take them out, or choose an upstream of kind openai")
        yield await _clock(configured)
    async for finding in _certificates(configured, certificate):
        yield finding


def _open_to_others(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o077)
    except OSError:  # not there, or where we may not look: whoever needs it tells
        return False


def devices_take(url: str) -> bool:
    """Whether a device sends its secrets to this address, which `settings` has passed (``credentials.reach`` decides).

    A name without a dot is a container's or this network's here, and anything at all where the device is.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    address = ":" in host or host.replace(".", "").isdigit()
    return parts.scheme not in ("http", "ws") or address or host == "localhost" or host.endswith(".local")


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
    found: list[Finding] = []  # told when the database is let go: whoever reads them may take his time
    try:
        async with engine.connect() as connection:  # which may write: else nothing would say that it can be written
            database.check_version(await database.version(connection), configured.store)
        # What takes long on a large fleet must not keep devices from writing meanwhile.
        async with engine.execution_options(reading=True).connect() as connection:
            found.append(await _state_of(connection, sqlite=configured.store.path is not None))
            faulty = set()
            for listed in await profiles.listed(connection, configured):
                if listed.profile is None:
                    faulty.add(listed.name)
                    remedy = f"correct it: voice-provisioning profiles set {listed.name} FILE"
                    found.append(Finding(listed.fault, remedy))
                else:
                    offered[listed.name] = listed.profile
            found += await _without_profile(connection, {*offered, *faulty})
    except (ConfigError, StateError) as error:
        found.append(Finding(f"database: {error.message}", error.hint))
    except SQLAlchemyError as error:
        unusable = database.unusable(configured.store, error)
        found.append(Finding(f"database: {unusable.message}", unusable.hint))
    finally:
        await engine.dispose()
    for finding in found:
        yield finding


def _room(data: Path) -> Finding | None:
    free = shutil.disk_usage(data).free
    if free >= _FREE_AT_LEAST:
        return None
    remedy = "free some space, or keep less of the past ([retention] days): on a full disk no device gets a session"
    return Finding(f"disk: {free / 1e6:.0f} MB free where {data} is", remedy)


async def _without_profile(connection: AsyncConnection, known: set[str]) -> list[Finding]:
    having = select(DEVICES.c.profile, func.count().label("devices")).where(DEVICES.c.status == "active")
    rows = await connection.execute(having.group_by(DEVICES.c.profile).order_by(DEVICES.c.profile))
    remedy = "make it again, or give them another one: voice-provisioning devices profile ID NAME"
    return [
        Finding(f"profile {row.profile}: there is none, and {row.devices} active device(s) have it", remedy)
        for row in rows
        if row.profile not in known
    ]


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


async def _profile(configured: Settings, name: str, profile: Profile, client: Client) -> Finding:
    source = upstream.build(configured, profile, client)
    started_s = time.perf_counter()
    try:
        minted = await source.mint(secrets.safety_identifier(configured.pepper, "doctor"))
    except upstream.UpstreamError as error:
        remedy = "correct key, base_url, session or the provider account"
        if error.detail.startswith(upstream.NO_ANSWER):
            remedy = "is this machine on the network, and base_url right?"
        return Finding(f"profile {name}: {error.detail}", remedy)
    if not devices_take(source.connect_url):
        return Finding(f"profile {name}: {source.connect_url}: {_REFUSED}", _IN_HOUSE.format("wss"))
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


async def _clock(configured: Settings) -> Finding:
    if time.time() < _SHIPPED:
        return Finding("clock: never set", "start time synchronisation: timedatectl set-ntp true")
    for source in configured.sources.values():
        if not isinstance(source, OpenAISource):
            continue
        try:
            async with httpx2.AsyncClient(timeout=5.0) as client:
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
        shown, trusted = await _shown(host, urlsplit(configured.issuer).port or 443)
    except (OSError, TimeoutError) as error:
        what = f"certificate: nothing answers TLS at {configured.issuer} ({type(error).__name__})"
        yield Finding(what, "start the service or its proxy, check DNS and port")
        return
    yield judge(f"certificate at {configured.issuer}", shown, host, dt.datetime.now(dt.UTC), trusted=trusted)


async def _shown(host: str, port: int) -> tuple[Certificate, bool]:
    """The certificate that a server shows, and whether this machine trusts it."""
    try:
        return await _shown_to(ssl.create_default_context(), host, port), True
    except ssl.SSLCertVerificationError:
        # Only looked at: nothing is sent over this connection, so it may be shown anything.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return await _shown_to(context, host, port), False


async def _shown_to(context: ssl.SSLContext, host: str, port: int) -> Certificate:
    async with asyncio.timeout(5):
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
        raw = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()  # there is nothing to say, and a farewell would wait for the other side's
        await writer.wait_closed()
    return certificates.from_der(raw)


def judge(what: str, found: Certificate, host: str, now: dt.datetime, *, trusted: bool = True) -> Finding:
    """What a certificate is worth to devices that call ``host``."""
    left = (found.ends - now).days
    if found.begins > now:
        remedy = "set this machine's clock if it is behind; else wait, or get one that holds now"
        return Finding(f"{what}: not valid before {found.begins:%Y-%m-%d %H:%M} UTC", remedy)
    if found.ends <= now:
        return Finding(f"{what}: ended on {found.ends:%Y-%m-%d}", "renew it; devices refuse it, but for pinned ones")
    if left < _RENEW_DAYS:
        return Finding(f"{what}: ends in {left} day(s)", "renew it, with the same key if devices have its pin")
    if host and not found.fits(host):
        return Finding(
            f"{what}: made out to {', '.join(found.names) or 'nobody'}", f"get one for {host}, or use its pin"
        )
    doubt = "" if trusted else " by its dates, but not trusted here (is the chain whole?): devices need its pin"
    return Finding(f"{what}: good for {left} day(s){doubt}; pin spki-sha256={found.pin}")
