"""The player on a loudspeaker in virtual time: what sounded is compared with what was pushed, frame by frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audio.cues import render
from appliance.audio.facts import Drained, ReplyStarted
from appliance.audio.player import FROZEN_S, STARVED_S
from appliance.conversation.effects import Sound
from tests.audio.stage import Stage, first, knowing, loud, only, speechlike


@pytest.mark.parametrize("delta_ms", [5, 20, 40, 100, 333])
def test_a_steady_reply_sounds_once_and_whole(delta_ms: int) -> None:
    stage = Stage()
    said = loud(2000)
    stage.reply("a", said, [(k * delta_ms, delta_ms) for k in range(-(-2000 // delta_ms))])
    stage.run(3000)
    assert np.array_equal(only(stage.pcm.sounded), said)
    assert stage.pcm.starts == 1, "the card was stopped and started within a reply"
    assert stage.pcm.underruns == stage.player.starvations == 0
    assert stage.told(Drained) == [Drained(stage.pushes, {"a": 2000.0})]
    assert stage.player.idle


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_at_other_rates_the_whole_reply_is_heard_to_the_frame(rate: int) -> None:
    stage = Stage(rate, buffer_frames=rate * 24 // 100)
    stage.reply("a", speechlike(1500), [(k * 30, 30) for k in range(50)])
    stage.run(2500)
    drained = stage.told(Drained)
    assert len(drained) == 1
    assert drained[0].heard_ms["a"] == pytest.approx(1500, abs=1000 / rate)
    sounded = only(stage.pcm.sounded).astype(float)
    expected = speechlike(1500, rate).astype(float)
    count = min(len(sounded), len(expected)) - 200
    assert np.corrcoef(sounded[100:count], expected[100:count])[0, 1] > 0.999


@pytest.mark.parametrize("buffer_frames", [512, 1024, 2048])
def test_a_small_ring_loses_nothing_and_does_not_spin(buffer_frames: int) -> None:
    stage = Stage(buffer_frames=buffer_frames)
    said = loud(1000)
    stage.reply("a", said, [(0, 1000)])
    turns = stage.run(1500)
    assert np.array_equal(only(stage.pcm.sounded), said)
    assert turns < 1500 / (buffer_frames / 24 / 4)


def test_a_cards_coarse_position_is_not_a_frozen_card() -> None:
    stage = Stage(step=480)
    stage.run(FROZEN_S * 1000 + 100)
    for _ in range(3):
        stage.player.cue(render(Sound.SENT, 24_000))
        stage.run((FROZEN_S + 1.5) * 1000)
    assert stage.pcm.starts == 3


def test_the_first_sample_is_reported_when_it_sounds() -> None:
    stage = Stage()
    begin = stage.reply("a", loud(500), [(k * 50, 50) for k in range(10)], after_ms=100)
    stage.run(1000)
    (started,) = stage.told(ReplyStarted)
    assert started.pushed_at == pytest.approx(begin)
    assert (started.sounds_at - 1000.0) * 24_000 == pytest.approx(first(stage.pcm.sounded), abs=1)


def test_items_sound_in_order_without_a_gap_and_are_heard_to_the_frame() -> None:
    stage = Stage()
    one, two = loud(300, 1), loud(400, 2)
    stage.push("a", one)
    stage.push("b", two)  # held back
    stage.run(200)
    stage.player.end_item("a")
    stage.run(100)
    stage.end("b")
    stage.run(1000)
    assert np.array_equal(only(stage.pcm.sounded), np.concatenate((one, two)))
    assert stage.told(Drained) == [Drained(2, {"a": 300.0, "b": 400.0})]


def test_a_pause_between_items_is_thought_and_not_jitter() -> None:
    stage = Stage()
    delay_before = stage.player.playout.delay_ms
    stage.push("a", loud(100, 1))
    stage.player.end_item("a")
    stage.run(700)
    assert not stage.told(Drained), "another item may follow"
    stage.push("b", loud(100, 2))
    stage.end("b")
    stage.run(500)
    assert stage.told(Drained) == [Drained(2, {"a": 100.0, "b": 100.0})]
    assert stage.player.starvations == 0
    assert stage.player.playout.delay_ms == pytest.approx(delay_before)


def test_a_response_that_follows_one_still_sounding_joins_it() -> None:
    stage = Stage()
    one, two = loud(300, 1), loud(300, 2)
    stage.push("a", one)
    stage.end("a")
    stage.run(100)
    stage.push("b", two[:2400])
    stage.run(100)
    stage.push("b", two[2400:])
    stage.end("b")
    stage.run(1000)
    assert np.array_equal(only(stage.pcm.sounded), np.concatenate((one, two)))
    assert stage.told(Drained) == [Drained(3, {"a": 300.0, "b": 300.0})]


def test_a_response_that_joined_is_not_over_before_its_own_end() -> None:
    stage = Stage()
    stage.push("a", loud(200, 1))
    stage.end("a")
    stage.run(50)
    stage.push("b", loud(200, 2))
    stage.player.end_item("b")
    stage.run(1000)
    assert not stage.told(Drained), "another item of the second response may follow"
    stage.player.end_reply()
    stage.run(50)
    assert stage.told(Drained) == [Drained(2, {"a": 200.0, "b": 200.0})]


def test_an_end_that_comes_after_the_ring_ran_dry_drains_at_once() -> None:
    for rate in (24_000, 48_000):
        stage = Stage(rate)
        stage.push("a", loud(100))
        stage.run(1000)
        assert not stage.told(Drained)
        stage.end("a")
        stage.run(100)
        (drained,) = stage.told(Drained)
        assert drained.heard_ms["a"] == pytest.approx(100, abs=0.1)


def test_a_reply_that_starves_goes_on_when_audio_comes_and_is_whole() -> None:
    stage = Stage()
    said = loud(300)
    stage.push("a", said[:2400])
    stage.run(400)
    assert stage.player.starvations == 1
    stage.push("a", said[2400:])
    stage.end("a")
    stage.run(500)
    sounded = only(stage.pcm.sounded)
    assert np.array_equal(sounded[sounded != 0], said)
    assert stage.told(Drained)[0].heard_ms == {"a": 300.0}
    assert stage.pcm.underruns == 0, "running dry is foreseen: silence is behind the last sample"


def test_a_reply_that_starves_for_good_is_over() -> None:
    stage = Stage()
    stage.push("a", loud(100))
    turns = stage.run(STARVED_S * 1000)
    stage.run(2000)
    assert stage.told(Drained) == [Drained(1, {"a": 100.0})]
    assert stage.player.idle
    assert turns < 60


def test_audio_that_comes_at_the_last_moment_leaves_no_gap() -> None:
    stage = Stage(playout=knowing(0))
    said = loud(200)
    stage.push("a", said[:2400])  # 100 ms
    stage.run(20)
    start = stage.pcm.frame - first(stage.pcm.sounded)
    stage.run(100 - 3 - start / 24)  # 3 ms before it is dry, behind which silence has been written
    stage.push("a", said[2400:])
    stage.end("a")
    stage.run(500)
    assert np.array_equal(only(stage.pcm.sounded), said)
    assert stage.player.starvations == 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 120), min_size=1, max_size=12),
    st.lists(st.integers(0, 400), min_size=12, max_size=12),
    st.floats(0, 0.004),
)
def test_whatever_the_downlink_does_every_sample_sounds_once(sizes: list[int], gaps: list[int], late_s: float) -> None:
    stage = Stage()
    said = loud(sum(sizes))
    arrivals = np.cumsum([0, *gaps[1 : len(sizes)]]).tolist()
    stage.reply("a", said, list(zip(arrivals, sizes, strict=True)))
    stage.run(arrivals[-1] + sum(sizes) + 1500, lambda: late_s)
    sounded = only(stage.pcm.sounded)
    assert np.array_equal(sounded[sounded != 0], said)
    assert stage.told(Drained) == [Drained(len(sizes), {"a": float(sum(sizes))})]
    assert stage.player.idle
