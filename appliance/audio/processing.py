"""The processing seam: echo cancellers and voice detectors, by name.

Everything works on blocks of 10 ms at 16 kHz (160 samples, int16 mono). Two closed tables, :data:`PROCESSORS`
and :data:`DETECTORS`, are all there is to choose from. Responsible for: wrapping the libraries and naming their
failures. Not for: what is made of their answers (``ears``, ``bargein``, ``endpoint``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from appliance.audio.format import DETECTOR_RATE, Samples
from appliance.errors import ApplianceError

log = logging.getLogger(__name__)
BLOCK = DETECTOR_RATE // 100


class ProcessorError(ApplianceError):
    """The echo canceller cannot be used: the appliance goes on half duplex."""


class Processor(Protocol):
    """Takes the loudspeaker out of the microphone."""

    cancels: bool  # False: the near end comes back as it is
    delay: int  # samples by which the output is late

    def __call__(self, near: Samples, far: Samples) -> Samples:
        """Return the near end without the far end; 160 samples each.

        Raises:
            ProcessorError: the library failed.
        """


class Detector(Protocol):
    """Says how sure it is that a block holds a voice."""

    def __call__(self, block: Samples) -> float:
        """Return the probability, 0 to 1, of a voice in 160 samples."""


class Untouched:
    """Returns the near end as it is: the board cancels its own echo, or there is none."""

    cancels, delay = False, 0

    def __call__(self, near: Samples, far: Samples) -> Samples:  # noqa: ARG002  # the seam's signature
        """Return the near end."""
        return near


class Aec3:
    """WebRTC's AEC3 (pywebrtc-audio), 0.11 ms per block on x86-64; adapts within half a second.

    Silence as far end passes the near end through, so a room's tail can be
    cancelled after the loudspeaker has stopped.
    """

    cancels, delay = True, 128

    def __init__(self) -> None:
        """Load the library.

        Raises:
            ProcessorError: it is not installed or does not load.
        """
        try:
            import pywebrtc_audio

            self._canceller: Any = pywebrtc_audio.EchoCanceller(DETECTOR_RATE, 1, 0)
        except (ImportError, AttributeError, OSError, RuntimeError, ValueError, TypeError) as error:
            raise ProcessorError(
                f"the echo canceller cannot be loaded ({error})", hint="reinstall the package pywebrtc-audio"
            ) from error

    def __call__(self, near: Samples, far: Samples) -> Samples:
        """Return the near end without the far end."""
        try:
            clean: Samples = self._canceller.process(near, far)
        except (RuntimeError, ValueError, TypeError, MemoryError) as error:
            raise ProcessorError(f"the echo canceller failed ({error})", hint="restart the appliance") from error
        if len(clean) != len(near):
            raise ProcessorError(f"the echo canceller gave {len(clean)} samples", hint="restart the appliance")
        return clean


class WebrtcDetector:
    """webrtcvad at its strictest, 2 µs per block; it knows only yes and no."""

    def __init__(self) -> None:
        import webrtcvad

        self._vad: Any = webrtcvad.Vad(3)

    def __call__(self, block: Samples) -> float:
        """Return 1 for a voice in 160 samples, else 0."""
        return float(self._vad.is_speech(block.tobytes(), DETECTOR_RATE))


class EarshotDetector:
    """earshot, 6 µs per block; it wants 256 samples at a time, so its answer may be one block old."""

    FRAME = 256

    def __init__(self) -> None:
        import earshot

        self._detector: Any = earshot.Detector()
        self._held: Samples = np.zeros(0, np.int16)
        self._probability = 0.0

    def __call__(self, block: Samples) -> float:
        """Return the probability of a voice in the newest 256 samples."""
        self._held = np.concatenate((self._held, block))
        while len(self._held) >= self.FRAME:
            self._probability = float(self._detector.predict_i16(self._held[: self.FRAME]))
            self._held = self._held[self.FRAME :]
        return self._probability


PROCESSORS: dict[str, Callable[[], Processor]] = {"none": Untouched, "aec3": Aec3}
DETECTORS: dict[str, Callable[[], Detector]] = {"webrtc": WebrtcDetector, "earshot": EarshotDetector}


def usable(name: str) -> tuple[Processor, str]:
    """Make an echo canceller; one that cannot be used costs full duplex, not the appliance, and is told in words."""
    try:
        return PROCESSORS[name](), ""
    except ProcessorError as error:
        log.error("half duplex: %s", error)
        return Untouched(), str(error)
