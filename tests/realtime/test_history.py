"""What a new session is told of the conversation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.realtime.history import KEPT, REPLAYED, UNTRANSCRIBED, History
from tests.realtime.talk import Json


def brief(history: History) -> list[str]:
    """Name each replayed item in a word or two."""
    return [_brief(item) for item in history.replay()]


def _brief(item: Json) -> str:
    if item["type"] == "message":
        return f"{item['role']}:{item['content'][0]['text']}"
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
    history.user("u", "")
    assert brief(history) == [f"user:{UNTRANSCRIBED}"]
    history.user("u", "Now I know.")
    assert brief(history) == ["user:Now I know."]
    history.forget("u")
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
        st.tuples(st.sampled_from(["user", "assistant", "called", "returned", "heard", "close"]), st.integers(0, 30)),
        max_size=200,
    )
)
def test_the_replay_is_bounded_and_paired_whatever_happened(steps: list[tuple[str, int]]) -> None:
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
            case "close":
                history.close()
    told = history.replay()
    assert len(history) <= KEPT
    assert len(told) <= REPLAYED
    calls = [i["call_id"] for i in told if i["type"] == "function_call"]
    outputs = [i["call_id"] for i in told if i["type"] == "function_call_output"]
    assert set(outputs) <= set(calls)
    assert len(set(calls)) == len(calls)


def test_only_the_newest_is_replayed() -> None:
    history = History()
    for number in range(KEPT + 10):
        history.user(f"u{number}", f"{number}")
    assert len(history) == KEPT
    assert brief(history) == [f"user:{n}" for n in range(KEPT + 10 - REPLAYED, KEPT + 10)]


def test_the_bound_does_not_part_a_call_from_its_output() -> None:
    history = History()
    history.called("c", "tool", "{}")
    for number in range(REPLAYED - 1):
        history.user(f"u{number}", "x")
    history.returned("c", "1")
    assert "function_call_output:c" not in brief(history)


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


def test_item_ids_of_another_session_are_other_items() -> None:
    history = History()
    history.assistant("item_1", "First.")
    history.user("item_0", "One?")
    history.close()
    history.assistant("item_1", "Second.")
    history.user("item_0", "Two?")
    history.heard("item_1", 0.0)
    assert brief(history) == ["assistant:First.", "user:One?", "user:Two?"]
