"""What one 10 ms block of microphone sound tells: the echo taken out, and the evidence for a talker in what is left.

Responsible for: running echo canceller and detector, levels, the noise floor and the ratio of what the canceller
left over (the ratio gate of the audio reference). Not for: deciding anything (``bargein``, ``endpoint``). No
automatic gain anywhere: it would make residual echo as loud as a voice. Owned by the audio thread.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import log10

import numpy as np

from appliance.audio.format import Samples, level_dbfs
from appliance.audio.linear import HOP, LinearCanceller
from appliance.audio.processing import BLOCK, Detector, Processor
from appliance.audio.sensitivity import Sensitivity
from appliance.audio.unexplained import LEAST_DB, Unexplained

FAR_ACTIVE_DBFS = -60.0  # a far end below this makes no echo that matters
FAR_HANG = 30  # blocks for which the room goes on after the far end fell silent
SMOOTHING = 0.75  # of the energies behind the ratio, per block
FLOOR_PARTS, FLOOR_PART = 8, 40  # the floor is the lowest of 8 minima over 0.4 s each: words have gaps within 3 s
SILENCE_DBFS = -96.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one block. Levels in dBFS, differences in dB."""

    voice: float  # the detector's probability, on the cleaned block
    level_dbfs: float  # of the cleaned block
    floor_dbfs: float  # of the room, as the cleaned blocks show it
    left_db: float  # smoothed energy of the cleaned against the raw microphone: 0 is untouched, -40 all echo
    unexplained_db: float  # residue of the linear canceller against what echo alone leaves: above 2 somebody talks
    misled: bool  # the linear canceller is out of step with the echo: nothing it says is evidence
    jumped: bool  # the same while the echo is so loud that no talker can have caused it
    far_active: bool  # the loudspeaker sounds, or did so recently enough for the room to go on


class NoiseFloor:
    """The level of the room between words: minimum statistics over about three seconds (Martin, 2001)."""

    def __init__(self) -> None:
        self._minima: deque[float] = deque(maxlen=FLOOR_PARTS)
        self._present = 0.0
        self._smoothed: float | None = None
        self._count = 0

    @property
    def dbfs(self) -> float:
        """The floor; silence before anything was heard."""
        if self._count == 0 and not self._minima:
            return SILENCE_DBFS
        return min((*self._minima, self._present)) if self._count else min(self._minima)

    def hear(self, level_dbfs: float) -> None:
        """Take the level of the next 10 ms."""
        self._smoothed = level_dbfs if self._smoothed is None else 0.8 * self._smoothed + 0.2 * level_dbfs
        self._present = self._smoothed if self._count == 0 else min(self._present, self._smoothed)
        self._count += 1
        if self._count == FLOOR_PART:
            self._minima.append(self._present)
            self._count = 0


class Ears:
    """Echo canceller, detector and meters, kept from turn to turn: what they have learned of the room stays."""

    def __init__(self, processor: Processor, detector: Detector) -> None:
        self.processor = processor
        self._detector = detector
        self._floor = NoiseFloor()
        self._sensitivity = Sensitivity()
        self._raw_energy = self._clean_energy = 0.0
        self._far_silent = FAR_HANG  # blocks since the far end sounded
        self._linear, self._unexplained = LinearCanceller(), Unexplained()
        self._hop = np.zeros((2, HOP), np.float32)  # near and far of the hop that is being collected
        self._collected = 0
        self._sounding = False
        self._unexplained_db = LEAST_DB

    def block(self, near: Samples, far: Samples | None, *, found: bool = False) -> tuple[Samples, Evidence]:
        """Take 160 samples of the microphone and what sounded meanwhile (``None``: nothing for long).

        ``found``: somebody is known to talk over it, and nobody asks any more whether it is the echo.

        Returns the near end without the far end, and the evidence.

        Raises:
            ProcessorError: the echo canceller failed.
        """
        if far is not None and not self._sounding:
            self._resume()
        self._sounding = far is not None
        clean = near if far is None else self.processor(near, far)
        if far is not None and self.processor.cancels:
            self._collect(near, far)
        self._far_silent = 0 if far is not None and level_dbfs(far) > FAR_ACTIVE_DBFS else self._far_silent + 1
        level = level_dbfs(clean)
        self._floor.hear(level)
        floor = self._floor.dbfs
        if far is None:
            self._sensitivity.know(floor)
        raw = level if clean is near else level_dbfs(near)
        self._raw_energy = SMOOTHING * self._raw_energy + (1 - SMOOTHING) * 10 ** (raw / 10)
        self._clean_energy = SMOOTHING * self._clean_energy + (1 - SMOOTHING) * 10 ** (level / 10)
        return clean, Evidence(
            voice=self._detector(self._sensitivity(clean) if far is None or found else clean),
            level_dbfs=level,
            floor_dbfs=floor,
            left_db=_ratio_db(self._clean_energy, self._raw_energy),
            unexplained_db=self._unexplained_db,
            misled=far is not None and self._linear.misled,
            jumped=far is not None and self._linear.jumped,
            far_active=self._far_silent < FAR_HANG,
        )

    def _resume(self) -> None:
        """The loudspeaker sounds again: what is left of the time before is no evidence."""
        self._linear.resume()
        self._unexplained.resume()
        self._collected, self._unexplained_db = 0, LEAST_DB

    def _collect(self, near: Samples, far: Samples) -> None:
        at = self._collected
        self._hop[0, at : at + BLOCK] = near
        self._hop[1, at : at + BLOCK] = far
        self._collected = (at + BLOCK) % HOP
        if self._collected == 0:
            hop = self._hop * np.float32(1 / 32768)
            self._unexplained_db = self._unexplained(*self._linear(hop[0], hop[1]))


def _ratio_db(one: float, other: float) -> float:
    return 10 * log10(max(one, 1e-10) / max(other, 1e-10))
