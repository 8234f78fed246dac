"""The processing seam: echo cancellers and voice detectors, by name.

Everything works on blocks of 10 ms at 16 kHz (160 samples, int16 mono). Two closed tables, :data:`PROCESSORS`
and :data:`DETECTORS`, are all there is to choose from. Responsible for: wrapping the libraries. Not for:
deciding about turns (``endpoint``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from appliance.audio.format import DETECTOR_RATE, Samples

BLOCK = DETECTOR_RATE // 100


class Processor(Protocol):
    """Takes the loudspeaker out of the microphone."""

    def __call__(self, near: Samples, far: Samples) -> Samples:
        """Return the near end without the far end; 160 samples each."""


class Detector(Protocol):
    """Says whether a block holds a voice."""

    def __call__(self, block: Samples) -> bool:
        """Return whether there is a voice in 160 samples."""


def untouched(near: Samples, far: Samples) -> Samples:  # noqa: ARG001  # the seam's signature
    """Return the near end as it is: the board cancels its own echo, or there is none."""
    return near


class Aec3:
    """WebRTC's AEC3 (pywebrtc-audio), 0.11 ms per block on x86-64; adapts within half a second."""

    def __init__(self) -> None:
        import pywebrtc_audio

        self._canceller: Any = pywebrtc_audio.EchoCanceller(DETECTOR_RATE, 1, 0)

    def __call__(self, near: Samples, far: Samples) -> Samples:
        """Return the near end without the far end."""
        clean: Samples = self._canceller.process(near, far)
        return clean


class WebrtcDetector:
    """webrtcvad at its strictest, 2 µs per block."""

    def __init__(self) -> None:
        import webrtcvad

        self._vad: Any = webrtcvad.Vad(3)

    def __call__(self, block: Samples) -> bool:
        """Return whether there is a voice in 160 samples."""
        return bool(self._vad.is_speech(block.tobytes(), DETECTOR_RATE))


class EarshotDetector:
    """earshot, 6 µs per block; it wants 256 samples at a time, so its answer may be one block old."""

    FRAME = 256
    SURE = 0.7

    def __init__(self) -> None:
        import earshot

        self._detector: Any = earshot.Detector()
        self._held: Samples = np.zeros(0, np.int16)
        self._voiced = False

    def __call__(self, block: Samples) -> bool:
        """Return whether there is a voice in 160 samples."""
        self._held = np.concatenate((self._held, block))
        while len(self._held) >= self.FRAME:
            self._voiced = self._detector.predict_i16(self._held[: self.FRAME]) >= self.SURE
            self._held = self._held[self.FRAME :]
        return self._voiced


PROCESSORS: dict[str, Callable[[], Processor]] = {"none": lambda: untouched, "aec3": Aec3}
DETECTORS: dict[str, Callable[[], Detector]] = {"webrtc": WebrtcDetector, "earshot": EarshotDetector}
