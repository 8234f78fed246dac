"""Numbers as they are spoken: words to digits, digits to words, and sums.

Responsible for: "seven times six" -> 42 -> "forty-two", exactly. Not for: deciding that a sentence is a sum
(``dialogue``). Pure.
"""

from __future__ import annotations

import re
from fractions import Fraction

# fmt: off
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
# fmt: on
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SMALL = {word: value for value, word in enumerate(_ONES)} | {
    word: 10 * (index + 2) for index, word in enumerate(_TENS)
}
_MAX_SPOKEN = 10**15
_MAX_DIGITS = 60
_DECIMALS = 4


class NoAnswer(ValueError):
    """The sum has no answer we can say; the text says why, as a sentence."""


def to_digits(words: str) -> str:
    """The sentence (lower case, no punctuation) with every spoken number written in digits.

    "one hundred and forty four point five" becomes "144.5"; words that are no number stay.
    """
    out: list[str] = []
    tokens = words.split()
    index = 0
    while index < len(tokens):
        value, used = _read_number(tokens[index:])
        if used:
            out.append(value)
            index += used
        else:
            out.append(tokens[index])
            index += 1
    return " ".join(out)


def _read_number(words: list[str]) -> tuple[str, int]:
    """The number the words begin with, in digits, and how many words it takes (0: none)."""
    total, group, used, last = 0, 0, 0, 0
    for index, word in enumerate(words):
        if word == "hundred" and 0 < group < 100:
            group, last = group * 100, 100
        elif word in _SCALES and group:
            total, group, last = total + group * _SCALES[word], 0, _SCALES[word]
        elif word in _SMALL and _fits(_SMALL[word], last, used):
            group, last = group + _SMALL[word], _SMALL[word] or 1
        elif word == "and" and last >= 100:
            continue  # counts only if a number follows: "used" stays behind
        else:
            break
        used = index + 1
    if not used:
        return "", 0
    decimals = _read_decimals(words[used:])
    if decimals:
        return f"{total + group}.{decimals}", used + 1 + len(decimals)
    return str(total + group), used


def _read_decimals(words: list[str]) -> str:
    """The digits after a spoken "point", "" if there is none."""
    digits = ""
    if words[:1] == ["point"]:
        for word in words[1:]:
            if word not in _ONES[:10]:
                break
            digits += str(_ONES.index(word))
    return digits


def _fits(value: int, last: int, used: int) -> bool:
    """Whether a word below a hundred may follow: "twenty five", "hundred five", not "five six"."""
    if not used:
        return True
    return last >= 100 or (20 <= last < 100 and 0 < value < 10)


def say(value: Fraction | int) -> str:
    """The number in words, rounded to four decimals; numbers from 10**15 on in digits."""
    number = Fraction(value)
    if number < 0:
        return f"minus {say(-number)}"
    rounded = round(number, _DECIMALS)
    whole = int(rounded)
    words = _say_whole(whole) if whole < _MAX_SPOKEN else str(whole)
    fraction = f"{int((rounded - whole) * 10**_DECIMALS):0{_DECIMALS}d}".rstrip("0")
    if fraction:
        words += " point " + " ".join(_ONES[int(digit)] for digit in fraction)
    return words if rounded == number else f"about {words}"


def _say_whole(number: int) -> str:
    for name, scale in reversed(_SCALES.items()):
        if number >= scale:
            head = f"{_say_whole(number // scale)} {name}"
            return f"{head} {_say_whole(number % scale)}" if number % scale else head
    if number >= 100:
        head = f"{_ONES[number // 100]} hundred"
        return f"{head} {_say_whole(number % 100)}" if number % 100 else head
    if number >= 20:
        head = _TENS[number // 10 - 2]
        return f"{head}-{_ONES[number % 10]}" if number % 10 else head
    return _ONES[number]


_TOKEN = re.compile(
    r"""(?P<number>\d+(?:\.\d+)?)
      | (?P<power>to\ the\ power\ (?:of\ )?|raised\ to\ )
      | (?P<root>(?:the\ )?square\ root\ of\ )
      | (?P<percent>percent\ of)
      | (?P<square>squared) | (?P<cube>cubed)
      | (?P<add>plus|added\ to|\+)
      | (?P<sub>minus|take\ away|less|-)
      | (?P<mul>times|multiplied\ (?:by|with)|[x*\u00d7])
      | (?P<div>divided\ by|over|[/\u00f7])
      | (?P<space>\ +)""",
    re.VERBOSE,
)


class _Sum:
    """A recursive descent over the tokens of one sum: the usual precedence, exact fractions."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self.operations = 0

    def _take(self, *kinds: str) -> str:
        if self._tokens and self._tokens[0][0] in kinds:
            return self._tokens.pop(0)[0]
        return ""

    def finished(self) -> bool:
        return not self._tokens

    def total(self) -> Fraction:
        value = self._product()
        while kind := self._take("add", "sub"):
            self.operations += 1
            other = self._product()
            value = value + other if kind == "add" else value - other
        return value

    def _product(self) -> Fraction:
        value = self._power()
        while kind := self._take("mul", "div", "percent"):
            self.operations += 1
            other = self._power()
            if kind == "div" and other == 0:
                raise NoAnswer("I cannot divide by zero.")
            value = value / other if kind == "div" else value * other / (100 if kind == "percent" else 1)
        return value

    def _power(self) -> Fraction:
        value = self._operand()
        while kind := self._take("power", "square", "cube"):
            self.operations += 1
            exponent = self._operand() if kind == "power" else Fraction(2 if kind == "square" else 3)
            value = _raise(value, exponent)
        return value

    def _operand(self) -> Fraction:
        if self._take("sub"):
            return -self._operand()
        if self._take("root"):
            self.operations += 1
            return _square_root(self._operand())
        if self._tokens and self._tokens[0][0] == "number":
            return Fraction(self._tokens.pop(0)[1])
        raise ValueError("an operand is missing")


def _raise(base: Fraction, exponent: Fraction) -> Fraction:
    size = max(len(str(abs(base.numerator))), len(str(base.denominator)))
    if exponent.denominator != 1 or (base == 0 and exponent < 0):
        raise NoAnswer("I can only raise numbers to whole powers.")
    if abs(exponent) * size > _MAX_DIGITS:
        raise NoAnswer("That number is too large for me to say.")
    return Fraction(base ** int(exponent))


def _square_root(value: Fraction) -> Fraction:
    if value < 0:
        raise NoAnswer("A negative number has no real square root.")
    return Fraction(float(value) ** 0.5).limit_denominator(10**6)


def evaluate(expression: str) -> tuple[Fraction, str] | None:
    """The value of a sum such as "7 times 6" and the sum as one would say it; None if it is no sum.

    Raises:
        NoAnswer: it is a sum, but one without an answer.
    """
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None or len(tokens) > 40:
            return None
        position = match.end()
        if match.lastgroup is not None and match.lastgroup != "space":
            tokens.append((match.lastgroup, match.group().strip()))
    if any(kind == "number" and len(word) > 18 for kind, word in tokens):
        raise NoAnswer("That number is too large for me to say.")
    spoken = " ".join(_spoken(kind, word) for kind, word in tokens)
    parser = _Sum(tokens)
    try:
        value = parser.total()
    except NoAnswer:
        raise
    except ValueError:
        return None
    if not parser.finished() or not parser.operations:
        return None
    if abs(value) >= 10**_MAX_DIGITS:
        raise NoAnswer("That number is too large for me to say.")
    return value, spoken


def _spoken(kind: str, word: str) -> str:
    signs = {"add": "plus", "sub": "minus", "mul": "times", "div": "divided by", "power": "to the power of"}
    if kind == "number":
        return say(Fraction(word))
    return signs.get(kind, word)
