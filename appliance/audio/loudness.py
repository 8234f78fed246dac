"""How loud the loudspeaker is from sample to sample: the volume, and the duck under a suspected talker.

Responsible for: gains and their ramps. Not for: when to duck (``listener``) or writing (``player``). Owned by the
audio thread.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from appliance.audio.format import Samples, amplified

DUCK_DB = 18.0  # a talker 20 dB below the echo is about as loud as it then
FALL_S = 0.005
RISE_S = 0.2  # back from a false alarm: smoothly, or the dip is heard twice


class Loudness:
    """Gain of what is written next. Samples are int16 mono at ``rate`` Hz."""

    def __init__(self, rate: int, volume: float) -> None:
        self.volume = volume
        self._rate = rate
        self._low = np.float32(10 ** (-DUCK_DB / 20))
        self._share = np.float32(1.0)  # of the volume, at the next sample
        self._step = np.float32((1.0 - float(self._low)) / (RISE_S * rate))
        self._rises_at: int | None = None  # position at which it began to come back
        self.ducked = False

    def duck(self, count: int, start: int) -> NDArray[np.float32]:
        """Go down at once: returns the factors for ``count`` samples from position ``start``, which have not sounded.

        Some of them may be ducked, or on their way back, already: none becomes softer than the duck's depth.
        """
        shares = self._shares(count, start)
        fall = min(count, int(FALL_S * self._rate))
        wanted = np.full(count, self._low, np.float32)
        wanted[:fall] = np.linspace(shares[0] if count else 1.0, self._low, fall, dtype=np.float32)
        self.ducked, self._share, self._rises_at = True, self._low, None
        factors: NDArray[np.float32] = np.minimum(1.0, wanted / shares)
        return factors

    def _shares(self, count: int, start: int) -> NDArray[np.float32]:
        """Of the volume, with which the samples from position ``start`` on were written."""
        if self._rises_at is None:
            return np.full(count, self._share, np.float32)
        risen = np.arange(start + 1 - self._rises_at, start + 1 - self._rises_at + count, dtype=np.float32)
        shares: NDArray[np.float32] = np.clip(self._low + self._step * risen, self._low, 1.0)
        return shares

    def rise(self) -> None:
        """Come back, smoothly, with what is written from now on."""
        self.ducked = False

    def reset(self) -> None:
        """Be at full volume at once: what was ducked is over."""
        self.ducked = False
        self._share = np.float32(1.0)
        self._rises_at = None

    def __call__(self, samples: Samples, position: int) -> Samples:
        """Scale the next samples to be written, at ``position``."""
        if self._share == 1.0:
            return amplified(samples, self.volume)
        if self.ducked:
            return amplified(samples, self.volume * float(self._share))
        if self._rises_at is None:
            self._rises_at = position
        count = len(samples)
        shares = np.minimum(1.0, self._share + self._step * np.arange(1, count + 1, dtype=np.float32))
        self._share = shares[-1] if count else self._share
        risen: Samples = np.clip(samples * (shares * np.float32(self.volume)), -32768, 32767).astype(np.int16)
        return risen
