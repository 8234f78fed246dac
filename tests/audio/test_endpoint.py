"""Endpointing on blocks made by hand and on real recordings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.audio.endpoint import End, Endpointer, Onset
from appliance.audio.format import level_dbfs
from appliance.audio.processing import BLOCK, DETECTORS
from tests.audio.recordings import NAMES, RATE, recording

T0 = 500.0


def decided(blocks: Sequence[tuple[bool, float]], end_of_turn_ms: int = 700) -> tuple[list[Onset | End], Endpointer]:
    endpointer = Endpointer(end_of_turn_ms)
    out = [endpointer.block(T0 + k / 100, voiced, level) for k, (voiced, level) in enumerate(blocks)]
    return [what for what in out if what is not None], endpointer


def test_a_talker_begins_and_ends() -> None:
    out, endpointer = decided([(False, -60)] * 50 + [(True, -20)] * 100 + [(False, -60)] * 100)
    assert [type(what) for what in out] == [Onset, End]
    assert out[0].at == pytest.approx(T0 + 0.50, abs=0.011)
    assert out[1].at == pytest.approx(T0 + 1.50, abs=0.001)
    assert endpointer.speech_ended_at == out[1].at


def test_the_end_is_told_after_the_patience_and_not_before() -> None:
    for patience in (200, 700):
        blocks = [(True, -20.0)] * 50 + [(False, -60.0)] * (patience // 10 - 1)
        assert [type(what) for what in decided(blocks, patience)[0]] == [Onset]
        assert [type(what) for what in decided([*blocks, (False, -60)], patience)[0]] == [Onset, End]


def test_a_click_is_no_talker_and_does_not_keep_one_alive() -> None:
    clicks = [(k % 25 == 0, -10.0) for k in range(300)]
    assert decided(clicks)[0] == []
    out, _ = decided([(True, -20.0)] * 50 + clicks)
    assert [type(what) for what in out] == [Onset, End]
    assert out[1].at == pytest.approx(T0 + 0.51, abs=0.011)


def test_a_pause_within_the_patience_is_one_turn() -> None:
    out, _ = decided(([(True, -20.0)] * 40 + [(False, -60.0)] * 60) * 3 + [(False, -60.0)] * 20)
    assert [type(what) for what in out] == [Onset, End]


def test_the_detectors_hang_over_is_not_speech() -> None:
    out, _ = decided([(True, -20.0)] * 50 + [(True, -70.0)] * 30 + [(False, -70.0)] * 100)
    assert out[1].at == pytest.approx(T0 + 0.5, abs=0.001)


def test_each_turn_has_its_own_peak() -> None:
    loud, quiet = [(True, -5.0)] * 50, [(True, -45.0)] * 50
    silence = [(False, -80.0)] * 100
    out, _ = decided(loud + silence + quiet + silence)
    assert [type(what) for what in out] == [Onset, End, Onset, End]
    assert out[3].at == pytest.approx(T0 + 2.0, abs=0.001)


def test_a_much_softer_voice_keeps_no_turn_open_and_a_fading_talker_does() -> None:
    talker, television = [(True, -30.0)] * 100, [(True, -48.0)] * 100
    out, _ = decided(talker + television)
    assert isinstance(out[1], End)
    assert not decided(talker + television[:60])[0][1:], "the patience is the usual one"
    fading = [(True, -30.0 - 0.1 * k) for k in range(150)]
    silence = [(False, -80.0)] * 100
    out, _ = decided(talker + fading + silence)
    assert [type(what) for what in out] == [Onset, End]
    assert out[1].at > T0 + 2.0


def test_a_talker_whom_another_watch_found_is_as_loud_as_he_is() -> None:
    endpointer = Endpointer(500)
    for k in range(100):
        endpointer.block(T0 + k / 100, voiced=True, level_dbfs=-10.0)  # the reply itself, say
    endpointer.began(T0 + 0.9, T0 + 1.0)
    told = [endpointer.block(T0 + 1 + k / 100, voiced=True, level_dbfs=-45.0) for k in range(200)]
    assert told == [None] * 200


@given(st.lists(st.tuples(st.booleans(), st.floats(-96, 0)), max_size=400))
def test_onsets_and_ends_take_turns_in_time(blocks: list[tuple[bool, float]]) -> None:
    out, _ = decided(blocks, 200)
    assert [type(what) for what in out] == [(Onset, End)[k % 2] for k in range(len(out))]
    assert all(T0 <= what.at <= T0 + len(blocks) / 100 + 0.001 for what in out)
    for onset, end in zip(out[::2], out[1::2], strict=False):
        assert onset.at < end.at


@pytest.mark.parametrize("detector", sorted(DETECTORS))
@pytest.mark.parametrize("name", NAMES)
def test_real_speech_is_found_and_its_true_end_too(name: str, detector: str) -> None:
    """The truth is the recording's own energy: the last 10 ms within 30 dB of its loudest."""
    speech = recording(name)[: 6 * RATE]
    lead, tail = 1.0, 1.5
    room = np.random.default_rng(3).normal(0, 6, int((lead + tail) * RATE) + len(speech))
    room[int(lead * RATE) :][: len(speech)] += speech
    sound = np.clip(room, -32_768, 32_767).astype(np.int16)
    levels = [level_dbfs(speech[k : k + BLOCK]) for k in range(0, len(speech) - BLOCK, BLOCK)]
    within = [k for k, level in enumerate(levels) if level > max(levels) - 30]
    starts, ends = T0 + lead + within[0] / 100, T0 + lead + (within[-1] + 1) / 100

    hears, endpointer, out = DETECTORS[detector](), Endpointer(1200), []
    for k in range(0, len(sound) - BLOCK, BLOCK):
        block = sound[k : k + BLOCK]
        what = endpointer.block(T0 + k / RATE, hears(block) >= 0.7, level_dbfs(block))
        if what is not None:
            out.append(what)
    assert isinstance(out[0], Onset)
    assert starts - 0.35 < out[0].at < starts + 0.35
    assert isinstance(out[-1], End)
    assert ends - 0.25 < out[-1].at < ends + 0.25
