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
        self.ducked = False

    def duck(self, count: int) -> NDArray[np.float32]:
        """Go down at once: returns the factors for the ``count`` samples that are written but have not sounded."""
        self.ducked = True
        fall = min(count, int(FALL_S * self._rate))
        factors = np.full(count, self._low, np.float32)
        factors[:fall] = np.linspace(1.0, self._low, fall, dtype=np.float32)
        self._share = self._low
        return factors

    def rise(self) -> None:
        """Come back, smoothly, with what is written from now on."""
        self.ducked = False

    def reset(self) -> None:
        """Be at full volume at once: what was ducked is over."""
        self.ducked = False
        self._share = np.float32(1.0)

    def __call__(self, samples: Samples) -> Samples:
        """Scale the next samples to be written."""
        if self._share == 1.0:
            return amplified(samples, self.volume)
        if self.ducked:
            return amplified(samples, self.volume * float(self._share))
        count = len(samples)
        step = (1.0 - float(self._low)) / (RISE_S * self._rate)
        shares = np.minimum(1.0, self._share + step * np.arange(1, count + 1, dtype=np.float32))
        self._share = shares[-1] if count else self._share
        risen: Samples = np.clip(samples * (shares * np.float32(self.volume)), -32768, 32767).astype(np.int16)
        return risen
