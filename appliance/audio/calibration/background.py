"""The quiet measurement beside everything else that the audio thread does, given up for anything that needs a card.

Responsible for: one measurement at a time, begun and ended in the audio thread. Not for: when to measure, or what
follows from it (whoever asked).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from appliance.audio.cards import Cards
from appliance.audio.loop import Loop
from appliance.audio.processing import ProcessorError
from appliance.errors import DeviceError

if TYPE_CHECKING:  # loaded by whoever calibrates: once in a device's life
    from appliance.audio.calibration.measurement import Measurement

OnDone = Callable[[Loop | None], None]
SOFTEST = 0.04  # the volume (20 %) below which the soft sound is lost in the noise of any room


def prepare() -> None:
    """Load what a measurement needs, in any thread: the audio thread would be held up by it."""
    import appliance.audio.calibration.measurement  # noqa: F401


class Background:
    """At most one quiet measurement. Owned by the audio thread; ``listening`` may be read by any."""

    def __init__(self, cards: Cards, microphones: Sequence[int]) -> None:
        self._cards, self._microphones = cards, microphones
        self._measurement: Measurement | None = None
        self._on_done: OnDone | None = None

    @property
    def active(self) -> bool:
        """Say whether a measurement is under way."""
        return self._measurement is not None

    @property
    def listening(self) -> bool:
        """Say whether the microphone is open for it."""
        measurement = self._measurement  # the thread may end it meanwhile
        return measurement is not None and measurement.recording

    def begin(self, gain: float, canceller: str, on_done: OnDone) -> None:
        """Open both cards and begin. ``on_done`` is called once, here, with ``None`` if it came to nothing."""
        from appliance.audio.calibration.measurement import begin
        from appliance.audio.calibration.probe import QUIET

        self._on_done = on_done
        if gain < SOFTEST:
            self._end(None)
            return
        try:
            self._measurement = begin(self._cards, self._microphones, QUIET, gain, canceller)
        except DeviceError:  # whoever needs the card next will say so
            self._end(None)

    def pump(self, now: float) -> None:
        """Do what is due. ``now`` is monotonic seconds."""
        if self._measurement is None:
            return
        try:
            self._measurement.pump(now)
        except (DeviceError, ProcessorError):
            self._end(None)
            return
        if self._measurement.done:
            self._end(self._measurement.finding())

    def due_s(self) -> float:
        """Seconds until :meth:`pump` has something to do, while :attr:`active`."""
        return 0.0 if self._measurement is None else self._measurement.due_s()

    def abort(self) -> None:
        """Give the cards back at once, if a measurement has them."""
        if self._measurement is not None:
            self._end(None)

    def _end(self, loop: Loop | None) -> None:
        if self._measurement is not None:
            self._measurement.close()
        told, self._measurement, self._on_done = self._on_done, None, None
        if told is not None:
            told(loop)
