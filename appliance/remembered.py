"""What was said, over a restart of the daemon: in memory that ends with the machine, never on the card.

Responsible for: one file in the directory that systemd gives the service in /run (``RuntimeDirectory=``) and leaves to
it over a restart. Without such a directory nothing is kept. Not for: what is remembered (``realtime.history``).
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from appliance.credentials import storage
from appliance.errors import StateError
from appliance.realtime.history import History

log = logging.getLogger(__name__)
RUN = Path("/run/voice-appliance")
FOLDER = "conversation"  # of its own: the directory around it is open to the service's group, for the control socket
FILE_NAME = "history.json"
LONGEST = 400_000  # bytes
TRIES = 3  # a conversation that so many starts in a row took up without ending a turn may be what ends them


class _File(msgspec.Struct, frozen=True):
    entries: list[list[str]]  # as :meth:`History.dump` writes them
    tries: int = 0


class Remembered:
    """Keeps a history over restarts. One thread (the event loop): the file is in memory."""

    def __init__(self, history: History, run: str | None) -> None:
        """``run`` is the service's directory in /run, if it has one."""
        self._history = history
        self._directory = Path(run.split(":")[0]) / FOLDER if run else None
        self._kept: list[list[str]] = []

    def take_up(self) -> None:
        """Go on with the conversation of an earlier run. A file that cannot be used costs the conversation only."""
        if self._directory is None:
            return
        path = self._directory / FILE_NAME
        try:
            data = storage.read(path, at_most=LONGEST)
            if data is None:
                return
            found = msgspec.json.decode(data, type=_File)
            if found.tries < TRIES:
                self._history.load(found.entries)
                self._write(_File(found.entries, found.tries + 1))
                self._kept = self._history.dump()
                return
            log.warning("the conversation so far is forgotten: %d starts in a row ended with it", TRIES)
        except (StateError, ValueError, RecursionError) as error:  # msgspec's, the encoding's
            log.warning("the conversation so far is forgotten: %s", error)
        forget(self._directory.parent)

    def keep(self) -> None:
        """Write down what was said, where that has changed. For the end of a turn."""
        entries = self._history.dump()
        if self._directory is None or entries == self._kept:
            return
        try:
            self._write(_File(entries))
        except StateError as error:
            log.warning("the conversation would not survive a restart: %s", error)
        self._kept = entries  # not tried again before something else is said

    def _write(self, file: _File) -> None:
        assert self._directory is not None
        with storage.locked(self._directory):
            storage.write(self._directory / FILE_NAME, msgspec.json.encode(file))


def forget(run: Path) -> None:
    """Remove what was said from the directory ``run`` of /run, if it is there."""
    directory = run / FOLDER
    if not (directory / FILE_NAME).exists():
        return
    try:
        with storage.locked(directory):
            storage.erase(directory / FILE_NAME)
    except StateError as error:
        log.warning("%s", error)
