"""A small room in blocks: a loudspeaker's echo and a talker, at 16 kHz. Not for: the acoustic bench, which is exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from appliance.audio.format import Samples
from tests.audio.recordings import recording

Signal = NDArray[np.float64]
NOISE = 8.0  # of the room, rms of int16


def path(gain: float = 0.5, seed: int = 1, delay: int = 120, length: int = 1200) -> Signal:
    """An impulse response: a direct sound after ``delay`` samples and a decay of 60 dB in 200 ms."""
    decay = np.exp(-6.9 * np.arange(length) / 3200)
    response = np.zeros(delay + length)
    response[delay:] = np.random.default_rng(seed).normal(0, 0.08, length) * decay
    response[delay] = 1.0
    return gain * response


def reply(seconds: float) -> Samples:
    """Somebody who speaks without a long pause."""
    names = ("0870", "0880", "0890", "0930")
    parts = [recording(f"librivox/sense_and_sensibility_01_austen_64kb-{name}.wav") for name in names]
    return np.concatenate(parts)[: int(seconds * 16_000)]


def echo_of(far: Samples, response: Signal) -> Signal:
    return np.convolve(far.astype(float), response)[: len(far)]


def noise(count: int, rms: float = NOISE, seed: int = 5) -> Signal:
    return np.random.default_rng(seed).normal(0, rms, count)


def power(sound: NDArray[np.floating]) -> float:
    return float(np.mean(np.square(sound.astype(float))))


def as_loud_as(sound: Signal, other: Signal, db: float) -> Signal:
    """``sound`` so many dB above (or below) ``other``."""
    return np.asarray(sound * np.sqrt(power(other) / power(sound)) * 10 ** (db / 20))


def int16(sound: Signal) -> Samples:
    return np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
