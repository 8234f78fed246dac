"""Endpointing: when a talker began, when the turn is over, and when the last sound of speech was.

A talker is there when 70 % of the last 60 ms are voiced; a turn is over after ``end_of_turn_ms`` without voice.
What is much softer than the talker is not the talker but the room he is in: it keeps no turn open. The true end of
speech is the last voiced block that is not merely the detector's hang-over: it lies within 35 dB of the talker's
peak. Pure; 10 ms blocks, times in monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW = 6  # blocks
ENOUGH = 5  # of them voiced
BELOW_PEAK_DB = 35.0
BELOW_TALKER_DB = 15.0  # a voice so much softer is somebody else's, far away
SOFTER_DB = 0.04  # a block: people get softer by 4 dB a second, not more
BLOCK_S = 0.01


@dataclass(frozen=True, slots=True)
class Onset:
    """A talker began at ``at`` (s)."""

    at: float


@dataclass(frozen=True, slots=True)
class End:
    """A talker ended at ``at`` (s)."""

    at: float


class Endpointer:
    """Turns voiced or unvoiced blocks into onsets and ends."""

    def __init__(self, end_of_turn_ms: int) -> None:
        self._patience_s = end_of_turn_ms / 1000
        self.reset()

    def reset(self) -> None:
        """Begin a new turn."""
        self._window: deque[bool] = deque(maxlen=WINDOW)
        self._talking = False
        self._previous = False
        self._voiced_until = 0.0
        self._peak_dbfs = self._talker_dbfs = -96.0
        self.speech_ended_at: float | None = None

    def began(self, onset_at: float, at: float) -> None:
        """Take over a talker whom another watch found at ``at``, speaking since ``onset_at``."""
        self._talking = True
        self._talker_dbfs = -96.0
        self._voiced_until = self.speech_ended_at = max(onset_at, at)

    def block(self, at: float, voiced: bool, level_dbfs: float) -> Onset | End | None:
        """Take the block of 10 ms that began at ``at``; returns what it decided.

        ``voiced``: it holds a voice; of a block after an onset less is asked than of one before.
        """
        self._window.append(voiced)
        # One voiced block alone is a click; two in a row keep a talker alive.
        sustained = voiced and self._previous
        self._previous = voiced
        self._talker_dbfs -= SOFTER_DB
        if sustained:
            if level_dbfs > self._talker_dbfs - BELOW_TALKER_DB:
                self._voiced_until = at + BLOCK_S
                self._talker_dbfs = max(self._talker_dbfs, level_dbfs)
            if level_dbfs > self._peak_dbfs - BELOW_PEAK_DB:
                self._peak_dbfs = max(self._peak_dbfs, level_dbfs)
                self.speech_ended_at = at + BLOCK_S
        if not self._talking and sum(self._window) >= ENOUGH:
            self._talking = True
            return Onset(at + BLOCK_S - BLOCK_S * len(self._window))
        if self._talking and at + 1.5 * BLOCK_S - self._voiced_until >= self._patience_s:  # half a block for rounding
            self._talking = False
            self._peak_dbfs = self._talker_dbfs = -96.0
            return End(self.speech_ended_at if self.speech_ended_at is not None else self._voiced_until)
        return None
