"""When a reply may begin to sound: no sooner than the downlink's measured jitter allows, and no later.

A delta that arrives ``late`` after its place on the reply's own timeline (arrival of the first delta + audio
before it) leaves a gap unless the start was delayed by at least as much. So a start is delayed by the worst
lateness of the last replies plus a margin, or until as much audio is in hand as that delay would have gathered.
Responsible for: that decision. Not for: queues or devices. Pure; time is an argument, in seconds.
"""

from __future__ import annotations

from collections import deque

UNKNOWN_MS = 350.0  # before anything was measured: covers gaps of 300 ms
MARGIN_MS = 12.0
LONGEST_MS = 800.0
REPLIES_REMEMBERED = 12


class Playout:
    """The start-up delay of replies, learned from how late their audio came."""

    def __init__(self) -> None:
        self._lateness_ms: deque[float] = deque(maxlen=REPLIES_REMEMBERED)
        self._begun_at = 0.0
        self._received_ms = 0.0
        self._newest_ms = 0.0
        self._worst_ms = 0.0
        self._deltas = 0

    @property
    def delay_ms(self) -> float:
        """The start-up delay that the measured jitter asks for."""
        if not self._lateness_ms:
            return UNKNOWN_MS
        return min(LONGEST_MS, max(self._lateness_ms) * 1.15 + MARGIN_MS)

    def received(self, at_s: float, duration_ms: float) -> None:
        """Note a delta of a reply."""
        if self._deltas == 0:
            self._begun_at = at_s
        late = (at_s - self._begun_at) * 1000.0 - self._received_ms
        self._worst_ms = max(self._worst_ms, late)
        self._received_ms += duration_ms
        self._newest_ms = duration_ms
        self._deltas += 1

    def starved(self, at_s: float) -> None:
        """Note that the reply ran dry: the rest of it waits again, for as long as is now known to be needed."""
        self._worst_ms = max(self._worst_ms, (at_s - self._begun_at) * 1000.0 - self._received_ms)
        self._lateness_ms.append(self._worst_ms)
        self._deltas, self._received_ms, self._newest_ms, self._worst_ms = 0, 0.0, 0.0, 0.0

    def finished(self) -> None:
        """Note the end of a reply: what it taught counts from now on."""
        if self._deltas > 1:
            self._lateness_ms.append(self._worst_ms)
        self._deltas, self._received_ms, self._newest_ms, self._worst_ms = 0, 0.0, 0.0, 0.0

    def wait_ms(self, at_s: float) -> float:
        """Say how long a reply must still wait before it may start; zero or less: start now."""
        if self._deltas == 0:
            return self.delay_ms
        waited_ms = (at_s - self._begun_at) * 1000.0
        # What is in hand beyond the newest delta was gathered early: it is as good as having waited.
        ahead_ms = self._received_ms - self._newest_ms - waited_ms
        return self.delay_ms - waited_ms - max(0.0, ahead_ms)
