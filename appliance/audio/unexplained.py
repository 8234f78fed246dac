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

WINDOW = 512
BANDS = 16
LOWEST_HZ, HIGHEST_HZ = 200.0, 6000.0
DECAY = 0.7  # of the echo's power per hop: 77 dB/s, a room of 0.8 s
LEAK_QUANTILE = 0.75  # the leak is so high that the residue of echo alone is above it in a quarter of the time only
LEAK_STEP_DB = 0.1  # slow: a talker over the echo must not become what is expected of it
FIRST_STEP_DB, FIRST_HOPS = 0.4, 100  # until the leak was learned for two seconds of echo
FIRST_LEAK_DB, LEAST_LEAK_DB, MOST_LEAK_DB = -10.0, -45.0, 10.0
FLOOR_QUANTILE = 0.75  # of the background likewise: babble and music are no steady floor
FLOOR_STEP_DB = 0.05
OVER_FLOOR = 1.6
ECHO_COUNTS = 30.0  # times the floor: fainter echo teaches nothing
LEAST_DB, MOST_DB = -3.0, 12.0  # one band alone must not decide
TINY = 1e-10

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
        self._leak_db = np.full(count, FIRST_LEAK_DB, np.float32)
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
        np.maximum(np.float32(DECAY) * self._echo, echo, out=self._echo)
        floor = residue if self._floor is None else self._floor
        expected = 10 ** (self._leak_db / 10) * self._echo + OVER_FLOOR * floor
        over_db = 10 * np.log10((residue + TINY) / (expected + TINY))
        unexplained_db = float(np.clip(over_db, LEAST_DB, MOST_DB).mean())
        self._floor = _toward(floor, residue)
        self._learn(residue, self._floor)
        return unexplained_db

    def _learn(self, residue: Bands, floor: Bands) -> None:
        leak_db = 10 * np.log10((residue + TINY) / (self._echo + TINY))
        counts = self._echo > ECHO_COUNTS * floor
        step_db = FIRST_STEP_DB if self._learned < FIRST_HOPS else LEAK_STEP_DB
        self._learned += bool(counts.any())
        moved = self._leak_db + step_db * (LEAK_QUANTILE - (leak_db < self._leak_db))
        learned = np.where(counts, moved, self._leak_db)
        self._leak_db = np.clip(learned, LEAST_LEAK_DB, MOST_LEAK_DB).astype(np.float32)


def _toward(floor: Bands, residue: Bands) -> Bands:
    """Move the floor a step towards its quantile of the residue, in the logarithm."""
    step_db = FLOOR_STEP_DB * (FLOOR_QUANTILE - (residue < floor))
    moved: Bands = np.maximum(floor * 10 ** (step_db / 10), TINY).astype(np.float32)  # from zero it could never rise
    return moved
