"""Whether the last run ended in the middle of a conversation: whoever was talking to it is told by the next one.

Responsible for: one empty file beside the control socket, where a reboot clears it and nothing wears out, while
somebody talks or waits. Not for: telling (``daemon``), or what was said: that is never stored.
"""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger(__name__)
FILE_NAME = "unfinished"


class Unfinished:
    """The mark. One thread (the event loop); each call touches a file at most."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._busy = False

    def take(self) -> bool:
        """Say whether the last run left the mark, and remove it."""
        try:
            self._path.unlink()
        except OSError:  # as a rule there is none
            return False
        log.warning("the last run ended in the middle of a conversation")
        return True

    def note(self, *, busy: bool) -> None:
        """Somebody talks or waits, or does no longer."""
        if busy is self._busy:
            return
        self._busy = busy
        try:
            if busy:
                self._path.touch(0o600)
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:  # then the next run cannot tell: nothing to trouble anybody with
            log.debug("%s: %s", self._path, error)
