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
# Also after an underscore and after a %-escape, but not inside a word such as "risk-free".
SECRETS = re.compile(r"(?:(?<![A-Za-z])|(?<=%[0-9A-Fa-f]{2}))((?:ek|vdt|vet|sk)[_-])[A-Za-z0-9_\-.]{4,}")
SHORTENED = r"\1…"


def without_secrets(text: str) -> str:
    """Shorten whatever looks like a token or key to its prefix."""
    return SECRETS.sub(SHORTENED, text)


def one_line(text: str) -> str:
    """Join the lines of ``text`` with bars; what a terminal would obey becomes a question mark."""
    joined = " | ".join(line for line in text.splitlines() if line.strip())
    return "".join(c if c.isprintable() else " " if c == "\t" else "?" for c in joined)


class OneLine(logging.Formatter):
    """Formats a record as one line, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        text = record.getMessage()
        if record.exc_info:
            text = f"{text} | {self.formatException(record.exc_info)}"
        name = record.name.removeprefix("appliance.")
        return f"{name}: {without_secrets(one_line(text))}"


class Terminal(OneLine):
    """The same with the level in front."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return f"{record.levelname.lower():<7} {super().format(record)}"


class Journal(logging.Handler):
    """Sends lines to journald with their priority."""

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        import systemd.journal as journal  # noqa: PLR0402  # mypy takes our folder systemd/ for the package otherwise

        try:
            journal.send(
                self.format(record),
                PRIORITY=str(PRIORITIES.get(record.levelname, 6)),
                SYSLOG_IDENTIFIER="voice-appliance",
                LOGGER=record.name,
            )
        except (OSError, ValueError):  # a lost line is better than a dead appliance
            self.handleError(record)


def set_up(*, debug: bool, quiet: bool = False) -> None:
    """Send log lines to the journal when systemd started us, else to standard error.

    Those of the libraries too, from WARNING up: their lines are held to the same rules.
    """
    if _stderr_is_the_journal():
        handler: logging.Handler = Journal()
        handler.setFormatter(OneLine())
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Terminal())
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("appliance").setLevel(logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO)


def _stderr_is_the_journal() -> bool:
    """Compare as systemd.exec(5) says: a terminal started by a service inherits the variable, not the stream."""
    try:
        seen = os.fstat(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # closed
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{seen.st_dev}:{seen.st_ino}"
