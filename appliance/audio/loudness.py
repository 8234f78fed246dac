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

Shares = NDArray[np.float32]


class Loudness:
    """Gain of what is written next. Samples are int16 mono at ``rate`` Hz; a share is of the volume."""

    def __init__(self, rate: int, volume: float) -> None:
        self.volume = volume
        self.ducked = False
        self._rate = rate
        self._low = float(10 ** (-DUCK_DB / 20))
        self._fall, self._rise = (np.float32((1 - self._low) / (s * rate)) for s in (FALL_S, RISE_S))  # a sample
        self.reset()

    def duck(self, count: int, start: int) -> Shares:
        """Go down at once: returns the factors for ``count`` samples from position ``start``, which have not sounded.

        Some of them may be ducked, or on their way back, already: none becomes softer than the duck's depth.
        """
        self.ducked = True
        shares = self._written(count, start)
        if count:
            self._share = float(shares[0] + self._fall)  # the first of them is as it was
        wanted = np.minimum(shares, self._coming(count))
        self._note(wanted, start)
        return np.asarray(wanted / shares, np.float32)

    def rise(self) -> None:
        """Come back, smoothly, with what is written from now on."""
        self.ducked = False

    def reset(self) -> None:
        """Be at full volume at once: what was ducked is over."""
        self.ducked = False
        self._share = 1.0  # of the last sample
        self._past: Shares = np.ones(0, np.float32)  # of the last second's samples, from position ``_past_from`` on
        self._past_from = 0

    def __call__(self, samples: Samples, position: int) -> Samples:
        """Scale the next samples to be written, at ``position``."""
        if self._share == 1.0 and not self.ducked:
            return amplified(samples, self.volume)
        shares = self._coming(len(samples))
        self._note(shares, position)
        scaled: Samples = np.clip(samples * (shares * np.float32(self.volume)), -32768, 32767).astype(np.int16)
        return scaled

    def _coming(self, count: int) -> Shares:
        """Go on from the last share, down or up."""
        steps = np.arange(1, count + 1, dtype=np.float32)
        shares = self._share - self._fall * steps if self.ducked else self._share + self._rise * steps
        return np.asarray(np.clip(shares, self._low, 1.0), np.float32)

    def _written(self, count: int, start: int) -> Shares:
        shares = np.ones(count, np.float32)
        first, last = max(start, self._past_from), min(start + count, self._past_from + len(self._past))
        if first < last:
            shares[first - start : last - start] = self._past[first - self._past_from : last - self._past_from]
        return shares

    def _note(self, shares: Shares, position: int) -> None:
        past = self._written(position - self._past_from, self._past_from) if self._past_from < position else shares[:0]
        self._past = np.concatenate((past, shares))[-self._rate :]
        self._past_from = position + len(shares) - len(self._past)
        self._share = float(self._past[-1]) if len(shares) else self._share
