"""Bars per day as inline SVG, made here: readable without scripts, by screen readers too.

Responsible for: the geometry. Colours are classes of the style sheet. The numbers stand in a table beside them, which
is the same data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from appliance.provisioning.pages.rendering import day as day_name
from appliance.provisioning.pages.rendering import money, number, short
from appliance.provisioning.usage import Used

WIDTH, HEIGHT = 340, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 4, 10, 22


class Bar(msgspec.Struct, frozen=True):
    """One day's bar, in the picture's units."""

    x: float
    y: float
    width: float
    height: float
    label: str


class Chart(msgspec.Struct, frozen=True):
    """One picture: ``ticks`` are heights with words, ``dates`` are places with words."""

    key: str
    title: str
    total: str
    description: str
    bars: list[Bar]
    ticks: list[tuple[float, str]]
    dates: list[tuple[float, str, str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    floor: int = HEIGHT - _BOTTOM


class Charts(msgspec.Struct, frozen=True):
    """The pictures and their numbers; ``missing`` days at the start are not counted yet."""

    pictures: list[Chart]
    rows: list[Used]
    missing: int = 0


def _axis_money(value: float) -> str:
    return f"${short(value)}" if value >= 10 else f"${value:.2g}" if value >= 1 else f"${value:.2f}"


_Value = Callable[[Used], float]
_Words = Callable[[float], str]
_KINDS: tuple[tuple[str, str, _Value, _Words, _Words], ...] = (
    ("sessions", "Conversations", lambda used: used.sessions, number, short),
    ("minutes", "Minutes", lambda used: used.seconds / 60, number, short),
    ("tokens", "Tokens", lambda used: used.tokens, number, short),
    ("cost", "Cost", lambda used: used.cost_usd or 0.0, money, _axis_money),
)


def charts(days: Mapping[int, Used], first_day: int, count: int, missing: int = 0) -> Charts:
    """Four pictures of the days: conversations, minutes, tokens, cost."""
    series = [days.get(day, Used(day=day)) for day in range(first_day, first_day + count)]
    pictures = [_chart(key, title, series, value, words, axis) for key, title, value, words, axis in _KINDS]
    return Charts(pictures, series[::-1], missing)


def _chart(key: str, title: str, series: list[Used], value: _Value, words: _Words, axis: _Words) -> Chart:
    values = [value(used) for used in series]
    top = ceiling(max(values), whole=key != "cost")
    step = (WIDTH - _LEFT - _RIGHT) / len(series)
    height = HEIGHT - _TOP - _BOTTOM
    gap = min(2.0, step * 0.25)
    bars = [
        Bar(
            x=round(_LEFT + at * step + gap / 2, 2),
            y=round(HEIGHT - _BOTTOM - height * amount / top, 2),
            width=round(step - gap, 2),
            height=round(height * amount / top, 2),
            label=f"{day_name(series[at].day)}: {words(amount)}",
        )
        for at, amount in enumerate(values)
        if amount > 0
    ]
    total, most = sum(values), max(range(len(values)), key=values.__getitem__)
    description = f"{words(total)} in {len(series)} days"
    if total:
        description += f"; most on {day_name(series[most].day)}, {words(values[most])}"
    return Chart(
        key=key,
        title=title,
        total=words(total),
        description=description,
        bars=bars,
        ticks=[(round(HEIGHT - _BOTTOM - height * part, 2), axis(top * part)) for part in (1, 0.5)],
        dates=_dates(series, step),
    )


def _dates(series: list[Used], step: float) -> list[tuple[float, str, str]]:
    middle = len(series) // 2
    places = ((0, "start"), (middle, "middle"), (len(series) - 1, "end"))
    ends = {"start": 0.0, "middle": step / 2, "end": step}
    return [(round(_LEFT + at * step + ends[anchor], 2), anchor, day_name(series[at].day)) for at, anchor in places]


def ceiling(most: float, *, whole: bool) -> float:
    """The end of an axis: the next round number above, whose half can be written at the middle of it."""
    unit = 1.0 if whole else 0.01
    power = 1
    while True:
        for step in (2, 3, 4, 5, 6, 8, 10):
            top = power * step
            if top % 2 == 0 and top * unit >= most:
                return top * unit
        power *= 10
