"""Becoming known to a provisioning service, once in a device's life, and what is kept of it.

Responsible for: enrolling and revoking (RFC 7009), and the file ``enrolment.json``. Not for: the exchange
(``grant``), the key (``identity``) and what the token is good for (``mint``). A power cut at any point is healed by
enrolling again: services do not count a second use of the same enrolment token by the same key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from appliance.credentials import grant, reach, storage
from appliance.credentials.grant import Waiting
from appliance.credentials.http import HttpClient
from appliance.credentials.identity import Identity
from appliance.credentials.signed import SignedClient
from appliance.errors import Secret, StateError

FILE_NAME = "enrolment.json"


class Enrolment(msgspec.Struct, frozen=True):
    """The outcome that is kept: which service knows us, under which id, our token for it, and the service's pins."""

    issuer: str
    device_id: str
    token: Secret
    pins: str = ""


async def enrol(
    issuer: str,
    identity: Identity,
    *,
    directory: Path,
    token: Secret | None,
    name: str,
    hardware: str,
    software: str,
    client: HttpClient,
    now: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    told: Callable[[Waiting], None] = lambda _: None,
) -> Enrolment:
    """Enrols and keeps the result in ``directory``.

    Args:
        issuer: the service's address, without pins.
        identity: the device's key.
        directory: state directory.
        token: enrolment token from the service's owner; without one the owner approves a code, unless the key is
            known there already.
        name: what the owner will see in the list of devices.
        hardware: board, for the same list.
        software: version, for the same list.
        client: carries the requests, and knows the pins.
        now: wall clock in seconds; may be wrong.
        sleep: waits the given seconds between polls.
        told: gets the code that the owner has to approve, if there is one.

    Raises:
        ProvisioningError: refused or unreachable, see ``code``.
        StateError: the result could not be stored.
    """
    metadata = await grant.discover(client, issuer)
    signed = SignedClient(identity, client, now=now)
    description = {"hw": hardware, "sw": software, "name": name}
    if token:
        description["enrolment_token"] = str(token)
    granted = await grant.obtain(signed, metadata, description, told=told, sleep=sleep)
    kept = Secret(granted.access_token)
    enrolment = Enrolment(metadata.issuer, granted.device_id, kept, client.pinned)
    save(enrolment, directory)
    return enrolment


async def revoke(enrolment: Enrolment, identity: Identity, *, client: HttpClient, now: Callable[[], float]) -> None:
    """Asks the service to forget this device (factory reset signs its own removal). Local files stay: `forget`.

    Raises:
        ProvisioningError: refused or unreachable.
    """
    metadata = await grant.discover(client, enrolment.issuer)
    if not metadata.revocation_endpoint:
        raise reach.bad_answer(urlsplit(enrolment.issuer).netloc, "it offers no revocation")
    signed = SignedClient(identity, client, now=now)
    fields = {"client_id": grant.CLIENT_ID, "token": str(enrolment.token), "token_type_hint": "access_token"}
    response = await signed.post_form(metadata.revocation_endpoint, fields)
    if response.status != 200:
        raise grant.refusal(response, enrolment.issuer)


def save(enrolment: Enrolment, directory: Path) -> None:
    """Stores the enrolment, whole or not at all, readable by its owner only.

    Raises:
        StateError: disk full, read-only, not permitted.
    """
    with storage.locked(directory):
        storage.write(directory / FILE_NAME, file_content(enrolment))


def file_content(enrolment: Enrolment) -> bytes:
    """What the file holds, the token included: for ``storage`` alone."""
    content = {"issuer": enrolment.issuer, "device_id": enrolment.device_id, "token": str(enrolment.token)}
    if enrolment.pins:
        content["pins"] = enrolment.pins
    return msgspec.json.encode(content) + b"\n"


def load(directory: Path) -> Enrolment | None:
    """The stored enrolment, None before the first.

    Raises:
        StateError: the file is damaged or cannot be read.
    """
    path = directory / FILE_NAME
    data = storage.read(path)
    if data is None:
        return None
    try:
        stored = msgspec.json.decode(data, type=dict[str, str])
        enrolment = Enrolment(stored["issuer"], stored["device_id"], Secret(stored["token"]), stored.get("pins", ""))
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        raise StateError(f"{path} is damaged", hint="delete it and enrol this device again") from None
    return enrolment


def forget(directory: Path) -> None:
    """Removes the stored enrolment.

    Raises:
        StateError: read-only, not permitted.
    """
    with storage.locked(directory):
        storage.erase(directory / FILE_NAME)
