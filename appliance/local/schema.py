"""Checks on JSON that came from a client, with the refusals the Realtime API gives.

Responsible for: turning untrusted JSON into checked JSON, or into a :class:`Refused` that names the field.
Not for: what the fields mean (``config``, ``items``, ``session``).

A check is a function ``(value, path) -> value``; the functions here build checks from checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from appliance.errors import ApplianceError

Json = dict[str, Any]
Check = Callable[[Any, str], Any]


class Refused(ApplianceError):
    """The client asked for something the protocol forbids: becomes an ``error`` event or an HTTP 4xx body."""

    def __init__(self, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


def unknown_parameter(path: str) -> Refused:
    """A field the protocol does not know."""
    return Refused(f"Unknown parameter: '{path}'.", code="unknown_parameter", param=path)


def missing(path: str) -> Refused:
    """A required field that is absent."""
    return Refused(f"Missing required parameter: '{path}'.", code="missing_required_parameter", param=path)


def invalid(path: str, explanation: str) -> Refused:
    """A value outside what the field allows."""
    return Refused(f"Invalid value for '{path}': {explanation}.", code="invalid_value", param=path)


def wrong_type(path: str, expected: str) -> Refused:
    """A value of another JSON type than the field's."""
    return Refused(f"Invalid type for '{path}': expected {expected}.", code="invalid_type", param=path)


def anything(value: Any, _path: str) -> Any:
    """Accepts any JSON."""
    return value


def text(max_chars: int | None = None, *, min_chars: int = 0) -> Check:
    """A string of at most ``max_chars`` and at least ``min_chars`` characters."""

    def check(value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise wrong_type(path, "a string")
        if max_chars is not None and len(value) > max_chars:
            raise invalid(path, f"a string of at most {max_chars} characters is expected, got {len(value)}")
        if len(value) < min_chars:
            raise invalid(path, f"a string of at least {min_chars} characters is expected")
        return value

    return check


def boolean(value: Any, path: str) -> bool:
    """``true`` or ``false``."""
    if not isinstance(value, bool):
        raise wrong_type(path, "a boolean")
    return value


def integer(low: int, high: int | None = None) -> Check:
    """An integer of ``low``..``high``, both included."""

    def check(value: Any, path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(path, "an integer")
        if value < low or (high is not None and value > high):
            raise invalid(path, f"expected {low} to {high}" if high is not None else f"expected at least {low}")
        return value

    return check


def number(low: float, high: float) -> Check:
    """A number of ``low``..``high``, both included."""

    def check(value: Any, path: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(path, "a number")
        if not low <= value <= high:
            raise invalid(path, f"expected {low} to {high}")
        return value

    return check


def choice(*values: str | int) -> Check:
    """One of the listed values."""

    def check(value: Any, path: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, str | int) or value not in values:
            shown = f"'{value}'" if isinstance(value, str) and len(value) <= 64 else "the value given"
            supported = ", ".join(f"'{allowed}'" for allowed in values)
            raise Refused(
                f"Invalid value: {shown}. Supported values are: {supported}.", code="invalid_value", param=path
            )
        return value

    return check


def nullable(inner: Check) -> Check:
    """``null`` or what ``inner`` accepts."""
    return lambda value, path: None if value is None else inner(value, path)


def by_kind(*, string: Check | None = None, integers: Check | None = None, mapping: Check | None = None) -> Check:
    """Chooses the check by the value's JSON type; a type without a check is refused."""

    def check(value: Any, path: str) -> Any:
        if isinstance(value, str) and string is not None:
            return string(value, path)
        if isinstance(value, int) and not isinstance(value, bool) and integers is not None:
            return integers(value, path)
        if isinstance(value, dict) and mapping is not None:
            return mapping(value, path)
        kinds = (("a string", string), ("an integer", integers), ("an object", mapping))
        raise wrong_type(path, " or ".join(name for name, inner in kinds if inner is not None))

    return check


def listing(inner: Check, *, at_most: int | None = None) -> Check:
    """A list whose every element passes ``inner``."""

    def check(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise wrong_type(path, "an array")
        if at_most is not None and len(value) > at_most:
            raise invalid(path, f"an array of at most {at_most} elements is expected, got {len(value)}")
        return [inner(element, f"{path}[{index}]") for index, element in enumerate(value)]

    return check


def mapping_of(inner: Check, *, at_most: int | None = None, key_chars: int | None = None) -> Check:
    """An object with free keys whose every value passes ``inner``."""

    def check(value: Any, path: str) -> Json:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object")
        if at_most is not None and len(value) > at_most:
            raise invalid(path, f"an object of at most {at_most} pairs is expected, got {len(value)}")
        if key_chars is not None and any(len(key) > key_chars for key in value):
            raise invalid(path, f"keys of at most {key_chars} characters are expected")
        return {key: inner(element, f"{path}.{key}") for key, element in value.items()}

    return check


def record(fields: Mapping[str, Check], *, required: Iterable[str] = ()) -> Check:
    """An object with exactly these fields, of which ``required`` must be there."""
    needed = tuple(required)

    def check(value: Any, path: str) -> Json:
        if not isinstance(value, dict):
            raise wrong_type(path or "event", "an object")
        prefix = f"{path}." if path else ""
        for name in needed:
            if name not in value:
                raise missing(f"{prefix}{name}")
        for name in value:
            if name not in fields:
                raise unknown_parameter(f"{prefix}{name}"[:200])
        return {name: fields[name](element, f"{prefix}{name}") for name, element in value.items()}

    return check


def tagged(variants: Mapping[str, Check], *, tag: str = "type") -> Check:
    """An object whose ``tag`` field says which of the variants it must pass."""
    names = choice(*variants)

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object")
        if tag not in value:
            raise missing(f"{path}.{tag}")
        return variants[names(value[tag], f"{path}.{tag}")](value, path)

    return check
