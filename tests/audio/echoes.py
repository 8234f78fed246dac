"""A room in virtual time: a microphone that hears the loudspeaker, late and changed, and whatever else a test says.

Responsible for: that microphone, and driving a measurement with it. Not for: the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from appliance.audio.calibration.measurement import Measurement
from appliance.audio.calibration.probe import Form
from appliance.audio.format import to_device
from appliance.audio.loop import Loop
from appliance.audio.speaker import Speaker
from tests.fakes.sound_card import Loudspeaker, Samples, Script, Time

Bend = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class Ear:
    """A capture PCM of the loudspeaker's card. Each channel hears the loudspeaker with its own gain.

    Args:
        time: the clock, the loudspeaker's as well.
        loudspeaker: what it hears; its rate is this card's.
        delay_ms: from loudspeaker to microphone.
        gains: one a channel; ``None`` is a channel that delivers zeros.
        bend: what the loudspeaker makes of a sound (full scale is 1).
        answer: what the room makes of that: its impulse response at the card's rate.
        said: what else is heard, from the first frame on, on every channel.
        noise: RMS of each channel's own noise, in steps of int16.
    """

    def __init__(
        self,
        time: Time,
        loudspeaker: Loudspeaker,
        *,
        delay_ms: float = 40.0,
        gains: Sequence[float | None] = (0.3,),
        bend: Bend = lambda sound: sound,
        answer: NDArray[np.float64] | None = None,
        said: Samples | None = None,
        noise: float = 10.0,
    ) -> None:
        self.rate, self.channels, self.format = loudspeaker.rate, len(gains), "S16_LE"
        self.frame_bytes, self.buffer_frames = 2 * self.channels, self.rate * 240 // 1000
        self._time, self._zero, self._loudspeaker = time, time(), loudspeaker
        self._answer = np.ones(1) if answer is None else answer
        self._delay, self._gains, self._bend, self._noise = round(delay_ms * self.rate / 1000), gains, bend, noise
        self._said = np.zeros(0, np.int16) if said is None else said
        self._chance = np.random.default_rng(1)
        self._begun: int | None = None
        self._taken = 0
        self._lost = False
        self.frozen = self.closed = False

    def read(self) -> bytes | None:
        if self._lost:
            self._lost, self._begun = False, None
            return None
        if self._begun is None:
            self._begun, self._taken = self._now(), 0
        frames = self.waiting()
        at = self._begun + self._taken
        self._taken += frames
        return to_device(self._heard(at, frames).reshape(-1), self.format, 1)

    def _now(self) -> int:
        return int((self._time() - self._zero) * self.rate + 1e-6)

    def _heard(self, at: int, frames: int) -> Samples:
        if not frames:
            return np.zeros((0, self.channels), np.int16)
        needed = np.zeros(len(self._answer) - 1 + frames)
        first = at + frames - self._delay - len(needed)
        part = self._loudspeaker.sounded[max(0, first) : max(0, first + len(needed))] / 32768.0
        needed[max(0, -first) :][: len(part)] = part
        echo = np.convolve(self._bend(needed), self._answer, "valid") * 32768.0
        said = np.zeros(frames)
        words = self._said[at : at + frames]
        said[: len(words)] = words
        out = np.zeros((frames, self.channels))
        for channel, gain in enumerate(self._gains):
            if gain is not None:
                out[:, channel] = echo * gain + said + self._chance.normal(0, self._noise, frames)
        return np.clip(out, -32768, 32767).astype(np.int16)

    def waiting(self) -> int:
        if self._begun is None or self.frozen:
            return 0
        return max(0, self._now() - self._begun - self._taken)

    def lose(self) -> None:
        """Have an overrun at the next reading."""
        self._lost = True

    def close(self) -> None:
        self.closed = True


class Bench:
    """A loudspeaker and a microphone in a room, and a measurement of them."""

    def __init__(
        self,
        form: Form,
        *,
        rate: int = 48_000,
        gain: float = 0.64,
        canceller: str = "aec3",
        microphones: Sequence[int] | None = None,
        step: int = 1,
        **room: object,
    ) -> None:
        self.time = Time()
        self.loudspeaker = Loudspeaker(self.time, rate, buffer_frames=rate * 240 // 1000, step=step)
        self.ear = Ear(self.time, self.loudspeaker, **room)  # type: ignore[arg-type]
        chosen = range(self.ear.channels) if microphones is None else microphones
        self.measurement = Measurement(self.ear, Speaker(self.loudspeaker), tuple(chosen), form, gain, canceller)
        self.script = Script(self.time)

    def run(self, seconds: float = 20.0) -> Loop:
        """Measure to the end."""
        end = self.time.now + seconds
        measurement = self.measurement
        while not measurement.done:
            assert self.time.now < end, "it does not come to an end"
            self.script.run(
                self.time.now + 0.1, lambda: measurement.pump(self.time.now), lambda: max(0.001, measurement.due_s())
            )
        return measurement.finding()


def measured(form: Form, **options: object) -> Loop:
    return Bench(form, **options).run()  # type: ignore[arg-type]
