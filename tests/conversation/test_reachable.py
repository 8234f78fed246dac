"""Exhaustive search: what can never happen, and that everything comes to rest."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest

from appliance.conversation import effects as do
from appliance.conversation import events as ev
from appliance.conversation.state import Fault, Led, Link, Mode, Phase, Settings, State, Turns, is_full_duplex, mirror
from tests.conversation.space import CALL, Space, alphabet, explore

ALL_SETTINGS = [
    Settings(turns=Turns.LOCAL, setup=True, most_responses=1),
    Settings(turns=Turns.SERVER, hands_free=True, full_duplex=True, setup=True, most_responses=1),
    pytest.param(
        Settings(turns=Turns.LOCAL, hands_free=True, full_duplex=True, setup=True, most_responses=1),
        marks=pytest.mark.slow,
    ),
    pytest.param(Settings(turns=Turns.SERVER, setup=True, most_responses=1), marks=pytest.mark.slow),
]
NAMES = ["local-half-duplex", "server-full-duplex-hands-free", "local-full-duplex-hands-free", "server-half-duplex"]


@pytest.fixture(scope="module", params=ALL_SETTINGS, ids=NAMES)
def space(request: pytest.FixtureRequest) -> Space:
    return explore(request.param)


def test_every_phase_and_link_is_reached(space: Space) -> None:
    assert {s.phase for s in space.steps} == set(Phase)
    assert {s.link for s in space.steps} == set(Link)
    assert {s.mode for s in space.steps} == set(Mode)


def test_never_listening_while_muted(space: Space) -> None:
    for state in space.steps:
        assert not (state.muted and state.phase is Phase.LISTENING), state
        assert not (state.muted and mirror(state, space.settings).microphone), state


def test_gate_is_open_only_while_listening_with_an_open_microphone(space: Space) -> None:
    for state in space.steps:
        seen = mirror(state, space.settings)
        if seen.gate:
            assert state.phase is Phase.LISTENING, state
            assert seen.microphone, state


def test_open_microphone_is_always_shown(space: Space) -> None:
    open_leds = {Led.LISTENING, Led.DEAF, Led.ATTENTIVE, Led.THINKING, Led.SPEAKING, Led.CALIBRATING}
    for state in space.steps:
        seen = mirror(state, space.settings)
        if seen.microphone:
            assert seen.led in open_leds, state
        else:
            assert seen.led not in {Led.LISTENING, Led.DEAF, Led.ATTENTIVE}, state


def test_half_duplex_is_deaf_while_it_thinks_and_speaks(space: Space) -> None:
    """Only a press interrupts, and while it speaks the light says so where voices would be expected to."""
    for state, steps in space.steps.items():
        if is_full_duplex(state, space.settings) or state.phase not in (Phase.THINKING, Phase.SPEAKING):
            continue
        seen = mirror(state, space.settings)
        assert not seen.microphone, state
        if state.phase is Phase.SPEAKING:
            assert seen.led is (Led.SPEAKING_ALONE if space.settings.full_duplex else Led.SPEAKING), state
        after, effects = next((a, e) for event, a, e in steps if isinstance(event, ev.VoiceStarted))
        assert after == state, state
        assert effects == [], state


def test_calibration_is_for_unmuted_idleness_alone_and_is_shown(space: Space) -> None:
    for state in space.steps:
        seen = mirror(state, space.settings)
        assert not state.calibrating or (state.phase is Phase.IDLE and not state.muted), state
        assert seen.calibration == state.calibrating == (seen.led is Led.CALIBRATING), state
        assert not (seen.calibration and seen.microphone), state


def test_an_ailing_microphone_is_shown_while_listening(space: Space) -> None:
    for state in space.steps:
        ailing = state.phase is Phase.LISTENING and state.ailment is not None
        assert (mirror(state, space.settings).led is Led.DEAF) == ailing, state


def test_news_of_hearing_disturbs_nothing(space: Space) -> None:
    """Not a turn, not a reply: such news may be wrong, and comes at any time."""
    news = (ev.MicrophoneAiled, ev.MicrophoneHealed, ev.DuplexLost, ev.DuplexRestored)
    for state, steps in space.steps.items():
        for event, after, effects in steps:
            if isinstance(event, (*news, ev.CalibrationStarted, ev.CalibrationEnded)):
                same = replace(
                    after, ailment=state.ailment, half_duplex=state.half_duplex, calibrating=state.calibrating
                )
                assert same == state, (state, event)
                assert effects == [], (state, event)


def test_an_ailment_changes_no_decision(space: Space) -> None:
    """A turn goes the same way with every microphone; only the sounds that tell of it differ."""
    for state, steps in space.steps.items():
        if state.ailment is None:
            continue
        for (event, after, effects), (_, healthy, usual) in zip(
            steps, space.steps[replace(state, ailment=None)], strict=True
        ):
            if isinstance(event, ev.MicrophoneAiled | ev.MicrophoneHealed):
                continue
            assert replace(after, ailment=None) == healthy, (state, event)
            if effects != usual:
                assert state.ailment is ev.Ailment.ZERO, (state, event)
                assert state.phase is Phase.LISTENING, (state, event)
                assert do.Cue(do.Sound.ERROR) in effects, (state, event)
                assert [e for e in effects if not isinstance(e, do.Cue)] == [
                    e for e in usual if not isinstance(e, do.Cue)
                ], (state, event)


def test_a_turn_for_a_dead_microphone_ends_in_an_error(space: Space) -> None:
    """However it ends, but for a mute and for a window that nobody asked for and nobody used."""
    for state, steps in space.steps.items():
        if state.phase is not Phase.LISTENING or state.ailment is not ev.Ailment.ZERO:
            continue
        for event, after, effects in steps:
            asked = state.voiced or not state.follow_up
            by_person = isinstance(event, ev.TalkReleased | ev.PhaseTimeout | ev.VoiceEnded | ev.SpeechStopped)
            if after.phase is not Phase.LISTENING and by_person and asked:
                assert do.Cue(do.Sound.ERROR) in effects, (state, event)
                assert not any(e in effects for e in map(do.Cue, (do.Sound.SENT, do.Sound.TOO_SHORT))), (state, event)


def test_a_code_that_waits_for_its_owner_is_shown_and_said_and_asks_nobody(space: Space) -> None:
    """By its own light; at every press and every minute; and never by another try, which would be a new code."""
    waiting = [s for s in space.steps if s.fault is Fault.ENROLMENT]
    assert waiting
    for state in space.steps:
        assert (mirror(state, space.settings).led is Led.ENROLLING) == (state.fault is Fault.ENROLMENT), state
    for state in waiting:
        assert state.phase is Phase.FAULT, state
        assert state.link is Link.REFUSED, state
        assert mirror(state, space.settings).timer is not None, state
        for event, after, effects in space.steps[state]:
            assert not any(isinstance(e, do.Connect) for e in effects), (state, event)
            if isinstance(event, ev.TalkPressed | ev.PhaseTimeout | ev.TextSaid):
                assert (after, effects) == (state, [do.Cue(do.Sound.CODE), do.Explain()]), (state, event)
            if isinstance(event, ev.Enrolled | ev.EnrolmentEnded):
                assert (after.phase, after.fault, after.link) == (Phase.IDLE, None, Link.DOWN), state


def test_the_set_up_page_is_opened_by_a_long_silent_hold_alone_and_never_takes_a_working_appliance_down(
    space: Space,
) -> None:
    opened = 0
    for state, steps in space.steps.items():
        for event, after, effects in steps:
            if do.BeginSetup() not in effects:
                assert after.phase is not Phase.SETUP or state.phase is Phase.SETUP, (state, event)
                continue
            opened += 1
            assert isinstance(event, ev.TalkHeldLong), (state, event)
            assert event.fresh or state.link is not Link.UP, (state, event)
            assert not (state.phase is Phase.LISTENING and state.voiced), (state, event)
            assert after.phase is Phase.SETUP, (state, event)
            seen = mirror(after, space.settings)
            assert (seen.led, seen.microphone, seen.gate) == (Led.SETUP, False, False), (state, event)
    assert opened


def test_whoever_is_at_the_set_up_page_is_not_disturbed_by_the_network(space: Space) -> None:
    """Its own Wi-Fi takes the other one away. Only the person, the page's end, and the sound card end it."""
    ends = (ev.TalkPressed, ev.SetupEnded, ev.DeviceFailed, ev.TalkReleased)
    for state in (s for s in space.steps if s.phase is Phase.SETUP):
        for event, after, effects in space.steps[state]:
            if not isinstance(event, ends):
                assert after.phase is Phase.SETUP, (state, event)
                assert do.EndSetup() not in effects, (state, event)
            if isinstance(event, ev.TalkPressed):
                assert do.EndSetup() in effects, state


def test_everything_is_forgotten_only_by_letting_go_after_the_warning(space: Space) -> None:
    forgot = 0
    for state, steps in space.steps.items():
        for event, _, effects in steps:
            if do.ForgetAll() in effects:
                forgot += 1
                assert isinstance(event, ev.TalkReleased), (state, event)
                assert ev.FORGET_FROM_MS <= event.held_ms < ev.FORGET_UNTIL_MS, (state, event)
                assert state.phase is Phase.SETUP, (state, event)
    assert forgot


def test_refused_settings_are_shown_until_a_press_and_then_are_no_hindrance(space: Space) -> None:
    refused = [s for s in space.steps if s.fault is Fault.SETTINGS]
    assert refused
    for state in refused:
        assert mirror(state, space.settings).led is Led.ERROR, state
        for event, after, effects in space.steps[state]:
            if isinstance(event, ev.TalkPressed):
                assert (after.phase, after.fault) == (Phase.IDLE, None), state
                assert effects == [do.Cue(do.Sound.ERROR), do.Explain("bad_settings")], state
            if isinstance(event, ev.PhaseTimeout | ev.LinkLost | ev.LinkOpened):
                assert after.fault is Fault.SETTINGS, (state, event)
                assert not any(isinstance(e, do.Connect | do.Explain) for e in effects), (state, event)


def test_words_follow_a_sound(space: Space) -> None:
    """Whoever hears words from it out of nothing is startled, and misses the first."""
    for state, steps in space.steps.items():
        for event, _, effects in steps:
            for before, effect in zip([None, *effects], effects, strict=False):
                if isinstance(effect, do.Explain):
                    assert isinstance(before, do.Cue), (state, event)


def test_one_active_response_at_a_time(space: Space) -> None:
    for state, steps in space.steps.items():
        for event, after, effects in steps:
            asked = sum(isinstance(e, do.RequestResponse) for e in effects)
            assert asked <= 1, (state, event)
            if asked:
                assert after.response is None, (state, event)
                assert state.response is None or isinstance(event, ev.ResponseFinished | ev.LinkLost), (
                    state,
                    event,
                )
            for effect in effects:
                if isinstance(effect, do.Admit):
                    assert state.response is None, (state, event)


def test_an_interrupted_response_is_never_admitted(space: Space) -> None:
    for state, steps in space.steps.items():
        for event, _, effects in steps:
            if state.doomed:
                assert not any(isinstance(e, do.Admit) for e in effects), (state, event)


def test_doomed_names_something(space: Space) -> None:
    for state in space.steps:
        assert not state.doomed or state.response is not None or state.requested, state


def test_a_press_never_waits_for_the_network(space: Space) -> None:
    for state, steps in space.steps.items():
        after = next(after for event, after, _ in steps if isinstance(event, ev.TalkPressed))
        if state.phase in (Phase.IDLE, Phase.THINKING, Phase.SPEAKING) and not state.muted:
            refused = state.link is Link.REFUSED  # a fault, which a staged update may heal
            assert after.phase in ((Phase.FAULT, Phase.UPDATING) if refused else (Phase.LISTENING,)), state


def test_every_press_is_answered(space: Space) -> None:
    """Whatever the state, a press changes the state or makes a sound (an update in progress shows by its LED)."""
    for state, steps in space.steps.items():
        after, effects = next((a, e) for event, a, e in steps if isinstance(event, ev.TalkPressed))
        if state.phase is Phase.LISTENING and state.mode is not Mode.TAP:
            continue  # the button is down already
        if state.phase is not Phase.UPDATING:
            assert after != state or any(isinstance(e, do.Cue) for e in effects), state


def test_every_tool_call_is_answered_once(space: Space) -> None:
    for state, steps in space.steps.items():
        for event, _, effects in steps:
            if isinstance(event, ev.ToolRequested):
                answers = [e for e in effects if isinstance(e, do.RunTool | do.DeclineTool)]
                assert len(answers) == 1, state
            if isinstance(event, ev.ToolFinished):
                assert sum(isinstance(e, do.SendToolOutput) for e in effects) == 1, state


def test_leaving_listening_disposes_of_the_turn(space: Space) -> None:
    """No turn is left open: it is committed, cleared, or ended by the server."""
    ends = (do.CommitTurn, do.ClearTurn)
    by_server = (ev.SpeechStopped, ev.ResponseStarted)
    for state, steps in space.steps.items():
        for event, after, effects in steps:
            if state.phase is Phase.LISTENING and after.phase is not Phase.LISTENING:
                assert isinstance(event, by_server) or any(isinstance(e, ends) for e in effects), (
                    state,
                    event,
                )


def test_connect_is_ordered_exactly_when_the_link_begins_to_open(space: Space) -> None:
    for state, steps in space.steps.items():
        for event, after, effects in steps:
            connects = sum(isinstance(e, do.Connect) for e in effects)
            assert connects <= 1, (state, event)
            if connects:
                assert after.link is Link.OPENING, (state, event)


def test_idle_is_reachable_from_everywhere(space: Space) -> None:
    back: dict[State, set[State]] = {}
    for state, steps in space.steps.items():
        for _, after, _ in steps:
            back.setdefault(after, set()).add(state)
    reached = {s for s in space.steps if s.phase is Phase.IDLE}
    waiting = deque(reached)
    while waiting:
        for before in back.get(waiting.popleft(), ()):
            if before not in reached:
                reached.add(before)
                waiting.append(before)
    assert reached == set(space.steps)


def test_with_a_silent_server_every_state_comes_to_rest(space: Space) -> None:
    """Only the device's own clock, loudspeaker and connection attempts go on; no cycle may be left."""
    index = {repr(e): i for i, e in enumerate(alphabet(space.settings))}
    timeout, drained = index[repr(ev.PhaseTimeout())], index[repr(ev.PlaybackDrained())]
    failed = index[repr(ev.LinkLost(was_up=False))]
    closed = index[repr(ev.SetupEnded(done=False))]  # whoever opened the page closes it in time
    for start in space.steps:
        state = start
        for _ in range(12):
            steps = space.steps[state]
            if state.audible:
                state = steps[drained][1]
            elif state.phase is Phase.SETUP:
                state = steps[closed][1]
            elif state.link is Link.OPENING and state.phase not in (Phase.LISTENING, Phase.THINKING):
                state = steps[failed][1]
            elif mirror(state, space.settings).timer is not None:
                state = steps[timeout][1]
            else:
                break
        at_rest = state.phase is Phase.IDLE or (state.phase is Phase.FAULT and state.link is not Link.OPENING)
        assert at_rest, (start, state)


def test_with_a_server_that_only_calls_tools_every_question_comes_to_rest(space: Space) -> None:
    """However long it calls, and whatever was going on: so often it is asked; the server may add two of its own."""
    index = {repr(e): i for i, e in enumerate(alphabet(space.settings))}
    story = (
        ev.ResponseFinished("resp_2", ev.Outcome.CANCELLED),  # in case another one is active
        ev.ResponseStarted("resp_1"),
        ev.ToolRequested(CALL),
        ev.ResponseFinished("resp_1", ev.Outcome.COMPLETED),
        ev.ToolFinished(CALL.call_id, "{}"),
    )
    tireless = [index[repr(event)] for event in story]
    for start in space.steps:
        if start.phase is not Phase.THINKING or start.link is not Link.UP:
            continue
        state = start
        for event in tireless * (space.settings.most_responses + 2):
            state = space.steps[state][event][1]
        assert state.phase is not Phase.THINKING, (start, state)


def test_speaking_means_sounding(space: Space) -> None:
    for state in space.steps:
        assert (state.phase is Phase.SPEAKING) == state.audible, state
