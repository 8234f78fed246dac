"""What is played to measure the loop: noise in a full form, and a short soft one that nobody minds.

Both end in a hiss that does not repeat itself: its place in the recording is the delay. The full form begins with a
noise that does, on a third of whose frequencies nothing is played. Whatever linear happens between loudspeaker and
microphone, a room included, sounds on the same frequencies; what is heard on the others was made by something that
is not linear. Responsible for: the two forms and their sound. Not for: playing it (``measurement``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy import fft
from numpy.typing import NDArray

from appliance.audio.format import DETECTOR_RATE, Samples, amplified

PERIOD = 4096  # samples at 16 kHz
SETTLING = 2  # periods until a room answers with a repeating sound as well
LOW_HZ, HIGH_HZ = 200, 6000


@dataclass(frozen=True, slots=True)
class Form:
    """One way to measure: silence, periods of a noise that repeats itself, a hiss that does not, silence."""

    name: Literal["full", "quiet"]
    before_s: float
    periods: int
    hiss_s: float
    after_s: float
    rise_s: float  # how softly it comes and goes
    level: float  # RMS at full volume; full scale is 1

    @property
    def before(self) -> int:
        """Samples at 16 kHz before the sound."""
        return int(self.before_s * DETECTOR_RATE)

    @property
    def repeating(self) -> int:
        """Samples at 16 kHz of the noise that repeats itself."""
        return self.periods * PERIOD

    @property
    def sounding(self) -> int:
        """Samples at 16 kHz of the sound."""
        return self.repeating + int(self.hiss_s * DETECTOR_RATE)

    @property
    def after(self) -> int:
        """Samples at 16 kHz after it: the longest delay that is looked for."""
        return int(self.after_s * DETECTOR_RATE)

    @property
    def whole(self) -> int:
        """Samples at 16 kHz in all."""
        return self.before + self.sounding + self.after


FULL = Form("full", before_s=0.5, periods=6, hiss_s=0.6, after_s=0.8, rise_s=0.02, level=0.12)
QUIET = Form("quiet", before_s=0.15, periods=0, hiss_s=0.6, after_s=0.5, rise_s=0.2, level=0.017)  # 17 dB softer


def lines() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the odd multiples of ``1 / PERIOD_S`` in the band: those that sound, and those left out."""
    step = DETECTOR_RATE / PERIOD
    odd = np.arange(int(LOW_HZ / step) | 1, int(HIGH_HZ / step), 2)
    out = np.random.default_rng(5).random(len(odd)) < 1 / 3
    return odd[~out], odd[out]


def sound(form: Form, gain: float) -> Samples:
    """Make the sound at 16 kHz, the same at every call, without the silence around it."""
    rng = np.random.default_rng(7)
    repeating = np.tile(_noise(rng, PERIOD, lines()[0]), form.periods)
    made = np.concatenate((repeating, _noise(rng, int(form.hiss_s * DETECTOR_RATE))))
    rise = np.sin(np.linspace(0.0, np.pi / 2, int(form.rise_s * DETECTOR_RATE))) ** 2
    made[: len(rise)] *= rise
    made[-len(rise) :] *= rise[::-1]
    whole = np.clip(made * form.level * 32767, -32768, 32767).astype(np.int16)
    return amplified(whole, gain)


def _noise(rng: np.random.Generator, count: int, at: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Noise of RMS 1 in the band, or on the given multiples of its lowest frequency."""
    spectrum = np.zeros(count // 2 + 1, np.complex128)
    step = DETECTOR_RATE / count
    chosen = np.arange(int(LOW_HZ / step), int(HIGH_HZ / step)) if at is None else at
    spectrum[chosen] = np.exp(2j * np.pi * rng.random(len(chosen)))
    noise = fft.irfft(spectrum, count)
    level = float(np.sqrt(np.mean(noise**2)))
    return np.asarray(noise / level)
