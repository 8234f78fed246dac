"""One record a turn: what the person waited for, what was lost, what it cost.

Responsible for: collecting measurements and building the ``turn`` record of the contract; times are monotonic
seconds given by the callers. End of speech is the true end, not the end of a silence timer. Not for: deciding
anything.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from appliance.realtime.usage import Tokens, cost_usd

log = logging.getLogger(__name__)
Record = dict[str, object]


@dataclass(slots=True)
class Turn:
    """The measurements of one turn."""

    number: int
    pressed_at: float | None = None
    captured_at: float | None = None
    spoke_until: float | None = None
    first_audio_at: float | None = None
    first_delta_to_dac_ms: float | None = None
    wire_ms: list[float] = field(default_factory=list)
    interrupted_at: float | None = None
    silent_at: float | None = None
    heard_ms: float | None = None
    truncated_at_ms: int | None = None
    tokens: Tokens = field(default_factory=Tokens)
    responses: int = 0
    losses_before: tuple[float, float] = (0, 0.0)  # xruns, dropped ms
    committed: bool = False


class Records:
    """The books of turns. One thread (the event loop)."""

    def __init__(self, publish: Callable[[Record], None], losses: Callable[[], tuple[float, float]]) -> None:
        self._publish = publish
        self._losses = losses
        self._turn: Turn | None = None
        self._interrupted: Turn | None = None
        self._count = 0
        self.model = ""

    def begin(self, pressed_at: float | None) -> None:
        """A turn begins; the one before is over, unless its interruption is still being measured."""
        if self._turn is not None and self._turn.interrupted_at is None:
            self.end()
        self._count += 1
        self._turn = Turn(self._count, pressed_at, losses_before=self._losses())

    def interrupted(self, at: float) -> None:
        """The person interrupted at ``at``; :meth:`silent` follows."""
        self._finish(self._interrupted)
        self._interrupted, self._turn = self._turn, None
        if self._interrupted is not None:
            self._interrupted.interrupted_at = at

    def silent(self, at: float, heard_ms: float, truncated_at_ms: int | None) -> None:
        """The loudspeaker is silent since ``at``."""
        turn, self._interrupted = self._interrupted, None
        if turn is not None:
            turn.silent_at, turn.heard_ms, turn.truncated_at_ms = at, heard_ms, truncated_at_ms
            self._finish(turn)

    def captured(self, at: float) -> None:
        """A block whose first sample was captured at ``at`` is in hand."""
        turn = self._turn
        if turn is not None and turn.captured_at is None:
            # Where the microphone was open already, audio from before the press goes along: nothing was waited for.
            turn.captured_at = max(at, turn.pressed_at or at)

    def sent(self, captured_at: float, sent_at: float) -> None:
        """A frame of microphone audio was handed to the socket."""
        if self._turn is not None:
            self._turn.wire_ms.append((sent_at - captured_at) * 1000)

    def committed(self, spoke_until: float | None) -> None:
        """The turn is complete; speech truly ended at ``spoke_until``."""
        if self._turn is not None:
            self._turn.spoke_until, self._turn.committed = spoke_until, True

    def reply_started(self, pushed_at: float, sounds_at: float) -> None:
        """The first sample of a reply sounds."""
        turn = self._turn
        if turn is not None and turn.first_audio_at is None:
            turn.first_audio_at = sounds_at
            turn.first_delta_to_dac_ms = (sounds_at - pushed_at) * 1000

    def used(self, tokens: Tokens) -> None:
        """A response reported its tokens."""
        turn = self._turn or self._interrupted
        if turn is not None:
            turn.tokens += tokens
            turn.responses += 1

    def heard(self, heard_ms: float) -> None:
        """The reply sounded to its end."""
        if self._turn is not None:
            self._turn.heard_ms = (self._turn.heard_ms or 0.0) + heard_ms

    def end(self) -> None:
        """The turn is over."""
        turn, self._turn = self._turn, None
        self._finish(turn)

    def _finish(self, turn: Turn | None) -> None:
        if turn is None or not (turn.committed or turn.responses or turn.first_audio_at is not None):
            return  # nothing was asked
        record = self._record(turn)
        log.info("turn %s", msgspec.json.encode(record).decode())
        self._publish(record)

    def _record(self, turn: Turn) -> Record:
        xruns, dropped_ms = self._losses()
        return {
            "event": "turn",
            "turn": turn.number,
            "press_to_capture_ms": _between(turn.pressed_at, turn.captured_at),
            "end_of_speech_to_first_audio_ms": _between(turn.spoke_until, turn.first_audio_at),
            "first_delta_to_dac_ms": _rounded(turn.first_delta_to_dac_ms),
            "capture_to_wire_p50_ms": percentile(turn.wire_ms, 50),
            "capture_to_wire_p99_ms": percentile(turn.wire_ms, 99),
            "barge_in_to_silence_ms": _between(turn.interrupted_at, turn.silent_at),
            "heard_ms": _rounded(turn.heard_ms),
            "truncated_at_ms": turn.truncated_at_ms,
            "xruns": int(xruns - turn.losses_before[0]),
            "dropped_ms": round(dropped_ms - turn.losses_before[1], 1),
            "usage": turn.tokens.as_dict() if turn.responses else None,
            "cost_usd": cost_usd(turn.tokens, self.model) if turn.responses else None,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _between(start: float | None, stop: float | None) -> float | None:
    return None if start is None or stop is None else round((stop - start) * 1000, 1)


def percentile(values: list[float], percent: float) -> float | None:
    """Return the nearest-rank percentile, ``None`` of nothing."""
    if not values:
        return None
    ranked = sorted(values)
    return round(ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)], 1)
