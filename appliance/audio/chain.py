"""What the microphone's sound goes through, as the configuration and the board name it.

Responsible for: the choice of parts and how they are put together. Not for: what they do (each has its own room).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from appliance.audio.bargein import BY_THE_BOARD, BargeIn, Tuning
from appliance.audio.ears import Ears
from appliance.audio.endpoint import Endpointer
from appliance.audio.facts import AudioFact
from appliance.audio.listener import Listener
from appliance.audio.loop import reference_ms
from appliance.audio.processing import Detector, Processor


@dataclass(frozen=True, slots=True)
class Chain:
    """The parts of the processing chain."""

    processor: Processor
    detector: Detector
    microphones: tuple[int, ...]
    end_of_turn_ms: int
    reference: int | None = None  # the capture channel that gives the loudspeaker's signal back
    reference_ms: float = reference_ms(None, 0.0)  # how much later than ALSA's position the far end is read
    clock_ppm: float | None = None  # the loudspeaker's clock against the microphone's, as an earlier life learned it
    hush: bool = False  # the server listens for voices all the time

    def listener(self, ears: Ears, post: Callable[[AudioFact], None], duck: Callable[[bool], bool]) -> Listener:
        """Put the parts behind the microphone together."""
        watch = BargeIn(Tuning() if self.processor.cancels else BY_THE_BOARD)
        return Listener(ears, watch, Endpointer(self.end_of_turn_ms), post, duck, hush=self.hush)
