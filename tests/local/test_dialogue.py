from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.local.dialogue import NOTHING_HEARD, reply
from appliance.local.utterances import Call, Called, Returned, Said, Say, Turn
from tests.local.client import NOW

TIMER: dict[str, Any] = {
    "type": "object",
    "properties": {"seconds": {"type": "integer"}, "label": {"type": "string"}},
    "required": ["seconds", "label"],
}


def ask(text: str, **options: Any) -> Say | Call:
    return reply([Said("user", text)], now=NOW, **options)


def answer(text: str) -> str:
    said = ask(text)
    assert isinstance(said, Say)
    return said.text


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is seven times six?", "Seven times six is forty-two."),
        ("what's 7 x 6", "Seven times six is forty-two."),
        ("What is seven times sick?", "Seven times six is forty-two."),
        ("What's for times to?", "Four times two is eight."),
        ("What is -5 + 3?", "Minus five plus three is minus two."),
        ("what is 1,000,000 times 3", "One million times three is three million."),
        ("What is twelve divided by zero?", "I cannot divide by zero."),
        ("What time is it?", "It is 3:05 PM."),
        ("Do you know what time it is", "It is 3:05 PM."),
        ("What's the date today?", "Today is Sunday, November 22nd, 2026."),
        ("Which day is it?", "Today is Sunday, November 22nd, 2026."),
        ("How many kilometers are in ten miles?", "Ten miles are about sixteen point zero nine kilometers."),
        (
            "Convert twenty-five degrees Celsius to Fahrenheit.",
            "Twenty-five degrees celsius are seventy-seven degrees fahrenheit.",
        ),
        ("How many minutes are in two and a half hours?", "Two point five hours are one hundred fifty minutes."),
        ("Repeat after me, the quick brown fox.", "The quick brown fox."),
        ("Hello.", "Good afternoon. How can I help?"),
        ("Thank you!", "You are welcome."),
        ("Set a timer for five minutes.", "This device offers no timers."),
        ("", NOTHING_HEARD),
        ("...", NOTHING_HEARD),
        ("Tell me a joke", "I heard: Tell me a joke. I do not know how to answer that."),
    ],
)
def test_answers(question: str, expected: str) -> None:
    assert answer(question) == expected


def test_abilities_name_timers_only_where_there_are_some() -> None:
    assert "timers" not in answer("What can you do?")
    offered = ask("What can you do?", tools={"set_timer": TIMER})
    assert isinstance(offered, Say)
    assert "timers" in offered.text


def test_say_that_again_repeats_the_last_answer() -> None:
    turns = [Said("user", "Hi"), Said("assistant", "Good day."), Said("user", "Say that again, please.")]
    assert reply(turns, now=NOW) == Say("Good day.")
    assert answer("Say that again.") == "I have not said anything yet."


@pytest.mark.parametrize(
    ("wish", "seconds", "label"),
    [
        ("Set a timer for five minutes.", 300, ""),
        ("Set an egg timer for ninety seconds, called tea.", 90, "tea"),
        ("set a ten minute pizza timer", 600, "pizza"),
        ("start a timer for an hour and a half", 5400, ""),
        ("timer for one hour and twenty minutes please", 4800, ""),
        ("Remind me in half an hour to call mom", 1800, "call mom"),
    ],
)
def test_timers_are_called(wish: str, seconds: int, label: str) -> None:
    call = ask(wish, tools={"set_timer": TIMER})
    assert call == Call("set_timer", {"seconds": seconds, "label": label})


TOOLS: dict[str, Any] = {
    "set_timer": TIMER,
    "list_timers": {"type": "object", "properties": {}},
    "cancel_timers": {"type": "object", "properties": {"label": {"type": "string"}}},
    "set_volume": {"type": "object", "properties": {"percent": {"type": "integer"}}},
}


@pytest.mark.parametrize(
    ("wish", "tool", "arguments"),
    [
        ("How long is left on my timer?", "list_timers", {}),
        ("Which timers are running?", "list_timers", {}),
        ("Cancel the tea timer.", "cancel_timers", {"label": "tea"}),
        ("Stop the timer", "cancel_timers", {}),
        ("Cancel all timers", "cancel_timers", {}),
        ("Set the volume to fifty percent.", "set_volume", {"percent": 50}),
        ("Volume 30%", "set_volume", {"percent": 30}),
    ],
)
def test_the_other_tools_of_the_device(wish: str, tool: str, arguments: dict[str, Any]) -> None:
    assert ask(wish, tools=TOOLS) == Call(tool, arguments)
    said = ask(wish, tools={"set_timer": TIMER})
    assert isinstance(said, Say)
    assert "only lets me set timers" in said.text or "cannot change the volume" in said.text


def test_a_volume_needs_a_number() -> None:
    for wish in ("Make it louder", "Set the volume to 500"):
        assert ask(wish, tools=TOOLS) == Say("Tell me a volume from zero to one hundred percent.")


@pytest.mark.parametrize(
    ("tool", "output", "expected"),
    [
        ("list_timers", {"timers": []}, "No timer is running."),
        (
            "list_timers",
            {"timers": [{"label": "tea", "seconds_left": 90}, {"label": "timer", "seconds_left": 1}]},
            "The tea timer has one minute and thirty seconds left. The timer has one second left.",
        ),
        ("cancel_timers", {"cancelled": 0}, "There was no timer to cancel."),
        ("cancel_timers", {"cancelled": 2}, "Two timers are cancelled."),
        ("set_volume", {"ok": True, "percent": 50}, "The volume is fifty percent."),
        ("set_timer", {"ok": True, "seconds": 60, "label": "timer"}, "The timer is set for one minute."),
        ("set_timer", {}, "The timer is set."),
    ],
)
def test_the_outcome_of_the_devices_tools(tool: str, output: dict[str, Any], expected: str) -> None:
    assert reply([Called("c", tool, {}), Returned("c", json.dumps(output))], now=NOW) == Say(expected)


def test_a_timer_without_a_duration_asks_back() -> None:
    assert ask("Set a timer.", tools={"set_timer": TIMER}) == Say("For how long should I set the timer?")


def test_a_forbidden_tool_is_not_called() -> None:
    said = ask("Set a timer for one minute.", tools={"set_timer": TIMER}, tool_choice="none")
    assert said == Say("I may not use the timer right now.")


def test_a_named_or_required_tool_is_called_whatever_was_said() -> None:
    tools = {"look": {"type": "object", "properties": {"query": {"type": "string"}}}}
    assert ask("Hello", tools=tools, tool_choice="look") == Call("look", {"query": "Hello"})
    assert ask("Hello", tools=tools, tool_choice="required") == Call("look", {"query": "Hello"})


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ('{"ok": true}', "The tea timer is set for five minutes."),
        ('{"error": "there are too many timers"}', "That did not work. There are too many timers."),
        ("error: no timers left", "That did not work. Error: no timers left."),
    ],
)
def test_the_outcome_of_a_timer_is_told(output: str, expected: str) -> None:
    call = Called("call_1", "set_timer", {"seconds": 300, "label": "tea"})
    assert reply([Said("user", "…"), call, Returned("call_1", output)], now=NOW) == Say(expected)


def test_the_outcome_of_another_tool_is_read_out() -> None:
    turns: list[Turn] = [Called("c", "get_weather", {}), Returned("c", json.dumps({"text": "It is sunny outside"}))]
    assert reply(turns, now=NOW) == Say("It is sunny outside.")


def test_pictures_are_admitted_to_be_invisible() -> None:
    replies = {text: reply([Said("user", text, pictures=1)], now=NOW) for text in ("What is this?", "", "2 plus 2")}
    assert replies["What is this?"] == Say("You sent me a picture, but I cannot see pictures.")
    assert replies[""] == Say("I cannot see pictures.")
    assert replies["2 plus 2"] == Say("I cannot see pictures. Two plus two is four.")


def test_instructions_of_one_response() -> None:
    turns = [Said("user", "Hi"), Said("assistant", "Good day.")]
    assert reply(turns, now=NOW, instructions='Say exactly: "All is well."') == Say("All is well.")
    summary = reply(turns, now=NOW, instructions="Summarise the conversation in one sentence.")
    assert summary == Say("The user said: Hi. The assistant last answered: Good day.")
    # Instructions that are not understood do not stand in the way.
    assert ask("What is one plus one?", instructions="Be brief.") == Say("One plus one is two.")


def test_an_empty_conversation_is_greeted() -> None:
    assert reply([], now=NOW) == Say("Good afternoon. How can I help?")


_WORDS = st.sampled_from(
    [
        "what",
        "is",
        "the",
        "time",
        "date",
        "set",
        "a",
        "timer",
        "for",
        "minutes",
        "repeat",
        "after",
        "me",
        "say",
        "that",
        "again",
        "seven",
        "times",
        "six",
        "how",
        "many",
        "kilometers",
        "in",
        "miles",
        "minus",
        "point",
        "and",
        "half",
        "an",
        "hour",
        "hundred",
        "hello",
        "?",
        ".",
        ",",
        "-5",
        "3.5",
    ]
)


@given(st.one_of(st.text(max_size=80), st.lists(_WORDS, max_size=15).map(" ".join)))
def test_every_utterance_gets_a_reply(text: str) -> None:
    said = ask(text, tools={"set_timer": TIMER})
    if isinstance(said, Say):
        assert said.text.strip()
    else:
        assert isinstance(said.arguments["seconds"], int)
        assert said.arguments["seconds"] > 0
