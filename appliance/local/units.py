"""Units of measurement: "how many kilometers are in ten miles".

Responsible for: recognising a conversion and its answer. Not for: anything else one may ask. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from appliance.local.numbers import say


@dataclass(frozen=True)
class Unit:
    """A unit: so many base units of its kind, and for temperatures where its zero lies."""

    singular: str
    plural: str
    kind: str
    factor: Fraction
    zero: Fraction = Fraction(0)


def _unit(singular: str, kind: str, factor: str, *, plural: str = "", zero: str = "0") -> Unit:
    return Unit(singular, plural or f"{singular}s", kind, Fraction(factor), Fraction(zero))


_UNITS = (
    _unit("millimeter", "length", "0.001"),
    _unit("centimeter", "length", "0.01"),
    _unit("meter", "length", "1"),
    _unit("kilometer", "length", "1000"),
    _unit("inch", "length", "0.0254", plural="inches"),
    _unit("foot", "length", "0.3048", plural="feet"),
    _unit("yard", "length", "0.9144"),
    _unit("mile", "length", "1609.344"),
    _unit("gram", "mass", "1"),
    _unit("kilogram", "mass", "1000"),
    _unit("ton", "mass", "1000000"),
    _unit("ounce", "mass", "28.349523125"),
    _unit("pound", "mass", "453.59237"),
    _unit("stone", "mass", "6350.29318", plural="stone"),
    _unit("milliliter", "volume", "0.001"),
    _unit("liter", "volume", "1"),
    _unit("teaspoon", "volume", "0.00492892159375"),
    _unit("tablespoon", "volume", "0.01478676478125"),
    _unit("cup", "volume", "0.2365882365"),
    _unit("pint", "volume", "0.473176473"),
    _unit("quart", "volume", "0.946352946"),
    _unit("gallon", "volume", "3.785411784"),
    _unit("second", "time", "1"),
    _unit("minute", "time", "60"),
    _unit("hour", "time", "3600"),
    _unit("day", "time", "86400"),
    _unit("week", "time", "604800"),
    _unit("kilometer per hour", "speed", "1", plural="kilometers per hour"),
    _unit("mile per hour", "speed", "1.609344", plural="miles per hour"),
    _unit("degree celsius", "temperature", "1", plural="degrees celsius", zero="273.15"),
    _unit("degree fahrenheit", "temperature", "5/9", plural="degrees fahrenheit", zero="45967/180"),
    _unit("kelvin", "temperature", "1", plural="kelvin"),
)
_SPELLINGS = {
    "celsius": "degree celsius",
    "centigrade": "degree celsius",
    "degrees centigrade": "degree celsius",
    "fahrenheit": "degree fahrenheit",
    "metre": "meter",
    "metres": "meter",
    "millimetres": "millimeter",
    "centimetres": "centimeter",
    "kilometre": "kilometer",
    "kilometres": "kilometer",
    "kilometres per hour": "kilometer per hour",
    "litre": "liter",
    "litres": "liter",
    "millilitres": "milliliter",
    "kilo": "kilogram",
    "kilos": "kilogram",
    "km": "kilometer",
    "kg": "kilogram",
    "cm": "centimeter",
    "mm": "millimeter",
    "ml": "milliliter",
    "mph": "mile per hour",
    "tonne": "ton",
    "tonnes": "ton",
}
_BY_NAME = {unit.singular: unit for unit in _UNITS} | {unit.plural: unit for unit in _UNITS}
_BY_NAME |= {spelling: _BY_NAME[name] for spelling, name in _SPELLINGS.items()}
_NAME = "|".join(sorted(map(re.escape, _BY_NAME), key=len, reverse=True))
_AMOUNT = r"(?P<amount>(?:minus )?\d+(?:\.\d+)?|an?|one)"
_QUESTIONS = (
    re.compile(
        rf"\bhow many (?P<to>{_NAME}) (?:are |is )?(?:there )?(?:in|to|make|makes|go into) {_AMOUNT} (?P<of>{_NAME})\b"
    ),
    re.compile(rf"\b{_AMOUNT} (?P<of>{_NAME}) (?:are |is )?(?:in|into|to|as) (?:how many )?(?P<to>{_NAME})\b"),
    re.compile(rf"\b{_AMOUNT} (?P<of>{_NAME}) (?:are|is) how many (?P<to>{_NAME})\b"),
)


def convert(question: str) -> str | None:
    """The answer to a conversion, as a sentence; None if the question (digits, lower case) is none."""
    for pattern in _QUESTIONS:
        match = pattern.search(question)
        if match is None:
            continue
        source, target = _BY_NAME[match["of"]], _BY_NAME[match["to"]]
        word = match["amount"]
        amount = Fraction(1) if word in {"a", "an", "one"} else Fraction(word.replace("minus ", "-"))
        if abs(amount) >= 10**12:
            return "That number is too large for me to convert."
        if source.kind != target.kind:
            return (
                f"I cannot convert {source.plural} to {target.plural}: one is {source.kind}, the other {target.kind}."
            )
        value = (amount * source.factor + source.zero - target.zero) / target.factor
        verb = "is" if amount == 1 else "are"
        # Two decimals are what an ear can use; small values keep four.
        shown = round(value, 2 if abs(value) >= 1 else 4)
        if shown == 0 != value:
            return f"{_measure(amount, source)} {verb} next to no {target.plural}.".capitalize()
        about = "" if shown == value else "about "
        return f"{_measure(amount, source)} {verb} {about}{_measure(shown, target)}.".capitalize()
    return None


def _measure(amount: Fraction, unit: Unit) -> str:
    return f"{say(amount)} {unit.singular if amount == 1 else unit.plural}"
