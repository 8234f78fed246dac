"""What is tried beside everything else that the audio thread does, and given up for anything that needs a card.

Responsible for: one quiet measurement of the loop, or one trial of the cards, at a time, begun and ended in the audio
thread. Not for: when to try, or what follows from it (whoever asked).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from appliance.audio.cards import Cards
from appliance.audio.loop import Loop
from appliance.audio.processing import ProcessorError
from appliance.errors import ApplianceError, DeviceError

OnDone = Callable[[Loop | None], None]
OnTried = Callable[[str | None], None]  # "": frames moved; why they did not; ``None``: something else needed a card
Ended = Callable[[ApplianceError | None], None]
SOFTEST = 0.04  # the volume (20 %) below which the soft sound is lost in the noise of any room


def prepare() -> None:
    """Load what a measurement needs, in any thread: the audio thread would be held up by it."""
    import appliance.audio.calibration.measurement  # noqa: F401


class _Work(Protocol):
    """What has the cards."""

    recording: bool  # the microphone is open

    @property
    def done(self) -> bool: ...

    def due_s(self) -> float: ...

    def pump(self, now: float) -> None: ...

    def close(self) -> None: ...


class Background:
    """At most one measurement or trial. Owned by the audio thread; ``listening`` may be read by any."""

    def __init__(self, cards: Cards, microphones: Sequence[int]) -> None:
        self._cards, self._microphones = cards, microphones
        self._work: _Work | None = None
        self._finished: Callable[[], None] | None = None
        self._ended: Ended | None = None

    @property
    def active(self) -> bool:
        """Say whether something is under way."""
        return self._work is not None

    @property
    def listening(self) -> bool:
        """Say whether the microphone is open for it."""
        work = self._work  # the thread may end it meanwhile
        return work is not None and work.recording

    def begin(self, gain: float, canceller: str, on_done: OnDone) -> None:
        """Open both cards and measure. ``on_done`` is called once, here, with ``None`` if it came to nothing."""
        from appliance.audio.calibration.measurement import begin
        from appliance.audio.calibration.probe import QUIET

        if gain < SOFTEST:
            on_done(None)
            return
        try:
            measurement = begin(self._cards, self._microphones, QUIET, gain, canceller)
        except DeviceError:  # whoever needs the card next will say so
            on_done(None)
            return
        self._start(measurement, lambda: on_done(measurement.finding()), lambda _: on_done(None))

    def try_cards(self, on_tried: OnTried, *, microphone: bool) -> None:
        """Open the cards for a second and see whether frames move. ``on_tried`` is called once, here."""
        from appliance.audio.speaker import Speaker
        from appliance.audio.trial import CardsTrial

        capture = None
        try:
            capture = self._cards.open_capture() if microphone else None
            trial = CardsTrial(capture, Speaker(self._cards.open_playback()))
        except DeviceError as error:
            if capture is not None:
                capture.close()
            on_tried(str(error))
            return
        self._start(trial, lambda: on_tried(""), lambda error: on_tried(None if error is None else str(error)))

    def _start(self, work: _Work, finished: Callable[[], None], ended: Ended) -> None:
        self._work, self._finished, self._ended = work, finished, ended

    def pump(self, now: float) -> None:
        """Do what is due. ``now`` is monotonic seconds."""
        if self._work is None:
            return
        try:
            self._work.pump(now)
        except (DeviceError, ProcessorError) as error:
            self._end(error)
            return
        if self._work.done:
            finished = self._finished
            self._clear()
            if finished is not None:
                finished()

    def due_s(self) -> float:
        """Seconds until :meth:`pump` has something to do, while :attr:`active`."""
        return 0.0 if self._work is None else self._work.due_s()

    def abort(self) -> None:
        """Give the cards back at once, if something here has them."""
        if self._work is not None:
            self._end(None)

    def _end(self, error: ApplianceError | None) -> None:
        ended = self._ended
        self._clear()
        if ended is not None:
            ended(error)

    def _clear(self) -> None:
        if self._work is not None:
            self._work.close()
        self._work = self._finished = self._ended = None
