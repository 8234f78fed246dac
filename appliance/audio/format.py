"""Sample formats: what cards speak, and the one format the rest of the appliance speaks.

Responsible for: device bytes <-> int16 arrays, channel choice, gain. The session speaks 24 kHz mono s16le, the
detectors 16 kHz. Not for: rates (``resample``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
SESSION_RATE = 24_000
DETECTOR_RATE = 16_000
BYTES_PER_FRAME = {"S16_LE": 2, "S24_3LE": 3, "S24_LE": 4, "S32_LE": 4, "FLOAT_LE": 4}


def from_device(data: bytes, sample_format: str, channels: int) -> Samples:
    """Decode interleaved device bytes to int16 of shape (frames, channels)."""
    match sample_format:
        case "S16_LE":
            flat = np.frombuffer(data, "<i2")
        case "S32_LE":
            flat = np.frombuffer(data, "<i2")[1::2]
        case "S24_LE":
            flat = (np.frombuffer(data, "<i4") << 8 >> 16).astype(np.int16)
        case "S24_3LE":
            flat = np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(-1, 3)[:, 1:]).view("<i2").ravel()
        case "FLOAT_LE":
            flat = np.clip(np.frombuffer(data, "<f4") * 32768.0, -32768, 32767).astype(np.int16)
        case _:
            raise ValueError(sample_format)
    return flat.reshape(-1, channels)


def to_device(mono: Samples, sample_format: str, channels: int) -> bytes:
    """Encode mono int16 to interleaved device bytes, the same on every channel."""
    wide = mono if channels == 1 else np.repeat(mono, channels)
    match sample_format:
        case "S16_LE":
            return wide.astype("<i2", copy=False).tobytes()
        case "S32_LE":
            return (wide.astype("<i4") << 16).tobytes()
        case "S24_LE":
            return (wide.astype("<i4") << 8).tobytes()
        case "S24_3LE":
            return (wide.astype("<i4") << 16).view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
        case "FLOAT_LE":
            return (wide.astype("<f4") / 32768.0).tobytes()
        case _:
            raise ValueError(sample_format)


def mono_of(frames: Samples, microphones: Sequence[int]) -> Samples:
    """Choose the microphone channels of an array; several are averaged (delay-and-sum, broadside)."""
    if len(microphones) == 1:
        return np.ascontiguousarray(frames[:, microphones[0]])
    chosen: Samples = frames[:, list(microphones)].mean(axis=1).astype(np.int16)
    return chosen


def amplified(samples: Samples, gain: float) -> Samples:
    """Scale by ``gain``; full scale is the limit."""
    if gain == 1.0:
        return samples
    scaled: Samples = np.clip(samples * np.float32(gain), -32768, 32767).astype(np.int16)
    return scaled


def mixed(one: Samples, other: Samples) -> Samples:
    """Add two sounds of equal length; full scale is the limit."""
    total: Samples = np.clip(one.astype(np.int32) + other, -32768, 32767).astype(np.int16)
    return total


def level_dbfs(samples: Samples) -> float:
    """Measure the RMS level of int16 samples in dBFS; silence is -96."""
    if len(samples) == 0:
        return -96.0
    wide = samples.astype(np.float32)
    power = float(np.dot(wide, wide)) / len(wide)
    return max(-96.0, 10.0 * float(np.log10(max(power, 1e-9))) - 90.3)
