"""The far end in virtual time: what the canceller is told sounded, and for how long it is told silence."""

from __future__ import annotations

import numpy as np
import pytest

from appliance.audio.farend import RINGS_S, FarEnd
from appliance.audio.format import Samples
from appliance.audio.speaker import Speaker
from tests.audio.stage import Stage, loud, speechlike
from tests.fakes.sound_card import Loudspeaker, Time


def listen(stage: Stage, ms: float) -> list[Samples | None]:
    """The far end of each 10 ms that passed, read 20 ms late as the microphone does."""
    out = []
    for _ in range(round(ms / 10)):
        stage.run(10)
        out.append(stage.player.far(stage.time.now - 0.03, stage.time.now))
    return out


def test_after_the_reply_the_far_end_is_its_last_sound_and_then_silence_for_a_second() -> None:
    stage = Stage()
    stage.reply("a", loud(300), [(0, 300)])
    blocks = listen(stage, 2000)
    sounding = [k for k, block in enumerate(blocks) if block is not None and block.any()]
    told = [k for k, block in enumerate(blocks) if block is not None]
    assert len(sounding) in {30, 31, 32}, "to the end, although the card has stopped when the last of it is read"
    assert sounding == list(range(sounding[0], sounding[-1] + 1))
    assert (told[-1] - sounding[-1]) / 100 == pytest.approx(RINGS_S, abs=0.05)
    assert blocks[-1] is None


def test_each_end_is_followed_by_its_own_second() -> None:
    stage = Stage()
    for _ in range(3):
        stage.reply("a", loud(200), [(0, 200)])
        blocks = listen(stage, 1000)
        assert all(block is not None for block in blocks[5:])
    assert listen(stage, 500)[-1] is None


def test_a_flush_leaves_nothing_of_what_did_not_sound_in_the_far_end() -> None:
    stage = Stage()
    stage.reply("a", loud(2000), [(0, 2000)])
    listen(stage, 500)
    stage.player.flush(stage.time.now)
    blocks = listen(stage, 400)
    assert not np.concatenate([block for block in blocks[5:] if block is not None]).any()


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_the_delay_is_steady_over_ducks_and_late_turns(rate: int) -> None:
    """What the far end says sounded is compared with what did, after ducks and with a thread that is late."""
    stage = Stage(rate, buffer_frames=rate * 24 // 100)
    stage.reply("a", speechlike(1500), [(0, 1500)])
    chance = np.random.default_rng(3)
    stage.run(100)
    blocks = []
    for k in range(100):
        stage.run(10, lambda: float(chance.uniform(0, 0.004)))
        if k in {30, 60}:
            stage.player.duck(stage.time.now)
        if k in {45, 75}:
            stage.player.rise()
        block = stage.player.far(stage.time.now - 0.02, stage.time.now)
        assert block is not None
        blocks.append(block)
    far = np.concatenate(blocks).astype(float)[400:]
    sounded = stage.pcm.sounded.astype(float)
    at16k = np.interp(np.arange(0, len(sounded), rate / 16_000), np.arange(len(sounded)), sounded)
    scores = [
        np.corrcoef(far, at16k[at : at + len(far)])[0, 1] for at in range(len(at16k) - len(far)) if abs(at - 1840) < 400
    ]
    assert max(scores) > (0.99 if rate > 8_000 else 0.95)


def test_a_speaker_that_never_sounded_has_no_far_end() -> None:
    assert FarEnd(Speaker(Loudspeaker(Time())))(999.9, 1000.0) is None
