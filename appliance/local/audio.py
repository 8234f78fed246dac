"""Samples: the wire formats, G.711, resampling and loudness.

Responsible for: bytes of a Realtime audio format to 16-bit samples and back. Not for: deciding anything about
sound (``turns``) or understanding it (``speech``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from appliance.local.schema import Json

Samples = NDArray[np.int16]
SILENCE_DBFS = -96.0


@dataclass(frozen=True)
class Sound:
    """Mono 16-bit samples and their rate in Hz."""

    samples: Samples
    rate: int

    @property
    def length_ms(self) -> float:
        """How long it plays, in milliseconds."""
        return len(self.samples) * 1000 / self.rate

    def at(self, rate: int) -> Sound:
        """The same sound at another rate in Hz."""
        if rate == self.rate or len(self.samples) == 0:
            return Sound(self.samples, rate)
        return Sound(soxr.resample(self.samples, self.rate, rate), rate)


def rate_of(form: Json) -> int:
    """The sample rate of a Realtime audio format in Hz."""
    return 24000 if form["type"] == "audio/pcm" else 8000


def decode(data: bytes, form: Json) -> Sound:
    """Wire bytes as samples.

    Raises:
        ValueError: 16-bit audio of an odd number of bytes.
    """
    if form["type"] == "audio/pcm":
        return Sound(np.frombuffer(data, "<i2").astype(np.int16, copy=False), 24000)
    table = _FROM_MU if form["type"] == "audio/pcmu" else _FROM_A
    return Sound(table[np.frombuffer(data, np.uint8)], 8000)


def encode(sound: Sound, form: Json) -> bytes:
    """Samples as wire bytes, resampled to the format's rate."""
    samples = sound.at(rate_of(form)).samples
    if form["type"] == "audio/pcm":
        return samples.astype("<i2", copy=False).tobytes()
    table = _TO_MU if form["type"] == "audio/pcmu" else _TO_A
    return table[samples.astype(np.int32) + 32768].tobytes()


def level_dbfs(samples: Samples) -> float:
    """Root mean square of the samples in dB below full scale, never under ``SILENCE_DBFS``."""
    if len(samples) == 0:
        return SILENCE_DBFS
    power = float(np.mean(np.square(samples.astype(np.float64)))) / 32768.0**2
    return max(SILENCE_DBFS, 10 * float(np.log10(power))) if power > 0 else SILENCE_DBFS


def _mu_law() -> Samples:
    codes = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((((codes & 0x0F) << 3) + 0x84) << ((codes >> 4) & 7)) - 0x84
    return np.where(codes & 0x80, -magnitude, magnitude).astype(np.int16)


def _a_law() -> Samples:
    codes = np.arange(256, dtype=np.int32) ^ 0x55
    segment = (codes >> 4) & 7
    magnitude = ((codes & 0x0F) << 4) + 8
    magnitude = np.where(segment > 0, (magnitude + 0x100) << np.maximum(segment - 1, 0), magnitude)
    return np.where(codes & 0x80, magnitude, -magnitude).astype(np.int16)


def _nearest_code(table: Samples) -> NDArray[np.uint8]:
    """For each 16-bit sample (offset by 32768) the code whose value lies nearest."""
    order = np.argsort(table, kind="stable")
    values = table[order].astype(np.int32)
    samples = np.arange(-32768, 32768, dtype=np.int32)
    borders = (values[1:] + values[:-1] + 1) // 2
    return order[np.searchsorted(borders, samples, side="right")].astype(np.uint8)


_FROM_MU = _mu_law()
_FROM_A = _a_law()
_TO_MU = _nearest_code(_FROM_MU)
_TO_A = _nearest_code(_FROM_A)
