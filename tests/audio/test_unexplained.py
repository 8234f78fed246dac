"""How much of a residue the echo does not explain, on made-up residues of known loudness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audio.linear import HOP, Sound
from appliance.audio.unexplained import LEAST_DB, MOST_DB, Unexplained


class Source:
    """White sound of a loudness, hop by hop."""

    def __init__(self, seed: int) -> None:
        self._chance = np.random.default_rng(seed)

    def __call__(self, rms: float) -> Sound:
        return self._chance.normal(0, rms, HOP).astype(np.float32)


def settled(leak_db: float = -20.0, room: float = 1e-4, hops: int = 400) -> tuple[Unexplained, Source]:
    """One that knows a room in which so much of the echo is left over."""
    unexplained, source = Unexplained(), Source(1)
    for _ in range(hops):
        unexplained(source(room), source(0.0))
    for _ in range(hops):
        echo = source(0.1)
        unexplained(source(0.1 * 10 ** (leak_db / 20)) + source(room), echo)
    return unexplained, source


@pytest.mark.parametrize("leak_db", [-35.0, -20.0, -5.0])
def test_whatever_share_of_the_echo_is_left_it_is_learned_as_what_echo_leaves(leak_db: float) -> None:
    unexplained, source = settled(leak_db)
    told = [unexplained(source(0.1 * 10 ** (leak_db / 20)), source(0.1)) for _ in range(200)]
    assert np.mean(told) < 0


@pytest.mark.parametrize("over_db", [10.0, 20.0])
def test_a_talker_is_what_is_louder_than_that(over_db: float) -> None:
    unexplained, source = settled(-20.0)
    told = [unexplained(source(0.01 * 10 ** (over_db / 20)), source(0.1)) for _ in range(25)]
    assert np.mean(told) > over_db * 0.4


def test_a_talker_while_nothing_else_sounds_stands_out_of_the_room() -> None:
    unexplained, source = settled()
    for _ in range(40):
        unexplained(source(1e-4), source(0.0))
    assert np.mean([unexplained(source(0.02), source(0.0)) for _ in range(25)]) > 5


def test_the_echos_decay_in_the_room_is_still_echo() -> None:
    unexplained, source = settled(-20.0)
    told = [unexplained(source(0.01 * 10 ** (-3.1 * k / 20)), source(0.0)) for k in range(1, 10)]
    assert max(told) < 1


def test_a_room_that_becomes_louder_is_the_new_room_after_a_while() -> None:
    unexplained, source = Unexplained(), Source(1)
    for _ in range(400):
        unexplained(source(1e-4), source(0.0))
    first = np.mean([unexplained(source(3e-4), source(0.0)) for _ in range(10)])
    for _ in range(1000):
        unexplained(source(3e-4), source(0.0))
    then = np.mean([unexplained(source(3e-4), source(0.0)) for _ in range(50)])
    assert first > 3
    assert then < 0


LOUDNESSES = st.sampled_from([0.0, 1e-20, 1e-6, 1e-4, 0.01, 0.3, 1.0, 30.0])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(LOUDNESSES, LOUDNESSES, st.integers(1, 30)), min_size=1, max_size=12))
def test_it_is_always_a_number_within_its_limits(story: list[tuple[float, float, int]]) -> None:
    unexplained, source = Unexplained(), Source(2)
    for residue, echo, hops in story:
        for _ in range(hops):
            assert LEAST_DB <= unexplained(source(residue), source(echo)) <= MOST_DB
    floor = unexplained._floor
    assert floor is not None
    assert np.isfinite(floor).all()
    assert (floor >= 0).all()


def test_a_microphone_of_zeros_at_first_does_not_make_it_deaf_or_nervous_for_ever() -> None:
    """Its floor begins at nothing; a room that sounds like any other has to become the room."""
    unexplained, source = Unexplained(), Source(3)
    for _ in range(50):
        unexplained(np.zeros(HOP, np.float32), np.zeros(HOP, np.float32))
    for _ in range(1500):  # half a minute
        unexplained(source(1e-4), source(0.0))
    assert np.mean([unexplained(source(1e-4), source(0.0)) for _ in range(100)]) < 1
