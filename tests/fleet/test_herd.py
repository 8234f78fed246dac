"""A thousand devices that were refused in one moment: they come back one by one, and are all served."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.fleet.herd import Incident, play, play_naive

SMALL = Incident(devices=1000, capacity_per_s=12)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_herd_comes_back_one_by_one(tmp_path: Path, seed: int) -> None:
    found = play(Incident(devices=1000, capacity_per_s=12, seed=seed), tmp_path)
    assert found.served == 1000
    assert found.requests_per_device <= 1.3
    assert found.peak_per_s <= 12
    assert found.p99_served_s <= 600


def test_without_a_policy_they_come_all_at_once_and_often(tmp_path: Path) -> None:
    ours, theirs = play(SMALL, tmp_path), play_naive(SMALL)
    assert theirs.peak_per_s == 1000
    assert theirs.requests_per_device > 5 * ours.requests_per_device


def test_a_service_that_is_too_small_serves_what_it_can_and_is_not_asked_for_ever(tmp_path: Path) -> None:
    found = play(Incident(devices=1000, capacity_per_s=2), tmp_path)
    assert 500 <= found.served < 1000
    assert found.requests_per_device <= 1.5


def test_a_long_outage_is_asked_about_ever_less_and_nobody_comes_back_in_step(tmp_path: Path) -> None:
    found = play(Incident(devices=1000, capacity_per_s=12, outage_s=1800, seconds=3600), tmp_path)
    assert found.served == 1000
    assert found.requests == 1000
    assert found.peak_per_s <= 12
