from __future__ import annotations

import re
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.conversation.state import Led
from appliance.panel import indicator
from appliance.panel.indicator import light, next_frame_s

RESTING = (Led.OFF, Led.IDLE)  # dark on purpose: nothing is going on
SPEAKING_WORDS = [led for led in Led if led not in RESTING]
leds = st.sampled_from(list(Led))


def lit_runs(led: Led, seconds: float = 30.0, step_s: float = 0.01) -> list[tuple[bool, float]]:
    """What a plain LED does: (lit, for how long)."""
    samples = [light(led, index * step_s).lit for index in range(round(seconds / step_s))]
    runs: list[tuple[bool, float]] = []
    for lit in samples:
        if runs and runs[-1][0] == lit:
            runs[-1] = (lit, runs[-1][1] + step_s)
        else:
            runs.append((lit, step_s))
    return runs


def rhythm(led: Led) -> tuple[float, float, float]:
    """What the eye takes from a plain LED: share of time lit, flashes a second, longest flash in seconds."""
    runs = lit_runs(led)
    flashes = [lasts_s for lit, lasts_s in runs if lit]
    return sum(flashes) / 30, len(flashes) / 30, max(flashes, default=0.0)


@given(leds, st.floats(0, 1e7))
def test_values_stay_in_range(led: Led, elapsed_s: float) -> None:
    shown = light(led, elapsed_s)
    assert 0 <= shown.brightness <= 1
    assert all(0 <= channel <= shown.brightness for channel in shown.rgb)
    assert max(shown.rgb) == shown.brightness, "a colour as bright as the single LED"


def test_listening_is_steadily_lit_and_idle_dark_on_a_plain_led() -> None:
    assert [lit for lit, _ in lit_runs(Led.LISTENING)] == [True]
    assert [lit for lit, _ in lit_runs(Led.IDLE)] == [False]


@pytest.mark.parametrize(("one", "other"), list(combinations([*SPEAKING_WORDS, Led.IDLE], 2)))
def test_any_two_words_differ_in_rhythm_on_a_plain_led(one: Led, other: Led) -> None:
    """By a fifth of the time lit, or by half again in the rate or the length of flashes: no colour needed."""
    (share, rate, longest), (share2, rate2, longest2) = rhythm(one), rhythm(other)
    apart = (
        abs(share - share2) >= 0.2
        or max(rate, rate2) >= 1.5 * min(rate, rate2)
        or max(longest, longest2) >= 1.5 * min(longest, longest2)
    )
    assert apart, f"{rhythm(one)} {rhythm(other)}"


@pytest.mark.parametrize("led", list(Led))
def test_no_more_than_three_flashes_in_any_second(led: Led) -> None:
    starts_s = []
    at_s = 0.0
    for lit, lasts_s in lit_runs(led):
        if lit:
            starts_s.append(at_s)
        at_s += lasts_s
    assert all(last - first > 1.0 - 1e-9 for first, last in zip(starts_s, starts_s[3:], strict=False))


@pytest.mark.parametrize("led", list(Led))
def test_drawn_at_its_frames_only_it_follows_the_pattern(led: Led) -> None:
    at_s: float | None = 0.0
    while at_s is not None and at_s < 20:
        drawn, next_s = light(led, at_s + 1e-6), next_frame_s(led, at_s + 1e-6)
        until_s = 20.0 if next_s is None else next_s
        assert until_s > at_s
        for part in range(1, 10):
            true = light(led, at_s + (until_s - at_s) * part / 10)
            assert true.brightness == pytest.approx(drawn.brightness, abs=0.17)
            assert true == drawn or led in (Led.THINKING, Led.SPEAKING), "a step has one height"
        at_s = next_s


@pytest.mark.parametrize(
    ("led", "most"), [(Led.ATTENTIVE, 40), (Led.MUTED, 60), (Led.OFFLINE, 40), (Led.ERROR, 150), (Led.THINKING, 1700)]
)
def test_frames_a_minute_cost_little(led: Led, most: int) -> None:
    frames, at_s = 0, next_frame_s(led, 0.0)
    while at_s is not None and at_s < 60:
        frames += 1
        at_s = next_frame_s(led, at_s + 1e-6)
    assert 0 < frames <= most


@given(leds, st.floats(0, 1e7))
def test_the_next_frame_lies_ahead(led: Led, elapsed_s: float) -> None:
    next_s = next_frame_s(led, elapsed_s)
    assert (next_s is None) == (led in (*RESTING, Led.LISTENING))
    assert next_s is None or 0 <= next_s - elapsed_s < 4


def test_idle_costs_nothing() -> None:
    for led in RESTING:
        assert next_frame_s(led, 0.0) is None
        assert light(led, 12.3) == (0.0, (0.0, 0.0, 0.0)), "0 needs no PWM"


@pytest.mark.parametrize("led", [Led.ATTENTIVE, Led.SPEAKING])
def test_these_never_go_quite_dark_when_dimmable(led: Led) -> None:
    assert min(light(led, index * 0.01).brightness for index in range(500)) >= 0.09


@pytest.mark.parametrize("led", SPEAKING_WORDS)
def test_no_jump_back_at_the_end_of_a_smooth_period(led: Led) -> None:
    if led not in (Led.THINKING, Led.SPEAKING):
        return
    levels = [light(led, index * 0.01).brightness for index in range(1000)]
    assert max(abs(after - before) for before, after in pairwise(levels)) < 0.1


def test_the_documented_table_names_every_word_in_order() -> None:
    table = re.findall(r"^\| ([\w-]+) +\|", indicator.__doc__ or "", re.MULTILINE)
    assert table[1:] == [led.value for led in Led]


def test_speaking_without_ears_shows_twice_as_many_and_longer_gaps() -> None:
    """Somebody who speaks over it has to see, on any LED and from across the room, that it will not stop."""
    gaps = {led: [lasts_s for lit, lasts_s in lit_runs(led) if not lit] for led in (Led.SPEAKING, Led.SPEAKING_ALONE)}
    assert min(gaps[Led.SPEAKING_ALONE][:-1]) > 1.8 * max(gaps[Led.SPEAKING])
    between = [lasts_s for lit, lasts_s in lit_runs(Led.SPEAKING_ALONE) if lit][1:-1]
    assert max(between) > 5 * min(between), "in pairs"
