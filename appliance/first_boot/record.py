"""What was taken over from the card, and what of it is still to be done: one small file, written whole.

An import is many files. All of them are written into this record first, in one step; from then on they are as good as
changed: whoever comes next, after a power cut too, writes them again until the record says that it is done.

Responsible for: that step, and carrying the changes out. Not for: which changes (``changes``), the card (``erasing``).
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from appliance.errors import StateError
from appliance.first_boot import places as files
from appliance.first_boot.changes import Change
from appliance.first_boot.places import Places

log = logging.getLogger(__name__)
FILE_NAME = "first-boot.json"
LONGEST = 1024 * 1024


class Taken(Struct, frozen=True, kw_only=True):
    """A settings file that was taken over: how to know it again, whole, half erased and erased (SHA-256 of bytes)."""

    whole: str = ""
    spans: tuple[tuple[int, int], ...] = ()  # bytes of the secrets
    rest: str = ""  # with those bytes as zeros
    erased: str = ""


class Record(Struct, frozen=True, kw_only=True):
    """``changes`` are still to be carried out; ``erase``: then the secrets of the settings file."""

    changes: tuple[Change, ...] = ()
    taken: Taken = Taken()
    erase: bool = False


def load(places: Places) -> Record:
    """Read the record; one that is damaged is as if there were none: then the card is taken over again."""
    path = places.config / FILE_NAME
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(LONGEST), type=Record)
    except FileNotFoundError:
        return Record()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("%s is not used: %s", path, type(error).__name__)
        return Record()


def save(places: Places, record: Record) -> None:
    """Write the record. From when this returns, its changes will happen.

    Raises:
        StateError: disk full, read-only.
    """
    path = places.config / FILE_NAME
    try:
        files.make_folder(path.parent, 0o755)
        files.replace(path, msgspec.json.encode(record), 0o600)
    except OSError as error:
        raise _error(path, error) from error


def check(places: Places, record: Record) -> None:
    """Check that the changes can be carried out, before they are promised.

    Raises:
        StateError: a folder is read-only.
    """
    for change in record.changes:
        folder = (places.root / change.path).parent
        try:
            files.make_folder(folder, _folder_mode(folder, places))
            if os.statvfs(folder).f_flag & os.ST_RDONLY or not os.access(folder, os.W_OK):
                raise StateError(f"cannot write {places.root / change.path}", hint="the file system is read-only")
        except OSError as error:
            raise _error(folder, error) from error


def carry_out(places: Places, record: Record) -> Record:
    """Do what the record promises, as often as it takes; returns the record after it.

    Raises:
        StateError: disk full, read-only; the promise stands.
    """
    if not record.changes:
        return record
    check(places, record)
    for change in record.changes:
        _apply(places.root / change.path, change)
    done = Record(taken=record.taken, erase=record.erase)
    save(places, done)
    return done


def _apply(path: Path, change: Change) -> None:
    try:
        if change.link is not None:
            files.link(path, change.link)
        elif change.text is not None:
            files.replace(path, change.text.encode(), change.mode)
        else:
            files.remove(path)
    except OSError as error:
        raise _error(path, error) from error


def _folder_mode(folder: Path, places: Places) -> int:
    return 0o700 if folder == places.connections else 0o755


def _error(path: Path, error: OSError) -> StateError:
    return StateError(f"cannot write {path} ({error.strerror})", hint="is the card full, read-only or worn out?")
