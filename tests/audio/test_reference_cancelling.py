"""What the aligned reference is for: the echo that the real AEC3 leaves when the clocks differ by 200 ppm."""

from __future__ import annotations

import numpy as np
import soxr

from appliance.audio.drift import Drift
from appliance.audio.format import Samples, level_dbfs
from appliance.audio.processing import BLOCK, Aec3
from appliance.audio.reference import Reference
from appliance.audio.resample import Resampler
from appliance.audio.speaker import Speaker
from tests.audio.ear import MIC_RATE, Ear

RATE = 48_000
PPM = 200.0
SECONDS = 50


class Jumping(Reference):
    """A reference that keeps the nominal rate and jumps when it is 3 ms off: what there was before."""

    def __init__(self, speaker: Speaker, drift: Drift) -> None:
        super().__init__(speaker, drift)
        self.jumps: list[int] = []  # blocks before each
        self._reader_at: int | None = None
        self._convert = Resampler(RATE, MIC_RATE)

    def block(self, at: float, now: float) -> Samples | None:
        wanted = self._speaker.position() - round((now - at) * RATE)
        if self._reader_at is None or abs(wanted - self._reader_at) > 3 * RATE // 1000:
            self.jumps.append(self._blocks)
            self._reader_at = wanted
            self._convert.reset()
        block = self._convert.process(self._speaker.sounding(self._reader_at, RATE // 100))
        self._reader_at += RATE // 100
        self._blocks += 1
        return np.concatenate((np.zeros(BLOCK - len(block), np.int16), block))


def talk() -> Samples:
    """Noise with the spectrum and the syllables of speech."""
    count = (SECONDS + 1) * RATE
    spectrum = np.fft.rfft(np.random.default_rng(3).normal(size=count))
    frequency = np.fft.rfftfreq(count, 1 / RATE)
    spectrum *= ((frequency > 80) & (frequency < 7000)) / (1 + (frequency / 700) ** 2)
    t = np.arange(count) / RATE
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * t) + np.sin(2 * np.pi * 0.43 * t + 1) + 0.7, 0.02, None)
    sound = np.fft.irfft(spectrum, count) * syllables
    return np.asarray(sound / np.abs(sound).max() * 20_000, np.int16)


def cancelled(ear: Ear) -> tuple[Samples, Samples]:
    """The echo at the microphone through a short path, and what AEC3 leaves of it."""
    ear.run(SECONDS)
    far = [block for block in ear.blocks if block is not None]
    at_microphone = soxr.resample(ear.pcm.sounded.astype(np.float32), RATE * ear.pcm.speed, MIC_RATE)
    path = np.zeros(800)
    path[[64, 90, 150, 400]] = 0.6, -0.3, 0.2, 0.1
    echo = np.convolve(at_microphone, path)[: SECONDS * MIC_RATE]
    near = (echo + np.random.default_rng(1).normal(0, 3, len(echo))).astype(np.int16)
    cancel = Aec3()
    clean = [cancel(near[k * BLOCK : (k + 1) * BLOCK], far[k]) for k in range(len(near) // BLOCK)]
    return near, np.concatenate(clean)


def erle_db(sounds: tuple[Samples, Samples], start: int, blocks: int) -> float:
    near, clean = (level_dbfs(sound[start * BLOCK : (start + blocks) * BLOCK]) for sound in sounds)
    return near - clean


def test_the_echo_stays_away_where_a_reference_that_jumps_lets_it_come_back() -> None:
    aligned = cancelled(Ear(RATE, ppm=PPM, step_ms=1, sound=talk()))
    same_clock = cancelled(Ear(RATE, sound=talk()))
    ear = Ear(RATE, ppm=PPM, step_ms=1, sound=talk())
    reference = ear.reference = Jumping(ear.speaker, Drift())
    jumping = cancelled(ear)
    assert erle_db(aligned, 500, 4500) > erle_db(same_clock, 500, 4500) - 1.0, "as if there were one clock"
    assert erle_db(aligned, 500, 4500) > erle_db(jumping, 500, 4500) + 1.0
    gaps_db = [erle_db(aligned, jump, 50) - erle_db(jumping, jump, 50) for jump in reference.jumps[1:]]
    assert len(gaps_db) >= 3
    assert np.mean(gaps_db) > 4.0, "in the half second after each jump"
