"""Log lines for journalctl: one line each, levels as systemd reads them, nothing secret.

Responsible for: the format, the journal, and the guard that keeps secrets out. Not for: what is logged.
"""

from __future__ import annotations

import logging
import os
import re
import sys

PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
# Tokens and keys by their prefixes: none should ever get here, and none gets further.
SECRETS = re.compile(r"\b((?:ek|vdt|vet|sk)[_-])[A-Za-z0-9_\-.]{4,}")


SHORTENED = r"\1…"


class OneLine(logging.Formatter):
    """Formats a record as one line, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        text = record.getMessage()
        if record.exc_info:
            text = f"{text} | {self.formatException(record.exc_info)}"
        name = record.name.removeprefix("appliance.")
        line = text.replace("\n", " | ")
        return f"{name}: {SECRETS.sub(SHORTENED, line)}"


class Terminal(OneLine):
    """The same with the level in front."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return f"{record.levelname.lower():<7} {super().format(record)}"


class Journal(logging.Handler):
    """Sends lines to journald with their priority; never waits for it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        from systemd import journal

        journal.send(
            self.format(record),
            PRIORITY=str(PRIORITIES.get(record.levelname, 6)),
            SYSLOG_IDENTIFIER="voice-appliance",
            LOGGER=record.name,
        )


def set_up(*, debug: bool, quiet: bool = False) -> None:
    """Send our log lines to the journal when systemd started us, else to standard error."""
    if "JOURNAL_STREAM" in os.environ:
        handler: logging.Handler = Journal()
        handler.setFormatter(OneLine())
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Terminal())
    logger = logging.getLogger("appliance")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO)
