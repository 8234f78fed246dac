"""The books of turns: what is measured ends up in exactly one record."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.realtime.usage import Tokens
from appliance.records import Record, Records, percentile

CONTRACT = [
    "event",
    "turn",
    "press_to_capture_ms",
    "end_of_speech_to_first_audio_ms",
    "first_delta_to_dac_ms",
    "capture_to_wire_p50_ms",
    "capture_to_wire_p99_ms",
    "barge_in_to_silence_ms",
    "heard_ms",
    "truncated_at_ms",
    "xruns",
    "dropped_ms",
    "usage",
    "cost_usd",
]


class Books:
    """Records, with what was published and losses that the test sets."""

    def __init__(self) -> None:
        self.published: list[Record] = []
        self.losses = (0.0, 0.0)
        self.records = Records(self.published.append, lambda: self.losses)


@pytest.fixture
def books() -> Books:
    return Books()


def test_a_whole_turn(books: Books, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "appliance")
    it = books.records
    it.model = "gpt-realtime-1.5"
    books.losses = (3.0, 10.0)
    it.begin(100.0)
    it.captured(100.012)
    it.captured(100.5)  # only the first counts
    for n in range(1, 101):
        it.sent(100.0 + n, 100.0 + n + n / 1000)
    it.committed(102.0)
    it.reply_started(102.6, 102.65)
    it.reply_started(103.0, 104.0)  # only the first counts
    it.used(Tokens(audio_in=100, audio_out=200))
    it.used(Tokens(audio_out=50))
    it.heard(900.0)
    it.heard(100.0)
    books.losses = (5.0, 12.5)
    it.end()
    (record,) = books.published
    assert list(record) == CONTRACT
    assert record["turn"] == 1
    assert record["press_to_capture_ms"] == 12.0
    assert record["end_of_speech_to_first_audio_ms"] == 650.0
    assert record["first_delta_to_dac_ms"] == 50.0
    assert (record["capture_to_wire_p50_ms"], record["capture_to_wire_p99_ms"]) == (50.0, 99.0)
    assert record["heard_ms"] == 1000.0
    assert (record["xruns"], record["dropped_ms"]) == (2, 2.5)
    assert record["usage"] == Tokens(audio_in=100, audio_out=250).as_dict()
    cost = record["cost_usd"]
    assert isinstance(cost, float)
    assert cost > 0
    assert record["barge_in_to_silence_ms"] is record["truncated_at_ms"] is None
    (line,) = [r.getMessage() for r in caplog.records]
    assert line.startswith("turn {")
    assert json.loads(line.removeprefix("turn ")) == record


def test_what_does_not_apply_is_null(books: Books) -> None:
    books.records.begin(None)
    books.records.committed(None)
    books.records.end()
    (record,) = books.published
    given_ = {key: value for key, value in record.items() if value is not None}
    assert given_ == {"event": "turn", "turn": 1, "xruns": 0, "dropped_ms": 0.0}


def test_a_turn_in_which_nothing_was_asked_leaves_no_record(books: Books) -> None:
    books.records.begin(1.0)
    books.records.captured(1.01)
    books.records.sent(1.01, 1.02)
    books.records.end()
    books.records.end()
    assert books.published == []


def test_an_interrupted_turn_waits_for_silence_and_the_next_goes_on_meanwhile(books: Books) -> None:
    it = books.records
    it.begin(1.0)
    it.committed(2.0)
    it.reply_started(2.5, 2.5)
    it.interrupted(4.0)
    it.begin(4.0)
    it.captured(4.02)
    assert books.published == []
    it.silent(4.03, 1500.0, 1480)
    (first,) = books.published
    assert first["turn"] == 1
    assert first["barge_in_to_silence_ms"] == 30.0
    assert (first["heard_ms"], first["truncated_at_ms"]) == (1500.0, 1480)
    it.committed(5.0)
    it.end()
    assert books.published[1]["turn"] == 2
    assert books.published[1]["press_to_capture_ms"] == 20.0


def test_interrupted_twice_before_silence_loses_no_record(books: Books) -> None:
    it = books.records
    for at in (1.0, 2.0):
        it.begin(at)
        it.committed(at)
        it.interrupted(at + 0.5)
    it.silent(2.6, 0.0, None)
    it.silent(2.7, 0.0, None)  # of the first flush: nothing waits for it any more
    assert [record["turn"] for record in books.published] == [1, 2]


def test_audio_of_before_the_press_does_not_make_the_wait_negative(books: Books) -> None:
    """The microphone was open (hands-free): the pre-roll goes along."""
    books.records.begin(10.0)
    books.records.captured(9.4)
    books.records.committed(11.0)
    books.records.end()
    assert books.published[0]["press_to_capture_ms"] == 0.0


def test_a_model_without_a_known_price_costs_null(books: Books) -> None:
    books.records.model = "somebody-elses"
    books.records.begin(None)
    books.records.used(Tokens(text_in=5))
    books.records.end()
    assert books.published[0]["cost_usd"] is None
    assert books.published[0]["usage"] is not None


def test_facts_without_a_turn_are_harmless(books: Books) -> None:
    it = books.records
    it.captured(1.0)
    it.sent(1.0, 2.0)
    it.committed(1.0)
    it.reply_started(1.0, 1.0)
    it.heard(5.0)
    it.used(Tokens(text_in=1))
    it.interrupted(1.0)
    it.silent(1.0, 0.0, None)
    it.end()
    assert books.published == []


@given(st.lists(st.floats(0, 1000), max_size=60), st.integers(1, 100))
def test_percentile_is_the_nearest_rank(values: list[float], percent: int) -> None:
    """The smallest value that at least ``percent`` of all do not exceed."""
    found = percentile(values, percent)
    if not values:
        assert found is None
        return
    enough = [v for v in values if 100 * sum(w <= v for w in values) >= percent * len(values)]
    assert found == round(min(enough), 1)
