"""What the person set and expects to find again after a restart: the mute and the volume.

Responsible for: one small file in the state directory. A file that cannot be read or written costs a warning and
the setting, never the start. Not for: identity and enrolment (``credentials``).
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from appliance.credentials import storage
from appliance.errors import StateError

log = logging.getLogger(__name__)
FILE_NAME = "kept.json"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The settings. ``volume`` is what the person chose over the configured ``volume_over``, if anything."""

    muted: bool = False
    volume: int | None = None
    volume_over: int | None = None

    def volume_for(self, configured: int) -> int:
        """Say how loud to be: a configuration that was changed since counts more than what the person chose before."""
        return self.volume if self.volume is not None and self.volume_over == configured else configured


def load(directory: Path) -> Kept:
    """Read the settings; what cannot be read is as if never set."""
    path = directory / FILE_NAME
    try:
        data = storage.read(path)
        return Kept() if data is None else msgspec.json.decode(data, type=Kept)
    except (StateError, msgspec.DecodeError) as error:
        log.warning("%s is not used: %s", path, error)
        return Kept()


def save(directory: Path, kept: Kept) -> None:
    """Write the settings, whole or not at all. Blocks for the disk: not for the event loop."""
    try:
        with storage.locked(directory):
            storage.write(directory / FILE_NAME, msgspec.json.encode(kept) + b"\n")
    except StateError as error:
        log.warning("mute and volume are not kept: %s", error)
