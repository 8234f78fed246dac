"""The audio thread between a microphone and a loudspeaker of different clocks, on the virtual card."""

from __future__ import annotations

import pytest

from tests.audio.rig import Start, start
from tests.audio.stage import loud
from tests.fakes.card.session import CardFactory, virtual_card

__all__ = ["start", "virtual_card"]


def test_the_difference_of_the_clocks_is_learned_while_a_reply_sounds(start: Start, virtual_card: CardFactory) -> None:
    rig = start(virtual_card(rate=48_000, seconds=40, mic_speed=1.0002))
    assert rig.duplex.drift_ppm is None
    rig.duplex.set_microphone(True)
    rig.say("a", loud(20_000))
    rig.until(lambda: rig.duplex.drift_ppm is not None, 20)
    assert rig.duplex.counters().get("overruns", 0) == 0, "this machine stood still: nothing can be said"
    assert rig.duplex.drift_ppm == pytest.approx(-200, abs=80)
