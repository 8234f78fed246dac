"""The rules of the dialogue: what each kind of utterance gets for an answer.

Responsible for: one utterance to one answer; the first rule that knows one counts. Not for: tool outputs,
per-response instructions or what to do when no rule fits (``dialogue``). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from appliance.local import timers
from appliance.local.numbers import NoAnswer, evaluate, say, to_digits
from appliance.local.units import convert
from appliance.local.utterances import Call, Say, Turn, as_sentence, greeting, turns_of

ABILITIES = (
    "I can tell the time and the date, do sums, convert units and repeat what you say. "
    "Everything runs on this device, so I do not know anything about the wider world."
)
_NO_TIMERS = "This device offers no timers."


@dataclass(frozen=True)
class Asked:
    """One utterance with everything that is needed to answer it."""

    raw: str
    words: str  # lower case, no punctuation, numbers in digits
    turns: Sequence[Turn]
    tools: Mapping[str, Mapping[str, Any]]  # name -> JSON schema of the parameters
    now: datetime
    pictures: int = 0
    choice: str = "auto"
    offered: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


Rule = Callable[[Asked], Say | Call | None]


def normalise(heard: str) -> str:
    """What was heard, as the rules want it: lower case, no punctuation, contractions open, numbers in digits."""
    words = heard.lower().replace("\u2019", "'")
    words = re.sub(r"\b(what|that|it|where|who|how|today)'s\b", r"\1 is", words)
    words = words.replace("o'clock", "oclock").replace("%", " percent ").replace("\u00b0", " degrees ")
    words = re.sub(r"(\d),(?=\d{3}\b)", r"\1", words)
    words = re.sub(r"(?<=\d)\s*([x*\u00d7/\u00f7+])\s*(?=\d)", r" \1 ", words)
    words = re.sub(r"(?<=\d)\s+-\s+(?=\d)", " minus ", words)
    words = re.sub(r"(?<!\d)-(?=\d)", " minus ", words)
    words = re.sub(r"[^\w\s.+*/\u00d7\u00f7]|(?<!\d)\.|\.(?!\d)|_", " ", words)
    return re.sub(r"\b(\d+) and a half\b", r"\1.5", to_digits(" ".join(words.split())))


def _repeat(asked: Asked) -> Say | None:
    after = re.match(
        r"\W*(?:please\s+)?(?:can you\s+|could you\s+)?(?:repeat after me|say after me|repeat|say)\b[\s,:;.]*(.*)",
        asked.raw,
        re.IGNORECASE | re.DOTALL,
    )
    again = re.fullmatch(
        r"(?:please |sorry |can you |could you )*(?:say|repeat) (?:that|it|this)?(?: again| one more time| please)*"
        r"|(?:sorry )?(?:what did you (?:just )?say|what was that|come again|pardon(?: me)?|again|one more time"
        r"|once more)(?: please)?",
        asked.words,
    )
    if again or asked.words == "repeat":
        answers = turns_of(asked.turns, "assistant")
        return Say(answers[-1] if answers else "I have not said anything yet.")
    if after and after[1].strip(" .,!?"):
        words = after[1].strip()
        return Say(as_sentence(words[0].upper() + words[1:]))
    return None


def _timer(asked: Asked) -> Say | Call | None:
    wish = timers.understand(asked.words)
    if wish is None:
        return None
    if wish.tool not in asked.tools:
        if "set_timer" not in asked.offered:
            return Say(_NO_TIMERS)
        if wish.tool in asked.offered or wish.tool == "set_timer":
            return Say("I may not use the timer right now.")
        return Say("This device only lets me set timers, nothing else about them.")
    if wish.tool == "set_timer" and wish.seconds is None:
        return Say("For how long should I set the timer?")
    return Call(wish.tool, timers.arguments(asked.words, asked.raw, asked.tools[wish.tool]))


def _volume(asked: Asked) -> Say | Call | None:
    words = asked.words
    level = re.search(r"\bvolume\b.*?\b(\d{1,3})\b", words)
    if not level and not re.search(r"\b(?:louder|quieter|volume)\b", words):
        return None
    if "set_volume" not in asked.tools:
        return Say("I cannot change the volume of this device.")
    if level is None or int(level[1]) > 100:
        return Say("Tell me a volume from zero to one hundred percent.")
    return Call("set_volume", {"percent": int(level[1])})


def volume_report(tool: str, facts: Mapping[str, Any]) -> str:
    """What the volume tool did, as a sentence; "" if that was not the tool or the facts do not tell."""
    percent = facts.get("percent")
    if tool != "set_volume" or isinstance(percent, bool) or not isinstance(percent, int):
        return ""
    return f"The volume is {say(percent)} percent."


def _time(asked: Asked) -> Say | None:
    if re.search(
        r"\b(?:what time (?:is it|it is)|what time\b.*\bnow"
        r"|(?:what is|tell me|do you know|have you|give me) the time\b(?! zone))|^(?:the )?time(?: please)?$",
        asked.words,
    ):
        return Say(f"It is {asked.now:%I:%M %p}.".replace("is 0", "is "))
    return None


def _date(asked: Asked) -> Say | None:
    words = asked.words
    if re.search(r"\bwhat year\b", words):
        return Say(f"It is the year {asked.now.year}.")
    date = re.search(r"\b(?:what|which|tell me|give me|know)\b.*\b(?:date|day|month)\b", words)
    about_now = re.search(r"\b(?:today|date|day is it|day of the week|month is it|day it is)\b", words)
    if (date and about_now) or re.fullmatch(r"(?:the )?(?:date|today is date)(?: today)?(?: please)?", words):
        return Say(f"Today is {asked.now:%A}, {asked.now:%B} {_ordinal(asked.now.day)}, {asked.now.year}.")
    return None


def _ordinal(day: int) -> str:
    suffix = "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{suffix}"


_LEAD_IN = (
    r"(?:(?:please|hey|so|okay|ok|and|well|now|then|can you|could you|do you know|tell me|calculate|compute|work out|"
    r"how much is|how much are|what is|what are|what does|is|was|the result of|what) )*"
)
_TAIL = r"(?: (?:equals?|equal to|make|makes|please|is|is it|now))*"
# A recogniser hears "two", "four", "eight" where words of the same sound stand.
_HOMOPHONES = {"to": "2", "too": "2", "for": "4", "fore": "4", "ate": "8", "won": "1", "sick": "6"}
_OPERATOR = r"(?:times|plus|minus|multiplied by|divided by|over)"


def _sum(asked: Asked) -> Say | None:
    for words in dict.fromkeys((asked.words, _with_homophones(asked.words))):
        expression = re.sub(rf"{_TAIL}$", "", re.sub(rf"^{_LEAD_IN}", "", words))
        try:
            result = evaluate(expression)
        except NoAnswer as reason:
            return Say(str(reason))
        if result is not None:
            value, spoken = result
            return Say(f"{spoken} is {say(value)}.".capitalize())
    return None


def _with_homophones(words: str) -> str:
    for sound, digit in _HOMOPHONES.items():
        words = re.sub(rf"\b{sound}(?= {_OPERATOR}\b)", digit, words)
        words = re.sub(rf"\b({_OPERATOR}) {sound}$", rf"\1 {digit}", words)
    return words


def _units(asked: Asked) -> Say | None:
    answer = convert(asked.words)
    return Say(answer) if answer else None


def _abilities(asked: Asked) -> Say | None:
    if re.search(
        r"\bwhat (?:can|could|do) you (?:do|know|offer)\b|\bhow can you help\b|^(?:please )?help(?: me)?$", asked.words
    ):
        extras = {"set_timer": "set timers", "set_volume": "change the volume"}
        known = " and ".join(ability for tool, ability in extras.items() if tool in asked.tools)
        return Say(f"{ABILITIES} I can also {known}." if known else ABILITIES)
    if re.search(r"\bwho are you\b|\bwhat are you\b|\bwhat is your name\b|\byour name\b", asked.words):
        return Say("I am the local voice of this device. I run without any network.")
    return None


def _courtesy(asked: Asked) -> Say | None:
    words = asked.words
    if re.search(r"\bhow are you\b", words):
        return Say("I am working as I should. What can I do for you?")
    if (
        re.match(r"(?:hello|hi|hey|good (?:morning|afternoon|evening|day)|greetings)\b", words)
        and len(words.split()) <= 5
    ):
        return Say(f"{greeting(asked.now)} How can I help?")
    if re.search(r"\b(?:good ?bye|good night|see you)\b|^bye\b", words):
        return Say("Goodbye.")
    if re.match(r"(?:thank you|thanks|thank)\b", words):
        return Say("You are welcome.")
    if re.fullmatch(
        r"(?:okay |ok |please )*(?:stop|never ?mind|cancel|be quiet|quiet|shut up|forget it)(?: please| it)?", words
    ):
        return Say("Okay.")
    return None


RULES: tuple[Rule, ...] = (_repeat, _timer, _volume, _units, _sum, _time, _date, _abilities, _courtesy)
