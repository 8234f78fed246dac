"""Counting and its uncertainty."""

from __future__ import annotations

import math

import pytest

from tests.acoustic.score import percentile, poisson_per_hour, wilson_pct
from tests.acoustic.words import missing_words, words


def test_a_share_of_nothing_is_unknown_and_of_much_is_narrow() -> None:
    assert wilson_pct(0, 0) == (0.0, 100.0)
    low, high = wilson_pct(190, 200)
    assert low == pytest.approx(91.0, abs=0.6)
    assert high == pytest.approx(97.3, abs=0.6)


def test_no_event_in_an_hour_still_allows_for_three() -> None:
    assert poisson_per_hour(0, 1.0) == (0.0, 3.69)
    low, high = poisson_per_hour(10, 2.0)
    assert low == pytest.approx(4.8 / 2, abs=0.1)
    assert high == pytest.approx(18.4 / 2, abs=0.1)


def test_percentile_of_nothing_is_not_a_number() -> None:
    assert math.isnan(percentile([], 50))
    assert percentile([1.0, 3.0], 50) == 2.0


def test_words_are_missed_in_their_order() -> None:
    assert words("Go forward, TEN meters!") == ["go", "forward", "ten", "meters"]
    assert missing_words(["go", "forward", "ten"], ["go", "for", "ten"]) == 1
    assert missing_words(["a", "b"], ["b", "a"]) == 1
    assert missing_words(["a"], ["x", "a", "y"]) == 0
