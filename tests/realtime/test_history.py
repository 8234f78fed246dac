"""What a new session is told of the conversation."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.realtime.digest import CHARACTERS, GAP, INTRODUCTION, LINE_CHARACTERS
from appliance.realtime.history import KEPT, PICTURES_KEPT, REPLAYED, SEEN, UNTRANSCRIBED, History
from tests.realtime.talk import Json

KINDS = ["user", "spoken", "picture", "answered", "assistant", "called", "returned", "heard"]


def brief(history: History, as_audio: Collection[str] = ()) -> list[str]:
    """Name each replayed item in a word or two; turns that are told as audio by a dash."""
    replay = history.replay(as_audio)
    told = [_brief(item) for item in replay.before]
    return [*told, "-", *map(_brief, replay.after)] if as_audio else told


def _brief(item: Json) -> str:
    if item["type"] == "message":
        part = item["content"][0]
        return f"{item['role']}:{part.get('text', part.get('image_url'))}"
    return f"{item['type']}:{item['call_id']}"


def test_order_and_roles_are_kept() -> None:
    history = History()
    history.user("u", "Hi?")
    history.assistant("a", "Hel")
    history.called("c", "tool", "{}")
    history.assistant("a", "lo.")
    history.returned("c", "1")
    assert brief(history) == ["user:Hi?", "assistant:Hello.", "function_call:c", "function_call_output:c"]


def test_a_turn_without_a_transcript_has_a_placeholder_until_one_comes() -> None:
    history = History()
    history.spoken("turn")
    assert brief(history) == [f"user:{UNTRANSCRIBED}"]
    history.spoken("turn", "item_1")
    history.caption("item_1", "Now I know.")
    history.caption("item_2", "Of nobody's.")
    history.spoken("turn")
    assert brief(history) == ["user:Now I know."]
    history.caption("item_1", "An item of an earlier session, whose ids may come again.")
    assert brief(history) == ["user:Now I know."]
    history.forget("turn")
    assert brief(history) == []


def test_calls_are_told_with_their_outputs_or_not_at_all() -> None:
    history = History()
    history.called("open", "tool", "{}")
    history.returned("orphan", "1")
    history.called("a", "tool", '{"x":1}')
    history.called("b", "tool", "{}")
    history.returned("b", "2")
    history.returned("a", "1")
    assert brief(history) == ["function_call:a", "function_call:b", "function_call_output:b", "function_call_output:a"]


@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(0, 30)),
        max_size=200,
    ),
    st.integers(0, 3),
)
def test_the_replay_is_bounded_and_paired_whatever_happened(steps: list[tuple[str, int]], as_audio: int) -> None:
    history = History()
    for kind, number in steps:
        key = f"k{number}"
        match kind:
            case "user":
                history.user(key, "words")
            case "assistant":
                history.assistant(key, " words")
            case "called":
                history.called(key, "tool", "{}")
            case "returned":
                history.returned(key, "1")
            case "heard":
                history.heard(key, number / 30)
            case "spoken":
                history.spoken(key)
            case "picture":
                history.picture(key, "data:")
            case "answered":
                history.asked()
                history.answered()
    replay = history.replay([f"k{number}" for number in range(as_audio)])
    told = replay.before + replay.after
    assert len(history) <= KEPT
    assert len(told) <= REPLAYED + 1
    assert [item["role"] for item in told if item["type"] == "message"].count("system") <= 1
    assert sum(item["type"] == "message" and "image_url" in item["content"][0] for item in told) <= PICTURES_KEPT
    calls = [i["call_id"] for i in told if i["type"] == "function_call"]
    outputs = [i["call_id"] for i in told if i["type"] == "function_call_output"]
    assert set(outputs) <= set(calls)
    assert len(set(calls)) == len(calls)


def test_the_newest_is_replayed_and_what_is_older_shortened() -> None:
    history = History()
    history.user("first", "My name is Ada. " + "And so on. " * 40)
    history.assistant("hello", "Hello  Ada,\nnice to meet you.")
    history.picture("cat", "data:cat")
    history.called("c", "weather", "{}")
    history.returned("c", "rain")
    for number in range(REPLAYED):
        history.user(f"u{number}", f"{number}")
    digest, *told = brief(history)
    assert told == [f"user:{n}" for n in range(REPLAYED)]
    lines = digest.removeprefix("system:").splitlines()
    assert lines[0] == INTRODUCTION
    assert lines[1].startswith("Person: My name is Ada. And so on.")
    assert lines[1].endswith("…")
    assert len(lines[1]) <= LINE_CHARACTERS
    assert lines[2:] == ["You: Hello Ada, nice to meet you.", f"Person: {SEEN}", "You used weather."]


def test_the_digest_is_bounded_and_keeps_the_beginning_and_the_end() -> None:
    history = History()
    for number in range(KEPT + 10):
        history.user(f"u{number}", f"{number} " + "x" * 100)
    assert len(history) == KEPT
    digest = brief(history)[0].removeprefix("system:")
    assert len(digest) <= CHARACTERS + len(INTRODUCTION) + 10
    assert "Person: 10 x" in digest
    assert GAP in digest.splitlines()
    assert f"Person: {KEPT + 10 - REPLAYED - 1} x" in digest


def test_the_bound_does_not_part_a_call_from_its_output() -> None:
    history = History()
    history.called("c", "tool", "{}")
    for number in range(REPLAYED - 1):
        history.user(f"u{number}", "x")
    history.returned("c", "1")
    assert "function_call_output:c" not in brief(history)
    assert brief(history)[0].endswith("You used tool.")


def test_what_followed_a_turn_that_is_told_as_audio_is_told_after_it() -> None:
    history = History()
    history.user("u", "Before.")
    history.spoken("turn", "item_1")
    history.caption("item_1", "The question.")
    history.called("c", "tool", "{}")
    history.returned("c", "1")
    history.assistant("a", "After.")
    assert brief(history, ["turn"]) == [
        "user:Before.",
        "-",
        "function_call:c",
        "function_call_output:c",
        "assistant:After.",
    ]
    assert brief(history, ["not committed yet"])[-1] == "-"
    assert "user:The question." in brief(history)


def test_a_picture_is_told_until_an_answer_followed_it() -> None:
    history = History()
    for number in range(PICTURES_KEPT + 1):
        history.picture(f"p{number}", f"data:{number}")
    assert brief(history) == [f"user:{SEEN}", *(f"user:data:{n}" for n in range(1, PICTURES_KEPT + 1))]
    history.answered()
    assert len(set(brief(history))) > 1, "an answer that was under way before the pictures is not about them"
    history.asked()
    history.picture("late", "data:late")
    history.answered()
    assert brief(history) == [f"user:{SEEN}"] * (PICTURES_KEPT + 1) + ["user:data:late"]


def test_what_is_written_down_is_taken_up_again() -> None:
    history = History()
    history.user("u", "Hi.")
    history.picture("p", "data:large")
    history.called("open", "tool", "{}")
    history.assistant("a", "Hello.")
    version, again = history.version, History()
    again.load(history.dump())
    assert history.version == version
    assert brief(again) == ["user:Hi.", f"user:{SEEN}", "assistant:Hello."]
    again.user("u2", "And?")
    assert brief(again)[-1] == "user:And?"
    for torn in ([["user", "u", "Hi."]], [["usr", "u", "Hi.", ""]]):
        with pytest.raises(ValueError, match=r"unpack|usr"):
            History().load(torn)


def test_an_answer_is_cut_to_the_words_that_were_heard() -> None:
    for fraction, expected in [
        (1.0, ["assistant:one two three four …"]),
        (2.0, ["assistant:one two three four …"]),
        (0.5, ["assistant:one two …"]),
        (0.01, []),
        (0.0, []),
        (-1.0, []),
    ]:
        history = History()
        history.assistant("a", "one two three four")
        history.heard("a", fraction)
        history.heard("unknown", 0.5)
        assert brief(history) == expected
