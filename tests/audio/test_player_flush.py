"""Flushing the player in virtual time: silence within the fade, and a right account of what was heard."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audio.facts import Drained, Flushed
from tests.audio.stage import Samples, Stage, first, loud


@pytest.mark.parametrize("rate", [24_000, 44_100, 48_000])
@pytest.mark.parametrize("at_ms", [3, 100, 237])
def test_flush_silences_within_the_fade_and_tells_what_was_heard(rate: int, at_ms: int) -> None:
    stage = Stage(rate)
    stage.push("a", loud(5000))
    stage.run(200 + at_ms)
    begun = first(stage.pcm.sounded)
    pressed = stage.pcm.frame
    stage.player.flush(stage.time.now)
    stage.run(500)
    sounded = stage.pcm.sounded
    last = int(np.flatnonzero(sounded)[-1])
    fade = rate * 5 // 1000
    assert pressed + fade - rate // 1000 <= last <= pressed + fade
    (flushed,) = stage.told(Flushed)
    assert flushed.heard_ms["a"] * rate / 1000 == pytest.approx(pressed + fade - begun, abs=1)
    assert flushed.silent_at == pytest.approx(1000 + (pressed + fade) / rate, abs=0.001)
    blocks = np.abs(sounded[pressed : pressed + fade]).reshape(5, -1).max(axis=1)
    assert list(blocks) == sorted(blocks, reverse=True), "a fade, not a click"
    assert blocks[-1] < 9000 * 0.25
    assert stage.player.idle
    assert stage.pcm.underruns == 0


def test_flush_knows_the_item_that_sounds_not_the_one_behind_it() -> None:
    stage = Stage()
    stage.push("a", loud(150))
    stage.player.end_item("a")
    stage.push("b", loud(150))
    stage.run(100)
    stage.player.flush(stage.time.now)
    assert set(stage.told(Flushed)[0].heard_ms) == {"a"}
    stage.push("c", loud(150))
    stage.player.flush(stage.time.now)
    assert stage.told(Flushed)[1].heard_ms == {}, "what was told is not told again"


def test_a_reply_can_follow_a_flush_at_once() -> None:
    stage = Stage()
    stage.push("a", loud(1000))
    stage.run(300)
    stage.player.flush(stage.time.now)
    said = loud(300, 9)
    stage.push("b", said)
    stage.end("b")
    stage.run(1000)
    at = first_of(stage.pcm.sounded, said)
    assert np.array_equal(stage.pcm.sounded[at + 120 : at + 7200], said[120:])  # the fade lies over its first 5 ms
    assert stage.told(Drained) == [Drained(2, {"b": 300.0})]


def test_the_fade_sounds_although_an_ear_con_follows_at_once() -> None:
    """As at every press over a reply: the cue lies over the fade, it does not take it back."""
    stage = Stage(48_000)
    stage.push("a", loud(5000))
    stage.run(300)
    pressed = stage.pcm.frame
    stage.player.flush(stage.time.now)
    stage.player.cue(np.zeros(4800, np.int16))
    stage.run(300)
    fade = np.abs(stage.pcm.sounded[pressed : pressed + 240]).reshape(5, -1).max(axis=1)
    assert fade[0] > 3000
    assert list(fade) == sorted(fade, reverse=True)
    assert not stage.pcm.sounded[pressed + 240 :].any()


def first_of(sounded: Samples, said: Samples) -> int:
    """Where ``said`` begins: its 50th to 60th samples are looked for (a fade may lie over the first)."""
    window = np.lib.stride_tricks.sliding_window_view(sounded, 10)
    found = np.flatnonzero((window == said[200:210]).all(axis=1))
    assert len(found) == 1
    return int(found[0]) - 200


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(20, 600)), min_size=1, max_size=5))
def test_any_flushes_leave_the_account_right(story: list[tuple[int, int]]) -> None:
    """Each reply is a constant of its own, so that what sounded of it can be counted."""
    stage = Stage()
    for k, (wait_ms, length_ms) in enumerate(story, 1):
        stage.push(f"i{k}", np.full(length_ms * 24, 1000 * k, np.int16))
        stage.run(wait_ms)
        stage.player.flush(stage.time.now)
        stage.run(30)
        sounded = stage.pcm.sounded
        whole = int(np.count_nonzero(sounded == 1000 * k))
        heard = stage.told(Flushed)[-1].heard_ms.get(f"i{k}", 0) * 24
        assert whole - 1 <= heard <= whole + 121, "heard is what sounded at full volume plus at most the fade"
