"""Versions of the image, and which is newer. Pure.

Two to five numbers, and perhaps a suffix of a version that comes before: ``0.2.0``, ``0.2.0.3`` (the same program in a
newer system), ``0.3.0-rc.1``. Precedence of suffixes as in semver 2.0.0, clause 11.
"""

from __future__ import annotations

import re

FORM = r"[0-9]{1,9}(\.[0-9]{1,9}){1,4}(-[0-9A-Za-z]+(\.[0-9A-Za-z]+)*)?"
_LONGEST = 5
Key = tuple[tuple[int, ...], int, tuple[tuple[int, int, str], ...]]


def key(version: str) -> Key:
    """Return what sorts versions from old to new.

    Raises:
        ValueError: not of the form above.
    """
    if not re.fullmatch(FORM, version):
        raise ValueError(f"{version[:40]!r} is no version: two to five numbers with dots, such as 0.2.0")
    numbers, _, suffix = version.partition("-")
    parts = tuple(int(number) for number in numbers.split("."))
    padded = parts + (0,) * (_LONGEST - len(parts))
    return padded, 0 if suffix else 1, tuple(_identifier(part) for part in suffix.split(".")) if suffix else ()


def _identifier(part: str) -> tuple[int, int, str]:
    return (0, int(part), "") if part.isdecimal() else (1, 0, part)
