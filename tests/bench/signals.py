"""Sounds that can be found again: noise for the microphone, a tone for the reply.

Responsible for: making them, and for finding out of a record which sample was where. Not for: when anything
was said (``story``) or what the findings mean (``measure``). Times are in frames of the record's own rate.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.int16]
Floats = NDArray[np.float64]

SESSION_RATE = 24_000
TONE_HZ = 4_962.7  # far above the ear-cons, and a slip by any usual block length shows in its phase
TONE_LEVEL = 0.3
WINDOW_S = 0.001
HOP_S = 0.00025
AUDIBLE = 0.02  # of the tone's level: 34 dB below it
SKIP = 0.6  # rad: a step of the tone's phase that is no longer noise; 0.02 ms
RESAMPLER_EDGE_S = 0.004


class Noise:
    """Noise below 9 kHz, 12 dB below full scale, of which every 5 ms are unlike any other."""

    def __init__(self, seconds: float, card_rate: int, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        white = rng.standard_normal(int(seconds * SESSION_RATE))
        spectrum = np.fft.rfft(white)
        spectrum[np.fft.rfftfreq(len(white), 1 / SESSION_RATE) > 9000] = 0
        shaped = np.fft.irfft(spectrum, len(white))
        self.session: Samples = np.clip(shaped / shaped.std() * 4000, -32768, 32767).astype(np.int16)
        self.card: Samples = soxr.resample(self.session, SESSION_RATE, card_rate, quality="VHQ")
        self.card_rate = card_rate


@functools.cache
def tone(seconds: float) -> bytes:
    """Make a reply that begins and ends at full level: 24 kHz mono s16le."""
    t = np.arange(int(seconds * SESSION_RATE)) / SESSION_RATE
    return (TONE_LEVEL * 32767 * np.cos(2 * np.pi * TONE_HZ * t)).astype("<i2").tobytes()


def locate(got: Samples, said: Samples, card_rate: int) -> tuple[float, float]:
    """Find where ``got`` (24 kHz) begins in ``said`` (card rate), in frames of ``said``, and how alike they are.

    The place may be negative; likeness is a correlation coefficient over the part that they have in common.
    """
    needle = soxr.resample(got.astype(np.float64), SESSION_RATE, card_rate, quality="HQ")
    size = 1 << (len(needle) + len(said)).bit_length()
    spectrum = np.fft.rfft(said.astype(np.float64), size) * np.conj(np.fft.rfft(needle, size))
    at = int(np.argmax(np.fft.irfft(spectrum, size)))
    if at >= len(said):
        at -= size
    mine = needle[max(0, -at) :]
    length = min(len(mine), len(said) - max(0, at))
    a, b = mine[:length], said[max(0, at) :][:length].astype(np.float64)
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return at, float(a @ b) / norm if norm else 0.0


@dataclass(frozen=True)
class Heard:
    """A reply as it sounded. Frames of the record; ``sounded`` leaves the gaps out."""

    first: int
    stop: int
    sounded: float
    gaps: int


def hear(record: Samples, rate: int) -> Heard | None:
    """Find the tone in a record: where it began and ended, and how often it was interrupted or jumped.

    A gap is half a millisecond or more without the tone, or a step in its phase. Exact to about 0.2 ms.
    """
    levels, phases, hop = _demodulate(record, rate)
    loud = np.flatnonzero(levels > 0.25 * TONE_LEVEL * 32767 * 0.5)
    if len(loud) < 20:
        return None
    full = float(np.median(levels[loud]))
    centre = round(WINDOW_S * rate / 2)
    # A window that lies half within the tone shows half of its level: that is the edge.
    halves = np.flatnonzero(levels > full / 2)
    first = int(halves[0]) * hop + centre
    # The end may be a fade: the last window in which the tone can be heard at all.
    audible = np.flatnonzero(levels > full * AUDIBLE)
    stop = int(audible[-1]) * hop + centre
    inside = slice(int(halves[0]), int(audible[-1]) + 1)
    silent = levels[inside] <= full / 2
    silent[-round(0.012 / HOP_S) :] = False  # the fade is no gap
    steady = slice(int(halves[0]) + round(RESAMPLER_EDGE_S / HOP_S), int(halves[-1]) - round(0.012 / HOP_S))
    gaps = _runs(silent) + _jumps(phases[steady], levels[steady] > full * 0.8)
    return Heard(first, stop, stop - first - int(silent.sum()) * hop, gaps)


def _demodulate(record: Samples, rate: int) -> tuple[Floats, Floats, int]:
    """Level (peak value) and phase of the tone in windows ``hop`` frames apart."""
    hop, length = round(HOP_S * rate), round(WINDOW_S * rate)
    t = np.arange(len(record)) / rate
    mixed = record.astype(np.float64) * np.exp(-2j * np.pi * TONE_HZ * t)
    window = np.hanning(length + 2)[1:-1]
    view = np.lib.stride_tricks.sliding_window_view(mixed, length)[::hop]
    found = 2 * (view @ (window / window.sum()))
    return np.abs(found), np.angle(found), hop


def _runs(flags: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(np.diff(flags.astype(np.int8), prepend=0) == 1))


def _jumps(phases: Floats, good: NDArray[np.bool_]) -> int:
    """Count the places where the phase is another than a window before, though the tone is there at both."""
    apart = round(WINDOW_S / HOP_S)
    if len(phases) <= apart:
        return 0
    step = np.angle(np.exp(1j * (phases[apart:] - phases[:-apart])))
    return _runs((np.abs(step) > SKIP) & good[apart:] & good[:-apart])
