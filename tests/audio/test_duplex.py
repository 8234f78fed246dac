"""The audio thread on the virtual card. The card's own record says what was heard, said and open, and when."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from appliance.audio.cues import render
from appliance.audio.facts import (
    Captured,
    DeviceLost,
    Drained,
    Flushed,
    ReplyStarted,
    TurnTail,
)
from appliance.audio.speech import join
from appliance.conversation.effects import Sound
from tests.audio.rig import SLACK_S, Start, only, resting, start
from tests.audio.stage import loud, speechlike
from tests.fakes.card import Kind, Stream
from tests.fakes.card.session import CardFactory, virtual_card

__all__ = ["start", "virtual_card"]


def test_idle_the_thread_sleeps_for_good_and_no_card_is_open(start: Start) -> None:
    rig = start()
    assert resting(rig) <= 1
    assert rig.card.events() == []


def test_a_wanted_but_silent_loudspeaker_costs_no_turns(start: Start) -> None:
    rig = start()
    rig.duplex.set_speaker(True)
    rig.answered()
    assert rig.card.playback_open
    assert resting(rig) <= 1
    rig.duplex.set_speaker(False)
    rig.until(lambda: not rig.card.playback_open)


def test_after_a_reply_the_loudspeaker_lingers_and_is_closed(start: Start) -> None:
    rig = start()
    rig.say("a", loud(100))
    rig.wait(Drained)
    assert rig.card.playback_open
    assert resting(rig) <= 2
    rig.until(lambda: not rig.card.playback_open, 6)
    assert resting(rig) <= 1


def test_stop_is_quick_even_in_the_middle_of_everything(start: Start) -> None:
    rig = start()
    rig.duplex.set_microphone(True)
    for _ in range(60):
        rig.duplex.push("a", loud(5000).tobytes())
    rig.wait(ReplyStarted)
    asked = rig.card.now()
    rig.duplex.stop()
    for stream in (Stream.CAPTURE, Stream.PLAYBACK):
        closed = rig.card.open_spans(stream)[-1][1]
        assert closed is not None
        assert closed - asked < (0.1 + SLACK_S) * 24_000
    assert not rig.duplex.alive


def test_the_microphone_is_open_exactly_when_wanted(start: Start) -> None:
    rig = start()
    asked = rig.card.now()
    rig.duplex.set_microphone(True)
    rig.duplex.set_gate(True, 1)
    first = rig.wait(Captured)
    (opened, _), *_ = rig.card.open_spans(Stream.CAPTURE)
    started = rig.card.events(Stream.CAPTURE)[1]
    assert started.kind is Kind.STARTED
    assert started.frame - asked < (0.05 + SLACK_S) * 24_000, "from the press to the first captured sample"
    begun_s = rig.card._header["t0_ns"] / 1e9 + started.frame / 24_000
    assert first.captured_at == pytest.approx(begun_s, abs=0.005 + SLACK_S / 10)
    assert rig.duplex.microphone_open
    rig.duplex.set_microphone(False)
    tail = rig.wait(TurnTail)
    rig.until(lambda: not rig.card.capture_open)
    assert tail.turn == 1
    assert rig.duplex.level_dbfs == -96
    assert len(rig.card.open_spans(Stream.CAPTURE)) == 1
    assert opened <= started.frame


def test_the_microphone_runs_before_the_loudspeaker_is_opened(start: Start) -> None:
    """Some cards take tenths of a second to open: the first word is said meanwhile."""
    rig = start()
    both = threading.Event()

    def hold_up() -> None:
        both.wait(5)

    rig.duplex.ping(hold_up)
    rig.duplex.set_microphone(True)
    rig.duplex.set_speaker(True)
    both.set()
    rig.answered()
    happened = [(event.stream, event.kind) for event in rig.card.events()]
    assert happened.index((Stream.CAPTURE, Kind.STARTED)) < happened.index((Stream.PLAYBACK, Kind.OPENED))


@pytest.mark.parametrize(
    ("rate", "channels", "microphones"), [(16_000, 1, (0,)), (44_100, 2, (1,)), (48_000, 6, (1, 4))]
)
def test_what_was_said_goes_up_whole(
    start: Start, virtual_card: CardFactory, rate: int, channels: int, microphones: tuple[int, ...]
) -> None:
    rig = start(virtual_card(rate=rate, mic_channels=channels, seconds=20), microphones=microphones)
    rig.duplex.set_microphone(True)
    rig.duplex.set_gate(True, 3)
    rig.wait(Captured)
    said = np.zeros((len(speechlike(700, rate)), channels), np.int16)
    said[:, microphones] = speechlike(700, rate)[:, None]
    at = rig.card.say(said, rig.card.now() + rate // 10)
    rig.until(lambda: rig.card.now() > at + len(said) + rate // 10)
    closing = rig.card.now()
    rig.duplex.set_gate(False, 3)
    rig.wait(TurnTail)
    assert rig.duplex.counters().get("overruns", 0) == 0, "this machine stood still: nothing can be said"
    heard = np.frombuffer(b"".join(fact.pcm for fact in rig.all(Captured)), "<i2").astype(float)
    began = rig.card.capture_start
    assert len(heard) / 24_000 == pytest.approx((closing - began) / rate, abs=0.020 + SLACK_S)
    assert len(heard) / 24_000 >= (closing - began) / rate - 0.001, "nothing that was said before the end is missing"
    place = round((at - began) * 24_000 / rate)
    expected = speechlike(700)[50:-50].astype(float)
    assert np.corrcoef(heard[place + 50 : place + 50 + len(expected)], expected)[0, 1] > 0.99


def test_the_pre_roll_goes_up_when_the_gate_opens(start: Start) -> None:
    rig = start()
    rig.duplex.set_microphone(True)
    rig.answered()
    said = speechlike(300)
    at = rig.card.say(said)
    rig.until(lambda: rig.card.now() > at + len(said) + 2400)
    rig.duplex.set_gate(True, 1)
    rig.duplex.set_gate(False, 1)
    rig.wait(TurnTail)
    heard = np.frombuffer(b"".join(fact.pcm for fact in rig.all(Captured)), "<i2")
    assert np.array_equal(only(heard), only(said))


def test_a_missing_channel_is_told_with_the_remedy(start: Start) -> None:
    rig = start()
    rig.duplex.stop()
    rig = start(rig.card, microphones=(0, 3))
    rig.duplex.set_microphone(True)
    lost = rig.wait(DeviceLost)
    assert "the card gives 1 channel" in str(lost.error)
    rig.duplex.set_microphone(False)
    rig.answered()
    assert not rig.card.capture_open


@pytest.mark.parametrize("rate", [24_000, 44_100, 48_000])
def test_a_reply_sounds_once_whole_and_is_accounted_for(start: Start, virtual_card: CardFactory, rate: int) -> None:
    rig = start(virtual_card(rate=rate, speaker_channels=2, seconds=20))
    said = speechlike(800)
    for k in range(0, len(said), 2400):
        rig.duplex.push("a", said[k : k + 2400].tobytes())
    rig.duplex.end_item("a")
    rig.duplex.end_reply()
    drained = rig.wait(Drained)
    assert rig.duplex.counters().get("underruns", 0) == 0, "this machine stood still: nothing can be said"
    assert drained.pushes == 8
    assert drained.heard_ms["a"] == pytest.approx(800, abs=0.1)
    sounded = only(rig.spoken())
    if rate == 24_000:
        assert np.array_equal(sounded, only(said))
    else:
        expected = only(speechlike(800, rate))[200:-200].astype(float)
        scores = [np.corrcoef(sounded[at : at + len(expected)], expected)[0, 1] for at in range(180, 220)]
        assert max(scores) > 0.999
    started = rig.wait(ReplyStarted)
    first = int(np.flatnonzero(rig.spoken())[0])
    begun_s = rig.card._header["t0_ns"] / 1e9 + first / rate
    assert started.sounds_at == pytest.approx(begun_s, abs=0.003 + SLACK_S / 10)


def test_flush_erases_what_has_not_sounded_within_a_period(start: Start) -> None:
    rig = start()
    rig.duplex.push("a", loud(5000).tobytes())
    rig.wait(ReplyStarted)
    rig.pass_frames(0.3)
    rig.duplex.flush()
    flushed = rig.wait(Flushed)
    told = rig.frame_of(flushed)
    rig.pass_frames(0.4)
    sounded = rig.spoken()
    first, last = np.flatnonzero(sounded)[[0, -1]]
    assert last <= told + 24 * 10, "the fade ends within a period"
    # Frames that pass between asking the card and cutting are heard and not in the account: microseconds.
    assert flushed.heard_ms["a"] * 24 == pytest.approx(last + 1 - first, abs=24 * 10)
    assert np.array_equal(sounded[first : last - 360], loud(5000)[: last - 360 - first])
    assert len(rig.all(Drained)) == 0


def test_a_flush_of_nothing_is_answered(start: Start) -> None:
    rig = start()
    rig.duplex.flush()
    assert rig.wait(Flushed).heard_ms == {}
    rig.duplex.set_speaker(True)
    rig.duplex.flush()
    assert rig.wait(Flushed, 2).heard_ms == {}


def test_a_cue_sounds_as_composed(start: Start) -> None:
    rig = start()
    asked = rig.card.now()
    rig.duplex.cue(Sound.LISTENING)
    cue = render(Sound.LISTENING, 24_000)
    rig.until(lambda: bool(np.count_nonzero(rig.spoken()) >= np.count_nonzero(cue)))
    first = int(np.flatnonzero(rig.spoken())[0])
    assert np.array_equal(only(rig.spoken()), only(cue))
    assert first - asked < (0.05 + SLACK_S) * 24_000


def test_words_follow_the_tone_whole_and_the_next_tone_ends_them(start: Start) -> None:
    rig = start()
    rig.duplex.cue(Sound.CODE)
    rig.duplex.say(("nine", "", "one"), afresh=False)
    expected = np.concatenate((render(Sound.CODE, 24_000), join(("nine", "", "one"), 24_000)))
    rig.until(lambda: bool(np.count_nonzero(rig.spoken()) >= np.count_nonzero(expected)))
    assert np.array_equal(only(rig.spoken()), only(expected))
    before = np.count_nonzero(rig.spoken())
    rig.duplex.say(("quota",), afresh=True)
    rig.until(lambda: bool(np.count_nonzero(rig.spoken()) > before + 2_400))
    rig.duplex.cue(Sound.LISTENING)
    rig.until(lambda: only(rig.spoken())[-2_400:].tolist() == only(render(Sound.LISTENING, 24_000))[-2_400:].tolist())
    assert np.count_nonzero(rig.spoken()) < before + np.count_nonzero(join(("quota",), 24_000))


def test_volume_is_a_factor(start: Start) -> None:
    rig = start(gain=0.5)
    rig.say("a", np.full(4800, 8000, np.int16))
    rig.wait(Drained)
    assert set(only(rig.spoken()).tolist()) == {4000}
    rig.duplex.set_gain(0.25)
    rig.say("b", np.full(4800, 8000, np.int16))
    rig.wait(Drained, 2)
    assert set(rig.spoken().tolist()) == {0, 2000, 4000}


def test_two_cards_of_different_rates(start: Start, virtual_card: CardFactory) -> None:
    microphone = virtual_card(rate=16_000, seconds=20)
    loudspeaker = virtual_card(rate=48_000, seconds=20)
    rig = start(loudspeaker, capture=microphone.hw_name, playback=loudspeaker.hw_name)
    rig.duplex.set_microphone(True)
    rig.duplex.set_gate(True, 1)
    rig.say("a", speechlike(400))
    said = speechlike(400, 16_000)
    at = microphone.say(said, microphone.now() + 1600)
    rig.wait(Drained)
    rig.until(lambda: microphone.now() > at + len(said) + 1600)
    rig.duplex.set_gate(False, 1)
    rig.wait(TurnTail)
    heard = only(np.frombuffer(b"".join(fact.pcm for fact in rig.all(Captured)), "<i2"))
    assert abs(len(heard) - 400 * 24) < 100
    assert abs(len(only(rig.spoken())) - 400 * 48) < 600, (
        "a duck under the voice takes the ring back, and restarts the card"
    )
    rig.duplex.set_microphone(False)
    rig.until(lambda: not microphone.capture_open)


def test_the_end_of_a_reply_sounds_where_alsa_converts_by_long_periods(start: Start, virtual_card: CardFactory) -> None:
    """What does not fill a period is never given to such a card."""
    card = virtual_card(rate=24_000, least_period=2400)
    rig = start(card, playback="vplug", rate=48_000)
    rig.say("a", np.full(130 * 24, 5000, np.int16))
    rig.wait(Drained)
    sounded = np.count_nonzero(rig.spoken() > 2000)
    assert sounded / 24 == pytest.approx(130, abs=2)


def test_a_reply_that_starves_sounds_whole_where_alsa_converts_by_long_periods(
    start: Start, virtual_card: CardFactory
) -> None:
    """The card does not start before a period is full."""
    rig = start(virtual_card(rate=24_000, least_period=2400), playback="vplug", rate=48_000)
    rig.duplex.push("a", np.full(50 * 24, 5000, np.int16).tobytes())
    rig.until(lambda: rig.duplex.counters().get("starvations") == 1)
    rig.say("a", np.full(130 * 24, 5000, np.int16))
    rig.wait(Drained)
    assert np.count_nonzero(rig.spoken() > 2000) / 24 == pytest.approx(180, abs=2)
    assert not rig.all(DeviceLost)
