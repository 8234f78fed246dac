from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.conversation.events import (
    Event,
    TalkHeld,
    TalkHeldLong,
    TalkHeldOn,
    TalkHeldOut,
    TalkPressed,
    TalkReleased,
)
from appliance.panel.gestures import Gestures

HOLDING = (TalkHeld, TalkHeldLong, TalkHeldOn, TalkHeldOut)
HOLD_MS, DEBOUNCE_MS = 350, 20
Train = list[tuple[int, bool]]  # (ms since the edge before, level)


def run(train: Train, *, prompt: bool = True) -> tuple[list[Event], Gestures]:
    """Feed a train of edges as a daemon would, with a timer at every deadline (or all late), and let it settle."""
    gestures = Gestures(HOLD_MS, DEBOUNCE_MS)
    events: list[Event] = []
    now_ms = 0
    for gap_ms, level in train:
        now_ms += gap_ms
        if prompt:
            events += timers(gestures, now_ms / 1000)
        events += gestures.edge(level, now_ms / 1000, captured_ms=0)
    end_s = (now_ms + DEBOUNCE_MS + 1) / 1000  # 1 ms for the rounding of floats
    events += timers(gestures, end_s) if prompt else gestures.expire(end_s, captured_ms=0)
    return events, gestures


def timers(gestures: Gestures, until_s: float) -> list[Event]:
    events: list[Event] = []
    while (due_s := gestures.deadline_s) is not None and due_s <= until_s:
        fired = gestures.expire(due_s, captured_ms=0)
        assert fired or not gestures.stuck
        events += fired
        assert gestures.deadline_s is None or gestures.deadline_s > due_s, "a deadline that passed stays due"
    return events


trains = st.lists(st.tuples(st.integers(0, 900) | st.integers(0, 30), st.booleans()), max_size=40)
long_trains = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 5, 19, 20, 21, 349, 350, 351, 4_999, 5_000, 10_000, 17_001, 59_999, 60_000, 61_000]),
        st.booleans(),
    ),
    max_size=25,
)


def test_a_press_is_told_in_the_call_that_brings_it() -> None:
    gestures = Gestures(HOLD_MS)
    assert gestures.edge(True, 10.0, captured_ms=0) == [TalkPressed()]


def test_tap() -> None:
    gestures = Gestures(HOLD_MS)
    gestures.edge(True, 10.0, captured_ms=0)
    assert gestures.deadline_s == pytest.approx(10.35)
    assert gestures.edge(False, 10.12, captured_ms=90) == [TalkReleased(120, 90)]
    assert gestures.deadline_s is None


def test_hold() -> None:
    gestures = Gestures(HOLD_MS)
    gestures.edge(True, 10.0, captured_ms=0)
    assert gestures.expire(10.349, captured_ms=340) == []
    assert gestures.expire(10.351, captured_ms=340) == [TalkHeld()]
    assert gestures.expire(11.0, captured_ms=990) == []
    assert gestures.edge(False, 12.0, captured_ms=1990) == [TalkReleased(2000, 1990)]


def test_a_hold_whose_timer_was_late_is_told_before_its_release() -> None:
    gestures = Gestures(HOLD_MS)
    gestures.edge(True, 0.0, captured_ms=0)
    assert gestures.edge(False, 0.5, captured_ms=480) == [TalkHeld(), TalkReleased(500, 480)]


def test_a_release_that_arrives_after_the_timer_it_precedes_still_counts_as_held() -> None:
    gestures = Gestures(HOLD_MS)
    gestures.edge(True, 0.0, captured_ms=0)
    assert gestures.expire(0.35, captured_ms=0) == [TalkHeld()]
    assert gestures.edge(False, 0.3491, captured_ms=0) == [TalkReleased(350, 0)]


def test_a_release_dated_back_is_a_tap() -> None:
    gestures = Gestures(650)  # as on a terminal
    gestures.edge(True, 1.0, captured_ms=0)
    assert gestures.expire(1.6, captured_ms=0) == []
    assert gestures.edge(False, 1.05, captured_ms=600) == [TalkReleased(50, 600)]


def test_bounces_are_swallowed_and_a_release_among_them_is_told_at_the_end_of_the_window() -> None:
    gestures = Gestures(HOLD_MS, debounce_ms=20)
    assert gestures.edge(True, 0.0, captured_ms=0) == [TalkPressed()]
    for at_s, level in ((0.002, False), (0.004, True), (0.013, False)):
        assert gestures.edge(level, at_s, captured_ms=0) == []
    assert gestures.deadline_s == pytest.approx(0.020)
    assert gestures.expire(0.020, captured_ms=5) == [TalkReleased(13, 5)]


def test_presses_without_release_are_one_press() -> None:
    gestures = Gestures(HOLD_MS)
    assert gestures.edge(False, 0.0, captured_ms=0) == []
    assert gestures.edge(True, 1.0, captured_ms=0) == [TalkPressed()]
    assert gestures.edge(True, 1.1, captured_ms=0) == []
    assert gestures.edge(False, 1.2, captured_ms=0) == [TalkReleased(200, 0)]
    assert gestures.edge(False, 1.3, captured_ms=0) == []


def test_a_stuck_button_is_released_once_and_ignored_until_it_is_really_up() -> None:
    gestures = Gestures(HOLD_MS)
    gestures.edge(True, 0.0, captured_ms=0)
    assert gestures.expire(59.9, captured_ms=0) == [TalkHeld(), TalkHeldLong(fresh=True), TalkHeldOn(), TalkHeldOut()]
    assert gestures.expire(60.0, captured_ms=30_000) == [TalkReleased(60_000, 30_000)]
    assert gestures.stuck
    assert gestures.deadline_s is None
    for at_s, level in ((70.0, False), (70.005, True), (80.0, True)):  # a glitch is not up
        assert gestures.edge(level, at_s, captured_ms=0) == []
    assert gestures.stuck
    assert gestures.edge(False, 90.0, captured_ms=0) == []
    assert gestures.deadline_s == pytest.approx(90.02)
    assert gestures.expire(90.02, captured_ms=0) == []
    assert gestures.edge(True, 90.02, captured_ms=0) == [TalkPressed()], "not stuck any more"


def test_longer_holds_are_told_each_once_at_their_time() -> None:
    gestures = Gestures(HOLD_MS)
    gestures.edge(True, 200.0, captured_ms=0)
    assert gestures.expire(204.999, captured_ms=0) == [TalkHeld()]
    assert gestures.expire(205.0, captured_ms=0) == [TalkHeldLong(fresh=False)]
    assert gestures.expire(210.0, captured_ms=0) == [TalkHeldOn()]
    assert gestures.deadline_s == 217.0
    assert gestures.edge(False, 216.9, captured_ms=7) == [TalkReleased(16_900, 7)]
    gestures.edge(True, 220.0, captured_ms=0)
    assert gestures.expire(226.0, captured_ms=0) == [TalkHeld(), TalkHeldLong(fresh=False)], "anew at each press"


@pytest.mark.parametrize(("hold_ms", "debounce_ms"), [(20, 20), (350, -1), (60_000, 20)])
def test_impossible_times_are_refused(hold_ms: int, debounce_ms: int) -> None:
    with pytest.raises(ValueError, match="debounce_ms"):
        Gestures(hold_ms, debounce_ms)


@given(trains | long_trains)
@example([(0, True), (15, False), (4, True), (2, False)])
def test_presses_and_releases_alternate(train: Train) -> None:
    events, _ = run(train)
    edges = [event for event in events if not isinstance(event, HOLDING)]
    for index, event in enumerate(edges):
        assert isinstance(event, TalkReleased if index % 2 else TalkPressed)


@given(trains)
@example([(0, True), (19, False)])
@example([(0, True), (1, False), (1, True)])
def test_the_final_level_is_never_lost(train: Train) -> None:
    events, gestures = run(train)
    edges = [event for event in events if not isinstance(event, HOLDING)]
    final = train[-1][1] if train else False
    # Stuck: told as released on purpose while it is down.
    assert (len(edges) % 2 == 1) == final or gestures.stuck


@given(long_trains)
def test_stuck_ends_in_a_working_button(train: Train) -> None:
    _, gestures = run([*train, (1, False)])
    assert not gestures.stuck
    assert gestures.deadline_s is None


@given(trains | long_trains)
def test_held_is_told_once_exactly_when_the_release_says_so(train: Train) -> None:
    events, _ = run(train)
    held = 0
    for event in events:
        if isinstance(event, TalkHeld):
            held += 1
        elif isinstance(event, HOLDING):
            assert held == 1
        elif isinstance(event, TalkReleased):
            assert held == (event.held_ms >= HOLD_MS)
            held = 0
        else:
            assert held == 0
    assert held <= 1


@given(trains | long_trains)
def test_a_late_timer_changes_nothing(train: Train) -> None:
    assert run(train, prompt=True)[0] == run(train, prompt=False)[0]


bounce = st.lists(st.integers(0, 3), max_size=6).map(lambda gaps: gaps[: len(gaps) // 2 * 2])


@given(st.lists(st.tuples(st.integers(50, 3000), st.integers(50, 3000), bounce, bounce), min_size=1, max_size=6))
def test_held_ms_is_the_time_between_the_leading_edges(
    presses: list[tuple[int, int, list[int], list[int]]],
) -> None:
    """Every press and every release bounces for less than the window; the lengths come out exactly."""
    train: Train = []
    for up_ms, down_ms, press_bounce, release_bounce in presses:
        train.append((up_ms, True))
        train += [(gap, bool(index % 2)) for index, gap in enumerate(press_bounce)]
        train.append((down_ms - sum(press_bounce), False))
        train += [(gap, not index % 2) for index, gap in enumerate(release_bounce)]
    events, _ = run(train)
    told = [event.held_ms for event in events if isinstance(event, TalkReleased)]
    assert told == [down_ms for _, down_ms, _, _ in presses]
