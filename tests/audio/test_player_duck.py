"""Ducking on a loudspeaker in virtual time: what sounded is compared with what sounds without a duck."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audio.cues import render
from appliance.audio.facts import Drained, Flushed
from appliance.audio.loudness import DUCK_DB, FALL_S, RISE_S
from appliance.audio.player import DUCKED_FILL_S, FILL_S, LONGEST_DUCK_S
from appliance.audio.speaker import FADE_MS
from appliance.conversation.effects import Sound
from tests.audio.stage import Samples, Stage, first, loud

RATE = 24_000
LOW = 10 ** (-DUCK_DB / 20)
LEVEL = 8000


def steady(ms: float) -> Samples:
    """A sound whose gain can be read from each sample."""
    return np.full(int(ms * RATE / 1000), LEVEL, np.int16)


def shares(stage: Stage) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The gain of each frame since the first sound."""
    sounded = stage.pcm.sounded
    return np.asarray(sounded[first(sounded) :] / LEVEL)


def playing(ms: float = 5000, **pcm: int) -> Stage:
    stage = Stage(**pcm)  # type: ignore[arg-type]
    stage.reply("a", steady(ms), [(0, ms)])
    stage.run(700)
    return stage


def duck(stage: Stage) -> int:
    """Duck now; returns at which frame of the sound that was."""
    assert stage.player.duck(stage.time.now)
    return stage.pcm.frame - first(stage.pcm.sounded)


@pytest.mark.parametrize("after_ms", [0, 3, 57, 133])
def test_a_duck_is_heard_within_a_period_and_as_deep_as_it_is_meant(after_ms: int) -> None:
    stage = playing()
    stage.run(after_ms)
    at = duck(stage)
    stage.run(800)
    heard = shares(stage)
    assert (heard[:at] == 1.0).all()
    assert heard[at] > 0.97
    assert heard[at + int(FALL_S * RATE) :] == pytest.approx(LOW, abs=3e-4), "half a period later, to the end"
    assert np.abs(np.diff(heard)).max() < 1.2 / (FALL_S * RATE), "no click"
    assert stage.pcm.underruns == 0


@pytest.mark.parametrize("ducked_ms", [250, 600])
def test_it_comes_back_smoothly_and_soon(ducked_ms: int) -> None:
    stage = playing()
    duck(stage)
    stage.run(ducked_ms)
    at = stage.pcm.frame - first(stage.pcm.sounded)
    assert stage.player.rise()
    stage.run(700)
    heard = shares(stage)
    back = at + int((DUCKED_FILL_S + RISE_S) * RATE) + 2
    assert heard[back:] == pytest.approx(1.0, abs=3e-4)
    assert (np.diff(heard[at:back]) > -3e-4).all()
    assert np.abs(np.diff(heard[at:])).max() < 1.2 / (RISE_S * RATE) + 2 / LEVEL, "no click"
    assert heard[at : at + 10] == pytest.approx(LOW, abs=3e-4)


def test_a_very_short_duck_lasts_no_longer_than_the_ring() -> None:
    stage = playing()
    at = duck(stage)
    stage.run(10)
    stage.player.rise()
    stage.run(700)
    back = at + int((FILL_S + RISE_S + 0.02) * RATE)
    assert shares(stage)[back:] == pytest.approx(1.0, abs=3e-4)


STORY = st.lists(st.tuples(st.integers(0, 500), st.sampled_from(["duck", "rise", "nothing"])), max_size=12)


@settings(max_examples=40, deadline=None)
@given(STORY, st.sampled_from([1024, 2048, 11_520]))
def test_ducks_change_the_loudness_and_nothing_else(story: list[tuple[int, str]], buffer_frames: int) -> None:
    """A reply with ducks, whatever their order, has the frames and the facts of one without."""
    plain, ducked = Stage(buffer_frames=buffer_frames), Stage(buffer_frames=buffer_frames)
    for stage in (plain, ducked):
        stage.reply("a", loud(1000, 1), [(0, 1000)])
        stage.run(100)
    for wait_ms, action in story:
        plain.run(wait_ms)
        ducked.run(wait_ms)
        if action == "duck":
            ducked.player.duck(ducked.time.now)
        elif action == "rise":
            ducked.player.rise()
        if len(ducked.told(Drained)) == len(plain.told(Drained)):  # else one was just told what the other knows next
            assert ducked.player.heard_ms() == pytest.approx(plain.player.heard_ms())
    plain.run(1500)
    ducked.run(1500)
    assert ducked.told(Drained) == plain.told(Drained)
    assert ducked.pcm.underruns == plain.pcm.underruns == 0
    assert ducked.pcm.sounded.shape == plain.pcm.sounded.shape
    begun = first(plain.pcm.sounded)
    said = plain.pcm.sounded[begun : begun + RATE].astype(float)
    heard = ducked.pcm.sounded[begun : begun + RATE].astype(float)
    ratio = heard / said
    assert ratio.max() <= 1.0, "never louder than the volume"
    assert ratio.min() >= LOW - 0.003, "never softer than a duck: every sample is there, once"


def test_a_duck_on_the_way_back_goes_down_again_without_a_click() -> None:
    for gap_ms in range(0, 400, 23):
        stage = playing()
        duck(stage)
        stage.run(400)
        stage.player.rise()
        stage.run(gap_ms)
        at = duck(stage)
        stage.run(500)
        heard = shares(stage)
        assert heard.min() > LOW - 3e-4
        assert np.abs(np.diff(heard)).max() < 1.2 / (FALL_S * RATE), gap_ms
        assert heard[at + int(FALL_S * RATE) :] == pytest.approx(LOW, abs=3e-4)


def test_a_duck_that_nobody_decides_ends_by_itself() -> None:
    stage = playing()
    at = duck(stage)
    stage.run((LONGEST_DUCK_S + 0.5) * 1000)
    heard = shares(stage)
    assert heard[at + int((LONGEST_DUCK_S - 0.01) * RATE)] == pytest.approx(LOW, abs=3e-4)
    assert heard[-1] == pytest.approx(1.0, abs=3e-4)


def test_a_suspicion_renewed_keeps_it_down() -> None:
    stage = playing()
    at = duck(stage)
    stage.run(LONGEST_DUCK_S * 750)
    duck(stage)
    stage.run(LONGEST_DUCK_S * 750)
    assert shares(stage)[at + int(FALL_S * RATE) :] == pytest.approx(LOW, abs=3e-4)


def test_nothing_that_sounds_cannot_be_ducked() -> None:
    stage = Stage()
    assert not stage.player.duck(stage.time.now)
    stage.reply("a", steady(300), [(0, 300)])
    stage.run(1000)
    assert stage.told(Drained)
    assert not stage.player.duck(stage.time.now)
    assert not stage.player.rise()
    stage.player.cue(render(Sound.LISTENING, RATE))
    stage.run(20)
    assert not stage.player.duck(stage.time.now), "an ear-con is no reply"
    assert not stage.player.loudness.ducked


def test_a_flush_while_ducked_fades_and_the_next_reply_has_the_full_volume() -> None:
    stage = playing()
    at = duck(stage)
    stage.run(300)
    pressed = stage.pcm.frame - first(stage.pcm.sounded)
    stage.player.flush(stage.time.now)
    (flushed,) = stage.told(Flushed)
    stage.run(200)
    heard = shares(stage)
    fade = FADE_MS * RATE // 1000
    assert heard[at + fade : pressed] == pytest.approx(LOW, abs=3e-4)
    assert (np.diff(heard[pressed - 1 : pressed + fade]) <= 0).all()
    assert not heard[pressed + fade :].any()
    assert flushed.heard_ms["a"] * 24 == pytest.approx(pressed + fade)
    stage.reply("b", steady(200), [(0, 200)])
    stage.run(500)
    assert (shares(stage) == 1.0).sum() >= at + 200 * 24


def test_a_reply_that_ends_while_ducked_leaves_the_next_at_full_volume() -> None:
    stage = playing(1000)
    duck(stage)
    stage.run(1000)
    assert stage.told(Drained) == [Drained(1, {"a": 1000.0})]
    stage.reply("b", steady(200), [(0, 200)])
    stage.run(500)
    assert (shares(stage)[-12_000:] == 1.0).sum() == 200 * 24


def test_a_reply_whose_ring_ran_empty_is_ducked_all_the_same() -> None:
    stage = playing()
    stage.time.now += 0.5  # the thread was not let run
    duck(stage)
    underran = stage.pcm.frame - first(stage.pcm.sounded)
    stage.run(600)
    assert stage.pcm.underruns + stage.player.speaker.underruns >= 1
    assert shares(stage)[underran + 2 * int(FALL_S * RATE) :] == pytest.approx(LOW, abs=3e-4)


@pytest.mark.parametrize("volume", [0.1, 0.5])
def test_the_volume_may_change_while_ducked(volume: float) -> None:
    stage = playing()
    duck(stage)
    stage.run(300)
    stage.player.loudness.volume = volume
    stage.run(300)
    assert shares(stage)[-100:] == pytest.approx(LOW * volume, abs=3e-4)
    stage.player.rise()
    stage.run(500)
    assert shares(stage)[-100:] == pytest.approx(volume, abs=3e-4)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_at_other_rates_a_duck_is_as_deep(rate: int) -> None:
    stage = Stage(rate, buffer_frames=rate * 24 // 100)
    stage.reply("a", steady(3000), [(0, 3000)])
    stage.run(700)
    assert stage.player.duck(stage.time.now)
    stage.run(int(FALL_S * 1000) + 1)
    begun = stage.pcm.frame
    stage.run(500)
    assert stage.pcm.sounded[begun:] / LEVEL == pytest.approx(LOW, abs=1e-3)
