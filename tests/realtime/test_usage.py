"""Tokens and money, by hand."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.realtime import models, wire
from appliance.realtime.usage import Tokens, cost_usd, tokens
from tests.realtime.talk import Json


def read(usage: Json | None) -> Tokens:
    event = wire.decode(msgspec.json.encode({"type": "response.done", "response": {"usage": usage}}))
    assert event is not None
    assert event.response is not None
    return tokens(event.response.usage)


FULL: Json = {
    "total_tokens": 1500,
    "input_tokens": 1200,
    "output_tokens": 300,
    "input_token_details": {
        "text_tokens": 700,
        "audio_tokens": 400,
        "image_tokens": 100,
        "cached_tokens": 650,
        "cached_tokens_details": {"text_tokens": 500, "audio_tokens": 100, "image_tokens": 50},
    },
    "output_token_details": {"text_tokens": 60, "audio_tokens": 240},
}


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        # text 200·4 + 500·0.40 + 60·16; audio 300·32 + 100·0.40 + 240·64; image 50·5 + 50·0.50; per million
        ("gpt-realtime-1.5", (800 + 200 + 960 + 9600 + 40 + 15360 + 250 + 25) / 1e6),
        ("gpt-realtime-2025-08-28", (800 + 200 + 960 + 9600 + 40 + 15360 + 250 + 25) / 1e6),
        # text out is 24 here
        ("gpt-realtime-2.1", (800 + 200 + 1440 + 9600 + 40 + 15360 + 250 + 25) / 1e6),
        # text 200·0.60 + 500·0.06 + 60·2.40; audio 300·10 + 100·0.30 + 240·20; image 50·0.80 + 50·0.08
        ("gpt-realtime-2.1-mini", (120 + 30 + 144 + 3000 + 30 + 4800 + 40 + 4) / 1e6),
        ("gpt-realtime-mini", None),
        ("somebody/else", None),
        ("", None),
    ],
)
def test_worked_examples(model: str, usd: float | None) -> None:
    counted = read(FULL)
    assert counted == Tokens(700, 500, 60, 400, 100, 240, 100, 50)
    assert cost_usd(counted, model) == (None if usd is None else pytest.approx(usd, rel=1e-12))


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"input_token_details": None, "output_token_details": None},
        {"input_token_details": {"text_tokens": None, "cached_tokens_details": None}},
        {"input_token_details": {"cached_tokens_details": {"text_tokens": None}}, "output_token_details": {}},
        {"input_token_details": {"text_tokens": -5}},
    ],
)
def test_missing_parts_count_as_zero(usage: Json | None) -> None:
    assert read(usage) == Tokens()
    assert cost_usd(Tokens(), "gpt-realtime") == 0.0


def test_more_cached_than_given_is_never_negative() -> None:
    assert cost_usd(Tokens(text_in=5, text_cached=10), "gpt-realtime") == pytest.approx(10 * 0.40 / 1e6)


@given(st.integers() | st.just(10**400))
def test_a_servers_nonsense_can_be_summed_and_priced(number: int) -> None:
    counted = read({"output_token_details": {"text_tokens": number, "audio_tokens": number}})
    total = counted + counted + Tokens(text_in=1)
    cost = cost_usd(total, "gpt-realtime")
    assert cost is not None
    assert cost >= 0


def test_tokens_add_by_kind_and_name_themselves() -> None:
    total = Tokens(1, 2, 3, 4, 5, 6, 7, 8) + Tokens(text_out=10)
    assert total.as_dict() == {
        "text_in": 1,
        "text_cached": 2,
        "text_out": 13,
        "audio_in": 4,
        "audio_cached": 5,
        "audio_out": 6,
        "image_in": 7,
        "image_cached": 8,
    }


def test_dated_snapshots_count_as_their_family() -> None:
    assert models.capabilities("gpt-realtime-mini-2025-12-15") == models.CAPABILITIES["gpt-realtime-mini"]
    assert models.price("gpt-realtime-1.5") is models.PRICES["gpt-realtime-1.5"]
    for odd in ("", "-", "2025-08-28", "x-1-2-3", "gpt-realtime-2025-8-28"):
        assert models.price(odd) is None
