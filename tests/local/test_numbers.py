from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.local.numbers import NoAnswer, evaluate, say, to_digits


@given(st.integers(0, 10**15 - 1))
def test_a_spoken_number_reads_back_as_itself(number: int) -> None:
    assert to_digits(say(number).replace("-", " ")) == str(number)


@given(st.fractions(min_value=0, max_value=10**9).map(lambda value: round(value, 4)))
def test_a_spoken_decimal_reads_back_as_itself(number: Fraction) -> None:
    assert Fraction(to_digits(say(number).replace("-", " "))) == number


@pytest.mark.parametrize(
    ("words", "digits"),
    [
        ("one hundred and forty four", "144"),
        ("three point one four", "3.14"),
        ("five six", "5 6"),
        ("two thousand and five apples", "2005 apples"),
        ("salt and pepper", "salt and pepper"),
        ("hundred", "hundred"),
        ("twenty and five", "20 and 5"),
        ("the point is", "the point is"),
    ],
)
def test_only_numbers_become_digits(words: str, digits: str) -> None:
    assert to_digits(words) == digits


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("7 times 6", 42),
        ("2 plus 3 times 4", 14),
        ("10 minus 4 minus 3", 3),
        ("12 divided by 5", Fraction(12, 5)),
        ("15 percent of 200", 30),
        ("2 to the power of 10", 1024),
        ("9 squared", 81),
        ("the square root of 144", 12),
        ("minus 5 plus 3", -2),
    ],
)
def test_sums(expression: str, value: Fraction) -> None:
    result = evaluate(expression)
    assert result is not None
    assert result[0] == value


@pytest.mark.parametrize("expression", ["", "7", "7 times", "times 6", "7 apples plus 2", "plus"])
def test_what_is_no_sum(expression: str) -> None:
    assert evaluate(expression) is None


@pytest.mark.parametrize(
    "expression",
    ["1 divided by 0", "0 to the power of -1", "the square root of -4", "9 to the power of 999", "9" * 30 + " plus 1"],
)
def test_sums_without_an_answer_say_why(expression: str) -> None:
    with pytest.raises(NoAnswer):
        evaluate(expression)


_TERMS = st.lists(
    st.sampled_from(
        ["0", "1", "2", "7", "12", "0.5", "999999999999", "plus", "minus", "times", "over", "squared", "cubed"]
    ),
    max_size=12,
)


@given(_TERMS)
def test_no_sum_breaks_it(terms: list[str]) -> None:
    try:
        result = evaluate(" ".join(terms))
    except NoAnswer:
        return
    assert result is None or say(result[0])


def test_rounding_is_admitted() -> None:
    assert say(Fraction(1, 3)) == "about zero point three three three three"
    assert say(Fraction(-5, 2)) == "minus two point five"
