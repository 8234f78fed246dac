"""Makes HTML of templates, with everything escaped; and says numbers and times as people do.

Responsible for: the template environment, the words for numbers, the style sheet. Not for: headers (``routes``).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from starlette.responses import HTMLResponse

_HERE = Path(__file__).parent / "templates"
STYLE = (_HERE / "style.css").read_bytes()
STYLE_NAME = f"/style-{hashlib.sha256(STYLE).hexdigest()[:12]}.css"  # a changed one has another name
ICON = (_HERE / "icon.svg").read_bytes()

_AGES = (("day", 86_400), ("hour", 3_600), ("minute", 60))


def page(
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    visit: Any = None,
    **values: Any,
) -> HTMLResponse:
    """A page of the template; ``visit`` is the signed-in owner's, None for a stranger."""
    text = _ENVIRONMENT.get_template(template).render(visit=visit, style=STYLE_NAME, **values)
    return HTMLResponse(text, status, dict(headers or {}))


def moment(at_ms: int | None) -> str:
    """A time as "27 Nov 2026, 04:10 UTC"."""
    if at_ms is None:
        return "never"
    at = dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def iso(at_ms: int) -> str:
    """A time for machines."""
    return dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(number: int) -> str:
    """A day since 1970 as "27 Nov"."""
    at = dt.datetime.fromtimestamp(number * 86_400, dt.UTC)
    return f"{at.day} {at:%b}"


def age(at_ms: int | None, now_ms: int) -> str:
    """How long ago, in one unit; how long still, for what is to come."""
    if at_ms is None:
        return "never"
    seconds = (now_ms - at_ms) / 1000
    for name, length_s in _AGES:
        if abs(seconds) >= length_s:
            number = int(abs(seconds) // length_s)
            words = f"{number} {name}{'s' if number > 1 else ''}"
            return f"{words} ago" if seconds > 0 else f"in {words}"
    return "just now" if seconds >= 0 else "in less than a minute"


def wait(seconds: float) -> str:
    """A time to wait, rounded up."""
    whole = -int(-seconds // 1)
    if whole < 120:
        return f"{whole} second{'s' if whole != 1 else ''}"
    return f"{-(-whole // 60)} minutes"


def duration(seconds: float) -> str:
    """A length of talk: seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:,.0f} h"


def number(value: float) -> str:
    """A count, with thousands set apart."""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """A count in four characters, for axes and narrow cells."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            scaled = value / (1e3 if unit == "k" else limit)
            return f"{scaled:.0f}{unit}" if scaled >= 10 else f"{scaled:.1f}{unit}"
    return number(value)


def money(value: float | None) -> str:
    """US dollars; a dash where no price is known."""
    if value is None:
        return "\N{EN DASH}"
    if 0 < value < 0.005:
        return "< $0.01"
    return f"${value:,.2f}" if value < 10_000 else f"${value:,.0f}"


def code(digits: str) -> str:
    """A spoken code in threes."""
    return "-".join(digits[start : start + 3] for start in range(0, len(digits), 3))


def outcome(word: str) -> str:
    """How an attempt to talk ended, in words."""
    return {"minted": "granted"}.get(word, word.replace("_", " "))


def sentence(text: str) -> str:
    """A message of the service, which begins small, as a sentence."""
    return text[:1].upper() + text[1:]


def zipped(names: Iterable[str]) -> list[tuple[str, str]]:
    """Names as options of a choice that are called what they are."""
    return [(name, name) for name in names]


def described(items: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Names with something said about them as options of a choice."""
    return [(name, f"{name} ({said})") for name, said in items]


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_FILTERS = (moment, iso, day, age, duration, number, short, money, code, outcome, sentence, zipped, described)
_ENVIRONMENT.filters.update({item.__name__: item for item in _FILTERS})
