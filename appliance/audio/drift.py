"""How fast the loudspeaker's clock runs by the microphone's, learned from noisy readings of where it is.

Two crystals differ by up to some 200 ppm. A reading says how far the loudspeaker has come by the microphone's time,
to within the step of the card's position (1 ms and more on USB) and whatever kept the thread from its second look
at the clock. Readings are averaged without their extremes, and a Kalman filter draws the line through the averages:
at first it is the least-squares line, later one with a memory of a minute or two, for crystals follow the weather.
Responsible for: the line and how sure it is. Not for: reading along it (``reference``). Pure; seconds are arguments.
"""

from __future__ import annotations

from math import sqrt

READINGS = 24  # to an average: half a second, for the thread takes one a turn
PRIOR_PPM = 150.0  # of a pair of crystals never heard of
REPORTED_PPM = 20.0  # a rate not known better than this is not told
KEPT_PPM = 6.0  # a rate not known better than this is not worth keeping
RECALLED_PPM = 15.0  # what is left of it after a night; other cards of the same name take a minute to be believed
WANDER_PPM = 0.1  # of the rate, in one second
SLIP_S = 10e-6  # of the offset, in one second
FIRST_S = 0.5e-3  # what one reading alone is good for
NOISE_S = 0.1e-3  # of an average, before it was measured
LEAST_NOISE_S = 20e-6


class Drift:
    """The line ``ahead = offset + rate * time``, all by the microphone's clock, in seconds.

    The offset is new with every start of the loudspeaker (:meth:`begin`); the rate belongs to the pair of cards
    and outlives players, so the owner of the cards keeps this object. One thread.
    """

    def __init__(self, recalled_ppm: float | None = None) -> None:
        """``recalled_ppm`` is what :attr:`worth_keeping_ppm` was in an earlier life of the same cards."""
        self.rate = (recalled_ppm or 0.0) * 1e-6  # 1e-6 is one ppm; positive: the loudspeaker is the faster one
        self.rate_sd = (PRIOR_PPM if recalled_ppm is None else RECALLED_PPM) * 1e-6
        self.offset_s = 0.0
        self.offset_sd_s = FIRST_S
        self._covariance = 0.0
        self._noise = NOISE_S**2
        self._readings: list[float] = []
        self._since_s = self._at_s = 0.0

    @property
    def ppm(self) -> float | None:
        """The loudspeaker's clock against the microphone's in ppm, ``None`` while it is not known to 20 ppm."""
        return self.rate * 1e6 if self.rate_sd < REPORTED_PPM * 1e-6 else None

    @property
    def worth_keeping_ppm(self) -> float | None:
        """The same once it is known well enough to be a help after a restart."""
        return self.rate * 1e6 if self.rate_sd < KEPT_PPM * 1e-6 else None

    def begin(self) -> None:
        """Begin a new line at time 0 with an offset near 0; what is known of the rate stays."""
        self._readings.clear()
        self._since_s = self._at_s = 0.0
        self.offset_s, self.offset_sd_s, self._covariance = 0.0, FIRST_S, 0.0

    def read(self, at_s: float, ahead_s: float) -> bool:
        """Take a reading, ``at_s`` after the line began; returns whether the line moved."""
        if not self._readings:
            self._since_s = at_s
        self._readings.append(ahead_s)
        if len(self._readings) < READINGS:
            return False
        middle = sorted(self._readings)[READINGS // 4 : -READINGS // 4]
        self._readings.clear()
        self._update((self._since_s + at_s) / 2, sum(middle) / len(middle))
        return True

    def ahead_s(self, at_s: float) -> float:
        """Return the line's value at ``at_s``."""
        return self.offset_s + self.rate * (at_s - self._at_s)

    def _update(self, at_s: float, ahead_s: float) -> None:
        """One step of a Kalman filter with the state (offset, rate)."""
        passed_s, self._at_s = at_s - self._at_s, at_s
        offset, both, rate = self.offset_sd_s**2, self._covariance, self.rate_sd**2
        offset += passed_s * (2 * both + passed_s * rate + SLIP_S**2)
        both += passed_s * rate
        rate += passed_s * (WANDER_PPM * 1e-6) ** 2
        expected_s = self.offset_s + self.rate * passed_s
        surprise_s, total = ahead_s - expected_s, offset + self._noise
        self.offset_s = expected_s + offset / total * surprise_s
        self.rate += both / total * surprise_s
        share = self._noise / total
        self._noise += 0.05 * (min(surprise_s**2, 9 * total) * share - self._noise)
        self._noise = max(self._noise, LEAST_NOISE_S**2)
        self.offset_sd_s = sqrt(offset * share)
        self.rate_sd = sqrt(max(0.0, rate - both * both / total))
        self._covariance = both * share
