"""What the local backend answers: a small dialogue that says what it knows and admits what it does not.

Responsible for: from the conversation so far to one reply, spoken (one to three sentences) or a function call.
Not for: speech, the protocol, or running tools. Pure: the time comes in, nothing is remembered between calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from appliance.local import timers
from appliance.local.rules import RULES, Asked, normalise, volume_report
from appliance.local.utterances import Call, Called, Returned, Said, Say, Turn, as_sentence, greeting, turns_of

NOTHING_HEARD = "I did not catch that."
_CANNOT_SEE = "I cannot see pictures."
_MAX_CHARS = 2000  # nobody speaks more in one turn


def reply(
    turns: Sequence[Turn],
    *,
    now: datetime,
    tools: Mapping[str, Mapping[str, Any]] | None = None,
    tool_choice: str = "auto",
    instructions: str = "",
) -> Say | Call:
    """The next thing to do in a conversation.

    Args:
        turns: the conversation, oldest first.
        now: the local time.
        tools: the functions of the session, name to JSON schema of the parameters.
        tool_choice: ``auto``, ``none``, ``required``, or the name of a function to call.
        instructions: of this response alone; "say exactly …", "greet …" and "summarise …" are understood.
    """
    offered = dict(tools or {})
    usable = {} if tool_choice == "none" else offered
    asked = _asked(turns, usable, offered, now, tool_choice)
    told = _obey(instructions, turns, now) if instructions else None
    if told is not None:
        return told
    if tool_choice in usable:
        return Call(tool_choice, timers.arguments(asked.words, asked.raw, usable[tool_choice]))
    outcome = _outcome(turns)
    if outcome is not None:
        return outcome
    answer = _answer(asked)
    if tool_choice == "required" and usable and isinstance(answer, Say):
        name = next(iter(usable))
        return Call(name, timers.arguments(asked.words, asked.raw, usable[name]))
    return answer


def _answer(asked: Asked) -> Say | Call:
    if not any(isinstance(turn, Said) and turn.role != "system" for turn in asked.turns):
        return Say(f"{greeting(asked.now)} How can I help?")
    if not asked.words:
        return Say(_CANNOT_SEE if asked.pictures else NOTHING_HEARD)
    for rule in RULES:
        answer = rule(asked)
        if isinstance(answer, Say) and asked.pictures:
            return Say(f"{_CANNOT_SEE} {answer.text}")
        if answer is not None:
            return answer
    if asked.pictures:
        return Say(f"You sent me a picture, but {_CANNOT_SEE}")
    return Say(f"I heard: {as_sentence(asked.raw)} I do not know how to answer that.")


def _asked(
    turns: Sequence[Turn],
    tools: Mapping[str, Mapping[str, Any]],
    offered: Mapping[str, Mapping[str, Any]],
    now: datetime,
    choice: str,
) -> Asked:
    """Everything the user said since the assistant last did something."""
    recent: list[Said] = []
    for turn in reversed(turns):
        if not isinstance(turn, Said) or turn.role == "assistant":
            break
        if turn.role == "user":
            recent.insert(0, turn)
    raw = " ".join(said.text.strip() for said in recent if said.text.strip())[:_MAX_CHARS]
    pictures = sum(said.pictures for said in recent)
    return Asked(raw, normalise(raw), turns, tools, now, pictures, choice, offered)


def _outcome(turns: Sequence[Turn]) -> Say | None:
    """What to say about the tool outputs the conversation ends with; None if it does not."""
    outputs: list[Returned] = []
    for turn in reversed(turns):
        if not isinstance(turn, Returned):
            break
        outputs.insert(0, turn)
    if not outputs:
        return None
    calls = {turn.call_id: turn for turn in turns if isinstance(turn, Called)}
    return Say(" ".join(_report(calls.get(output.call_id), output.output) for output in outputs[-3:]))


def _report(call: Called | None, output: str) -> str:
    try:
        result = json.loads(output)
    except (ValueError, RecursionError):
        result = output
    failure = _failure(result)
    name = call.name.replace("_", " ") if call is not None else "that"
    if failure:
        return f"That did not work. {as_sentence(failure[0].upper() + failure[1:])}"
    if call is not None:
        facts = {**call.arguments, **(result if isinstance(result, dict) else {})}
        told = timers.report(call.name, facts) or volume_report(call.name, facts)
        if told:
            return told
    text = result if isinstance(result, str) else _first_text(result)
    return as_sentence(text) if text else f"Done with {name}."


def _failure(result: object) -> str:
    if isinstance(result, dict):
        if result.get("error"):
            error = result["error"]
            return error if isinstance(error, str) else _first_text(error) or "No reason was given"
        if result.get("ok") is False:
            return _first_text(result) or "No reason was given"
    if isinstance(result, str) and re.match(r"(error|failed|failure)\b", result, re.IGNORECASE):
        return result
    return ""


def _first_text(result: object) -> str:
    """The first string in a JSON value that reads like a sentence, else its values in a row."""
    values = list(result.values()) if isinstance(result, dict) else [result]
    for value in values:
        if isinstance(value, str) and " " in value.strip():
            return value
    shown = [str(value) for value in values if isinstance(value, str | int | float) and not isinstance(value, bool)]
    return ", ".join(shown[:3])


def _obey(instructions: str, turns: Sequence[Turn], now: datetime) -> Say | None:
    """Per-response instructions, as far as they are understood; None otherwise."""
    match = re.match(
        r"\s*(?:please\s+)?(?:say|speak|announce|repeat|read)(?:\s+(?:exactly|verbatim|aloud|only|this|the following))*"
        r"\s*(?:[:,]\s*[\"\u201c]?|[\"\u201c])(.+?)[\"\u201d]?\s*$",
        instructions[:_MAX_CHARS],
        re.IGNORECASE | re.DOTALL,
    )
    if match:
        return Say(match[1].strip())
    if re.search(r"\bsummar", instructions, re.IGNORECASE):
        return Say(_summary(turns))
    if re.search(r"\b(greet|welcome)\b", instructions, re.IGNORECASE):
        return Say(f"{greeting(now)} How can I help?")
    return None


def _summary(turns: Sequence[Turn]) -> str:
    users, answers = turns_of(turns, "user"), turns_of(turns, "assistant")
    if not users and not answers:
        return "Nothing has been said yet."
    said = "; ".join(users[-5:]) or "nothing"
    return f"The user said: {said}. The assistant last answered: {answers[-1] if answers else 'nothing'}"
