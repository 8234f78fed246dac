"""How much louder the linear canceller's residue is than the echo alone can make it: the mark of a talker.

In each band the residue is compared with what was seen of it when the echo was as loud: the echo as understood, its
decay in the room, a leak learned per band, the noise floor. Responsible for: that comparison. Not for: filtering
(``linear``) or deciding (``bargein``). numpy; owned by the audio thread.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from appliance.audio.format import DETECTOR_RATE
from appliance.audio.linear import HOP, Sound

QUANTILE = 0.75  # leak and floor are so high that what they tell of is above them in a quarter of the time only


def _steps(step_db: float) -> tuple[np.float32, np.float32]:
    """Make the factors by which a quantile falls and rises, so that it is crossed as often as it is to be."""
    return np.float32(10 ** (step_db * (QUANTILE - 1) / 10)), np.float32(10 ** (step_db * QUANTILE / 10))


WINDOW = 512
BANDS = 16
LOWEST_HZ, HIGHEST_HZ = 200.0, 6000.0
DECAY = np.float32(0.7)  # of the echo's power per hop: 77 dB/s, a room of 0.8 s
LEAK_STEPS = _steps(0.1)  # slow: a talker over the echo must not become what is expected of it
FIRST_STEPS, FIRST_HOPS = _steps(0.4), 100  # until the leak was learned for two seconds of echo
FIRST_LEAK, LEAST_LEAK, MOST_LEAK = (np.float32(10 ** (db / 10)) for db in (-10.0, -45.0, 10.0))
FLOOR_STEPS = _steps(0.05)  # babble and music are no steady floor
OVER_FLOOR = np.float32(1.6)
ECHO_COUNTS = np.float32(30.0)  # times the floor: fainter echo teaches nothing
LEAST_DB, MOST_DB = -3.0, 12.0  # one band alone must not decide
TINY = np.float32(1e-10)

Bands = NDArray[np.float32]


class Unexplained:
    """The mean over bands of residue against expectation, in dB; about 12 µs per 10 ms on x86-64."""

    def __init__(self) -> None:
        edges = np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1) / DETECTOR_RATE * WINDOW
        self._edges = np.unique(np.round(edges).astype(np.intp))
        self._widths = (np.diff(self._edges) * WINDOW).astype(np.float32)
        count = len(self._widths)
        self._taper = np.hanning(WINDOW).astype(np.float32)
        self._frames = np.zeros((2, WINDOW), np.float32)
        self._echo = np.zeros(count, np.float32)
        self._floor: Bands | None = None
        self._leak = np.full(count, FIRST_LEAK, np.float32)
        self._learned = 0  # hops

    def resume(self) -> None:
        """Go on after a pause in which nothing sounded."""
        self._frames[:] = 0
        self._echo[:] = 0

    def __call__(self, residue: Sound, understood: Sound) -> float:
        """Take ``HOP`` samples of each; returns dB: about -2 of echo alone, above 2 when somebody talks."""
        self._frames[:, :-HOP] = self._frames[:, HOP:]
        self._frames[0, -HOP:], self._frames[1, -HOP:] = residue, understood
        spectra = np.fft.rfft(self._frames * self._taper)
        power = np.square(spectra.real) + np.square(spectra.imag)
        bands = np.add.reduceat(power, self._edges, axis=1)[:, :-1] / self._widths
        return self._compare(bands[0], bands[1])

    def _compare(self, residue: Bands, echo: Bands) -> float:
        np.maximum(DECAY * self._echo, echo, out=self._echo)
        floor = residue if self._floor is None else self._floor
        leaked = self._leak * self._echo
        over = np.log10((residue + TINY) / (leaked + OVER_FLOOR * floor + TINY))
        np.minimum(np.maximum(over, LEAST_DB / 10, out=over), MOST_DB / 10, out=over)
        self._floor = np.maximum(floor * np.where(residue < floor, *FLOOR_STEPS), TINY)  # from zero it could never rise
        self._learn(residue, leaked, self._floor)
        mean_db = 10 * float(over.sum()) / len(over)
        return min(max(mean_db, LEAST_DB), MOST_DB)  # a sum of 32 bits rounds

    def _learn(self, residue: Bands, leaked: Bands, floor: Bands) -> None:
        counts = self._echo > ECHO_COUNTS * floor
        if not counts.any():
            return
        steps = FIRST_STEPS if self._learned < FIRST_HOPS else LEAK_STEPS
        self._learned += 1
        moved = np.where(counts, self._leak * np.where(residue < leaked, *steps), self._leak)
        self._leak = np.minimum(np.maximum(moved, LEAST_LEAK), MOST_LEAK)
