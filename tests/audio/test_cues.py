"""The ear-cons: short, soft at both ends, within range, and not to be confused."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from appliance.audio.cues import SCORES, render
from appliance.conversation.effects import Sound

RATES = [8_000, 16_000, 24_000, 44_100, 48_000]


def test_every_sound_has_a_score() -> None:
    assert set(SCORES) == set(Sound)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("sound", Sound)
def test_a_cue_is_short_soft_at_its_ends_and_never_clips(sound: Sound, rate: int) -> None:
    samples = render(sound, rate)
    assert samples.dtype == np.int16
    assert len(samples) / rate < (2.5 if sound is Sound.TIMER else 0.7)
    peak = int(np.abs(samples.astype(int)).max())
    assert 2_000 < peak < 16_000, "audible, and leaves room for the voice it is mixed with"
    assert abs(int(samples[0])) < 50
    assert abs(int(samples[-1])) < 50
    edge = rate // 1000
    assert np.abs(samples[:edge].astype(int)).max() < peak / 3, "no click at the start"
    assert np.abs(samples[-edge:].astype(int)).max() < peak / 10, "no click at the end"


def melody(samples: NDArray[np.int16], rate: int) -> list[int]:
    """The loudest frequency of each 40 ms, in semitones; -1 where it is silent."""
    size, notes = rate // 25, []
    for k in range(0, 18 * size, size):
        part = samples[k : k + size].astype(float)
        if len(part) < size or np.abs(part).max() < 300:
            notes.append(-1)
            continue
        spectrum = np.abs(np.fft.rfft(part * np.hanning(size), 8 * size))
        notes.append(round(12 * np.log2(max(1, int(spectrum.argmax())) * rate / (8 * size) / 55)))
    return notes


def test_no_two_cues_sound_alike() -> None:
    tunes = {sound: melody(render(sound, 24_000), 24_000) for sound in Sound}
    for one, other in combinations(Sound, 2):
        different = sum(abs(a - b) >= 2 for a, b in zip(tunes[one], tunes[other], strict=True))
        assert different >= 3, (one, other)


def test_your_turn_rises_and_done_falls() -> None:
    def contour(sound: Sound) -> int:
        notes = [note for note in melody(render(sound, 24_000), 24_000) if note >= 0]
        return notes[-1] - notes[0]

    assert contour(Sound.LISTENING) > 4
    assert contour(Sound.SENT) < -4
    assert contour(Sound.MUTED) < -4
    assert contour(Sound.OFFLINE) < -4
