"""The audio thread when cards fail and when the event loop asks for anything at any time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from appliance.audio.duplex import PROBE_S, Duplex
from appliance.audio.facts import (
    Captured,
    DeviceBack,
    DeviceLost,
    Drained,
    Flushed,
    ReplyStarted,
)
from appliance.audio.speech import join
from appliance.conversation.effects import Sound
from tests.audio.rig import Start, only, resting, start
from tests.audio.stage import loud
from tests.fakes.card import Stream
from tests.fakes.card.session import CardFactory, virtual_card

__all__ = ["start", "virtual_card"]


def test_unplugged_and_plugged_in_again_it_heals(start: Start) -> None:
    rig = start()
    rig.duplex.set_microphone(True)
    rig.duplex.push("a", loud(5000).tobytes())
    rig.wait(ReplyStarted)
    rig.pass_frames(0.2)
    rig.card.unplug()
    lost = rig.wait(DeviceLost)
    assert "No such device" in str(lost.error)
    assert "plugged in" in lost.error.hint
    rig.duplex.flush()
    heard = rig.wait(Flushed).heard_ms["a"]
    assert 150 < heard < 5000, "what was heard before the loss is still known"
    for _ in range(20):
        rig.duplex.push("b", loud(20).tobytes())
        time.sleep(0.01)
    assert not rig.all(DeviceBack)
    rig.card.plug()
    rig.wait(DeviceBack, timeout_s=PROBE_S + 3)
    rig.until(lambda: rig.card.capture_open)
    rig.duplex.set_gate(True, 2)
    rig.wait(Captured)
    rig.say("c", loud(100, 7))
    rig.wait(Drained)
    assert len(rig.all(DeviceLost)) == 1


def test_a_barred_microphone_is_not_opened_even_to_look_for_the_card(start: Start) -> None:
    rig = start()
    rig.duplex.set_microphone(True)
    rig.until(lambda: rig.card.capture_open)
    rig.card.unplug()
    rig.wait(DeviceLost)
    rig.duplex.set_microphone(False)
    rig.duplex.bar_microphone(True)
    rig.card.plug()
    rig.wait(DeviceBack, timeout_s=PROBE_S + 3)
    assert len(rig.card.open_spans(Stream.CAPTURE)) == 1
    rig.duplex.bar_microphone(False)
    rig.duplex.set_microphone(True)
    rig.until(lambda: rig.card.capture_open)


def test_what_the_loudspeaker_tells_while_only_the_microphone_is_gone_is_told_to_its_end(
    start: Start, virtual_card: CardFactory
) -> None:
    ears, mouth = virtual_card(rate=24_000), virtual_card(rate=24_000)
    rig = start(mouth, capture=ears.hw_name, playback=mouth.hw_name)
    ears.unplug()
    rig.duplex.set_microphone(True)
    rig.wait(DeviceLost)
    rig.duplex.say(("provider",), afresh=True)
    words = join(("provider",), 24_000)
    assert len(words) > 2 * PROBE_S * 24_000, "the microphone is looked for meanwhile"
    rig.until(lambda: not mouth.playback_open and bool(mouth.open_spans(Stream.PLAYBACK)), 15)
    assert np.array_equal(only(rig.spoken()), only(words))
    assert not rig.all(DeviceBack)
    ears.plug()
    rig.wait(DeviceBack, timeout_s=PROBE_S + 3)
    rig.until(lambda: ears.capture_open)


def test_a_busy_card_is_named_and_taken_when_it_is_free(start: Start) -> None:
    rig = start()
    rig.card.set_busy(True)
    rig.duplex.set_microphone(True)
    lost = rig.wait(DeviceLost)
    assert "busy" in str(lost.error)
    assert "another program" in lost.error.hint
    assert resting(rig, 0.5) <= 3
    rig.card.set_busy(False)
    rig.wait(DeviceBack)
    rig.until(lambda: rig.card.capture_open)


def test_an_unknown_name_is_answered_with_known_ones(start: Start, virtual_card: CardFactory) -> None:
    rig = start(virtual_card(rate=24_000), capture="vhv")
    rig.duplex.set_microphone(True)
    text = str(rig.wait(DeviceLost).error)
    assert "vhv" in text
    assert "known names:" in text
    assert "vhw" in text


@pytest.mark.parametrize("direction", ["capture", "playback"])
def test_a_frozen_card_is_lost_and_comes_back(start: Start, direction: str) -> None:
    rig = start()
    if direction == "capture":
        rig.duplex.set_microphone(True)
    else:
        rig.duplex.push("a", loud(5000).tobytes())
        rig.wait(ReplyStarted)
    rig.answered()
    time.sleep(0.1)
    rig.card.freeze()
    lost = rig.wait(DeviceLost)
    assert "plug it in again" in str(lost.error)
    rig.card.thaw()
    rig.wait(DeviceBack)


def test_a_storm_of_xruns_is_counted_and_survived(start: Start) -> None:
    rig = start()
    rig.duplex.set_microphone(True)
    rig.duplex.set_gate(True, 1)
    rig.say("a", loud(1500))
    rig.wait(ReplyStarted)
    for _ in range(40):
        rig.card.xrun()
        time.sleep(0.007)
    rig.wait(Drained)
    counters = rig.duplex.counters()
    assert counters["overruns"] >= 3
    assert counters["underruns"] >= 2
    assert counters["overruns"] <= rig.card.capture_xruns
    before = len(rig.all(Captured))
    rig.wait(Captured, before + 10)
    assert not rig.all(DeviceLost)


def test_a_recording_that_is_not_there_is_a_fault_and_no_death(start: Start, tmp_path: Path) -> None:
    rig = start(capture=f"file:{tmp_path}/none.wav")
    rig.duplex.set_microphone(True)
    assert "none.wav" in str(rig.wait(DeviceLost).error)
    rig.answered()


def commands(duplex: Duplex, chance: random.Random) -> list[Callable[[], object]]:
    """Anything that the event loop may ask for."""
    item = f"i{chance.randrange(3)}"
    return [
        lambda: duplex.push(item, loud(chance.randrange(1, 200)).tobytes()),
        lambda: duplex.end_item(item),
        duplex.end_reply,
        duplex.flush,
        lambda: duplex.cue(chance.choice(list(Sound))),
        lambda: duplex.say(("zero", "six"), afresh=chance.random() < 0.5),
        lambda: duplex.set_microphone(chance.random() < 0.7),
        lambda: duplex.set_gate(chance.random() < 0.5, 1),
        lambda: duplex.set_speaker(chance.random() < 0.5),
        lambda: duplex.set_gain(chance.random()),
        duplex.counters,
    ]


def test_anything_in_any_order_from_the_loop_leaves_it_alive_and_at_rest(start: Start) -> None:
    rig = start()
    chance = random.Random(4)
    flushes = 0
    for _ in range(400):
        command = chance.choice(commands(rig.duplex, chance))
        flushes += command == rig.duplex.flush
        command()
        if chance.random() < 0.3:
            time.sleep(0.004)
        assert rig.duplex.level_dbfs <= 0
    rig.duplex.set_microphone(False)
    rig.duplex.set_gate(False, 1)
    rig.duplex.flush()
    rig.answered()
    assert len(rig.all(Flushed)) == flushes + 1, "every flush is answered once"
    assert not rig.all(DeviceLost)
    assert rig.duplex.alive
    assert not rig.card.capture_open
    rig.pass_frames(0.1)
    assert resting(rig) <= 2
    assert not rig.spoken()[-1200:].any()
