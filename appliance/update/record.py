"""What an update has come to, kept over reboots: what waits in the other slot, how often it was tried, what failed.

Responsible for: one small file, and the steps from one record to the next, which are pure. Every step is written
before the act that it speaks of, so a power cut at any point costs at most one of the trials.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from appliance.credentials import storage
from appliance.errors import UpdateError
from appliance.update.health import Facts

FILE_NAME = "update.json"
TRIALS = 3  # of one version: a power cut during a trial looks like a crash, and is no fault of it
FAILURES = 8  # kept, the newest


class Waiting(msgspec.Struct, frozen=True):
    """A version that is whole in a slot, and not confirmed yet.

    ``started``: a trial of it is begun and not decided; ``before`` is how the appliance was when it began.
    """

    version: str
    slot: str
    trials: int = 0
    started: bool = False
    before: Facts | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The record. ``last`` is the last outcome in words, at ``last_at`` (UTC)."""

    thumbprint: str = ""
    waiting: Waiting | None = None
    failed: dict[str, str] = {}
    last: str = ""
    last_at: str = ""


def load(directory: Path) -> Record:
    """Read the record; an empty one before the first update.

    Raises:
        StateError: it cannot be read.
        UpdateError: it is damaged.
    """
    path = directory / FILE_NAME
    data = storage.read(path)
    try:
        return Record() if data is None else msgspec.json.decode(data, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpdateError(f"{path} is damaged", hint="delete it: what failed before may then be tried again") from error


def save(directory: Path, record: Record) -> None:
    """Write the record, whole or not at all.

    Raises:
        StateError: it cannot be written.
    """
    with storage.locked(directory):
        storage.write(directory / FILE_NAME, msgspec.json.encode(record) + b"\n")


# --- steps ---


def installed(record: Record, version: str, slot: str) -> Record:
    """``version`` is whole in ``slot``."""
    failed = {name: why for name, why in record.failed.items() if name != version}  # asked for again, by a person
    return msgspec.structs.replace(record, waiting=Waiting(version, slot), failed=failed)


def tried(record: Record, before: Facts) -> Record:
    """The machine is about to be started from the slot that waits."""
    assert record.waiting is not None
    waiting = record.waiting
    after = Waiting(waiting.version, waiting.slot, waiting.trials + 1, True, before)
    return msgspec.structs.replace(record, waiting=after)


def kept(record: Record, at: str, why: str) -> Record:
    """What waited is confirmed."""
    assert record.waiting is not None
    return msgspec.structs.replace(record, waiting=None, last=f"{record.waiting.version} is kept: {why}", last_at=at)


def failed(record: Record, version: str, at: str, why: str) -> Record:
    """``version`` is not to be tried again by itself."""
    others = [(name, reason) for name, reason in record.failed.items() if name != version]
    failures = dict([*others, (version, why)][-FAILURES:])
    waiting = None if record.waiting is not None and record.waiting.version == version else record.waiting
    last = f"{version} failed: {why}"
    return msgspec.structs.replace(record, waiting=waiting, failed=failures, last=last, last_at=at)


def returned(record: Record, at: str, why: str) -> Record:
    """A trial ended without a verdict that is final; it failed if that was the last one."""
    assert record.waiting is not None
    waiting = record.waiting
    if waiting.trials >= TRIALS:
        return failed(record, waiting.version, at, f"{why}, {waiting.trials} times")
    last = f"{waiting.version} went back: {why}; it is tried again"
    after = msgspec.structs.replace(waiting, started=False)
    return msgspec.structs.replace(record, waiting=after, last=last, last_at=at)


def dropped(record: Record) -> Record:
    """What waited is written over, or no more wanted."""
    return msgspec.structs.replace(record, waiting=None)


def noted(record: Record, at: str, what: str) -> Record:
    """Remember an outcome in words."""
    return msgspec.structs.replace(record, last=what, last_at=at)
