"""The measurement on the virtual card, through ALSA and in real time: the quiet form, which is short."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from appliance.audio.calibration.measurement import begin
from appliance.audio.calibration.probe import QUIET
from appliance.audio.cards import Cards
from appliance.audio.loop import Loop, judge
from appliance.board import Board, Capture, Playback
from appliance.config import Audio
from appliance.errors import DeviceError
from tests.fakes.card import VirtualCard
from tests.fakes.card.session import CardFactory, virtual_card

__all__ = ["virtual_card"]


def noise(card: VirtualCard, *deaf: int) -> None:
    hiss = np.random.default_rng(1).normal(0, 10, (10 * card.rate, card._mic.shape[1])).astype(np.int16)
    hiss[:, list(deaf)] = 0
    card.say(hiss)


def measured(
    card: VirtualCard,
    *,
    name: str = "vhw",
    microphones: tuple[int, ...] = (0,),
    meanwhile: Callable[[float], None] = lambda _: None,
) -> Loop:
    board = Board(name="test", capture=Capture(rate=card.rate), playback=Playback(rate=card.rate))
    cards = Cards(Audio(capture=name, playback=name, microphones=microphones), board, time.monotonic)
    measurement = begin(cards, microphones, QUIET, 0.64, "aec3")
    begun = time.monotonic()
    try:
        while not measurement.done:
            meanwhile(time.monotonic() - begun)
            measurement.pump(time.monotonic())
            time.sleep(measurement.due_s())
        return measurement.finding()
    finally:
        measurement.close()
        assert not card.capture_open
        assert not card.playback_open


@pytest.mark.parametrize(
    ("name", "rate", "delay_ms"), [("vhw", 48_000, 20), ("vhw", 16_000, 400), ("vplug", 44_100, 150)]
)
def test_an_echo_is_found_where_the_card_puts_it(
    virtual_card: CardFactory, name: str, rate: int, delay_ms: int
) -> None:
    card = virtual_card(rate=rate, seconds=12, echo_delay=delay_ms * rate // 1000, echo_gain=0.3)
    noise(card)
    found = measured(card, name=name)
    assert found.whole, "this machine stood still three times"
    assert found.delay_ms == pytest.approx(delay_ms, abs=2.0)
    assert found.return_loss_db == pytest.approx(10.5, abs=1.5)
    assert judge(found).full_duplex


def test_a_room_around_the_card(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=16_000, seconds=12)
    tail = np.random.default_rng(3).normal(size=4000) * 10 ** (-3 * np.arange(4000) / 4800) * 0.02
    tail[0] = 1.0
    card.set_echo(delay=480, gain=0.5, response=tail)
    noise(card)
    found = measured(card)
    assert found.delay_ms == pytest.approx(30.0, abs=2.0)
    assert found.erle_db is not None
    assert found.erle_db > 10
    assert judge(found).full_duplex


def test_no_echo_and_a_dead_channel(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=48_000, seconds=12, mic_channels=4)
    noise(card, 2)
    found = measured(card, microphones=(0, 2, 3))
    assert (found.delay_ms, found.dead, found.conclusive) == (None, (2,), True)


def test_an_xrun_of_the_card_is_counted_and_made_good(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=48_000, seconds=12, echo_delay=2400, echo_gain=0.3)
    noise(card)
    left = [0.5]

    def meanwhile(elapsed: float) -> None:
        if left and elapsed > left[0]:
            left.clear()
            card.xrun()

    found = measured(card, meanwhile=meanwhile)
    assert found.overruns + found.underruns >= 1
    assert found.whole
    assert found.delay_ms == pytest.approx(50.0, abs=2.0)


def test_a_card_that_is_pulled_out_meanwhile(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=48_000, seconds=12)
    noise(card)
    with pytest.raises(DeviceError, match="No such device"):
        measured(card, meanwhile=lambda elapsed: card.unplug() if elapsed > 0.3 else None)
