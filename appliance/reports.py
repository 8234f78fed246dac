"""What the provisioning service is told of a session after it: how long, why it ended, which tokens it took.

Responsible for: counting and a short queue, which also survives a restart. Best effort: nothing depends on it, the
oldest are dropped when nobody takes them. Not for: when they are sent (``daemon``: after a session that ended in good
order, when nobody waits for anything, and never by a timer).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from appliance.credentials import reach, storage
from appliance.errors import ProvisioningError, StateError
from appliance.realtime.session import Ticket
from appliance.realtime.usage import Tokens

log = logging.getLogger(__name__)
FILE_NAME = "reports.json"
AT_MOST = 20
# After these it may still be taken, some day.
KEPT = reach.NETWORK | {"overloaded", "use_dpop_nonce", "invalid_token", "device_suspended"}


class Report(msgspec.Struct, frozen=True):
    """One session that is over."""

    session_id: str
    duration_s: float
    reason: str
    model: str
    usage: dict[str, int]


Send = Callable[[Report], Awaitable[None]]


class Reports:
    """The sessions that the service does not know the end of yet. One thread (the event loop)."""

    def __init__(self) -> None:
        self.waiting: deque[Report] = deque(maxlen=AT_MOST)
        self._tokens = Tokens()
        self._sending = False
        self._not_before_s = float("-inf")

    def used(self, tokens: Tokens) -> None:
        """Count tokens of the session that is open."""
        self._tokens += tokens

    def ended(self, ticket: Ticket, lasted_s: float, reason: str) -> None:
        """Queue the report of a session that is over."""
        tokens, self._tokens = self._tokens, Tokens()
        if ticket.session_id:
            usage = {kind: count for kind, count in tokens.as_dict().items() if count}
            self.waiting.append(Report(ticket.session_id, round(lasted_s, 1), reason, ticket.model, usage))

    async def deliver(self, send: Send, now: Callable[[], float]) -> None:
        """Send what waits, oldest first; what the service will never take is dropped, else the rest waits on.

        ``now`` is a monotonic clock: what the service said about when to come again is kept.
        """
        if self._sending or now() < self._not_before_s:
            return
        self._sending = True
        try:
            while self.waiting:
                report = self.waiting[0]
                try:
                    await send(report)
                except ProvisioningError as error:
                    if error.code in KEPT:
                        self._not_before_s = now() + (error.retry_after_s or 0.0)
                        log.debug("a session report waits: %s", error)
                        return
                    log.debug("a session report is refused: %s", error)
                if self.waiting and self.waiting[0] is report:  # the queue may have dropped it meanwhile
                    self.waiting.popleft()
        finally:
            self._sending = False

    # --- over a restart ---

    def load(self, directory: Path) -> None:
        """Take what an earlier run left, and remove it. A file that cannot be used is not worth a word to anybody."""
        path = directory / FILE_NAME
        try:
            data = storage.read(path)
            if data is not None:
                self.waiting.extendleft(reversed(msgspec.json.decode(data, type=list[Report])[-AT_MOST:]))
                with storage.locked(directory):
                    storage.erase(path)
        except (StateError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.debug("no session reports of an earlier run: %s", error)

    def save(self, directory: Path) -> None:
        """Leave what waits to the next run; at the end only, so that no session costs a write."""
        if self.waiting:
            try:
                with storage.locked(directory):
                    storage.write(directory / FILE_NAME, msgspec.json.encode(list(self.waiting)))
            except StateError as error:
                log.debug("session reports are lost: %s", error)
