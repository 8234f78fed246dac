"""When a device may ask its provisioning service: at a press always, by itself rarely and never in step with others.

Responsible for: the policy, one object a device. Pure: times are monotonic seconds and chance is a function, both
given by the caller, so the simulation of a fleet runs this very code. Not for: what is asked, nor the back-off of a
person's own tries within one press (``realtime.websocket``).

- A person who presses is never jittered. Only a quota of this device's own is not asked about again before its
  Retry-After, or for half a minute: the answer is known, and asking would cost what others need; but its owner may
  have raised it. ``overloaded`` is everybody's: each press tries once.
- What the device does by itself after a failure waits a minute and a random part of five more first: a hundred
  thousand devices that lost one service must not come back at once. Each further failure doubles that, up to an
  hour; after :data:`TRIES` of them only a press asks again. It never asks around the clock.
- A Retry-After comes on top: it says when the service may be asked at all, the jitter spreads those who heard it.
"""

from __future__ import annotations

from collections.abc import Callable

SPREAD_S = 300.0
EARLIEST_S = (
    60.0  # who asks by itself looks here once a minute: what were due before the first look would pile up there
)
LONGEST_SPREAD_S = 3600.0
LONGEST_HELD_S = 30.0
TRIES = 8


class Pacing:
    """One device's memory of what its service last said."""

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        """``uniform(a, b)`` returns a random number between both, as that of ``random.Random`` does."""
        self._uniform = uniform
        self._held_until_s = float("-inf")
        self._due_s: float | None = None
        self._tries = 0
        self._out = False  # since the last success something failed

    def held_s(self, now_s: float) -> float:
        """Seconds for which not even a press asks the service; 0: it may."""
        return max(0.0, self._held_until_s - now_s)

    def due_s(self) -> float | None:
        """When the device may ask by itself; ``None``: only a person's wish counts."""
        return self._due_s

    def succeeded(self) -> None:
        """The service gave what was asked for."""
        self._held_until_s = float("-inf")
        self._due_s, self._tries, self._out = None, 0, False

    def failed(self, now_s: float, code: str, retry_after_s: float | None = None, *, by_itself: bool = False) -> None:
        """The service could not be reached or refused with ``code``; ``by_itself``: nobody had asked for the try."""
        wait_s = retry_after_s or 0.0
        if code == "quota_exceeded":
            self._held_until_s = now_s + min(wait_s, LONGEST_HELD_S)
        if by_itself:
            self._tries += 1
        if self._tries >= TRIES:
            self._due_s = None
        elif by_itself or not self._out:
            spread_s = min(LONGEST_SPREAD_S, SPREAD_S * 2**self._tries)
            least_s = spread_s / 2 if by_itself else 0.0
            earliest_s = max(wait_s, least_s, EARLIEST_S)
            self._due_s = now_s + earliest_s + self._uniform(0.0, spread_s - least_s)
        elif self._due_s is not None:
            self._due_s = max(self._due_s, now_s + wait_s)
        self._out = True
