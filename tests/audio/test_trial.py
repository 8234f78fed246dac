"""A trial of two cards in virtual time: cards that move are well, whatever their rings are like."""

from __future__ import annotations

import numpy as np
import pytest

from appliance.audio.speaker import Speaker
from appliance.audio.trial import CardsTrial
from appliance.errors import DeviceError
from tests.fakes.sound_card import Loudspeaker, Microphone, Script, Time

NOTHING = np.zeros(1, np.int16)


@pytest.mark.parametrize("buffer_frames", [512, 960, 11_520])
@pytest.mark.parametrize("microphone", [True, False])
def test_cards_that_move_are_well(buffer_frames: int, microphone: bool) -> None:
    time = Time()
    capture = Microphone(time, NOTHING, buffer_frames=buffer_frames)
    loudspeaker = Loudspeaker(time, buffer_frames=buffer_frames)
    trial = CardsTrial(capture if microphone else None, Speaker(loudspeaker))

    def turn() -> None:
        if not trial.done:
            trial.pump(time.now)

    Script(time).run(time.now + 1.2, turn, trial.due_s)
    assert trial.done
    assert (capture.overruns, loudspeaker.underruns) == (0, 0)


def test_a_card_that_stands_is_not() -> None:
    time = Time()
    capture = Microphone(time, NOTHING)
    capture.frozen = True
    trial = CardsTrial(capture, Speaker(Loudspeaker(time)))
    with pytest.raises(DeviceError, match="microphone delivers nothing"):
        Script(time).run(time.now + 5, lambda: trial.pump(time.now), trial.due_s)
