from __future__ import annotations

import pytest

from appliance.local.timers import duration_s, spoken_duration
from appliance.local.units import convert


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("how many meters are in 2 kilometers", "Two kilometers are two thousand meters."),
        ("how many inches are there in a foot", "One foot is twelve inches."),
        (
            "what is 100 fahrenheit in celsius",
            "One hundred degrees fahrenheit are about thirty-seven point seven eight",
        ),
        ("what is minus 40 celsius in fahrenheit", "Minus forty degrees celsius are minus forty degrees fahrenheit."),
        ("1 millimeter in miles", "One millimeter is next to no miles."),
        ("convert 5 miles to pounds", "I cannot convert miles to pounds"),
        ("convert 9999999999999 miles to feet", "That number is too large"),
    ],
)
def test_conversions(question: str, answer: str) -> None:
    converted = convert(question)
    assert converted is not None
    assert converted.startswith(answer)


@pytest.mark.parametrize("question", ["", "how many miles", "i am in 10 downing street", "10 miles"])
def test_what_is_no_conversion(question: str) -> None:
    assert convert(question) is None


def test_durations() -> None:
    assert duration_s("1 hour and 20 minutes") == 4800
    assert duration_s("1.5 minutes") == 90
    assert duration_s("0 minutes") is None
    assert duration_s("9999 hours") is None
    assert spoken_duration(3725) == "one hour, two minutes and five seconds"
    assert spoken_duration(60) == "one minute"
