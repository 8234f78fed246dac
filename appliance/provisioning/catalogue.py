"""The profiles a running service offers, those of ``server.toml`` and stored ones, kept fresh without a restart.

Responsible for: one upstream per profile, and noticing changes within seconds. Not for: the table (``profiles``).
"""

from __future__ import annotations

import asyncio
import logging

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from appliance.errors import ApplianceError
from appliance.provisioning import profiles, settings, upstream
from appliance.provisioning.configuration import Profile
from appliance.provisioning.provider_http import Client
from appliance.provisioning.settings import CONFIG_NAME, Settings
from appliance.provisioning.upstream import Upstream

_log = logging.getLogger(__name__)
FRESH_MS = 5_000


class Offer(msgspec.Struct, frozen=True):
    """What a profile comes to: where secrets are from, and how many."""

    profile: Profile
    upstream: Upstream


class Catalogue:
    """The offers by name. Another process may change profiles, so they are read again when five seconds old."""

    def __init__(self, configured: Settings, engine: AsyncEngine, client: Client) -> None:
        self._settings = configured
        self._engine = engine
        self._client = client
        self._reading = asyncio.Lock()
        self._offers: dict[str, Offer] = {}
        self._faults: set[str] = set()
        self._read_ms: int | None = None
        self._stamp = self._file_stamp()

    @property
    def configured(self) -> Settings:
        """The settings with the profiles and upstreams that ``server.toml`` has now."""
        self._reload_file()
        return self._settings

    def offer(self, name: str) -> Offer | None:
        """The offer of this name, None if there is none or it cannot be used."""
        return self._offers.get(name)

    async def refresh(self, now_ms: int) -> None:
        """Reads the profiles again if they are old; in a transaction of its own, so call it outside of others."""
        async with self._reading:
            if self._read_ms is None or not 0 <= now_ms - self._read_ms < FRESH_MS:
                async with self._engine.execution_options(reading=True).begin() as connection:
                    await self._read(connection)
                self._read_ms = now_ms

    async def _read(self, connection: AsyncConnection) -> None:
        self._reload_file()
        offers: dict[str, Offer] = {}
        faults: set[str] = set()
        for listed in await profiles.listed(connection, self._settings):
            if listed.profile is None:
                faults.add(listed.fault)
                continue
            known = self._offers.get(listed.name)
            if known is None or known.profile != listed.profile:
                known = Offer(listed.profile, upstream.build(self._settings, listed.profile, self._client))
            offers[listed.name] = known
        for fault in sorted(faults - self._faults):  # once, not every five seconds
            _log.warning("%s", fault)
        self._offers, self._faults = offers, faults

    def _reload_file(self) -> None:
        stamp = self._file_stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            changed = settings.load(self._settings.data)
        except ApplianceError as error:
            _log.error("the changed configuration is not taken into use: %s", error)
            return
        # Only profiles and upstreams: address, store and secrets of a running service stay.
        self._settings = msgspec.structs.replace(self._settings, profiles=changed.profiles, sources=changed.sources)
        _log.info("took the changed profiles of %s into use", CONFIG_NAME)

    def _file_stamp(self) -> tuple[int, int] | None:
        try:
            status = (self._settings.data / CONFIG_NAME).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size
