"""What the loudspeaker sounded at a time: the echo canceller's reference.

Responsible for: finding it in what was written, at 16 kHz, with a steady delay, and silence while the room still
rings after the end. Not for: writing (``player``). Owned by the audio thread.
"""

from __future__ import annotations

import numpy as np

from appliance.audio.format import DETECTOR_RATE, Samples
from appliance.audio.processing import BLOCK
from appliance.audio.resample import Resampler
from appliance.audio.speaker import Speaker

RINGS_S = 1.0  # the last blocks are still being read, the room goes on, and a suspicion has to be decided
OFF_S = 0.003  # a position so far from where it should be is corrected


class FarEnd:
    """Looks into the memory of a loudspeaker. Times are monotonic seconds."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._convert = Resampler(speaker.rate, DETECTOR_RATE)
        self._next: int | None = None  # position
        self._seen: tuple[int, float] | None = None  # the position that sounded at a time

    def __call__(self, at: float, now: float) -> Samples | None:
        """Return the 10 ms at 16 kHz that sounded from ``at`` on; ``None`` when nothing has for a second.

        The position advances by exactly 10 ms a call and is corrected only when it is 3 ms off, so that the
        echo canceller sees a steady delay.
        """
        rate = self._speaker.rate
        if self._speaker.running:
            self._seen = self._speaker.position(), now
        if self._seen is None or at - self._seen[1] > RINGS_S:
            self._seen = self._next = None
            return None
        position, seen_at = self._seen
        wanted = position + round((at - seen_at) * rate)
        if self._next is None or abs(wanted - self._next) > OFF_S * rate:
            self._next = wanted
            self._convert.reset()
        block = self._speaker.sounding(self._next, rate // 100)
        self._next += rate // 100
        out = self._convert.process(block)
        return np.concatenate((np.zeros(BLOCK - len(out), np.int16), out)) if len(out) < BLOCK else out[:BLOCK]
