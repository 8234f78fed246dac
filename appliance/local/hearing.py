"""The input audio buffer: what the user has said and not yet committed.

Responsible for: keeping appended samples, their place in the session's time, and the turn detector's view of
them. Not for: events or items (``session``).
"""

from __future__ import annotations

import numpy as np

from appliance.local.audio import Samples, Sound, decode, rate_of
from appliance.local.schema import Json
from appliance.local.turns import TurnDetector, VoiceStarted, VoiceStopped

MIN_COMMIT_MS = 100
_UNSPOKEN_MS = 30_000  # with turn detection, so much audio without speech is kept for a manual commit


class InputBuffer:
    """Samples since the last commit or clear; times are milliseconds of all audio ever appended."""

    def __init__(self, form: Json, turn_detection: Json | None) -> None:
        self._format = form
        self._chunks: list[Samples] = []
        self._size = 0
        self._begin_ms = 0.0
        self._settings = turn_detection
        self._detector = self._new_detector()

    def configure(self, form: Json, turn_detection: Json | None) -> None:
        """Take a new format and turn detection; what is buffered is kept, a turn under way is not."""
        if form != self._format:
            kept = self._sound().at(rate_of(form)).samples
            self._chunks, self._size = [kept], len(kept)
        if form != self._format or turn_detection != self._settings:
            self._format, self._settings = form, turn_detection
            self._detector = self._new_detector()

    @property
    def length_ms(self) -> float:
        """How much audio is buffered."""
        return self._size * 1000 / rate_of(self._format)

    @property
    def begin_ms(self) -> float:
        """Where the buffered audio begins."""
        return self._begin_ms

    @property
    def end_ms(self) -> float:
        """How much audio was ever appended."""
        return self._begin_ms + self.length_ms

    @property
    def speaking(self) -> bool:
        """Whether the turn detector is inside a turn."""
        return self._detector is not None and self._detector.speaking

    def append(self, data: bytes) -> list[VoiceStarted | VoiceStopped]:
        """Take wire bytes; answers what the turn detector found in them.

        Raises:
            ValueError: 16-bit audio of an odd number of bytes.
        """
        samples = decode(data, self._format).samples
        self._chunks.append(samples)
        self._size += len(samples)
        if self._detector is None:
            return []
        facts = self._detector.feed(samples)
        if not facts and not self._detector.speaking and self.length_ms > 2 * _UNSPOKEN_MS:
            self.take(self.end_ms - _UNSPOKEN_MS)
        return facts

    def take(self, until_ms: float | None = None) -> Sound:
        """Remove and return everything before ``until_ms`` (default: all)."""
        sound = self._sound()
        cut = self._index(until_ms) if until_ms is not None else self._size
        self._chunks, self._size = [sound.samples[cut:]], self._size - cut
        self._begin_ms += cut * 1000 / sound.rate
        return Sound(sound.samples[:cut], sound.rate)

    def take_turn(self, start_ms: float, end_ms: float) -> Sound:
        """Remove everything before ``end_ms`` and return the part from ``start_ms`` on."""
        self.take(start_ms)
        return self.take(end_ms)

    def forget_turn(self) -> None:
        """Make the turn detector start afresh: the audio it was following is gone."""
        self._detector = self._new_detector()

    def _sound(self) -> Sound:
        samples = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.int16)
        self._chunks = [samples]
        return Sound(samples, rate_of(self._format))

    def _index(self, at_ms: float) -> int:
        return min(self._size, max(0, round((at_ms - self._begin_ms) * rate_of(self._format) / 1000)))

    def _new_detector(self) -> TurnDetector | None:
        if self._settings is None:
            return None
        return TurnDetector(self._settings, rate=rate_of(self._format), position_ms=self.end_ms)
