"""Gains from sample to sample: a duck of any sample that was written, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audio.format import Samples
from appliance.audio.loudness import DUCK_DB, FALL_S, RISE_S, Loudness

RATE = 24_000
LOW = 10 ** (-DUCK_DB / 20)
FULL = 10_000


def tone(count: int) -> Samples:
    return np.full(count, FULL, np.int16)


class Tape:
    """What was written and when it sounds, with a loudness in between; the sounding share of each sample."""

    def __init__(self, volume: float = 1.0) -> None:
        self.loudness = Loudness(RATE, volume)
        self.ring = np.zeros(0, np.float64)
        self.past: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
        self.written = 0

    def write(self, count: int) -> None:
        sound = self.loudness(tone(count), self.written)
        assert len(sound) == count
        self.ring = np.concatenate((self.ring, sound / FULL))
        self.written += count

    def sound(self, count: int) -> None:
        self.past.append(self.ring[:count])
        self.ring = self.ring[count:]

    def duck(self) -> None:
        self.ring = self.ring * self.loudness.duck(len(self.ring), self.written - len(self.ring))

    @property
    def shares(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.concatenate((*self.past, self.ring))


def test_at_full_volume_the_samples_are_not_touched() -> None:
    samples = tone(100)
    assert Loudness(RATE, 1.0)(samples, 0) is samples


@pytest.mark.parametrize("volume", [0.25, 1.0])
def test_a_duck_goes_down_in_five_milliseconds_and_comes_back_in_two_hundred(volume: float) -> None:
    tape = Tape(volume)
    tape.write(4800)
    tape.duck()
    tape.write(1000)
    tape.loudness.rise()
    tape.write(4800)
    tape.write(100)
    shares = tape.shares / volume
    fall = int(FALL_S * RATE)
    assert shares[0] == 1.0
    assert shares[fall:5800] == pytest.approx(LOW, abs=5e-4)
    assert shares[5800 + int(RISE_S * RATE) :] == pytest.approx(1.0, abs=5e-4)
    assert np.abs(np.diff(shares)).max() < 1.2 / fall, "no click"
    assert (np.diff(shares[5800:]) > -5e-4).all()


def test_a_reset_is_at_full_volume_at_once() -> None:
    loudness = Loudness(RATE, 1.0)
    loudness.duck(100, 0)
    loudness.reset()
    assert not loudness.ducked
    assert (loudness(tone(10), 100) == FULL).all()


ACTIONS = st.lists(
    st.one_of(st.sampled_from(["duck", "rise"]), st.tuples(st.integers(1, 3000), st.integers(0, 3000))), max_size=40
)


@settings(max_examples=150)
@given(ACTIONS)
def test_whatever_happens_it_stays_between_the_duck_and_the_volume_without_a_click(
    actions: list[str | tuple[int, int]],
) -> None:
    tape = Tape()
    tape.write(2000)
    for action in actions:
        if action == "duck" and not tape.loudness.ducked:
            tape.duck()
        elif action == "rise":
            tape.loudness.rise()
        elif isinstance(action, tuple):
            tape.write(action[0])
            tape.sound(action[1])
    shares = tape.shares
    assert shares.max() <= 1.0
    assert shares.min() >= LOW - 5e-4
    assert np.abs(np.diff(shares)).max() < 1.2 / (FALL_S * RATE)
    tape.loudness.rise()
    tape.write(int(RISE_S * RATE) + 2)
    assert tape.ring[-1] == pytest.approx(1.0, abs=1e-3), "and it always comes back"


@given(st.integers(0, 5000), st.integers(1, 4000), st.integers(0, 400))
def test_a_duck_during_the_way_back_is_as_deep_as_any(risen: int, ring: int, ducked: int) -> None:
    tape = Tape()
    tape.write(100)
    tape.duck()
    tape.write(ducked)
    tape.loudness.rise()
    tape.write(risen + ring)
    tape.sound(len(tape.ring) - ring)
    tape.duck()
    tape.write(1000)
    assert tape.ring[int(FALL_S * RATE) :] == pytest.approx(LOW, abs=1e-3)
