"""The way to the provisioning service, and whether it knows this device.

Responsible for: name, connection, certificate or pin, the service's own address, enrolment. Mints nothing. Not for: the
exchanges (``credentials``).
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from appliance import pins
from appliance.config import Loaded
from appliance.credentials import enrolment, grant, storage
from appliance.credentials.http import Connection, HttpClient
from appliance.credentials.identity import Identity
from appliance.credentials.mint import Entry, Minter
from appliance.diagnosis.finding import Finding, failed, note, ok, trouble
from appliance.enrolling import enrolment_token
from appliance.errors import ApplianceError, ProvisioningError
from appliance.pins import Address

PATIENCE_S = 5.0


class Service:
    """The configured provisioning service. ``now_s`` is what its clock showed, as far as it said."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._address: Address = pins.parse(loaded.config.provisioning.url)
        self._client = HttpClient(timeout_s=PATIENCE_S, pins=self._address.pins)
        self.now_s: float | None = None
        self._answers = False

    async def examine(self) -> AsyncIterator[Finding]:
        """Follow the way from the name to the service's own description."""
        issuer = self._address.issuer
        if not issuer:
            yield trouble("service address", "no provisioning service is configured", "set [provisioning] url")
            return
        try:
            connection = self._client.connect(issuer)
        except ProvisioningError as error:  # before anything is asked for it
            yield failed("provisioning", error)
            return
        if (named := await _name(urlsplit(issuer).hostname or "")) is not None:
            yield named
            if named.remedy:
                return
        try:
            self.now_s = await _time_of(connection, issuer)
            await grant.discover(self._client, issuer)
        except ProvisioningError as error:
            yield failed("provisioning", error)
            return
        self._answers = True
        secured = "by its pinned key" if self._address.pins else "by a certificate that this system trusts"
        how = secured if issuer.startswith("https:") else "unencrypted, inside the house"
        yield ok("provisioning", f"{issuer} answers, {how}")

    async def enrolment(self, code: str) -> Finding:
        """Say whether the service knows this device; ``code`` waits to be approved, if any does."""
        if code:
            return trouble("enrolment", f"code {code} waits to be approved", f"voice-provisioning approve {code}")
        try:
            return await self._enrolment()
        except ApplianceError as error:
            return failed("enrolment", error)

    async def _enrolment(self) -> Finding:
        directory, issuer = Path(self._loaded.config.state.directory), self._address.issuer
        known = enrolment.load(directory)
        if known is not None and known.issuer != issuer:
            what = f"it is enrolled at {known.issuer}, and the configuration names {issuer or 'none'}"
            return trouble("enrolment", what, "correct [provisioning] url, or press the button and enrol there too")
        if known is None:
            if enrolment_token(self._loaded.config) is not None:
                return note("enrolment", "not yet; the first press enrols with the token that is there")
            remedy = "press the button and have the code approved that it says, or run `voice-appliance enrol`"
            return trouble("enrolment", "this device is not enrolled", remedy)
        if not self._answers:
            return note("enrolment", f"kept, as {known.device_id}; whether it still holds is not known")
        if storage.read(directory / storage.IDENTITY_FILE) is None:
            remedy = "`voice-appliance reset`, then enrol again"
            return trouble("enrolment", "the device's key is gone, and the enrolment is of no use without it", remedy)
        identity = Identity.load_or_create(directory)
        entry = await Minter(known, identity, client=self._client, now=time.time).entry()
        return _judge(known.device_id, entry)


def _judge(device_id: str, entry: Entry) -> Finding:
    if entry.model is None:
        what = f"its profile {entry.profile} cannot be used"
        return trouble("enrolment", what, "`voice-provisioning doctor` there says why")
    if entry.sessions_left_today == 0:
        return trouble("enrolment", "it has used up its conversations for today", "wait, or raise its quota there")
    left = "" if entry.sessions_left_today is None else f", {entry.sessions_left_today} conversations left today"
    return ok("enrolment", f"known as {device_id}, profile {entry.profile}, model {entry.model}{left}")


async def _time_of(connection: Connection, issuer: str) -> float | None:
    """Ask for whatever there is, and look at the clock of who answers; it need not say."""
    async with connection:
        answer = await connection.request("GET", f"{issuer}/", headers={})
    try:
        return email.utils.parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except ValueError:
        return None


async def _name(host: str) -> Finding | None:
    """Look the name up; ``None`` where it is a number."""
    try:
        ipaddress.ip_address(host)
        return None
    except ValueError:
        pass
    try:
        async with asyncio.timeout(PATIENCE_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        remedy = (
            "is there a network (ip route), a name server (/etc/resolv.conf), and is [provisioning] url spelled right?"
        )
        return trouble("name", f"{host} cannot be looked up", remedy)
    addresses = sorted({str(entry[4][0]) for entry in found})
    return ok("name", f"{host} is {', '.join(addresses[:3])}")
