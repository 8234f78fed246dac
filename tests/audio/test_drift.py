"""The line through noisy readings: how soon it is right, and how sure of itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audio.drift import PRIOR_PPM, Drift

TURN_S = 0.02


def learn(drift: Drift, seconds: float, ppm: float, noise_s: float, offset_s: float = 0.0, seed: int = 1) -> None:
    """Readings as a card gives whose position moves in steps of ``noise_s``, one in fifty of them wild."""
    chance = np.random.default_rng(seed)
    for at_s in np.arange(0.0, seconds, TURN_S).tolist():
        wild_s = chance.uniform(-0.02, 0.02) if chance.random() < 0.02 else 0.0
        drift.read(at_s, offset_s + ppm * 1e-6 * at_s + noise_s * chance.uniform(-0.5, 0.5) + wild_s)


@settings(max_examples=40, deadline=None)
@given(
    ppm=st.floats(-300, 300),
    noise_s=st.floats(0, 2e-3),
    offset_s=st.floats(-1e-3, 1e-3),
    seed=st.integers(0, 1000),
)
def test_any_line_is_found_through_any_noise(ppm: float, noise_s: float, offset_s: float, seed: int) -> None:
    drift = Drift()
    learn(drift, 60, ppm, noise_s, offset_s, seed)
    assert drift.ppm == pytest.approx(ppm, abs=2 + 8e3 * noise_s)
    assert drift.ahead_s(60) == pytest.approx(offset_s + ppm * 60e-6, abs=5e-6 + noise_s / 5)


def test_it_does_not_claim_what_it_cannot_know() -> None:
    drift = Drift()
    assert drift.ppm is None
    learn(drift, 3, 200, 1e-3)
    assert drift.ppm is None
    assert 10e-6 < drift.rate_sd < PRIOR_PPM * 1e-6
    learn_on = Drift()
    learn(learn_on, 30, 200, 1e-3)
    assert learn_on.ppm == pytest.approx(200, abs=5)


def test_a_new_line_keeps_the_rate_and_finds_its_own_offset() -> None:
    drift = Drift()
    learn(drift, 60, 150, 1e-3)
    drift.begin()
    assert drift.ppm == pytest.approx(150, abs=4)
    assert drift.ahead_s(1.0) == pytest.approx(150e-6, rel=0.05)
    learn(drift, 3, 150, 1e-3, offset_s=0.4e-3, seed=2)
    assert drift.ahead_s(3.0) == pytest.approx(0.4e-3 + 450e-6, abs=0.1e-3)
    assert drift.ppm == pytest.approx(150, abs=4)


def test_a_crystal_that_warms_up_is_followed() -> None:
    drift = Drift()
    ahead_s = 0.0
    for turn in range(50 * 300):
        ppm = 60 + 20 * min(1.0, turn * TURN_S / 200)
        ahead_s += ppm * 1e-6 * TURN_S
        drift.read(turn * TURN_S, ahead_s)
    assert drift.ppm == pytest.approx(80, abs=4)


def test_the_line_moves_only_with_a_whole_average() -> None:
    drift = Drift()
    moved = [drift.read(turn * TURN_S, 1e-3) for turn in range(24)]
    assert moved == [False] * 23 + [True]


def test_a_rate_from_an_earlier_life_is_used_at_once_and_bettered() -> None:
    first = Drift()
    assert first.worth_keeping_ppm is None
    learn(first, 40, 150, 1e-3)
    kept = first.worth_keeping_ppm
    assert kept == pytest.approx(150, abs=6)
    again = Drift(kept)
    assert again.rate == pytest.approx(150e-6, abs=6e-6)
    assert again.worth_keeping_ppm is None  # not until it was seen anew
    learn(again, 40, 152, 1e-3, seed=3)
    assert again.worth_keeping_ppm == pytest.approx(152, abs=4)


def test_a_rate_of_other_cards_is_forgotten_within_a_minute() -> None:
    drift = Drift(-120.0)
    learn(drift, 60, 90, 1e-3)
    assert drift.rate * 1e6 == pytest.approx(90, abs=8)
