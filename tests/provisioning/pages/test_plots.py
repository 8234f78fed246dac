"""The pictures' geometry, and how numbers and times are said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.provisioning.pages import plots, rendering
from appliance.provisioning.usage import Used

AMOUNTS = st.floats(0, 1e9, allow_nan=False)


@given(st.lists(AMOUNTS, min_size=30, max_size=30))
def test_every_bar_stays_in_its_picture_and_is_as_high_as_its_day(seconds: list[float]) -> None:
    days = {day: Used(day=day, seconds=amount * 60, sessions=int(amount)) for day, amount in enumerate(seconds)}
    chart = plots.charts(days, 0, 30).pictures[1]
    assert len(chart.bars) == sum(amount > 0 for amount in seconds)
    for bar in chart.bars:
        assert chart.left <= bar.x
        assert bar.x + bar.width <= chart.right + 0.01
        assert bar.y >= chart.ticks[0][0] - 0.01
        assert bar.y + bar.height == pytest.approx(chart.floor, abs=0.02)
    assert chart.bars == sorted(chart.bars, key=lambda bar: bar.x)
    if max(seconds) > 0:
        tallest = max(range(30), key=seconds.__getitem__)
        assert f"most on {rendering.day(tallest)}" in chart.description


@given(AMOUNTS, st.booleans())
def test_an_axis_ends_above_the_most_and_not_far_above(most: float, whole: bool) -> None:
    top = plots.ceiling(most, whole=whole)
    assert top >= most
    assert top <= max(2 * most, 2 if whole else 0.02) * 1.001


def test_days_without_use_are_empty_pictures_with_numbers() -> None:
    charts = plots.charts({}, 20_000, 90)
    assert [chart.bars for chart in charts.pictures] == [[], [], [], []]
    assert [row.day for row in charts.rows[:2]] == [20_089, 20_088]
    assert charts.pictures[0].description == "0 in 90 days"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (rendering.money(None), "\N{EN DASH}"),
        (rendering.money(0.0), "$0.00"),
        (rendering.money(0.001), "< $0.01"),
        (rendering.money(12.345), "$12.35"),
        (rendering.money(12_345.6), "$12,346"),
        (rendering.duration(59), "59 s"),
        (rendering.duration(3_600), "60 min"),
        (rendering.duration(36_000), "10 h"),
        (rendering.short(9_999), "9,999"),
        (rendering.short(10_000), "10k"),
        (rendering.short(2_500_000), "2.5M"),
        (rendering.short(3e10), "30G"),
        (rendering.age(None, 0), "never"),
        (rendering.age(1_000, 1_000), "just now"),
        (rendering.age(0, 61_000), "1 minute ago"),
        (rendering.age(0, 7_200_000), "2 hours ago"),
        (rendering.age(172_800_000, 0), "in 2 days"),
        (rendering.age(30_000, 0), "in less than a minute"),
        (rendering.wait(1), "1 second"),
        (rendering.wait(29.2), "30 seconds"),
        (rendering.wait(121), "3 minutes"),
        (rendering.moment(1_800_000_000_000), "15 Jan 2027, 08:00 UTC"),
        (rendering.iso(1_800_000_000_000), "2027-01-15T08:00:00Z"),
        (rendering.code("019450730"), "019-450-730"),
        (rendering.sentence("device x is away"), "Device x is away"),
        (rendering.sentence(""), ""),
        (rendering.outcome("spend_limit"), "spend limit"),
    ],
)
def test_numbers_and_times_are_said_as_people_do(said: str, expected: str) -> None:
    assert said == expected
