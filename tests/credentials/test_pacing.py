"""The pacing policy: by itself rarely and never in step, at a press always."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from appliance.credentials.pacing import EARLIEST_S, LONGEST_SPREAD_S, SPREAD_S, TRIES, Pacing


def test_the_first_try_by_itself_is_spread_evenly_over_five_minutes() -> None:
    rng = random.Random(1)
    counts = [0] * 10
    for _ in range(10_000):
        pacing = Pacing(rng.uniform)
        pacing.failed(50.0, "unreachable")
        due_s = pacing.due_s()
        assert due_s is not None
        counts[int((due_s - 50.0 - EARLIEST_S) / SPREAD_S * 10)] += 1
    assert min(counts) > 850
    assert max(counts) < 1150


def test_a_press_is_never_held_but_by_the_devices_own_quota() -> None:
    for code in ("unreachable", "overloaded", "upstream_unavailable", "device_suspended", "spend_limit"):
        pacing = Pacing(random.Random(1).uniform)
        pacing.failed(0.0, code, 30.0)
        assert pacing.held_s(0.0) == 0.0, code
    pacing = Pacing(random.Random(1).uniform)
    pacing.failed(0.0, "quota_exceeded", 30.0)
    assert (pacing.held_s(0.0), pacing.held_s(29.0), pacing.held_s(30.0)) == (30.0, 1.0, 0.0)
    pacing.failed(0.0, "quota_exceeded", 40_000.0)
    assert pacing.held_s(0.0) == 30.0, "its owner may raise it before the day is over"
    pacing.succeeded()
    assert pacing.held_s(0.0) == 0.0
    pacing.failed(0.0, "quota_exceeded")
    assert pacing.held_s(0.0) == 0.0, "a service that does not say how long may be asked"


def test_presses_that_fail_meanwhile_do_not_draw_again() -> None:
    """Else an impatient person would make the device come back ever later, or ever sooner."""
    pacing = Pacing(random.Random(1).uniform)
    pacing.failed(0.0, "unreachable")
    due_s = pacing.due_s()
    for at_s in (1.0, 2.0, 3.0):
        pacing.failed(at_s, "unreachable")
        assert pacing.due_s() == due_s
    pacing.failed(4.0, "overloaded", 1000.0)
    assert pacing.due_s() == 1004.0


def test_by_itself_it_gives_up_and_a_success_begins_afresh() -> None:
    pacing = Pacing(random.Random(1).uniform)
    assert pacing.due_s() is None
    pacing.failed(0.0, "unreachable")
    tries, at_s = 0, 0.0
    while (due_s := pacing.due_s()) is not None:
        assert due_s - at_s <= LONGEST_SPREAD_S
        at_s, tries = due_s, tries + 1
        pacing.failed(at_s, "unreachable", by_itself=True)
    assert tries == TRIES
    assert at_s > 3600
    pacing.failed(at_s, "unreachable")
    assert pacing.due_s() is None, "a press that fails is no reason to ask by itself again"
    pacing.succeeded()
    pacing.failed(at_s, "unreachable")
    assert pacing.due_s() is not None


@given(
    seed=st.integers(),
    failures=st.lists(st.tuples(st.floats(0, 1e4), st.none() | st.floats(0, 86_400), st.booleans()), min_size=1),
)
def test_retry_after_is_obeyed_whatever_came_before(
    seed: int, failures: list[tuple[float, float | None, bool]]
) -> None:
    pacing, now_s = Pacing(random.Random(seed).uniform), 0.0
    for later_s, wait_s, by_itself in failures:
        now_s += later_s
        pacing.failed(now_s, "overloaded", wait_s, by_itself=by_itself)
        due_s = pacing.due_s()
        assert due_s is None or due_s >= now_s + (wait_s or 0.0) or (wait_s is None and due_s >= 0)


def test_a_hundred_thousand_devices_after_an_outage_come_one_by_one() -> None:
    """Virtual time: every device lost its link at 0; each comes by itself, once, no second too crowded."""
    rng = random.Random(7)
    arrivals = [0] * int(SPREAD_S)
    for _ in range(100_000):
        pacing = Pacing(rng.uniform)
        pacing.failed(0.0, "unreachable")
        arrivals[int((pacing.due_s() or 0.0) - EARLIEST_S)] += 1
    assert sum(arrivals) == 100_000
    assert max(arrivals) < 400
