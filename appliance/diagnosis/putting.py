"""Puts a collected report onto the card, where a file called ``report`` wishes for it, and takes that wish away.

The same partition tells the firmware what to start. Nothing that is there is written over: each file is written beside
its place, and takes it when it is whole on the card; the wish goes last. After a power cut it is open still, or done.
``python -m appliance.diagnosis.putting FOLDER CARD`` is what systemd starts, while the partition is mounted.

Responsible for: that order, and the room that is left. Needs nothing but the standard library. Not for: what is in the
report (``collecting``), mounting (systemd/voice-appliance-report.service).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path

from appliance.diagnosis.report import BUNDLE, LARGEST_TEXT, TEXT
from appliance.errors import StateError
from appliance.first_boot import places as files

log = logging.getLogger(__name__)
WISHES = ("report", "report.txt")  # Windows hides the ending of a name, and its Notepad adds one
LARGEST_BUNDLE = 4 * 1024 * 1024
LEFT_FREE = 1024 * 1024
NO_ROOM = "\r\nThere was no room on this partition for {name}.\r\n"


def put(made: Path, card: Path) -> bool:
    """Put what is in ``made`` onto ``card``; returns whether somebody wished for it.

    Raises:
        StateError: there is no room, or the card cannot be written; the wish stands.
    """
    try:
        wishes = [path for path in card.iterdir() if path.name.lower() in WISHES]
        if wishes:
            _put(made, card)
        for wish in wishes:
            _take_away(wish)
        return bool(wishes)
    except OSError as error:
        hint = "is it full, read-only or damaged? The next start tries again"
        raise StateError(f"no report on the card ({error.strerror})", hint=hint) from error


def _put(made: Path, card: Path) -> None:
    text, bundle = (made / TEXT).read_bytes(), made / BUNDLE
    for name in (TEXT, BUNDLE):
        (card / f".{name}.new").unlink(missing_ok=True)  # what a power cut left
    size = bundle.stat().st_size if bundle.exists() else 0
    if size and (size > LARGEST_BUNDLE or not _fits(card, size + LARGEST_TEXT)):
        log.warning("no room for a bundle of %d bytes", size)
        text, size = text + NO_ROOM.format(name=BUNDLE).encode(), 0
    if not _fits(card, len(text)):
        raise StateError("no report on the card: its first partition is full", hint="delete what you put there")
    if size:
        files.replace(card / BUNDLE, bundle.read_bytes(), 0o600)
    else:
        files.remove(card / BUNDLE)  # of an earlier report: it would be taken for this one's
    files.replace(card / TEXT, text, 0o600)


def _fits(card: Path, size: int) -> bool:
    found = os.statvfs(card)
    return found.f_bavail * found.f_frsize >= size + LEFT_FREE


def _take_away(wish: Path) -> None:
    """Remove the wish; a folder is as good a wish, but not with something in it that may be dear to somebody."""
    if wish.is_dir():
        with contextlib.suppress(OSError):
            wish.rmdir()
    else:
        wish.unlink(missing_ok=True)
    files.sync_folder(wish.parent)


def main() -> int:
    """Put the report of the first folder that the command line names into the second."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        done = put(Path(sys.argv[1]), Path(sys.argv[2]))
    except StateError as error:
        log.error("%s", error)
        return error.exit_code
    log.info("the report is on the card" if done else "nobody wishes for a report any more")
    return 0


if __name__ == "__main__":
    sys.exit(main())
