"""Each detector tells a voice from noise, and the canceller cancels: measured on real speech."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from appliance.audio.format import level_dbfs
from appliance.audio.processing import BLOCK, DETECTORS, PROCESSORS, Aec3
from tests.audio.recordings import recording

SPEECH = "librivox/sense_and_sensibility_01_austen_64kb-0930.wav"


def blocks(sound: NDArray[np.int16]) -> list[NDArray[np.int16]]:
    return [sound[k : k + BLOCK] for k in range(0, len(sound) - BLOCK + 1, BLOCK)]


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_a_detector_hears_speech_and_neither_silence_nor_hiss(name: str) -> None:
    speech = blocks(recording(SPEECH)[: 16_000 * 5])
    loudest = max(map(level_dbfs, speech))
    hears = DETECTORS[name]()
    found = [(hears(block) >= 0.7, level_dbfs(block) > loudest - 20) for block in speech]
    voiced = [heard for heard, loud in found if loud]
    assert sum(voiced) / len(voiced) > 0.8
    chance = np.random.default_rng(5)
    for level in (0, 20, 100):
        hears = DETECTORS[name]()
        hiss = blocks(chance.normal(0, level, 16_000 * 3).astype(np.int16))
        assert sum(hears(block) >= 0.7 for block in hiss[20:]) / len(hiss) < 0.05, level


def test_aec3_takes_the_loudspeaker_out_and_leaves_the_talker() -> None:
    far = recording(SPEECH)[: 16_000 * 6]
    path = np.zeros(1600)
    path[[320, 400, 530, 900]] = 0.5, -0.2, 0.1, 0.05
    echo = np.convolve(far, path)[: len(far)]
    talker = recording("cards/001.wav")
    near = echo + np.random.default_rng(1).normal(0, 5, len(echo))
    cancel = Aec3()
    clean = np.concatenate([cancel(n, f) for n, f in zip(blocks(np.asarray(near, np.int16)), blocks(far), strict=True)])
    late = slice(3 * 16_000, len(clean))
    erle = level_dbfs(np.asarray(near[late], np.int16)) - level_dbfs(clean[late])
    assert erle > 20

    silence = np.zeros(BLOCK, np.int16)
    alone = np.concatenate([cancel(block, silence) for block in blocks(talker)])
    before, after = (np.array([level_dbfs(block) for block in blocks(sound)]) for sound in (talker, alone))
    likeness = max(np.corrcoef(after[lag:], before[: len(after) - lag])[0, 1] for lag in range(3))
    assert likeness > 0.95, "every syllable is still there"
    assert abs(level_dbfs(alone) - level_dbfs(talker)) < 3


def test_none_leaves_the_near_end_alone() -> None:
    near = np.arange(BLOCK, dtype=np.int16)
    assert PROCESSORS["none"]()(near, np.ones(BLOCK, np.int16)) is near


@pytest.mark.parametrize("name", sorted(PROCESSORS))
def test_a_block_in_is_a_block_out(name: str) -> None:
    process = PROCESSORS[name]()
    out = process(np.ones(BLOCK, np.int16), np.ones(BLOCK, np.int16))
    assert out.shape == (BLOCK,)
    assert out.dtype == np.int16
