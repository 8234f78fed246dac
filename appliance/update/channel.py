"""The channel: a small JSON file in a static folder that says which version is the newest. What follows of it. Pure.

The file is not signed, the bundle is. Who could change the file could keep an update back or offer an old one to
those who ask for it; a device takes nothing older by itself, and nothing at all that RAUC does not know the signer of.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from appliance.errors import UpdateError
from appliance.update import staging, versions

LONGEST_FILE = 16_384  # bytes
LARGEST_BUNDLE = 4 * 2**30
NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,120}\.raucb\Z"  # a file of the same folder


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """What is offered. Keys that are not known here are for newer devices."""

    version: Annotated[str, Meta(max_length=60, pattern=rf"^{versions.FORM}\Z")]
    bundle: Annotated[str, Meta(pattern=NAME)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    size: Annotated[int, Meta(ge=1, le=LARGEST_BUNDLE)]
    compatible: Annotated[str, Meta(min_length=1, max_length=120)]
    percent: Annotated[float, Meta(ge=0, le=100)]


def parse(data: bytes, where: str) -> Channel:
    """Read a channel file; ``where`` it came from.

    Raises:
        UpdateError: not JSON, or a key that is missing or out of its bounds.
    """
    try:
        return msgspec.json.decode(data, type=Channel)
    except msgspec.ValidationError as error:
        raise UpdateError(f"{where}: {error}", hint="make the channel file anew: image/update/make-channel") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = "is [update] url right, and does the network want a login?"
        raise UpdateError(f"{where} is no channel file", hint=hint) from error


class Answer(Enum):
    """What to do about an offer."""

    TAKE = "take"
    CURRENT = "current"
    OLDER = "older"
    FAILED = "failed"
    LATER = "later"
    FOREIGN = "foreign"


class Device(NamedTuple):
    """What counts of this device: what runs, which images fit it, its key's thumbprint, versions that failed here."""

    version: str
    compatible: str
    thumbprint: str
    failed: Mapping[str, str]


class Wish(NamedTuple):
    """What a person asked for; by itself a device wishes for nothing."""

    by_person: bool = False  # does not wait to be among the first
    older: bool = False
    again: bool = False  # a version that failed


class Judgement(NamedTuple):
    """The answer, and why in words."""

    answer: Answer
    why: str


def judge(offer: Channel, device: Device, wish: Wish) -> Judgement:
    """Decide about an offer.

    Raises:
        ValueError: the version that runs is not one of ours.
    """
    new, version = offer.version, device.version
    if offer.compatible != device.compatible:
        return Judgement(Answer.FOREIGN, f"{new} is for {offer.compatible}, this device is {device.compatible}")
    offered, runs = versions.key(new), versions.key(version)
    if offered == runs:
        return Judgement(Answer.CURRENT, f"{version} is the newest")
    if offered < runs and not wish.older:
        return Judgement(Answer.OLDER, f"{new} is offered, older than {version}; --older takes it all the same")
    if new in device.failed and not wish.again:
        return Judgement(Answer.FAILED, f"{new} failed here ({device.failed[new]}); --again tries it once more")
    if not wish.by_person and not staging.is_in(device.thumbprint, new, offer.percent):
        return Judgement(Answer.LATER, f"{new} is offered to {offer.percent:g} % of the devices, not yet to this one")
    return Judgement(Answer.TAKE, f"{new} is offered")
