"""Which microphone sound may go up: as it was captured, or with the loudspeaker taken out of it, without a seam.

While a reply sounds, and a moment longer, the cleaned sound is given; otherwise the captured one, which is
wider and 8 ms earlier. Both lie on one timeline, so that a change between them neither repeats nor loses a sample.
Responsible for: that timeline, and silence for what is nothing but echo. Not for: when anything goes up (``gate``).
24 kHz out. Owned by the audio thread.
"""

from __future__ import annotations

import numpy as np

from appliance.audio.format import DETECTOR_RATE, SESSION_RATE, Samples
from appliance.audio.processing import BLOCK
from appliance.audio.resample import Resampler

OUT_BLOCK = BLOCK * SESSION_RATE // DETECTOR_RATE


class Upstream:
    """One timeline, counted in samples at 24 kHz since :meth:`reset`."""

    def __init__(self, delay: int) -> None:
        """``delay``: samples at 16 kHz by which cleaned sound is late."""
        self._delay = delay * SESSION_RATE // DETECTOR_RATE
        self._edge = Resampler(DETECTOR_RATE, SESSION_RATE).lookahead * SESSION_RATE // DETECTOR_RATE
        self._noise = np.random.default_rng(1).normal(0.0, 1.0, SESSION_RATE).astype(np.float32)
        self.reset()

    def reset(self) -> None:
        """Begin a timeline: the microphone was opened."""
        self._captured: Samples = np.zeros(0, np.int16)
        self._captured_end = 0  # position after the last captured sample
        self._blocks = 0
        self._given = 0  # position of the next sample to give
        self._convert: Resampler | None = None
        self._cleaned: Samples = np.zeros(0, np.int16)
        self._cleaned_from = 0
        self._stale = 0  # samples to come from the canceller that are older than its last silence

    def capture(self, sound: Samples) -> None:
        """Add captured sound, 24 kHz; all of it is kept until it was given, however late the thread is."""
        self._captured = np.concatenate((self._captured_since(self._given, self._captured_end), sound))
        self._captured_end += len(sound)

    def skip(self) -> None:
        """Note a block of 10 ms that was not cleaned."""
        self._blocks += 1
        self._convert = None

    def clean(self, block: Samples, hush_dbfs: float | None) -> None:
        """Add a cleaned block, 160 samples at 16 kHz, or noise of ``hush_dbfs`` in place of what is only echo."""
        if self._convert is None:
            self._convert = Resampler(DETECTOR_RATE, SESSION_RATE)
            self._cleaned = self._cleaned[:0]
            # What comes first was in the canceller's delay line since it was last used, and blurs into what follows.
            self._stale = self._delay + self._edge
            self._cleaned_from = self._blocks * OUT_BLOCK + self._edge
        self._blocks += 1
        sound = self._convert.process(block if hush_dbfs is None else self._comfort(hush_dbfs))
        fresh = sound[self._stale :]
        self._stale -= len(sound) - len(fresh)
        self._cleaned = np.concatenate((self._cleaned, fresh))

    def _comfort(self, dbfs: float) -> Samples:
        """Noise as loud as the room, so that a listener does not take the silence for a broken line."""
        at = self._blocks * BLOCK % (len(self._noise) - BLOCK)
        noise = self._noise[at : at + BLOCK] * np.float32(32768 * 10 ** (dbfs / 20))
        comfort: Samples = np.clip(np.rint(noise), -32768, 32767).astype(np.int16)
        return comfort

    def take(self, *, cleaned: bool) -> tuple[Samples, int]:
        """Give what follows what was given before, from one of the two; and by how many samples its start is behind.

        Returns the sound (24 kHz) and its age: samples between its first one and the newest captured one's end.
        """
        age = self._captured_end - self._given
        if cleaned:
            before = self._captured_since(self._given, self._cleaned_from)
            sound = np.concatenate((before, self._cleaned[max(0, self._given - self._cleaned_from) :]))
            self._cleaned_from += len(self._cleaned)
            self._cleaned = self._cleaned[:0]
        else:
            sound = self._captured_since(self._given, self._captured_end)
        self._given += len(sound)
        return sound, age

    def _captured_since(self, start: int, stop: int) -> Samples:
        first = self._captured_end - len(self._captured)
        return self._captured[max(0, start - first) : max(0, stop - first)]
