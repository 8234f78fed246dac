"""What is to be found again after a restart: the mute and the volume as the person set them, the clocks as learned.

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


WORTH_WRITING_PPM = 5.0  # a card's cells wear out: nearer than this to what is kept, a rate is not written anew


class Clocks(msgspec.Struct, frozen=True):
    """How much faster the loudspeaker's clock runs than the microphone's, and of which pair of cards that is true."""

    capture: str
    playback: str
    ppm: float


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The settings. ``volume`` is what the person chose over the configured ``volume_over``, if anything."""

    muted: bool = False
    volume: int | None = None
    volume_over: int | None = None
    clocks: Clocks | None = None

    def volume_for(self, configured: int) -> int:
        """Say how loud to be: a configuration that was changed since counts more than what the person chose before."""
        return self.volume if self.volume is not None and self.volume_over == configured else configured

    def clock_ppm_for(self, capture: str, playback: str) -> float | None:
        """Return the learned rate of this pair of cards, if it is theirs."""
        clocks = self.clocks
        return clocks.ppm if clocks and (clocks.capture, clocks.playback) == (capture, playback) else None

    def clocks_with(self, capture: str, playback: str, ppm: float | None) -> Clocks | None:
        """Return the clocks to be kept from now on; ``ppm`` is what is known now, if anything."""
        known = self.clock_ppm_for(capture, playback)
        if ppm is None or (known is not None and abs(ppm - known) < WORTH_WRITING_PPM):
            return self.clocks
        return Clocks(capture, playback, round(ppm, 1))


def load(directory: Path) -> Kept:
    """Read the settings; what cannot be read is as if never set."""
    path = directory / FILE_NAME
    try:
        data = storage.read(path)
        return Kept() if data is None else msgspec.json.decode(data, type=Kept)
    except (StateError, ValueError, RecursionError) as error:  # msgspec's, the encoding's
        log.warning("%s is not used: %s", path, error)
        return Kept()


def save(directory: Path, kept: Kept) -> None:
    """Write the settings, whole or not at all. Blocks for the disk: not for the event loop."""
    try:
        with storage.locked(directory):
            storage.write(directory / FILE_NAME, msgspec.json.encode(kept) + b"\n")
    except StateError as error:
        log.warning("mute, volume and clocks are not kept: %s", error)
