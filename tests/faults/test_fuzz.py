"""Fuzzed server events in a short form, and proof that the fuzz finds what is there to be found."""

from __future__ import annotations

import json
import random

import pytest

from appliance.conversation.state import Phase
from appliance.realtime import wire
from tests.faults import frames, fuzz


def test_no_frame_crashes_protocol_or_engine_and_it_goes_everywhere() -> None:
    said: list[str] = []
    found = fuzz.run(20_000, said.append, first_seed=100)
    assert found.crashes == []
    assert found.events == 20_000
    assert said == ["fuzzed with seeds 100 to 100, 20000 events each"]
    assert set(found.phases) >= {Phase.IDLE, Phase.LISTENING, Phase.THINKING, Phase.SPEAKING, Phase.FAULT}
    assert min(found.phases[phase] for phase in (Phase.LISTENING, Phase.THINKING, Phase.SPEAKING)) > 500


def test_a_bug_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = wire.audio_of
    monkeypatch.setattr(wire, "audio_of", lambda delta: right(delta) or 1 // 0)
    found = fuzz.run(10_000, lambda _: None, first_seed=1)
    assert found.crashes
    assert "ZeroDivisionError" in found.crashes[0]


def test_broken_frames_are_of_every_kind() -> None:
    rng, kinds = random.Random(7), {"good": 0, "no JSON": 0, "no text": 0}
    for _ in range(3000):
        frame = frames.broken(rng)
        try:
            event = json.loads(frame)
        except UnicodeDecodeError:
            kinds["no text"] += 1
        except (ValueError, RecursionError):
            kinds["no JSON"] += 1
        else:
            kinds["good"] += isinstance(event, dict)
    assert min(kinds.values()) > 15, kinds
