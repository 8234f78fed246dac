"""From the raw edges of one button to the facts of the conversation.

Responsible for: debouncing, telling a press that is held, and for how long, from a short one, a button that is stuck.
Pure: time comes in (seconds of a monotonic clock that began when the machine was switched on, as Linux's does). Not
for: what a gesture means (``conversation``) or where edges come from (GPIO line, space bar, control socket).

A press or release is accepted at once, on its leading edge. For ``debounce_ms`` afterwards further edges only
update the remembered level; when that window ends and the level differs from what was said last, the missing
edge is told then, with the time at which the level really changed.
"""

from __future__ import annotations

from collections.abc import Callable

from appliance.conversation.events import (
    FORGET_FROM_MS,
    FORGET_UNTIL_MS,
    SETUP_MS,
    Event,
    TalkHeld,
    TalkHeldLong,
    TalkHeldOn,
    TalkHeldOut,
    TalkPressed,
    TalkReleased,
)

STUCK_MS = 60_000
FLOAT_S = 1e-6  # sums of floats: an edge at the very moment of a deadline comes after it
FRESH_S = 120.0  # after the machine was switched on the long gestures count in every situation
FOREVER = float("inf")
LONGER: tuple[tuple[int, Callable[[float], Event]], ...] = (
    (SETUP_MS, lambda at_s: TalkHeldLong(fresh=at_s < FRESH_S)),
    (FORGET_FROM_MS, lambda _: TalkHeldOn()),
    (FORGET_UNTIL_MS, lambda _: TalkHeldOut()),
)


class Gestures:
    """The debounced button: presses and releases strictly alternate, however bad the contact is.

    Use: feed :meth:`edge` whatever the line does; when :attr:`deadline_s` has passed, call :meth:`expire`.
    ``captured_ms`` is how much audio the present turn holds; it goes into the release that it is told with.

    Raises:
        ValueError: ``hold_ms`` does not leave room for ``debounce_ms``, or exceeds the limit of a stuck button.
    """

    def __init__(self, hold_ms: int, debounce_ms: int = 20) -> None:
        if not 0 <= debounce_ms < hold_ms < STUCK_MS:
            raise ValueError(f"need 0 <= debounce_ms ({debounce_ms}) < hold_ms ({hold_ms}) < {STUCK_MS}")
        self._hold_ms = hold_ms
        self._debounce_s = debounce_ms / 1000
        self._level = False  # what the line says
        self._level_since_s = -FOREVER
        self._down = False  # what was told
        self._down_since_s = -FOREVER
        self._held = False
        self._longer = 0  # how many of LONGER were told
        self._stuck = False
        self._window_end_s = -FOREVER

    @property
    def stuck(self) -> bool:
        """True from the release that was told after 60 s until the button is really up."""
        return self._stuck

    @property
    def deadline_s(self) -> float | None:
        """When to call :meth:`expire` next; None: nothing happens without an edge."""
        due_s = min(self._level_due_s, self._held_due_s, self._longer_due_s, self._stuck_due_s)
        return None if due_s == FOREVER else due_s

    @property
    def _level_due_s(self) -> float:
        """End of the debounce window, if the line then says something that was not told."""
        unsaid = not self._level if self._stuck else self._level != self._down
        return self._window_end_s if unsaid else FOREVER

    @property
    def _held_due_s(self) -> float:
        return self._down_since_s + self._hold_ms / 1000 if self._down and not self._held else FOREVER

    @property
    def _longer_due_s(self) -> float:
        if not self._held or not self._down or self._longer == len(LONGER):
            return FOREVER
        return self._down_since_s + LONGER[self._longer][0] / 1000

    @property
    def _stuck_due_s(self) -> float:
        return self._down_since_s + STUCK_MS / 1000 if self._down else FOREVER

    def edge(self, pressed: bool, at_s: float, captured_ms: int) -> list[Event]:
        """Tell that the line changed to ``pressed`` at ``at_s``; that may lie before the last ``expire``.

        An edge to the level the line already has is ignored: it was repeated, or never was one.
        """
        at_s = max(at_s, self._level_since_s)
        events = self.expire(at_s, captured_ms)
        if pressed == self._level:
            return events
        self._level = pressed
        self._level_since_s = at_s
        if self._stuck:
            self._window_end_s = at_s + self._debounce_s  # it is really up when it stays up
        elif at_s >= self._window_end_s:
            events.append(self._tell(captured_ms))
        return events

    def expire(self, at_s: float, captured_ms: int) -> list[Event]:
        """Tell what became due up to ``at_s``, in the order in which it did."""
        events: list[Event] = []
        while (due_s := self.deadline_s) is not None and due_s <= at_s + FLOAT_S:
            if due_s == self._level_due_s:
                if self._stuck:
                    self._stuck = False
                else:
                    events.append(self._tell(captured_ms))
            elif due_s == self._held_due_s:
                self._held = True
                events.append(TalkHeld())
            elif due_s == self._longer_due_s:
                events.append(LONGER[self._longer][1](due_s))
                self._longer += 1
            else:
                self._down = False
                self._stuck = True
                events.append(TalkReleased(STUCK_MS, captured_ms))
        return events

    def _tell(self, captured_ms: int) -> Event:
        """Accept the level of the line as a press or a release that happened when the level changed."""
        self._down = self._level
        self._window_end_s = self._level_since_s + self._debounce_s
        if self._down:
            self._down_since_s = self._level_since_s
            self._held, self._longer = False, 0
            return TalkPressed()
        held_ms = round((self._level_since_s - self._down_since_s) * 1000)
        # Rounding, or an edge that arrives after the deadline it precedes, must not contradict TalkHeld.
        held_ms = max(held_ms, self._hold_ms) if self._held else min(held_ms, self._hold_ms - 1)
        return TalkReleased(held_ms, captured_ms)
