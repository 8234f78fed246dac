"""A sound card in virtual time: what the player and the capturer need of one, exact to the frame.

Responsible for: a clock that only a test moves, a loudspeaker that records which sample sounded at which frame,
a microphone that hears what the test says. It behaves as pyalsaaudio on a hardware device does (see
``card/README.md``): short writes into a full ring, -EPIPE as ``None``, a start with the first frame. Not for:
threads (the virtual card serves those).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from appliance.audio.format import BYTES_PER_FRAME, from_device, to_device
from appliance.errors import DeviceError

Samples = NDArray[np.int16]


class Time:
    """Seconds that pass when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Loudspeaker:
    """A playback PCM. ``sounded`` holds every frame since the first write, silence where nothing played.

    Args:
        time: the clock.
        rate: Hz.
        channels: of the device; the first is recorded.
        sample_format: ALSA's name.
        buffer_frames: the ring.
        step: the position is known in steps of so many frames, as with a USB card.
        speed: of its clock: 1.0002 is a crystal 200 ppm fast.
    """

    def __init__(
        self,
        time: Callable[[], float],
        rate: int = 48_000,
        *,
        channels: int = 1,
        sample_format: str = "S16_LE",
        buffer_frames: int = 11_520,
        step: int = 1,
        speed: float = 1.0,
    ) -> None:
        self.rate, self.channels, self.format, self.buffer_frames = rate, channels, sample_format, buffer_frames
        self.period_frames = rate // 100
        self._time, self.zero, self._step, self.speed = time, time(), step, speed
        self._ring_from = 0  # card frame at which the present run began
        self._ring: list[Samples] = []
        self._frames = 0
        self._running = False
        self._tape: list[tuple[int, Samples]] = []
        self.underruns = self.starts = 0
        self.frozen = self.gone = self.closed = self._broken = False
        self._frozen_at = 0

    def _now(self) -> int:
        if self.frozen:
            return self._frozen_at
        return int((self._time() - self.zero) * self.rate * self.speed + 1e-6)

    def freeze(self) -> None:
        """Stop the card's clock."""
        self._frozen_at, self.frozen = self._now(), True

    def _settle(self, frames: int) -> None:
        """End the run: ``frames`` of it have sounded."""
        if self._frames:
            self._tape.append((self._ring_from, np.concatenate(self._ring)[:frames]))
        self._ring, self._frames, self._running, self._broken = [], 0, False, False

    def _passed(self) -> int:
        return self._now() - self._ring_from

    def write(self, data: bytes) -> int | None:
        if self.gone:
            raise DeviceError("the loudspeaker is gone")
        if self._running and (self._broken or self._passed() > self._frames):
            self.underruns += 1
            self._settle(self._frames)
            return None
        samples = from_device(data, self.format, self.channels)[:, 0]
        if not self._running and len(samples):
            self._ring_from, self._running = self._now(), True
            self.starts += 1
        taken = samples[: self.buffer_frames - (self._frames - self._passed() if self._running else 0)]
        self._ring.append(taken)
        self._frames += len(taken)
        return len(taken)

    def delay(self) -> int | None:
        if not self._running:
            return 0
        left = self._frames - self._passed() // self._step * self._step
        return None if left < 0 or self.gone or self._broken else left

    def drop(self) -> None:
        if self.gone:
            raise DeviceError("the loudspeaker is gone")
        self._settle(min(self._frames, self._passed()) if self._running else 0)

    def xrun(self) -> None:
        """Lose what is in the ring, as a card does whose bus was held up."""
        if self._running:
            self._frames = min(self._frames, self._passed())
            self._ring, self._broken = [np.concatenate(self._ring)[: self._frames]], True

    def close(self) -> None:
        self.closed = True
        if not self.gone:
            self.drop()

    @property
    def frame(self) -> int:
        """The card frame that passes now."""
        return self._now()

    def between(self, start: int, stop: int) -> Samples:
        """What sounded (or, as far as is known now, will sound) in card frames ``start`` to ``stop``."""
        out = np.zeros(stop - start, np.int16)
        runs = [(self._ring_from, np.concatenate(self._ring))] if self._frames else []
        for begun, samples in itertools.chain(runs, reversed(self._tape)):
            first, last = max(start, begun), min(stop, begun + len(samples))
            if first < last:
                out[first - start : last - start] = samples[first - begun : last - begun]
            if begun <= start:
                break  # runs do not overlap, the newest come first
        return out

    @property
    def sounded(self) -> Samples:
        """What has sounded so far, from card frame 0 on."""
        out = np.zeros(self._now(), np.int16)
        runs = [*self._tape, *([(self._ring_from, np.concatenate(self._ring))] if self._frames else [])]
        for start, samples in runs:
            part = samples[: max(0, len(out) - start)]
            out[start : start + len(part)] = part
        return out


class Microphone:
    """A capture PCM that hears ``sound`` (int16, a column a channel) from its first reading on, then silence.

    ``step`` and ``speed`` are as with :class:`Loudspeaker`.
    """

    def __init__(
        self,
        time: Callable[[], float],
        sound: Samples,
        rate: int = 48_000,
        *,
        sample_format: str = "S16_LE",
        period: int | None = None,
        buffer_frames: int = 11_520,
        step: int = 1,
        speed: float = 1.0,
    ) -> None:
        self._sound = sound.reshape(len(sound), -1)
        self.rate, self.channels, self.format = rate, self._sound.shape[1], sample_format
        self.frame_bytes = BYTES_PER_FRAME[sample_format] * self.channels
        self._time, self._period, self.buffer_frames = time, period or rate // 100, buffer_frames
        self._step, self.speed = step, speed
        self._begun_at: float | None = None
        self._base = self._taken = 0
        self.overruns = self.reads = 0
        self.frozen = self.closed = False
        self.slow = 0.0  # seconds that each reading takes

    def read(self) -> bytes | None:
        self.reads += 1
        if self.slow and isinstance(self._time, Time):
            self._time.now += self.slow
        if self._begun_at is None:
            self._begun_at = self._time()
        there = self.waiting()
        if there > self.buffer_frames:  # what was in the ring is lost, and the next reading starts anew
            self.overruns += 1
            self._base += self._taken + there
            self._taken, self._begun_at = 0, None
            return None
        frames = min(there, self._period)
        at = self._base + self._taken
        self._taken += frames
        said = self._sound[at : at + frames]
        said = np.concatenate((said, np.zeros((frames - len(said), self.channels), np.int16)))
        return to_device(said.reshape(-1), self.format, 1)

    def waiting(self) -> int:
        if self._begun_at is None or self.frozen:
            return 0
        passed = int((self._time() - self._begun_at) * self.rate * self.speed + 1e-6)
        return max(0, passed // self._step * self._step - self._taken)

    def close(self) -> None:
        self.closed = True


class Script:
    """Things that happen at their time while a loop sleeps until it has something to do."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._ids = itertools.count()

    def at(self, when: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._queue, (when, next(self._ids), action))

    def run(
        self, until: float, turn: Callable[[], object], due_s: Callable[[], float], late_s: Callable[[], float] = float
    ) -> int:
        """Take turns as the audio thread does; each sleep is longer by ``late_s``. Returns the number of turns."""
        turns = 0
        while True:
            turn()
            turns += 1
            wake = self._time.now + due_s() + late_s()
            if self._queue and self._queue[0][0] <= min(wake, until):
                when, _, action = heapq.heappop(self._queue)
                self._time.now = max(self._time.now, when)
                action()
            elif wake > until:
                self._time.now = until
                return turns
            else:
                self._time.now = wake
