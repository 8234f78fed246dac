"""Timers as people ask for them: "set an egg timer for ninety seconds called tea".

Responsible for: recognising the wish, its duration and label, and phrasing what came of it. Not for: running
timers, which is the device's tool. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from appliance.local.numbers import say

_SECONDS = {"second": 1, "minute": 60, "hour": 3600}
_AMOUNT = r"(?:\d+(?:\.\d+)?|an?|half an?)"
_PART = rf"{_AMOUNT}(?: and a half)? (?:second|minute|hour)s?(?: and a half)?"
_DURATION = re.compile(rf"\b{_PART}(?:(?: and)? {_PART})*")
# fmt: off
_NO_LABELS = frozenset((
    "a", "an", "the", "my", "your", "second", "seconds", "minute", "minutes", "hour", "hours", "half", "new",
    "another", "start", "set", "this", "that", "cancel", "stop", "delete", "clear", "remove", "end", "off", "running",
))
# fmt: on
_MAX_S = 7 * 86400


@dataclass(frozen=True)
class Wish:
    """What the user wants of the timers: the tool that would do it, and for how long (None: not said)."""

    tool: str
    seconds: int | None = None


def understand(words: str) -> Wish | None:
    """The wish in an utterance (lower case, numbers in digits); None if it is not about timers."""
    reminder = re.search(r"\b(?:remind me|wake me)\b.*\bin\b", words)
    if not re.search(r"\b(?:timers?|countdown|stopwatch)\b", words) and not reminder:
        return None
    if re.search(r"\b(?:cancel|stop|delete|clear|remove|turn off|end)\b", words):
        return Wish("cancel_timers")
    if re.search(r"\b(?:how (?:long|much)|list|which|what|any|show|status|left)\b", words):
        return Wish("list_timers")
    seconds = duration_s(words)
    if (
        seconds is not None
        or reminder
        or re.search(r"\b(?:set|start|make|create|begin|put|add|new|timer for)\b", words)
    ):
        return Wish("set_timer", seconds)
    return None


def duration_s(words: str) -> int | None:
    """The first duration in the words, in whole seconds (at least 1, at most a week); None without one."""
    match = _DURATION.search(words.replace("-", " "))
    if match is None:
        return None
    total = Fraction(0)
    for part in re.finditer(_PART, match[0]):
        unit = next(unit for name, unit in _SECONDS.items() if name in part[0])
        amount = part[0].split()[0]
        value = Fraction(amount) if amount[0].isdigit() else Fraction(1)
        if amount == "half":
            value = Fraction(1, 2)
        if "and a half" in part[0]:
            value += Fraction(1, 2)
        total += value * unit
    return max(1, round(total)) if 0 < total <= _MAX_S else None


def label(words: str) -> str:
    """What the timer is for, "" if that was not said."""
    named = re.search(
        r"\b(?:called|named|labelled|labeled|with the name|to|for (?:the|my)) ([a-z][a-z ]{0,40})$", words
    )
    if named:
        return _strip(named[1])
    kind = re.search(r"([a-z]+) timer\b", words)
    if kind and kind[1] not in _NO_LABELS:
        return kind[1]
    what = re.search(r"\bfor ([a-z][a-z ]{0,40})$", words)
    return _strip(what[1]) if what and duration_s(f"{what[1]}") is None else ""


def _strip(text: str) -> str:
    return re.sub(r"\b(?:please|the|my)\b", "", text).strip()


def arguments(words: str, raw: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments a tool declares, as far as the utterance tells them.

    Args:
        words: the normalised utterance.
        raw: the utterance as heard.
        schema: the JSON schema of the tool's parameters.
    """
    known = {
        "seconds": duration_s(words),
        "duration_s": duration_s(words),
        "duration_seconds": duration_s(words),
        "label": label(words),
        "name": label(words),
        "text": raw,
        "query": raw,
    }
    declared = schema.get("properties")
    names = declared if isinstance(declared, Mapping) else {}
    required = schema.get("required")
    needed = set(required) if isinstance(required, list) else set()
    return {
        name: known[name]
        for name in names
        if name in known and known[name] is not None and (known[name] != "" or name in needed)
    }


def report(tool: str, facts: Mapping[str, Any]) -> str:
    """What a timer tool did, as a sentence; "" if the facts do not tell.

    Args:
        tool: its name.
        facts: the arguments of the call with its output over them.
    """
    if tool == "set_timer":
        return _confirmation(facts)
    if tool == "cancel_timers" and isinstance(facts.get("cancelled"), int):
        count = int(facts["cancelled"])
        if count == 0:
            return "There was no timer to cancel."
        return f"{say(count).capitalize()} timer{' is' if count == 1 else 's are'} cancelled."
    if tool == "list_timers" and isinstance(facts.get("timers"), list):
        running = [_remaining(timer) for timer in facts["timers"] if isinstance(timer, Mapping)]
        return " ".join(running[:3]) or "No timer is running."
    return ""


def _confirmation(facts: Mapping[str, Any]) -> str:
    seconds = facts.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds <= 0:
        return f"{_named(facts)} is set."
    return f"{_named(facts)} is set for {spoken_duration(seconds)}."


def _remaining(timer: Mapping[str, Any]) -> str:
    left = timer.get("seconds_left")
    if isinstance(left, bool) or not isinstance(left, int) or left < 0:
        return f"{_named(timer)} is running."
    return f"{_named(timer)} has {spoken_duration(left)} left."


def _named(facts: Mapping[str, Any]) -> str:
    name = facts.get("label")
    named = isinstance(name, str) and name.strip() not in {"", "timer"}
    return f"The {name} timer" if named else "The timer"


def spoken_duration(seconds: int) -> str:
    """A duration in words: "one hour, two minutes and five seconds"."""
    parts: list[str] = []
    for name, size in (("hour", 3600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{say(count)} {name}{'' if count == 1 else 's'}")
    if len(parts) < 2:
        return parts[0] if parts else "no time"
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
