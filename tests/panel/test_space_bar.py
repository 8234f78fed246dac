from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.conversation.events import Event, TalkHeld, TalkPressed, TalkReleased
from appliance.panel.gestures import Gestures
from appliance.panel.terminal import HOLD_MS, SpaceBar


def test_one_space_is_a_short_press_known_after_600_ms() -> None:
    bar = SpaceBar()
    assert bar.space(10.0) == [(True, 10.0)]
    assert bar.deadline_s == pytest.approx(10.6)
    assert bar.expire(10.59) == []
    assert bar.expire(10.6) == [(False, 10.05)]
    assert bar.deadline_s is None


def test_repeated_spaces_are_held_until_150_ms_of_silence() -> None:
    bar = SpaceBar()
    assert bar.space(0.0) == [(True, 0.0)]
    assert bar.space(0.5) == []
    for tick in range(1, 30):
        assert bar.space(0.5 + tick * 0.033) == []
    last_s = 0.5 + 29 * 0.033
    assert bar.expire(last_s + 0.149) == []
    assert bar.expire(last_s + 0.151) == [(False, last_s)]


def test_a_space_read_late_ends_the_press_before() -> None:
    bar = SpaceBar()
    bar.space(0.0)
    assert bar.space(2.0) == [(False, 0.05), (True, 2.0)]


@given(st.lists(st.floats(0.001, 2.0), max_size=40))
def test_edges_alternate_and_end_released(gaps_s: list[float]) -> None:
    bar, now_s, edges = SpaceBar(), 0.0, []
    for gap_s in gaps_s:
        now_s += gap_s
        edges += bar.space(now_s)
    edges += bar.expire(now_s + 1)
    assert [pressed for pressed, _ in edges] == [index % 2 == 0 for index in range(len(edges))]
    assert len(edges) % 2 == 0
    assert [at_s for _, at_s in edges] == sorted(at_s for _, at_s in edges)


def test_with_the_advised_hold_time_a_tap_is_a_tap_and_a_hold_is_held() -> None:
    def told(spaces_s: list[float]) -> list[Event]:
        bar, gestures = SpaceBar(), Gestures(HOLD_MS)
        events: list[Event] = []
        for tick in range(400):  # one tick: 5 ms
            now_s = tick * 0.005
            edges = bar.space(now_s) if any(abs(now_s - at_s) < 1e-6 for at_s in spaces_s) else bar.expire(now_s)
            for pressed, at_s in edges:
                events += gestures.edge(pressed, at_s, captured_ms=0)
            events += gestures.expire(now_s, captured_ms=0)
        return events

    assert told([0.0]) == [TalkPressed(), TalkReleased(50, 0)]
    assert told([0.0, *(0.5 + repeat * 0.03 for repeat in range(20))]) == [
        TalkPressed(),
        TalkHeld(),
        TalkReleased(1070, 0),
    ]
