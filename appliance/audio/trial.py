"""Do frames move? Both cards are open for a second: silence is played, what the microphone hears is dropped.

Responsible for: counting. Nobody hears it; what a person would notice of a card that does not move is what this finds.
Not for: opening the cards (``calibration.background``), or what follows.
"""

from __future__ import annotations

import numpy as np

from appliance.audio.capturer import READS, CapturePcm
from appliance.audio.speaker import Speaker
from appliance.errors import DeviceError

LONG_S = 1.0
PATIENCE_S = 3.0
TURN_S = 0.02  # or a quarter of the smaller ring
AHEAD_S = 0.12
ENOUGH = 0.5  # of the frames of a second: a busy machine may lose some, a card that stands delivers none


class CardsTrial:
    """One trial of two open cards, without a microphone where that is to stay closed. One thread."""

    def __init__(self, capture: CapturePcm | None, speaker: Speaker) -> None:
        self._capture, self._speaker = capture, speaker
        rings_s = [pcm.buffer_frames / pcm.rate for pcm in (capture, speaker.pcm) if pcm is not None]
        self._turn_s = min(TURN_S, *(ring_s / 4 for ring_s in rings_s))
        self._began_at: float | None = None
        self._origin = speaker.position()
        self._captured = 0
        self.recording = capture is not None  # the microphone is open
        self.done = False

    def due_s(self) -> float:
        """Seconds until :meth:`pump` has something to do."""
        return self._turn_s

    def pump(self, now: float) -> None:
        """Move what is there to move; ``now`` is monotonic.

        Raises:
            DeviceError: a card is gone, or does not move.
        """
        if self._began_at is None:
            self._began_at = now
        self._listen()
        while self._speaker.delay() < min(AHEAD_S * self._speaker.rate, self._speaker.pcm.buffer_frames / 2):
            silence = np.zeros(self._speaker.rate // 100, np.int16)
            if self._speaker.write(silence) < len(silence):
                break
        passed_s = now - self._began_at
        heard = self._capture is None or self._captured >= ENOUGH * LONG_S * self._capture.rate
        sounded = self._speaker.position() - self._origin >= ENOUGH * LONG_S * self._speaker.rate
        if passed_s >= LONG_S and heard and sounded:
            self.done = True
        elif passed_s >= PATIENCE_S:
            what = "the microphone delivers nothing" if not heard else "the loudspeaker does not move"
            raise DeviceError(what, hint="unplug it and plug it in again")

    def _listen(self) -> None:
        if self._capture is None:
            return
        for _ in range(READS):
            data = self._capture.read()
            if not data:  # nothing there, or an overrun: what was lost did move
                break
            self._captured += len(data) // self._capture.frame_bytes

    def close(self) -> None:
        """Give the cards back, at any time."""
        self.recording = False
        self._speaker.close()
        if self._capture is not None:
            self._capture.close()
