"""An attempt at the link that nobody asked for may wait for its turn; a person does not wait with it."""

from __future__ import annotations

from appliance.conversation import effects as do
from appliance.conversation import events as ev
from appliance.conversation.state import Fault, Link, Phase, Settings, State
from appliance.conversation.transitions import step

RULES = Settings()
REFUSED = State(phase=Phase.FAULT, fault=Fault.LINK, link=Link.REFUSED)


def test_a_press_in_a_fault_asks_at_once_though_an_attempt_by_itself_is_under_way() -> None:
    by_itself = step(REFUSED, ev.PhaseTimeout(), RULES)
    assert do.Connect() in by_itself.effects
    assert by_itself.state.unasked
    pressed = step(by_itself.state, ev.TalkPressed(), RULES)
    assert do.Connect() in pressed.effects
    assert not pressed.state.unasked
    again = step(pressed.state, ev.TalkPressed(), RULES)
    assert do.Connect() not in again.effects, "an impatient person does not begin the attempt anew"


def test_so_does_one_after_the_sound_card_has_healed_meanwhile() -> None:
    state = step(REFUSED, ev.PhaseTimeout(), RULES).state
    for event in (ev.DeviceFailed(), ev.DeviceRestored()):
        state = step(state, event, RULES).state
    assert (state.phase, state.link) == (Phase.IDLE, Link.OPENING)
    pressed = step(state, ev.TalkPressed(), RULES)
    assert do.Connect() in pressed.effects
    assert not pressed.state.unasked
