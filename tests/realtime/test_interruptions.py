"""What the server is told to forget when a reply is interrupted: nothing that was heard, all that was not."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.realtime.responses import AudioItem, Delete, Responses, Truncate
from tests.realtime.talk import MS, Talk

RATES = [8_000, 16_000, 22_050, 44_100, 48_000, 96_000]


def book(items: dict[str, tuple[int, bool]]) -> Responses:
    """Make a book with one admitted response of ``items``: bytes received, and whether all of it came."""
    responses = Responses()
    response = responses.announce("r")
    responses.admit("r")
    response.items.update({name: AudioItem(size, ended) for name, (size, ended) in items.items()})
    responses.silence()
    return responses


@pytest.mark.parametrize(
    ("received_ms", "ended", "heard_ms", "expected"),
    [
        (1000, False, 0.0, Delete("i")),  # truncating at 0 fails
        (1000, False, 0.4, Delete("i")),
        (1000, False, 1.0, Truncate("i", 1, 0.001)),
        (1000, False, 250.0, Truncate("i", 250, 0.25)),
        (1000, True, 999.0, Truncate("i", 999, 0.999)),
        (1000, True, 1000.0, None),  # fully played
        (1000, True, 999.98, None),  # the card's frames do not divide evenly
        (1000, True, 1100.0, None),
        (1000, False, 1000.0, Truncate("i", 1000, 1.0)),  # the server has made more than it sent
        (1000, False, 5000.0, Truncate("i", 1000, 1.0)),  # never beyond what was received
        (0, False, 0.0, Delete("i")),
        (0, True, 20.0, Delete("i")),
    ],
)
def test_one_item(received_ms: int, ended: bool, heard_ms: float, expected: Truncate | Delete | None) -> None:
    repairs = book({"i": (received_ms * MS, ended)}).repairs({"i": heard_ms})
    assert repairs == ([] if expected is None else [expected])


def test_several_items_are_accounted_one_by_one() -> None:
    items = {"played": (500 * MS, True), "cut": (500 * MS, True), "later": (500 * MS, False), "announced": (0, False)}
    responses = book(items)
    assert responses.repairs({"played": 500.0, "cut": 123.7}) == [
        Truncate("cut", 124, 124 / 500),
        Delete("later"),
        Delete("announced"),
    ]
    assert responses.repairs({}) == []  # told once


def test_an_item_never_heard_of_is_deleted_and_a_foreign_one_left_alone() -> None:
    assert book({"i": (480, False)}).repairs({"other": 400.0}) == [Delete("i")]


@given(
    received=st.integers(0, 60_000 * MS),
    ended=st.booleans(),
    share=st.fractions(0, 1),
    rate=st.sampled_from(RATES),
)
def test_arithmetic_at_any_rate(received: int, ended: bool, share: Fraction, rate: int) -> None:
    """Never more than was received; never off by more than a millisecond from what was heard."""
    frames = int(Fraction(received, MS) * rate / 1000 * share)  # whole frames that the card presented
    heard_ms = frames * 1000 / rate
    for repair in book({"i": (received, ended)}).repairs({"i": heard_ms}):
        match repair:
            case Truncate(_, end_ms, fraction):
                assert 1 <= end_ms <= received // MS
                assert abs(end_ms - heard_ms) <= 1
                assert 0 < fraction <= 1
                assert not ended or end_ms < received // MS
            case Delete(_):
                assert heard_ms < 0.5 or received < MS
    if share == 1 and ended and received >= MS:
        assert book({"i": (received, True)}).repairs({"i": heard_ms}) == []


def test_audio_dropped_after_the_interruption_counts_as_unheard() -> None:
    """All that was let through was heard, but the server went on before it took the cancel in: truncate."""
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    talk.audio(300)
    talk.protocol.interrupt()
    talk.audio(400)
    talk.audio_done()
    talk.done(status="cancelled")
    assert talk.protocol.repair({"item_1": 300.0}) == [Truncate("item_1", 300, 1.0, session=1)]


def test_a_reply_that_starved_and_went_on_is_accounted_from_its_beginning() -> None:
    """The loudspeaker's account begins anew after it ran dry; the protocol's does not."""
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    talk.audio(500, "item_1")
    talk.audio_done("item_1")
    talk.audio(200, "item_2")
    talk.protocol.played()  # dry: both sounded so far, the response is not finished
    talk.audio(300, "item_2")
    talk.protocol.interrupt()
    assert talk.protocol.repair({"item_2": 100.0}) == [Truncate("item_2", 300, 300 / 500, session=1)]


def test_a_reply_that_ended_is_still_repaired_while_it_sounds() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    talk.words("one two three four")
    talk.audio(1000)
    talk.done()
    talk.protocol.interrupt()
    assert talk.protocol.repair({"item_1": 500.0}) == [Truncate("item_1", 500, 0.5, session=1)]
    assert talk.kinds() == ["conversation.item.truncate"]  # nothing is left to cancel


def test_a_reply_that_sounded_is_over() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    talk.audio(1000)
    talk.done()
    talk.protocol.played()
    talk.protocol.interrupt()
    assert talk.protocol.repair({}) == []
    assert talk.kinds() == []


def test_a_reply_that_outlived_its_session_is_cut_in_the_history() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.say("input_audio_buffer.committed", item_id="item_u")
    talk.created()
    talk.words("one two three four")
    talk.audio(1000)
    talk.protocol.disconnected()
    talk.protocol.interrupt()
    talk.protocol.repair({"item_1": 500.0})
    talk.open()
    told = [e["item"]["content"][0]["text"] for e in talk.pump() if e.get("item", {}).get("role") == "assistant"]
    assert told == ["one two …"]


def test_the_cancel_goes_out_before_the_truncation() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    talk.audio(1000)
    talk.protocol.interrupt()
    talk.protocol.repair({"item_1": 10.0})
    talk.turn(100)
    assert talk.kinds()[:4] == [
        "response.cancel",
        "conversation.item.truncate",
        "input_audio_buffer.clear",
        "input_audio_buffer.append",
    ]


def test_a_refused_truncation_changes_nothing() -> None:
    talk = Talk().open()
    assert talk.error(None, "Audio content of 500ms is already shorter than 900ms") == []
    assert talk.error("item_truncate_invalid_item_id", "no such item") == []
    talk.protocol.request_response()
    assert talk.kinds() == ["response.create"]


def test_an_answer_that_is_only_written_is_over_when_it_is_done_and_later_interruptions_leave_it_alone() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created("resp_1")
    item = {"id": "item_1", "type": "message", "role": "assistant"}
    talk.say("response.output_item.added", response_id="resp_1", item=item)
    talk.say("response.output_text.delta", response_id="resp_1", item_id="item_1", delta="Written.")
    talk.done("resp_1")
    assert talk.protocol.may_move(old=False)
    talk.turn()
    talk.pump()
    talk.created("resp_2")
    talk.audio(500, "item_2", "resp_2")
    talk.protocol.interrupt()
    assert talk.protocol.repair({"item_2": 200.0}) == [Truncate("item_2", 200, 0.4, 1)]
    talk.protocol.disconnected()
    talk.open()
    told = [e["item"]["content"][0]["text"] for e in talk.pump() if e.get("item", {}).get("role") == "assistant"]
    assert told == ["Written."]


@pytest.mark.parametrize("admitted", [True, False])
def test_what_the_server_made_of_an_answer_before_it_knew_of_the_interruption_is_deleted(admitted: bool) -> None:
    """It would remember words that nobody heard."""
    talk = Talk(admits=False).open().turn()
    talk.pump()
    talk.created()
    if admitted:
        talk.protocol.admit("resp_1")
        talk.protocol.interrupt()
    else:
        talk.protocol.cancel("resp_1")
    talk.protocol.repair({})
    assert talk.kinds()[-1] == "response.cancel"
    item = {"id": "item_1", "type": "message", "role": "assistant"}
    talk.say("response.output_item.added", response_id="resp_1", item=item)
    talk.words("Nobody hears this.")
    talk.audio(500)
    talk.done(status="cancelled")
    talk.protocol.request_response()
    deleted, asked = talk.pump()
    assert (deleted["type"], deleted["item_id"]) == ("conversation.item.delete", "item_1")
    assert asked["type"] == "response.create"


def test_an_item_is_deleted_once() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    talk.say("response.output_item.added", response_id="resp_1", item={"id": "item_1", "type": "message"})
    talk.protocol.interrupt()
    talk.protocol.repair({})
    talk.say("response.output_item.added", response_id="resp_1", item={"id": "item_2", "type": "message"})
    talk.done(status="cancelled")
    assert [e["item_id"] for e in talk.pump() if e["type"] == "conversation.item.delete"] == ["item_1", "item_2"]
