"""Another key for a device that is enrolled: ``POST /v1/device/key``, signed by both keys.

Responsible for: the change, which a power cut at any point leaves either not begun or done. The service takes the old
key until the new one was first used, so that up to there nothing is lost: a new key that did not reach our disk is
forgotten on both sides. Key and token are written together (``storage``), and only over those they were made with: of
two changes at once, or one beside an enrolment, the first to be written stands.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec

from appliance.credentials import dpop, enrolment, mint, storage
from appliance.credentials.enrolment import Enrolment
from appliance.credentials.http import HttpClient, Response
from appliance.credentials.identity import Identity
from appliance.credentials.signed import SignedClient, read
from appliance.errors import ProvisioningError, Secret, StateError

_TRIES = 2  # between two nonces of the service our second signature may carry the older one


class Changed(msgspec.Struct, frozen=True):
    """The new key is kept. ``unconfirmed`` says why the service was not seen to take it; the next session tells it."""

    identity: Identity
    unconfirmed: ProvisioningError | None = None


class _Offered(msgspec.Struct, frozen=True):
    access_token: str
    device_id: str


async def change_key(
    known: Enrolment, identity: Identity, *, directory: Path, client: HttpClient, now: Callable[[], float]
) -> Changed:
    """Makes a key, has the service take it, keeps it in ``directory``, and uses it once, which ends the old one.

    Raises:
        ProvisioningError: refused or unreachable: the old key stays.
        StateError: the new one could not be stored: the old key stays; or another change was quicker: its key stays.
    """
    url = f"{known.issuer}/v1/device"
    new = Identity.generate()
    try:
        response = await _offer(SignedClient(identity, client, now=now), new, known.token, url, now)
    except ProvisioningError:
        _check_unchanged(known, identity, directory)  # refused, because the old key has ended meanwhile?
        raise
    offered = read(response, _Offered, url)
    changed = Enrolment(known.issuer, offered.device_id, Secret(offered.access_token), known.pins)
    contents = {storage.IDENTITY_FILE: new.file_content(), enrolment.FILE_NAME: enrolment.file_content(changed)}
    with storage.locked(directory):
        _check_unchanged(known, identity, directory)
        storage.write_together(directory, contents)
    try:
        used = await SignedClient(new, client, now=now).get(url, token=changed.token)
    except ProvisioningError as error:
        return Changed(new, error)
    return Changed(new, None if used.status == 200 else mint.refusal(used, url))


def _check_unchanged(known: Enrolment, identity: Identity, directory: Path) -> None:
    present = Identity.load(directory)
    if present is None or present.thumbprint != identity.thumbprint or enrolment.load(directory) != known:
        what = f"another key or enrolment was written into {directory} meanwhile"
        raise StateError(what, hint="this change is given up, and what is there stays")


async def _offer(signed: SignedClient, new: Identity, token: Secret, url: str, now: Callable[[], float]) -> Response:
    asked = await signed.get(url, token=token)  # tells a nonce, and whether we are known at all
    if asked.status != 200:
        raise mint.refusal(asked, url)
    left = _TRIES
    while True:
        left -= 1
        proof = dpop.proof(
            new,
            method="POST",
            url=f"{url}/key",
            now_s=now(),
            jti=str(uuid.uuid4()),
            nonce=signed.nonce(url),
            access_token=token,
        )
        response = await signed.post_json(f"{url}/key", {"proof": proof}, token=token)
        if response.status == 200:
            return response
        refused = mint.refusal(response, url)
        if not left or refused.code != "use_dpop_nonce":
            raise refused
