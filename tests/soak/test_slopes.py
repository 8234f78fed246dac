"""The slope of what is known to grow, and of what does not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.soak.slopes import HOUR_S, slope

T = np.arange(0, 600, 2.0)
RNG = np.random.default_rng(3)


def test_a_leak_under_noise_is_found_with_its_size() -> None:
    found = slope(T, 50_000 + 360 * T / HOUR_S + RNG.normal(0, 5, len(T)), [0] * len(T))
    assert found.grows
    assert found.low < 360 < found.high
    assert found.per_h == pytest.approx(360, rel=0.2)


def test_noise_that_is_much_like_a_moment_ago_does_not_grow() -> None:
    wandering = np.convolve(RNG.normal(0, 5, len(T) + 20), np.ones(21) / 21, "valid")
    found = slope(T, wandering, [0] * len(T))
    assert found.low < 0 < found.high


def test_a_single_spike_is_no_slope() -> None:
    values = np.full(len(T), 7.0)
    values[-20:-15] = 5000
    assert slope(T, values, [0] * len(T)).per_h == 0


def test_a_restart_in_between_is_no_slope() -> None:
    values = np.where(T < 300, 40.0, 90.0)
    lives = (T >= 300).astype(int).tolist()
    assert slope(T, values, lives).per_h == 0
    assert slope(T, values, [0] * len(T)).per_h > 0


def test_too_few_points_have_none() -> None:
    with pytest.raises(ValueError, match="2 points"):
        slope([0, 1], [1, 2], [0, 0])
