"""The far end is what sounded while the microphone listened: to the sample where it can be, and never in jumps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audio.drift import Drift
from appliance.audio.format import Samples
from appliance.audio.reference import TAIL_S
from tests.audio.ear import MIC_RATE, Ear, busy, calm
from tests.audio.stage import loud

SECOND = 100  # blocks


def unlike(rate: int) -> Samples:
    """Noise, so that every place in it is found again."""
    return loud(70_000, rate=rate)


def place(ear: Ear, block: Samples | None) -> int:
    """The frame of the card, at 16 kHz, at which a block sounded; the end of it may be about to."""
    assert block is not None
    sounded, block = ear.pcm.sounded, block[:120]
    (starts,) = np.nonzero(sounded == block[0])
    (found,) = [start for start in starts if np.array_equal(sounded[start : start + len(block)], block)]
    return int(found)


def place_of_first(ear: Ear) -> int:
    """Where the first block would be by the place of the last one."""
    return place(ear, ear.blocks[-1]) - 160 * (len(ear.blocks) - 1)


def worst_ms(ear: Ear, after_s: float) -> float:
    """The farthest that the alignment is from where it usually is; a constant is nothing to a canceller."""
    errors = ear.errors_ms()[int(after_s * SECOND) : -SECOND]
    assert not np.isnan(errors).any()
    return float(np.abs(errors - np.median(errors)).max())


@pytest.mark.parametrize(
    ("ppm", "mic_ppm", "rate"),
    [
        (200, 0, 48_000),
        (-200, 0, 48_000),
        (0, 200, 48_000),
        (100, -100, 48_000),
        (300, 0, 48_000),
        (200, 0, 44_100),
        (-200, 0, 16_000),
    ],
)
def test_clocks_that_differ_are_followed_though_positions_are_coarse_and_the_thread_is_held_up(
    ppm: float, mic_ppm: float, rate: int
) -> None:
    ear = Ear(rate, ppm=ppm, mic_ppm=mic_ppm, step_ms=0 if rate == 44_100 else 1, machine=busy)
    ear.run(45)
    assert worst_ms(ear, 7) < 0.3
    assert worst_ms(ear, 25) < 0.1
    steps = np.abs(np.diff(ear.errors_ms()[SECOND // 5 : -SECOND]))
    assert steps.max() < 0.01, "it glides and does not jump"
    assert ear.reference.drift_ppm == pytest.approx(ppm - mic_ppm, abs=5)


def test_a_small_difference_is_known_only_after_the_positions_moved_by_a_step() -> None:
    ear = Ear(ppm=-40, step_ms=1, machine=busy)  # every 25 seconds
    ear.run(90)
    assert worst_ms(ear, 1) < 0.5
    assert worst_ms(ear, 50) < 0.2


@pytest.mark.parametrize(("step_ms", "machine"), [(0, calm), (0, busy), (1, calm), (1, busy), (4, busy)])
def test_equal_clocks_are_read_sample_for_sample(step_ms: int, machine: Any) -> None:
    ear = Ear(MIC_RATE, step_ms=step_ms, machine=machine, sound=unlike(MIC_RATE))
    before = len(ear.run(1))
    blocks = ear.run(60)[:-1]  # of the last, the end is about to sound
    read = np.concatenate([block for block in blocks if block is not None])
    first = place(ear, blocks[0])
    assert len(read) > 59 * MIC_RATE
    assert np.array_equal(read, ear.pcm.sounded[first : first + len(read)])
    assert abs(first - 160 * before) <= 16 * (1 + step_ms), "and that is what sounded then"
    assert ear.reference.drift_ppm == pytest.approx(0, abs=1)


def test_ten_minutes_do_not_wander() -> None:
    ear = Ear(MIC_RATE, ppm=200, step_ms=1, machine=busy)
    ear.run(600)
    assert worst_ms(ear, 20) < 0.15


def test_a_step_of_several_milliseconds_is_seen_through_in_time() -> None:
    ear = Ear(ppm=120, step_ms=4, machine=busy)
    ear.run(150)
    assert worst_ms(ear, 100) < 0.3


@settings(max_examples=12, deadline=None)
@given(
    rate=st.sampled_from((8_000, 16_000, 32_000, 44_100, 48_000)),
    ppm=st.floats(-150, 150),
    mic_ppm=st.floats(-150, 150),
    step_ms=st.integers(0, 1),
    machine=st.sampled_from((calm, busy)),
)
def test_any_two_cards_are_kept_together(rate: int, ppm: float, mic_ppm: float, step_ms: int, machine: Any) -> None:
    ear = Ear(rate, ppm=ppm, mic_ppm=mic_ppm, step_ms=step_ms * (rate != 44_100), machine=machine)
    ear.run(25)
    assert worst_ms(ear, 12) < 0.2 + 0.5 * step_ms


def test_one_wild_reading_moves_nothing() -> None:
    ear = Ear(MIC_RATE, sound=unlike(MIC_RATE))
    ear.run(1)
    began = len(ear.blocks)
    held_up = iter([0.0, 0.0, 0.030, 0.0, 0.0, 0.0, -0.0])
    ear.machine = lambda _: next(held_up, 0.0)
    ear.run(1)
    read = np.concatenate([block for block in ear.blocks[began:-1] if block is not None])
    first = place(ear, ear.blocks[began])
    assert np.array_equal(read, ear.pcm.sounded[first : first + len(read)])


@pytest.mark.parametrize("gap_s", [0.0, 0.0013, 0.0042])
def test_a_loudspeaker_started_anew_is_found_with_the_first_block(gap_s: float) -> None:
    ear = Ear()
    ear.run(2)
    before = np.nanmedian(ear.errors_ms()[SECOND:])
    rest = ear.speaker.rewind()
    ear.time.now += gap_s
    ear.speaker.write(rest)
    ear.run(1)
    errors = ear.errors_ms()
    after = errors[2 * SECOND + 4 :]
    assert np.abs(after[~np.isnan(after)] - before).max() < 0.1


@pytest.mark.parametrize("lost_ms", [8, 25, 60])
def test_a_microphone_that_lost_something_is_found_again_within_a_tenth_of_a_second(lost_ms: int) -> None:
    ear = Ear(MIC_RATE, sound=unlike(MIC_RATE))
    ear.run(2)
    before = place_of_first(ear)
    ear.mic._taken += lost_ms * MIC_RATE // 1000
    ear.run(0.2)
    assert place_of_first(ear) - before == pytest.approx(lost_ms * MIC_RATE / 1000, abs=1)


def test_a_microphone_that_was_away_is_served_at_once_with_what_sounds_now() -> None:
    ear = Ear(MIC_RATE, sound=unlike(MIC_RATE))
    ear.run(2)
    for _ in range(50):  # closed for a second, while the reply goes on
        ear.time.now += 0.02
        ear._fill()
    ear.mic._taken += ear.mic.waiting()
    now_sounds = ear.pcm.frame
    (first, *_) = ear.run(0.05)
    assert abs(place(ear, first) - now_sounds) < 16


def test_what_is_known_of_the_clocks_survives_a_new_loudspeaker() -> None:
    first = Ear(ppm=250, step_ms=1, machine=busy)
    first.run(40)
    again = Ear(ppm=250, step_ms=1, machine=busy, drift=first.reference._drift)
    assert again.reference.drift_ppm == pytest.approx(250, abs=5)
    again.run(8)
    ignorant = Ear(ppm=250, step_ms=1, machine=busy)
    ignorant.run(8)
    steady = [np.ptp(ear.errors_ms()[SECOND // 5 : 3 * SECOND]) for ear in (again, ignorant)]
    assert steady[0] < 0.25 < steady[1]


def test_after_the_sound_the_room_is_given_a_second_and_then_nothing() -> None:
    ear = Ear(MIC_RATE, sound=unlike(MIC_RATE))
    assert ear.reference.block(ear.time.now, ear.time.now) is None
    ear.run(1)
    ear.playing = False
    ear.time.now += 0.015
    ear.speaker.stop()
    last = ear.pcm.sounded[-1]
    blocks = ear.run(2)
    sounding = [k for k, block in enumerate(blocks) if block is not None and block.any()]
    silent = [k for k, block in enumerate(blocks) if block is not None and not block.any()]
    assert sounding == list(range(len(sounding))), "what sounded before the end comes before the silence"
    end = blocks[sounding[-1]]
    assert end is not None
    assert end[np.flatnonzero(end)[-1]] == last
    assert len(sounding) + len(silent) == TAIL_S * SECOND
    assert all(block is None for block in blocks[int(TAIL_S * SECOND) :])


def test_a_reply_is_not_preceded_by_the_end_of_the_one_before() -> None:
    ear = Ear(MIC_RATE, sound=unlike(MIC_RATE))
    for _ in range(3):
        ear.playing = True
        blocks = ear.run(0.5)
        ear.playing = False
        ear.speaker.stop()
        ear.run(3)
        far = np.concatenate([block for block in blocks if block is not None])
        assert np.array_equal(far != 0, np.sort(far != 0)), "silence, and then sound without a break"


def test_the_calibrated_round_trip_reads_so_much_earlier() -> None:
    ear, other = (Ear(MIC_RATE, sound=unlike(MIC_RATE)) for _ in range(2))
    other.reference.delay_ms = 12.5
    for e in (ear, other):
        e.run(1)
    assert place_of_first(ear) - place_of_first(other) == pytest.approx(200, abs=2)
    other.reference.delay_ms = 50.0
    other.run(0.3)
    assert place_of_first(ear) - place_of_first(other) == pytest.approx(800, abs=2)


@pytest.mark.parametrize("gone", ["xrun", "freeze"])
def test_a_card_in_trouble_is_followed_when_it_is_well_again(gone: str) -> None:
    ear = Ear(MIC_RATE, sound=unlike(MIC_RATE))
    ear.run(1)
    if gone == "xrun":
        ear.pcm.xrun()
    else:
        ear.pcm.freeze()
        ear.run(0.3)
        ear.pcm.frozen = False
    ear.run(1)
    assert abs(place(ear, ear.blocks[-1]) - ear.pcm.frame) < 400
    assert all(block is not None and len(block) == 160 for block in ear.blocks[2:])


def test_a_reference_knows_nothing_at_first() -> None:
    assert Ear(drift=Drift()).reference.drift_ppm is None
