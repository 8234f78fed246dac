"""When a reply may begin to sound: no sooner than the downlink's measured jitter allows, and no later.

A delta is ``late`` by as much as it arrives after its place on the reply's own timeline (arrival of the first
delta + audio before it); a link that is faster than speech makes it negative. The jitter is how far the lateness
rises again after it was low. So a reply may start as soon as the lowest lateness so far, plus the worst rise of
the last replies, plus a margin, has passed since its first delta. Rises while more than ``AHEAD_MS`` was in hand
are the server's leisure, not jitter. Responsible for: that decision. Not for: queues or devices. Pure; time is an
argument, in seconds.
"""

from __future__ import annotations

from collections import deque

UNKNOWN_MS = 350.0  # before anything was measured: covers gaps of 300 ms
MARGIN_MS = 16.0
LONGEST_MS = 800.0
AHEAD_MS = 400.0
DOUBT = 0.5  # what one reply taught is half a size too small, what n taught is 1/n of that
REPLIES_REMEMBERED = 12


class Playout:
    """The start-up delay of replies, learned from how their audio came."""

    def __init__(self) -> None:
        self._rises_ms: deque[float] = deque(maxlen=REPLIES_REMEMBERED)
        self._begin()

    def _begin(self) -> None:
        """Begin a new timeline with the next delta."""
        self._begun_at = 0.0
        self._received_ms = 0.0
        self._lowest_ms = 0.0
        self._rise_ms = 0.0
        self._deltas = 0
        self._dry = self._paused = False

    @property
    def delay_ms(self) -> float:
        """The start-up delay that the measured jitter asks for."""
        if not self._rises_ms:
            return UNKNOWN_MS
        worst = max(self._rises_ms) * (1.0 + DOUBT / len(self._rises_ms))
        return min(LONGEST_MS, worst + MARGIN_MS)

    def received(self, at_s: float, duration_ms: float) -> None:
        """Note a delta of a reply."""
        if self._deltas == 0:
            self._begun_at = at_s
        late = (at_s - self._begun_at) * 1000.0 - self._received_ms
        if self._paused and late > self._lowest_ms:
            self._begun_at += (late - self._lowest_ms) / 1000.0
            late = self._lowest_ms
        self._paused = False
        self._rise_ms = max(self._rise_ms, late - max(self._lowest_ms, -AHEAD_MS))
        if self._dry:
            self._learn()
            self._begin()
            self._begun_at, late = at_s, 0.0
        self._lowest_ms = min(self._lowest_ms, late)
        self._received_ms += duration_ms
        self._deltas += 1

    def _learn(self) -> None:
        if self._rise_ms <= 2 * LONGEST_MS:  # longer is an outage: waiting cannot cover it
            self._rises_ms.append(self._rise_ms)

    def paused(self) -> None:
        """Note the end of an item: how long the next one takes is thinking, not jitter."""
        self._paused = True

    def starved(self) -> None:
        """Note that the reply ran dry: its next delta tells by how much, and begins a wait of its own."""
        self._dry = True

    def finished(self) -> None:
        """Note the end of a reply: what it taught counts from now on."""
        if self._deltas > 1:
            self._learn()
        self._begin()

    def wait_ms(self, at_s: float) -> float:
        """Say how long a reply must still wait before it may start; zero or less: start now."""
        if self._deltas == 0:
            return self.delay_ms
        return self.delay_ms + self._lowest_ms - (at_s - self._begun_at) * 1000.0
