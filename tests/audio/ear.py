"""A reference read as the audio thread reads it, in virtual time, and how far it is from what really sounded.

Responsible for: two cards with clocks of their own, a thread that is late and held up. Not for: what is asserted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from appliance.audio.drift import Drift
from appliance.audio.format import Samples
from appliance.audio.reference import Reference
from appliance.audio.speaker import Speaker
from tests.fakes.sound_card import Loudspeaker, Microphone, Time

TONE_HZ = 100  # a period a block: its phase tells the position to within a period
MIC_RATE = 16_000
Delay = Callable[[np.random.Generator], float]  # seconds


def calm(chance: np.random.Generator) -> float:
    """A machine with nothing else to do wakes so late, and takes so long from one statement to the next."""
    return 20e-6 * float(chance.exponential())


def busy(chance: np.random.Generator) -> float:
    """One that is also held up for milliseconds now and then, at any place."""
    return 50e-6 * float(chance.exponential()) + (0.012 * float(chance.random()) if chance.random() < 0.02 else 0.0)


class Ear:
    """A loudspeaker that sounds a tone of 100 Hz, or ``sound``, and a microphone's blocks with the far end of each.

    ``step_ms`` is that of both positions; ``machine`` says how late the thread wakes and how long it takes between
    two looks at a clock.
    """

    def __init__(
        self,
        rate: int = 48_000,
        *,
        ppm: float = 0.0,
        mic_ppm: float = 0.0,
        step_ms: int = 0,
        machine: Delay = calm,
        drift: Drift | None = None,
        sound: Samples | None = None,
    ) -> None:
        self.time = Time()
        self.rate, self.machine = rate, machine
        self.chance = np.random.default_rng(5)
        self.pcm = Loudspeaker(self.time, rate, speed=1 + ppm * 1e-6, step=max(1, step_ms * rate // 1000))
        silence = np.zeros(1, np.int16)
        step = max(1, step_ms * MIC_RATE // 1000)
        self.mic = Microphone(self.time, silence, MIC_RATE, speed=1 + mic_ppm * 1e-6, step=step)
        self.mic.read()
        self.begun = self.time.now
        self.speaker = Speaker(self.pcm)
        self.reference = Reference(self.speaker, drift or Drift())
        self.playing = True
        self.blocks: list[Samples | None] = []
        self._sound, self._said = sound, 0

    def run(self, seconds: float) -> list[Samples | None]:
        """Let time pass; returns the far end of the blocks that the thread took meanwhile."""
        until, already = self.time.now + seconds, len(self.blocks)
        while self.time.now < until:
            if self.playing:
                self._fill()
            self._pass(max(0.0, (320 - self.mic.waiting()) / MIC_RATE))
            now = self.time.now
            self._pass(0.0)
            self._take(now)
        return self.blocks[already:]

    def _pass(self, seconds: float) -> None:
        self.time.now += seconds + self.machine(self.chance)

    def _fill(self) -> None:
        while self.speaker.delay() < self.rate // 10:
            self.speaker.write(self._next_sound(self.rate // 10))

    def _next_sound(self, frames: int) -> Samples:
        at = np.arange(self._said, self._said + frames)
        self._said += frames
        if self._sound is not None:
            return self._sound[at % len(self._sound)]
        tone: Samples = (10_000 * np.sin(2 * np.pi * TONE_HZ * at / self.rate)).astype(np.int16)
        return tone

    def _take(self, now: float) -> None:
        """What the capturer does: the labels of a turn's blocks come from one look at the clock and one at the card."""
        there = self.mic.waiting()
        at = now - there / MIC_RATE
        for _ in range(there // 160):
            self.mic.read()
            now = self.time.now
            self._pass(0.0)
            self.blocks.append(self.reference.block(at, now))
            at += 0.01

    def errors_ms(self) -> NDArray[np.float64]:
        """By how much each block is ahead of what sounded while the microphone took it; NaN where nothing did."""
        sounded, length = self.pcm.sounded, self.rate // TONE_HZ
        errors = []
        for frame, block in zip(self._frames(), self.blocks, strict=False):
            first = int(frame)
            truth = _phase(sounded[first : first + length]) + 2 * np.pi * (frame - first) / length
            mine = np.nan if block is None else _phase(block)
            errors.append(((mine - truth) / (2 * np.pi) + 0.5) % 1.0 - 0.5)
        return np.array(errors) * 1000 / TONE_HZ

    def _frames(self) -> Iterator[float]:
        """The card's frame that sounded when the microphone began each block."""
        per_block = self.rate / 100 * self.pcm.speed / self.mic.speed
        for number in range(len(self.blocks)):
            yield (self.begun - self.pcm.zero) * self.rate + number * per_block


def _phase(period: Samples) -> float:
    """The phase of the tone, NaN in silence or where it is cut."""
    wide = period.astype(np.float64)
    found = wide @ np.exp(-2j * np.pi * np.arange(len(wide)) / max(1, len(wide)))
    level = 2 * np.abs(found) / max(1, len(wide))
    return float(np.angle(found)) if level > 9_000 else np.nan
