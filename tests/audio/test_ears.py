"""The ears' meters: the floor of the room, what the canceller left, and since when the loudspeaker is silent."""

from __future__ import annotations

import numpy as np
import pytest

from appliance.audio.ears import FAR_HANG, Ears, NoiseFloor
from appliance.audio.format import Samples
from appliance.audio.processing import BLOCK, DETECTORS, Aec3, ProcessorError, Untouched
from appliance.audio.unexplained import LEAST_DB

SILENCE: Samples = np.zeros(BLOCK, np.int16)


def noise(level: float, seed: int) -> Samples:
    return np.random.default_rng(seed).normal(0, level, BLOCK).astype(np.int16)


def ears(cancels: bool = True) -> Ears:
    return Ears(Aec3() if cancels else Untouched(), DETECTORS["webrtc"]())


def test_the_floor_is_the_room_between_words() -> None:
    floor = NoiseFloor()
    assert floor.dbfs == -96.0, "nothing was heard yet"
    for second in range(12):
        for block in range(100):
            floor.hear(-20.0 if block < 70 else -60.0)
        if second > 3:
            assert floor.dbfs == pytest.approx(-60.0, abs=0.5), "words do not raise it"


def test_the_floor_follows_a_room_that_becomes_loud_within_four_seconds_and_quiet_at_once() -> None:
    floor = NoiseFloor()
    for _ in range(400):
        floor.hear(-70.0)
    for _ in range(400):
        floor.hear(-40.0)
    assert floor.dbfs == pytest.approx(-40.0, abs=0.5)
    for _ in range(30):
        floor.hear(-70.0)
    assert floor.dbfs < -65.0


def test_untouched_sound_is_wholly_left_and_echo_hardly() -> None:
    listens = ears()
    for block in range(300):
        listens.block(noise(500, block), None)
    _, evidence = listens.block(noise(500, 300), None)
    assert evidence.left_db == pytest.approx(0.0)
    for block in range(300):
        far = noise(4000, block)
        listens.block((far * 0.3).astype(np.int16), far)
    far = noise(4000, 300)
    _, evidence = listens.block((far * 0.3).astype(np.int16), far)
    assert evidence.left_db < -20
    assert evidence.unexplained_db < 1


def test_the_far_end_counts_as_active_while_the_room_goes_on() -> None:
    listens = ears()
    _, evidence = listens.block(SILENCE, noise(3000, 1))
    assert evidence.far_active
    active = [listens.block(SILENCE, SILENCE)[1].far_active for _ in range(FAR_HANG + 5)]
    assert active == [True] * (FAR_HANG - 1) + [False] * 6


def test_a_new_reply_begins_without_the_old_ones_evidence() -> None:
    listens = ears()
    for block in range(40):
        listens.block(noise(3000, block), noise(3000, 1000 + block))
    listens.block(SILENCE, None)
    _, evidence = listens.block(SILENCE, SILENCE)
    assert evidence.unexplained_db == LEAST_DB
    assert not evidence.misled
    assert not evidence.jumped


def test_behind_a_board_that_cancels_nothing_is_known_of_the_residue() -> None:
    listens = ears(cancels=False)
    near = noise(3000, 1)
    for _ in range(9):
        listens.block(near, noise(3000, 2))
    clean, evidence = listens.block(near, noise(3000, 2))
    assert clean is near
    assert evidence.left_db == pytest.approx(0.0)
    assert evidence.unexplained_db == LEAST_DB


def test_a_canceller_that_fails_is_named() -> None:
    listens = ears()
    with pytest.raises(ProcessorError, match="echo canceller failed"):
        listens.block(SILENCE, np.zeros(BLOCK - 1, np.int16))
