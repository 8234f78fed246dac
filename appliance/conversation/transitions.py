"""The rules: one table of (event, phase), each cell a named rule, then a settling to a fixed point.

Theory. ``step`` looks up the cell, applies it, and then :func:`settle` applies the state-triggered rules until
none fires: connect where a link is needed, ask for the reply that is owed, come to rest when nothing is
pending, do chores when idle. So no cell has to remember to do these, and none can forget. Cells that are not
listed ignore their event (the button and the network race) and the caller counts that.

Responsible for: every decision. Not for: doing anything (the daemon performs the effects).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from appliance.conversation import effects as do
from appliance.conversation import events as ev
from appliance.conversation import faults, replies, setting_up, turns
from appliance.conversation.rules import Outcome, settle
from appliance.conversation.state import Phase, Settings, State

E = TypeVar("E", bound=ev.Event)
Rule = Callable[[State, Any, Settings], Outcome]
IDLE, LISTENING, THINKING = Phase.IDLE, Phase.LISTENING, Phase.THINKING
SPEAKING, FAULT, UPDATING, SETUP = Phase.SPEAKING, Phase.FAULT, Phase.UPDATING, Phase.SETUP


class Step(NamedTuple):
    """What one event led to. ``ignored`` is true where the table has no cell for it."""

    state: State
    effects: list[do.Effect]
    ignored: bool


def step(state: State, event: ev.Event, settings: Settings) -> Step:
    """Decide: the state after ``event`` and the acts to perform, in order. Pure; any thread."""
    rule = TABLE[type(event)].get(state.phase)
    if rule is None:
        return Step(state, [], ignored=True)
    after, effects = rule(state, event, settings)
    settled, more = settle(after, settings)
    return Step(settled, effects + more, ignored=False)


def everywhere(rule: Callable[[State, E, Settings], Outcome], **others: Rule) -> dict[Phase, Rule]:
    """Build a row with one rule for all phases but those named in ``others``."""
    return {phase: others.get(phase.value, rule) for phase in Phase}


TABLE: Mapping[type[ev.Event], Mapping[Phase, Rule]] = {
    ev.TalkPressed: {
        IDLE: turns.start_turn,
        LISTENING: turns.press_again,
        THINKING: turns.press_over_reply,
        SPEAKING: turns.press_over_reply,
        FAULT: turns.retry,
        SETUP: setting_up.leave,
    },
    ev.TalkHeld: {LISTENING: turns.hold},
    ev.TalkHeldLong: {IDLE: setting_up.ask, LISTENING: setting_up.ask, FAULT: setting_up.ask},
    ev.TalkHeldOn: {SETUP: setting_up.warn},
    ev.TalkHeldOut: {SETUP: setting_up.spare},
    ev.TalkReleased: {LISTENING: turns.release, SETUP: setting_up.forget},
    ev.VoiceStarted: {IDLE: turns.wake, LISTENING: turns.hear, THINKING: turns.barge_in, SPEAKING: turns.barge_in},
    ev.VoiceEnded: {LISTENING: turns.end_of_speech},
    ev.SpeechStarted: {LISTENING: turns.hear, THINKING: turns.server_hears_more, SPEAKING: turns.server_hears_more},
    ev.SpeechStopped: {LISTENING: turns.server_ended_turn},
    ev.MuteToggled: everywhere(turns.flip_mute, listening=turns.mute_turn),
    ev.TextSaid: {
        IDLE: turns.say,
        LISTENING: turns.say,
        THINKING: turns.say,
        SPEAKING: turns.say,
        FAULT: turns.say_again,
    },
    ev.ImageShown: everywhere(turns.show),
    ev.TurnRejected: {THINKING: replies.turn_rejected},
    ev.ResponseStarted: everywhere(
        replies.refuse_response, listening=replies.answer_in_listening, thinking=replies.admit, speaking=replies.admit
    ),
    ev.AudioStarted: {THINKING: replies.speak, SPEAKING: replies.speak},
    ev.ResponseFinished: everywhere(
        replies.forget_response, thinking=replies.finish_response, speaking=replies.finish_response
    ),
    ev.ResponseRefused: everywhere(
        replies.forget_request, thinking=replies.response_refused, speaking=replies.response_refused
    ),
    ev.ToolRequested: everywhere(replies.decline_tool, thinking=replies.run_tool, speaking=replies.run_tool),
    ev.ToolFinished: everywhere(replies.tool_answered),
    ev.TimerRang: everywhere(replies.ring),
    ev.PlaybackDrained: everywhere(replies.silence, speaking=replies.drained),
    ev.PhaseTimeout: {
        IDLE: faults.cool_down,
        LISTENING: faults.stop_listening,
        THINKING: faults.stop_waiting,
        FAULT: faults.try_again,
        UPDATING: faults.give_up_update,
        SETUP: setting_up.invite_again,
    },
    ev.LinkOpened: everywhere(faults.link_up),
    ev.LinkLost: everywhere(
        faults.link_down,
        thinking=faults.link_broke_in_thought,
        speaking=faults.link_broke_in_reply,
        fault=faults.leave_link_fault,
    ),
    ev.LinkRefused: everywhere(faults.link_refused),
    ev.Enrolled: {FAULT: faults.enrolled},
    ev.EnrolmentEnded: {FAULT: faults.enrolment_ended},
    ev.UpdateStaged: everywhere(faults.update_staged),
    ev.DeviceFailed: everywhere(faults.device_failed),
    ev.DeviceRestored: everywhere(faults.device_restored),
    ev.MicrophoneAiled: everywhere(faults.microphone_ailed),
    ev.MicrophoneHealed: everywhere(faults.microphone_healed),
    ev.DuplexLost: everywhere(faults.duplex_lost),
    ev.DuplexRestored: everywhere(faults.duplex_restored),
    ev.CalibrationStarted: {IDLE: faults.calibration_started},
    ev.CalibrationEnded: {IDLE: faults.calibration_ended},
    ev.SettingsRefused: {IDLE: setting_up.settings_refused},
    ev.SettingsTaken: {IDLE: setting_up.settings_taken},
    ev.FoundReady: {IDLE: setting_up.ready},
    ev.FoundUnreachable: {IDLE: setting_up.unreachable},
    ev.SetupFailed: {SETUP: setting_up.failed},
    ev.SetupEnded: {SETUP: setting_up.ended},
}
