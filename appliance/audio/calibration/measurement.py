"""One measurement of the loop, in steps: silence, the probe and silence again are played while the microphone records.

Responsible for: both cards while it records, and when what was played could be heard. Not for: what the recording says
(``analysis``), opening the cards, or the thread: whoever owns the cards calls :meth:`Measurement.pump`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from appliance.audio.calibration.analysis import Recording, analysed, middle
from appliance.audio.calibration.probe import Form, sound
from appliance.audio.capturer import READS, CapturePcm
from appliance.audio.cards import Cards
from appliance.audio.format import DETECTOR_RATE, Samples, from_device, mono_of
from appliance.audio.loop import Loop
from appliance.audio.resample import Resampler
from appliance.audio.speaker import Speaker
from appliance.errors import DeviceError

AHEAD_S = 0.12  # how much is written before it sounds: a late thread is not heard
TURN_S = 0.02  # or a quarter of the smaller ring
FROZEN_S = 1.0
ATTEMPTS = 3
CLIPPED = 32_700


@dataclass(slots=True)
class _Attempt:
    """What was played and heard so far, until sound is lost."""

    origin: float  # position of the loudspeaker at which the sound begins
    sound: Samples  # what is still to be played, at 16 kHz
    captured: int = 0  # frames of the microphone
    near: list[Samples] = field(default_factory=list)
    pending: Samples | None = None  # frames short of a block
    powers: list[NDArray[np.float64]] = field(default_factory=list)
    clipped: list[NDArray[np.int64]] = field(default_factory=list)
    moved: dict[str, tuple[float, float]] = field(default_factory=dict)  # where each card was seen to be, and when
    offsets: list[float] = field(default_factory=list)  # frame of the microphone at which the sound began


class Measurement:
    """The loop of two open cards. One thread; both cards are closed when all is recorded, or by :meth:`close`."""

    def __init__(
        self, capture: CapturePcm, speaker: Speaker, microphones: Sequence[int], form: Form, gain: float, canceller: str
    ) -> None:
        self._capture, self._speaker, self._microphones = capture, speaker, tuple(microphones)
        self._form, self._gain, self._canceller = form, gain, canceller
        self._turn_s = min(TURN_S, *(pcm.buffer_frames / pcm.rate / 4 for pcm in (capture, speaker.pcm)))
        self._overruns = self._attempts = 0
        self._attempt: _Attempt | None = None
        self._steps: Generator[None, None, Loop] | None = None
        self._loop: Loop | None = None
        self.recording = True  # the cards are open

    @property
    def done(self) -> bool:
        """Say whether :meth:`finding` has an answer."""
        return self._loop is not None

    def finding(self) -> Loop:
        """Return what was found, once :attr:`done`."""
        assert self._loop is not None
        return self._loop

    def due_s(self) -> float:
        """Seconds until :meth:`pump` has something to do."""
        return self._turn_s if self.recording else 0.0

    def pump(self, now: float) -> None:
        """Do what is due: record and play, or a few milliseconds of the computing that follows. ``now`` is monotonic.

        Raises:
            DeviceError: a card is gone, or does not move.
        """
        if self.recording:
            self._record(now)
        elif self._steps is not None:
            try:
                next(self._steps)
            except StopIteration as finished:
                self._loop, self._steps = finished.value, None

    def close(self) -> None:
        """Give both cards back, at any time."""
        if self.recording:
            self.recording = False
            self._speaker.close()
            self._capture.close()

    # --- recording ---

    def _record(self, now: float) -> None:
        attempt = self._attempt or self._begin()
        whole = self._listen(attempt) and self._play(attempt)
        if not whole and self._attempts < ATTEMPTS:
            self._attempt = None  # once more: what comes after a loss has another delay
            self._speaker.stop()
        elif whole and attempt.captured < self._length(attempt):
            self._watch(attempt, now)
        else:
            self.close()
            self._steps = analysed(self._recording(attempt, whole), self._form, self._gain, self._canceller)

    def _begin(self) -> _Attempt:
        form, first = self._form, self._attempts == 0
        pause = 0 if first else form.after  # the room is still full of the attempt before
        before, after = pause + form.before, form.after + int((FROZEN_S + 1) * DETECTOR_RATE)
        silence = np.zeros(max(before, after), np.int16)
        whole = np.concatenate((silence[:before], sound(form, self._gain), silence[:after]))
        origin = self._speaker.written + pause * self._speaker.rate / DETECTOR_RATE
        self._attempts += 1
        self._attempt = attempt = _Attempt(origin, whole)
        self._down = Resampler(self._capture.rate, DETECTOR_RATE)
        self._out = Resampler(DETECTOR_RATE, self._speaker.rate)
        return attempt

    def _listen(self, attempt: _Attempt) -> bool:
        """Take what the microphone has; returns whether nothing was lost."""
        there = self._capture.waiting()  # what comes while we read is for the next turn
        parts: list[bytes] = []
        for _ in range(READS):
            data = self._capture.read()
            if data is None:
                self._overruns += 1
                return False
            if not data:
                break
            parts.append(data)
            there -= len(data) // self._capture.frame_bytes
            if there <= 0:
                break
        if parts:
            self._take(from_device(b"".join(parts), self._capture.format, self._capture.channels), attempt)
        return True

    def _take(self, frames: Samples, attempt: _Attempt) -> None:
        attempt.captured += len(frames)
        attempt.near.append(self._down.process(mono_of(frames, self._microphones)))
        chosen = frames[:, list(self._microphones)]
        held = chosen if attempt.pending is None else np.concatenate((attempt.pending, chosen))
        size = self._capture.rate // 100
        whole = len(held) // size
        attempt.pending = held[whole * size :]
        blocks = held[: whole * size].reshape(whole, size, len(self._microphones)).astype(np.int32)
        attempt.powers.extend(blocks.var(axis=1))
        attempt.clipped.extend(np.count_nonzero(np.abs(blocks) >= CLIPPED, axis=1))

    def _play(self, attempt: _Attempt) -> bool:
        """Keep the ring filled and note what sounds when; returns whether nothing was lost."""
        before = self._speaker.underruns
        ahead = min(AHEAD_S * self._speaker.rate, self._speaker.pcm.buffer_frames / 2)
        while self._speaker.delay() < ahead and len(attempt.sound):
            part, attempt.sound = attempt.sound[: DETECTOR_RATE // 100], attempt.sound[DETECTOR_RATE // 100 :]
            out = self._out.process(part)
            if self._speaker.write(out) < len(out):
                return False
        position = self._speaker.position() - attempt.origin
        heard = attempt.captured + self._capture.waiting()  # asked last: a thread that is held up here errs to one side
        attempt.offsets.append(heard - position * self._capture.rate / self._speaker.rate)
        return self._speaker.underruns == before

    def _length(self, attempt: _Attempt) -> float:
        """Frames of the microphone until all that was played could be heard."""
        return middle(attempt.offsets) + self._form.whole * self._capture.rate / DETECTOR_RATE

    def _watch(self, attempt: _Attempt, now: float) -> None:
        """Notice a card that does not move."""
        places = {
            "microphone delivers nothing": attempt.captured,
            "loudspeaker does not move": self._speaker.position(),
        }
        for words, place in places.items():
            seen, since = attempt.moved.get(words, (-1, now))
            if place != seen:
                attempt.moved[words] = (place, now)
            elif now - since > FROZEN_S:
                raise DeviceError(f"the {words}", hint="unplug it and plug it in again")

    def _recording(self, attempt: _Attempt, whole: bool) -> Recording:
        width = len(self._microphones)
        return Recording(
            self._microphones,
            np.concatenate((np.zeros(0, np.int16), *attempt.near)),
            np.reshape(attempt.powers, (-1, width)),
            np.reshape(attempt.clipped, (-1, width)),
            round(middle(attempt.offsets) * DETECTOR_RATE / self._capture.rate),
            self._overruns,
            self._speaker.underruns,
            whole,
        )


def begin(cards: Cards, microphones: Sequence[int], form: Form, gain: float, canceller: str) -> Measurement:
    """Open both cards for a measurement at volume ``gain`` (a factor) against ``canceller``, a name of ours.

    Raises:
        DeviceError: a card cannot be opened.
    """
    capture = cards.open_capture()
    try:
        speaker = Speaker(cards.open_playback())
    except DeviceError:
        capture.close()
        raise
    return Measurement(capture, speaker, microphones, form, gain, canceller)
