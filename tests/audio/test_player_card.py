"""The player between ear-cons, volume, a bad card and the echo canceller, in virtual time."""

from __future__ import annotations

import numpy as np
import pytest

from appliance.audio.cues import render
from appliance.audio.facts import Drained, ReplyStarted
from appliance.audio.format import amplified
from appliance.audio.player import FROZEN_S, LINGER_S
from appliance.audio.playout import Playout
from appliance.conversation.effects import Sound
from appliance.errors import DeviceError
from tests.audio.stage import Stage, first, knowing, loud, only, speechlike


def test_a_cue_over_a_reply_is_mixed_and_the_reply_stays_whole() -> None:
    stage = Stage()
    said = speechlike(1000)
    stage.push("a", said)
    stage.end("a")
    stage.run(50)
    cue = render(Sound.MUTED, 24_000)
    stage.player.cue(cue)
    stage.run(1500)
    rest = only(stage.pcm.sounded)[: len(said)].astype(int) - said
    at = first_of_cue = int(np.flatnonzero(rest)[0])
    assert np.abs(rest[at - 1 : at - 1 + len(cue)] - cue).max() <= 1
    assert first_of_cue < 250 * 24
    assert stage.told(Drained)[0].heard_ms == {"a": 1000.0}


def test_a_cue_alone_sounds_at_once_and_whole() -> None:
    stage = Stage(48_000)
    cue = render(Sound.TIMER, 48_000)  # longer than the ring
    stage.run(20)
    at = stage.pcm.frame
    stage.player.cue(cue)
    stage.run(4000)
    assert np.array_equal(stage.pcm.sounded[at : at + len(cue)], cue)
    assert stage.pcm.starts == 1
    assert stage.pcm.underruns == 0
    assert not stage.facts
    assert stage.player.idle


def test_a_reply_does_not_wait_for_a_cue_to_end() -> None:
    stage = Stage(playout=knowing(0))
    stage.player.cue(render(Sound.ERROR, 24_000))
    stage.run(30)
    begin = stage.reply("a", loud(500), [(k * 100, 100) for k in range(5)])
    stage.run(2000)
    (started,) = stage.told(ReplyStarted)
    assert started.sounds_at - begin < 0.020
    assert stage.told(Drained)[0].heard_ms == {"a": 500.0}


def test_a_cue_does_not_push_an_awaited_reply_apart() -> None:
    stage = Stage()
    said = loud(1000)
    stage.reply("a", said, [(k * 20, 20) for k in range(50)])
    stage.run(100)
    stage.player.cue(np.full(12_000, 5, np.int16))
    stage.run(2000)
    sounded = only(stage.pcm.sounded)[: len(said)].astype(int)
    assert set((sounded - said).tolist()) <= {0, 5}
    assert stage.pcm.starts == 1


@pytest.mark.parametrize("gain", [0.0, 0.25, 1.0])
def test_volume_scales_and_may_change_on_the_way(gain: float) -> None:
    stage = Stage(gain=gain)
    said = loud(1000)
    stage.push("a", said)
    stage.end("a")
    stage.run(400)
    stage.player.loudness.volume = 0.5
    stage.run(2000)
    sounded = stage.pcm.sounded[: len(said)]
    assert np.array_equal(sounded[:4800], amplified(said[:4800], gain))
    assert np.array_equal(sounded[-4800:], amplified(said[-4800:], 0.5))
    assert stage.told(Drained)[0].heard_ms == {"a": 1000.0}


def test_an_underrun_is_counted_and_the_reply_goes_on() -> None:
    stage = Stage()
    said = loud(1000)
    stage.push("a", said)
    stage.end("a")
    stage.run(300)
    stage.time.now += 0.5  # the thread was not let run: 200 ms sounded, the rest waits
    stage.run(2000)
    sounded = only(stage.pcm.sounded)
    assert np.array_equal(sounded[sounded != 0], said)
    assert stage.player.speaker.underruns == stage.pcm.underruns == 1
    assert stage.told(Drained)[0].heard_ms == {"a": 1000.0}


def test_a_storm_of_xruns_ends_and_the_reply_with_it() -> None:
    stage = Stage()
    stage.push("a", loud(2000))
    stage.end("a")
    for k in range(40):
        stage.script.at(stage.time.now + 0.05 + k * 0.011, stage.pcm.xrun)
    turns = stage.run(4000)
    assert stage.player.speaker.underruns >= stage.pcm.underruns > 5
    assert len(stage.told(Drained)) == 1
    assert turns < 400


@pytest.mark.parametrize("at_ms", [100, 333, 790])
def test_what_a_card_loses_with_a_full_ring_is_played_again(at_ms: int) -> None:
    stage = Stage(playout=knowing(0))
    said = speechlike(1000)
    stage.push("a", said)
    stage.end("a")
    stage.run(at_ms)
    stage.pcm.xrun()
    stage.run(2000)
    assert stage.pcm.underruns == 1
    sounded = only(stage.pcm.sounded)
    gap = len(sounded) - len(said)
    assert 0 <= gap < 110 * 24, "until the thread looks at the card"
    lost = len(said) - np.count_nonzero(sounded)
    assert lost < 110 * 24
    assert np.array_equal(sounded[-150 * 24 :], said[-150 * 24 :]), "nothing at its end"
    assert stage.told(Drained)[0].heard_ms["a"] == 1000.0


def test_a_frozen_card_is_an_error_after_two_seconds() -> None:
    stage = Stage()
    stage.push("a", loud(5000))
    stage.run(100)
    stage.pcm.freeze()
    stage.run(FROZEN_S * 1000 - 100)
    with pytest.raises(DeviceError, match="does not move"):
        stage.run(300)


def test_five_minutes_are_held_and_more_is_dropped_and_counted() -> None:
    stage = Stage()
    for _ in range(320):
        stage.push("a", np.ones(24_000, np.int16))
    assert stage.player.queue.dropped_ms == 20_000
    assert stage.player.queue.frames == 300 * 24_000


def test_memory_stays_small_in_a_long_reply() -> None:
    stage = Stage()
    for _ in range(120):
        stage.push("a", np.ones(24_000, np.int16))
    stage.run(118_000)
    speaker = stage.player.speaker
    assert sum(len(samples) for _, samples in speaker._memory) < 2 * 24_000
    assert len(speaker._spans) == 1


def test_an_idle_player_asks_for_nothing_until_it_may_be_closed() -> None:
    stage = Stage()
    stage.player.cue(render(Sound.SENT, 24_000))
    stage.run(1000)
    assert stage.run(LINGER_S * 1000 - 1500) <= 2
    stage.run(1000)
    assert stage.player.lingered(stage.time.now)


def test_a_reply_cut_off_by_a_lost_card_teaches_nothing_wrong() -> None:
    playout = Playout()
    stage = Stage(playout=playout)
    stage.push("a", loud(100))
    stage.player.close()
    again = Stage(playout=playout)
    again.time.now += 60
    begin = again.reply("b", loud(500), [(k * 100, 100) for k in range(5)])
    again.run(1500)
    assert again.told(ReplyStarted)[0].sounds_at - begin < 0.4
    assert playout.delay_ms < 50


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_the_far_end_is_what_sounded_then(rate: int) -> None:
    stage = Stage(rate)
    stage.push("a", speechlike(2000))
    stage.run(500)
    begun = first(stage.pcm.sounded) / rate
    blocks = []
    at = stage.time.now - 0.010
    for _ in range(60):
        block = stage.player.far(at, stage.time.now)
        assert block is not None
        assert block.shape == (160,)
        blocks.append(block)
        stage.run(10)
        at += 0.010
    far = np.concatenate(blocks).astype(float)[400:]
    expected = speechlike(2000, 16_000).astype(float)
    where = round((0.490 - begun) * 16_000) + 400
    scores = [np.corrcoef(far, expected[where - lag : where - lag + len(far)])[0, 1] for lag in range(60)]
    assert max(scores) > 0.99
    assert int(np.argmax(scores)) < 32, "at most 2 ms late, and never early: the canceller needs a cause"


def test_there_is_no_far_end_in_silence() -> None:
    stage = Stage()
    assert stage.player.far(stage.time.now - 0.01, stage.time.now) is None
