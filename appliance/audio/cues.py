"""The ear-cons: short sounds that say what the LED says, for those who do not look.

Synthesised once per rate. Rising = your turn, falling = done, low = cannot: they differ in contour and rhythm,
not only in pitch. Responsible for: the sounds. Not for: when they play (``conversation``).
"""

from __future__ import annotations

import numpy as np

from appliance.audio.format import Samples
from appliance.conversation.effects import Sound

# (frequency Hz, start ms, length ms) of each note
Note = tuple[float, int, int]
SCORES: dict[Sound, tuple[Note, ...]] = {
    Sound.LISTENING: ((660.0, 0, 70), (990.0, 50, 90)),
    Sound.SENT: ((880.0, 0, 60), (587.0, 45, 80)),
    Sound.TOO_SHORT: ((440.0, 0, 70), (440.0, 110, 70)),
    Sound.OFFLINE: ((523.0, 0, 140), (415.0, 130, 140), (311.0, 260, 220)),
    Sound.ERROR: ((233.0, 0, 160), (220.0, 190, 160), (208.0, 380, 260)),
    Sound.MUTED: ((392.0, 0, 90), (262.0, 80, 140)),
    Sound.CODE: ((698.0, 0, 150), (880.0, 160, 150), (698.0, 320, 200)),
    Sound.READY: ((523.0, 0, 120), (659.0, 110, 120), (784.0, 220, 260)),
    Sound.TIMER: tuple((note, 700 * k + at, 150) for k in range(3) for note, at in ((1047.0, 0), (1319.0, 160))),
}
PEAK = 0.16  # of full scale, before the volume


def render(sound: Sound, rate: int) -> Samples:
    """Synthesise an ear-con: int16 mono at ``rate`` Hz."""
    notes = SCORES[sound]
    length = max(start + duration for _, start, duration in notes)
    out = np.zeros(rate * length // 1000 + 1)
    for frequency, start, duration in notes:
        tone = _note(frequency, rate * duration // 1000, rate)
        at = rate * start // 1000
        out[at : at + len(tone)] += tone[: len(out) - at]
    return np.clip(out * PEAK * 32767, -32768, 32767).astype(np.int16)


def _note(frequency: float, frames: int, rate: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A soft bell: a fundamental and a little octave, quick rise, exponential fall."""
    t = np.arange(frames) / rate
    wave = np.sin(2 * np.pi * frequency * t) + 0.25 * np.sin(4 * np.pi * frequency * t)
    rise = np.minimum(1.0, t / 0.006)
    fall = np.exp(-3.0 * t / (frames / rate)) * np.minimum(1.0, (frames / rate - t) / 0.012)
    shaped: np.ndarray[tuple[int], np.dtype[np.float64]] = wave * rise * fall
    return shaped
