"""What calibration found, kept across restarts: one loop for each board, pair of devices and choice of microphones.

Responsible for: one small file in the state directory. A file that cannot be read costs a warning and a new
measurement, never the start. Not for: measuring, or what follows from it (``audio``).
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from appliance.audio.loop import Loop
from appliance.config import Loaded
from appliance.credentials import storage
from appliance.errors import StateError

log = logging.getLogger(__name__)
FILE_NAME = "calibration.json"
LONGEST = 16_000  # bytes: the oldest loops make room


class Key(msgspec.Struct, frozen=True):
    """What a loop belongs to: with another card or microphone it is another one."""

    board: str
    capture: str
    playback: str
    microphones: tuple[int, ...]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A loop, and how it was found: at what volume, when (ISO 8601), by which version."""

    key: Key
    loop: Loop
    volume_percent: int
    at: str
    version: str


class _File(msgspec.Struct, frozen=True):
    loops: tuple[Entry, ...] = ()


def key_of(loaded: Loaded) -> Key:
    """Say what the configured loop is called."""
    audio = loaded.config.audio
    return Key(loaded.config.board, audio.capture, audio.playback, audio.microphones)


def load(directory: Path, key: Key) -> Entry | None:
    """Return what was found for ``key``, if anything; what cannot be read is as if never found. Blocks for the disk."""
    return next((entry for entry in _entries(directory) if entry.key == key), None)


def save(directory: Path, entry: Entry) -> bool:
    """Write a loop, in place of an older one of the same key; returns whether it is kept. Blocks for the disk."""
    try:
        with storage.locked(directory):
            loops = (entry, *(older for older in _entries(directory) if older.key != entry.key))
            while len(data := msgspec.json.encode(_File(loops))) > LONGEST and len(loops) > 1:
                loops = loops[:-1]
            storage.write(directory / FILE_NAME, data + b"\n")
    except StateError as error:
        log.warning("the calibration is not kept: %s", error)
        return False
    return True


def _entries(directory: Path) -> tuple[Entry, ...]:
    path = directory / FILE_NAME
    try:
        data = storage.read(path)
        return () if data is None else msgspec.json.decode(data, type=_File).loops
    except (StateError, ValueError, RecursionError) as error:  # msgspec's, the encoding's
        log.warning("%s is not used: %s", path, error)
        return ()
