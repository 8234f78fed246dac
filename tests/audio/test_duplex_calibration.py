"""The quiet calibration in the audio thread: it hears the room, and gives way to whatever else needs a card."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from appliance.audio.calibration.probe import QUIET
from appliance.audio.duplex import Duplex
from appliance.audio.facts import Captured, DeviceBack, DeviceLost, Drained, Flushed
from appliance.audio.loop import LEAD_MS, Loop, judge
from appliance.audio.processing import PROCESSORS, Processor, ProcessorError
from appliance.conversation.effects import Sound
from tests.audio.rig import SLACK_S, Rig, Start, resting, start
from tests.audio.stage import loud
from tests.fakes.card import Kind, Stream, VirtualCard
from tests.fakes.card.session import CardFactory, virtual_card

__all__ = ["start", "virtual_card"]
RATE = 48_000


class Answer:
    """What ``on_done`` was told."""

    def __init__(self) -> None:
        self.told: list[Loop | None] = []
        self._news = threading.Event()

    def __call__(self, loop: Loop | None) -> None:
        self.told.append(loop)
        self._news.set()

    def wait(self) -> Loop | None:
        assert self._news.wait(8)
        return self.told[0]


def room(virtual_card: CardFactory, **options: object) -> VirtualCard:
    card = virtual_card(rate=RATE, seconds=30, echo_delay=RATE // 20, echo_gain=0.3, **options)
    card.say(np.random.default_rng(1).normal(0, 10, (20 * RATE, 1)).astype(np.int16))
    return card


def begun(rig: Rig) -> Answer:
    """Begin, and wait until its sound is in the air."""
    answer = Answer()
    rig.duplex.calibrate("aec3", answer)
    rig.until(lambda: bool(rig.spoken().any()))
    return answer


def closed(rig: Rig) -> bool:
    return not (rig.card.capture_open or rig.card.playback_open)


def test_the_loop_is_found_and_both_cards_are_given_back(start: Start, virtual_card: CardFactory) -> None:
    rig = start(room(virtual_card), gain=0.64)
    answer = begun(rig)
    opened = rig.duplex.microphone_open
    assert opened, "the LED has to say so"
    assert (rig.card.capture_open, rig.card.playback_open) == (True, True)
    found = answer.wait()
    assert found is not None
    assert found.form == "quiet"
    assert found.whole, "this machine stood still three times"
    assert found.delay_ms == pytest.approx(50.0, abs=2.0)
    assert found.return_loss_db == pytest.approx(10.5, abs=2.0)
    assert judge(found).full_duplex
    assert closed(rig)
    assert not rig.duplex.microphone_open
    assert len(rig.card.open_spans(Stream.CAPTURE)) == 1
    assert resting(rig) <= 1, "nothing is left to do"
    assert not rig.told, "nobody is told of it but who asked"


def press(duplex: Duplex) -> None:
    duplex.set_microphone(True)
    duplex.set_gate(True, 1)


def reply(duplex: Duplex) -> None:
    duplex.push("a", loud(100).tobytes())
    duplex.end_item("a")
    duplex.end_reply()


GIVES_WAY_TO: dict[str, tuple[Callable[[Duplex], object], type]] = {
    "a press": (press, Captured),
    "a reply": (reply, Drained),
    "a cue": (lambda duplex: duplex.cue(Sound.LISTENING), type(None)),
    "an open loudspeaker": (lambda duplex: duplex.set_speaker(True), type(None)),
    "a closed microphone": (lambda duplex: duplex.set_microphone(False), type(None)),
}


@pytest.mark.parametrize("what", GIVES_WAY_TO)
@pytest.mark.parametrize("after_s", [0.0, 0.3])
def test_it_gives_way_in_the_same_turn(start: Start, virtual_card: CardFactory, what: str, after_s: float) -> None:
    rig = start(room(virtual_card), gain=0.64)
    command, fact = GIVES_WAY_TO[what]
    answer = begun(rig)
    rig.pass_frames(after_s)
    asked = rig.card.now()
    command(rig.duplex)
    assert answer.wait() is None
    rig.answered()
    for stream in (Stream.CAPTURE, Stream.PLAYBACK):
        ended = rig.card.open_spans(stream)[0][1]
        assert ended is not None, "its PCMs are closed"
        assert ended - asked < SLACK_S * RATE
    if fact is not type(None):
        rig.wait(fact)
    assert answer.told == [None]
    assert rig.duplex.microphone_open is (what == "a press")
    assert not rig.all(DeviceLost)


def test_a_press_hears_as_if_it_never_was(start: Start, virtual_card: CardFactory) -> None:
    rig = start(room(virtual_card), gain=0.64)
    begun(rig)
    asked = rig.card.now()
    press(rig.duplex)
    rig.wait(Captured)
    started = [event.frame for event in rig.card.events(Stream.CAPTURE) if event.kind is Kind.STARTED]
    assert len(started) == 2
    assert started[1] - asked < (0.05 + SLACK_S) * RATE
    assert rig.duplex.counters().get("overruns", 0) == 0


def test_a_card_in_use_is_left_alone(start: Start, virtual_card: CardFactory) -> None:
    rig = start(room(virtual_card))
    rig.duplex.set_microphone(True)
    in_use = Answer()
    rig.duplex.calibrate("aec3", in_use)
    assert in_use.wait() is None
    rig.duplex.set_microphone(False)
    first, second = Answer(), Answer()
    rig.duplex.calibrate("aec3", first)
    rig.duplex.calibrate("aec3", second)
    assert second.wait() is None, "one at a time"
    assert not first.told
    rig.duplex.set_microphone(False)
    assert first.wait() is None
    assert not rig.spoken().any() or closed(rig)


def test_a_volume_at_which_it_could_not_be_heard_is_not_measured(start: Start, virtual_card: CardFactory) -> None:
    rig = start(room(virtual_card), gain=0.01)
    answer = Answer()
    rig.duplex.calibrate("aec3", answer)
    assert answer.wait() is None
    assert rig.card.events() == []


def test_a_card_that_fails_is_for_the_next_who_needs_it(start: Start, virtual_card: CardFactory) -> None:
    rig = start(room(virtual_card))
    rig.card.set_busy(True)
    busy = Answer()
    rig.duplex.calibrate("aec3", busy)
    assert busy.wait() is None
    rig.card.set_busy(False)
    gone = begun(rig)
    rig.card.unplug()
    assert gone.wait() is None
    assert not rig.duplex.microphone_open
    assert not rig.all(DeviceLost)
    rig.duplex.set_microphone(True)
    rig.wait(DeviceLost)
    lost = Answer()
    rig.duplex.calibrate("aec3", lost)
    assert lost.wait() is None, "a lost card is looked for, and not measured"
    rig.card.plug()
    rig.wait(DeviceBack)
    rig.until(lambda: rig.card.capture_open)


def test_stopping_ends_it(start: Start, virtual_card: CardFactory) -> None:
    rig = start(room(virtual_card))
    answer = begun(rig)
    rig.duplex.stop()
    assert answer.told == [None]
    assert closed(rig)


def test_what_needs_no_card_does_not_disturb_it(start: Start, virtual_card: CardFactory) -> None:
    rig = start(room(virtual_card), gain=0.64)
    answer = begun(rig)
    rig.duplex.flush()
    rig.duplex.set_gain(0.1)
    rig.duplex.set_gate(False, 3)
    rig.duplex.set_speaker(False)
    rig.duplex.end_reply()
    rig.wait(Flushed)
    found = answer.wait()
    assert found is not None
    assert found.gain_db == pytest.approx(20 * np.log10(0.64), abs=0.01)


def test_an_aborted_one_is_heard_no_longer(start: Start, virtual_card: CardFactory) -> None:
    rig = start(room(virtual_card), gain=0.64)
    begun(rig)
    rig.duplex.set_microphone(True)
    rig.answered()
    after = rig.card.now()
    rig.pass_frames(QUIET.hiss_s)
    assert not rig.card.spoken(after, rig.card.now()).any()


def test_what_was_found_holds_for_an_open_loudspeaker_and_for_later_ones(
    start: Start, virtual_card: CardFactory
) -> None:
    rig = start(room(virtual_card))

    def reference_ms() -> float | None:
        rig.answered()
        player = rig.duplex._player
        return None if player is None else player.reference.delay_ms

    rig.duplex.set_speaker(True)
    assert reference_ms() == -LEAD_MS
    rig.duplex.set_reference(36.0)
    assert reference_ms() == 36.0
    rig.card.unplug()
    rig.duplex.set_microphone(True)
    rig.wait(DeviceLost)
    assert reference_ms() is None
    rig.duplex.set_reference(50.0)
    rig.card.plug()
    rig.wait(DeviceBack)
    rig.duplex.set_speaker(True)
    assert reference_ms() == 50.0


def test_a_canceller_that_fails_over_the_recording_costs_the_finding_and_not_the_thread(
    start: Start, virtual_card: CardFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Processor:
        raise ProcessorError("it does not load", hint="reinstall it")

    rig = start(room(virtual_card), gain=0.64)
    monkeypatch.setitem(PROCESSORS, "aec3", broken)
    assert begun(rig).wait() is None
    assert rig.duplex.alive
