"""Readable walks through the table: one user story each."""

from __future__ import annotations

from appliance.conversation import effects as do
from appliance.conversation import events as ev
from appliance.conversation.state import Led, Phase, Settings, Turns
from tests.conversation.walk import HOLD_RELEASE, TAP_RELEASE, Walk, up

ERROR = [do.Cue(do.Sound.ERROR), do.Explain()]
TIMER_CALL = ev.ToolCall("call_1", "set_timer", '{"seconds": 60}')


def test_hold_to_talk_hear_the_answer_and_rest() -> None:
    walk = up()
    assert walk.tell(ev.TalkPressed()) == [do.BeginTurn(), do.Cue(do.Sound.LISTENING)]
    assert walk.shows(Led.LISTENING)
    assert walk.tell(HOLD_RELEASE) == [do.CommitTurn(), do.Cue(do.Sound.SENT), do.RequestResponse()]
    assert walk.tell(ev.ResponseStarted("resp_1")) == [do.Admit("resp_1")]
    walk.tell(ev.AudioStarted("resp_1"))
    assert walk.is_in(Phase.SPEAKING)
    assert walk.tell(ev.ResponseFinished("resp_1")) == []
    walk.tell(ev.PlaybackDrained())
    assert walk.is_in(Phase.IDLE)


def test_press_before_the_link_is_there() -> None:
    walk = Walk()
    assert walk.tell(ev.TalkPressed()) == [do.BeginTurn(), do.Cue(do.Sound.LISTENING), do.Connect()]
    assert walk.tell(HOLD_RELEASE) == [do.CommitTurn(), do.Cue(do.Sound.SENT)]
    assert walk.tell(ev.LinkOpened()) == [do.RequestResponse()]


def test_tap_talk_follow_up_tap_to_end() -> None:
    walk = up()
    walk.tell(ev.TalkPressed(), TAP_RELEASE, ev.VoiceStarted())
    assert walk.tell(ev.VoiceEnded())[0] == do.CommitTurn()
    walk.answered()
    walk.tell(ev.ResponseFinished("resp_1"))
    assert walk.tell(ev.PlaybackDrained()) == [do.BeginTurn()]
    assert walk.shows(Led.LISTENING)
    assert not walk.mirror().gate, "nothing leaves the device before somebody speaks"
    walk.tell(ev.TalkPressed())
    assert walk.tell(TAP_RELEASE) == [do.ClearTurn()]
    assert walk.is_in(Phase.IDLE)


def test_hold_in_the_follow_up_window_is_push_to_talk() -> None:
    walk = up()
    walk.tell(ev.TalkPressed(), TAP_RELEASE, ev.VoiceStarted(), ev.VoiceEnded())
    walk.answered()
    walk.tell(ev.ResponseFinished("resp_1"), ev.PlaybackDrained(), ev.TalkPressed(), ev.TalkHeld())
    assert walk.tell(HOLD_RELEASE)[0] == do.CommitTurn()


def test_an_open_microphone_is_shown_although_the_service_is_away() -> None:
    walk = Walk(Settings(hands_free=True))
    walk.tell(ev.VoiceStarted(), ev.VoiceEnded(), ev.LinkLost(was_up=False), ev.PhaseTimeout())
    assert walk.is_in(Phase.IDLE)
    assert walk.shows(Led.ATTENTIVE)
    walk.tell(ev.MuteToggled())
    assert walk.shows(Led.OFFLINE)


def test_follow_up_window_closes_by_itself_without_a_sound() -> None:
    walk = up()
    walk.tell(ev.TalkPressed(), TAP_RELEASE, ev.VoiceStarted(), ev.VoiceEnded())
    walk.answered()
    walk.tell(ev.ResponseFinished("resp_1"), ev.PlaybackDrained())
    assert walk.tell(ev.PhaseTimeout()) == [do.ClearTurn()]
    assert walk.is_in(Phase.IDLE)


def test_press_over_the_reply_interrupts_and_listens() -> None:
    walk = up()
    walk.tell(ev.TalkPressed(), HOLD_RELEASE)
    walk.answered()
    assert walk.tell(ev.TalkPressed())[0] == do.Interrupt()
    assert walk.is_in(Phase.LISTENING)
    walk.tell(HOLD_RELEASE)
    assert do.RequestResponse() not in walk.done, "the cancelled response must finish first"
    assert walk.tell(ev.ResponseFinished("resp_1", ev.Outcome.CANCELLED)) == [do.RequestResponse()]


def test_press_before_the_answer_is_announced_cancels_it_when_it_is() -> None:
    walk = up()
    walk.tell(ev.TalkPressed(), HOLD_RELEASE, ev.TalkPressed())
    assert walk.tell(ev.ResponseStarted("resp_1")) == [do.CancelResponse("resp_1")]


def test_muted_press_says_so_and_listens_to_nothing() -> None:
    walk = up()
    walk.tell(ev.MuteToggled())
    assert walk.shows(Led.MUTED)
    assert walk.tell(ev.TalkPressed()) == [do.Cue(do.Sound.MUTED)]
    assert walk.is_in(Phase.IDLE)


def test_mute_in_mid_speech_closes_the_microphone_in_the_same_step() -> None:
    walk = up()
    walk.tell(ev.TalkPressed(), ev.MuteToggled())
    assert do.ClearTurn() in walk.done
    assert not walk.mirror().microphone


def test_question_survives_one_broken_session() -> None:
    walk = up()
    walk.tell(ev.TalkPressed(), HOLD_RELEASE)
    assert walk.tell(ev.LinkLost(was_up=True)) == [do.Connect()]
    assert walk.tell(ev.LinkOpened()) == [do.RequestResponse()]
    assert walk.tell(ev.LinkLost(was_up=True)) == [do.Cue(do.Sound.OFFLINE)]
    assert walk.shows(Led.OFFLINE)


def test_offline_is_told_once_and_the_attempts_go_on_until_patience_ends() -> None:
    walk = Walk()
    walk.tell(ev.TalkPressed(), HOLD_RELEASE)
    assert walk.tell(ev.LinkLost(was_up=False)) == [do.Cue(do.Sound.OFFLINE), do.Explain(), do.Connect()]
    assert walk.tell(ev.LinkLost(was_up=False)) == [do.Connect()]
    assert walk.shows(Led.OFFLINE)
    assert walk.tell(ev.PhaseTimeout())[-1] == do.Cue(do.Sound.OFFLINE)
    assert walk.is_in(Phase.IDLE)
    walk.tell(ev.TalkPressed())
    assert walk.is_in(Phase.LISTENING)


def test_refused_credential_is_an_error_and_a_press_tries_again_and_talks() -> None:
    walk = Walk()
    walk.tell(ev.TalkPressed())
    assert walk.tell(ev.LinkRefused("device_suspended")) == [do.ClearTurn(), *ERROR]
    assert walk.shows(Led.ERROR)
    pressed = [do.BeginTurn(), do.Cue(do.Sound.LISTENING), do.Connect()]
    assert walk.tell(ev.TalkPressed()) == pressed
    assert walk.tell(ev.LinkRefused("device_suspended")) == [do.ClearTurn(), *ERROR]
    assert walk.tell(ev.TalkPressed()) == pressed
    walk.tell(ev.LinkOpened())
    assert walk.tell(HOLD_RELEASE)[-1] == do.RequestResponse(), "not a word is lost when it was mended"


def test_typed_words_after_a_refusal_try_again() -> None:
    walk = Walk()
    walk.tell(ev.TalkPressed(), ev.LinkRefused("device_suspended"))
    assert walk.tell(ev.TextSaid("hello")) == [do.SendText("hello"), do.Connect()]
    assert walk.tell(ev.LinkOpened()) == [do.RequestResponse()]


def test_a_code_is_said_until_its_owner_approves_and_the_next_press_talks() -> None:
    walk = Walk()
    walk.tell(ev.TalkPressed())
    code = [do.Cue(do.Sound.CODE), do.Explain()]
    assert walk.tell(ev.LinkRefused(ev.ENROLMENT_PENDING)) == [do.ClearTurn(), *code]
    assert walk.shows(Led.ENROLLING)
    assert walk.tell(ev.TalkReleased(2000, 0)) == []
    assert walk.tell(ev.TalkPressed()) == code
    assert walk.tell(ev.PhaseTimeout()) == code
    assert walk.tell(ev.Enrolled()) == [do.Cue(do.Sound.READY), do.Explain()]
    assert walk.shows(Led.IDLE)
    assert do.Connect() in walk.tell(ev.TalkPressed())
    assert walk.is_in(Phase.LISTENING)


def test_a_code_that_nobody_approved_is_over_and_the_next_press_asks_for_another() -> None:
    walk = Walk()
    walk.tell(ev.TalkPressed(), ev.LinkRefused(ev.ENROLMENT_PENDING))
    assert walk.tell(ev.EnrolmentEnded("expired_token")) == [do.Cue(do.Sound.OFFLINE), do.Explain()]
    assert walk.shows(Led.OFFLINE)
    assert do.Connect() in walk.tell(ev.TalkPressed())


def test_reply_in_flight_is_played_out_when_the_link_breaks_and_owned_up_to() -> None:
    walk = up()
    walk.tell(ev.TalkPressed(), HOLD_RELEASE)
    walk.answered()
    assert walk.tell(ev.LinkLost(was_up=True)) == []
    assert walk.is_in(Phase.SPEAKING)
    assert walk.tell(ev.PlaybackDrained()) == [do.Cue(do.Sound.OFFLINE)]


def test_tool_is_run_and_the_model_asked_once_for_words() -> None:
    walk = up()
    walk.tell(ev.TalkPressed(), HOLD_RELEASE, ev.ResponseStarted("resp_1"))
    assert walk.tell(ev.ToolRequested(TIMER_CALL)) == [do.RunTool(TIMER_CALL)]
    assert walk.tell(ev.ToolFinished("call_1", "{}")) == [do.SendToolOutput("call_1", "{}")]
    assert walk.tell(ev.ResponseFinished("resp_1")) == [do.RequestResponse()]
    walk.answered("resp_2")
    assert walk.is_in(Phase.SPEAKING)


def call_a_tool(walk: Walk, response: str, call_id: str) -> list[do.Effect]:
    walk.tell(ev.ResponseStarted(response), ev.ToolRequested(ev.ToolCall(call_id, "list_timers", "{}")))
    walk.tell(ev.ResponseFinished(response))
    return walk.tell(ev.ToolFinished(call_id, "{}"))


def test_a_model_that_only_calls_tools_must_answer_in_words_or_is_owned_up_to() -> None:
    walk = up(most_responses=3)
    walk.tell(ev.TalkPressed(), HOLD_RELEASE)
    assert call_a_tool(walk, "resp_1", "call_1")[-1] == do.RequestResponse()
    assert call_a_tool(walk, "resp_2", "call_2")[-1] == do.RequestResponse(may_call_tools=False)
    assert call_a_tool(walk, "resp_3", "call_3") == [do.SendToolOutput("call_3", "{}"), do.Cue(do.Sound.ERROR)]
    assert walk.is_in(Phase.IDLE)
    assert walk.tell(ev.TalkPressed(), HOLD_RELEASE)[-1] == do.RequestResponse(), "the next turn counts for itself"


def test_a_question_over_the_tools_of_another_counts_for_itself() -> None:
    walk = up(most_responses=2)
    walk.tell(ev.TalkPressed(), HOLD_RELEASE)
    assert call_a_tool(walk, "resp_1", "call_1")[-1] == do.RequestResponse(may_call_tools=False)
    walk.tell(ev.TextSaid("and now?"), ev.ResponseStarted("resp_2"))
    assert walk.tell(ev.ResponseFinished("resp_2", ev.Outcome.CANCELLED)) == [do.RequestResponse()]


def test_interrupted_tool_is_still_answered_but_owes_no_words() -> None:
    walk = up()
    walk.tell(ev.TalkPressed(), HOLD_RELEASE, ev.ResponseStarted("resp_1"), ev.ToolRequested(TIMER_CALL))
    walk.tell(ev.TalkPressed(), ev.ResponseFinished("resp_1"))
    assert walk.tell(ev.ToolFinished("call_1", "stopped")) == [do.SendToolOutput("call_1", "stopped")]
    assert not walk.state.owes_reply


def test_server_ends_the_turn_and_answers_by_itself() -> None:
    walk = up(turns=Turns.SERVER)
    walk.tell(ev.TalkPressed(), TAP_RELEASE, ev.SpeechStarted())
    assert walk.tell(ev.SpeechStopped()) == [do.Cue(do.Sound.SENT)]
    assert walk.is_in(Phase.THINKING)
    assert walk.tell(ev.ResponseStarted("resp_1")) == [do.Admit("resp_1")]


def test_a_pause_while_holding_does_not_end_the_turn_in_server_mode() -> None:
    walk = up(turns=Turns.SERVER)
    walk.tell(ev.TalkPressed(), ev.TalkHeld())
    assert not walk.mirror().server_vad
    walk.tell(ev.SpeechStopped())
    assert walk.is_in(Phase.LISTENING)
    assert walk.tell(HOLD_RELEASE)[0] == do.CommitTurn()
    assert do.RequestResponse() in walk.done


def test_too_short_a_hold_is_told() -> None:
    walk = up()
    walk.tell(ev.TalkPressed())
    assert walk.tell(ev.TalkReleased(held_ms=400, captured_ms=60)) == [
        do.ClearTurn(),
        do.Cue(do.Sound.TOO_SHORT),
    ]


def test_hands_free_voice_begins_a_turn() -> None:
    walk = up(hands_free=True)
    assert walk.shows(Led.ATTENTIVE)
    assert walk.tell(ev.VoiceStarted()) == [do.BeginTurn()]
    assert walk.tell(ev.VoiceEnded())[0] == do.CommitTurn()


def test_unplugged_card_is_a_fault_until_it_is_back() -> None:
    walk = up()
    walk.tell(ev.TalkPressed())
    assert walk.tell(ev.DeviceFailed()) == [do.ClearTurn(), do.Cue(do.Sound.ERROR)]
    assert walk.shows(Led.ERROR)
    walk.tell(ev.DeviceRestored())
    assert walk.is_in(Phase.IDLE)


def test_update_waits_for_idle() -> None:
    walk = up()
    walk.tell(ev.TalkPressed())
    assert walk.tell(ev.UpdateStaged()) == []
    assert do.InstallUpdate() in walk.tell(ev.TalkPressed(), ev.MuteToggled())
    assert walk.shows(Led.UPDATING)


def test_a_new_configuration_is_taken_into_use_in_a_fault_too() -> None:
    """A wrong sound card's name is corrected in the configuration: idleness would never come."""
    walk = up()
    walk.tell(ev.DeviceFailed())
    assert walk.tell(ev.UpdateStaged()) == [do.InstallUpdate()]


def test_long_idle_closes_the_session() -> None:
    walk = up()
    timer = walk.mirror().timer
    assert timer is not None
    assert timer.after_s == walk.settings.keep_warm_s
    assert walk.tell(ev.PhaseTimeout()) == [do.Disconnect()]


def test_typed_words_are_answered_aloud() -> None:
    walk = Walk()
    assert walk.tell(ev.TextSaid("hello")) == [do.SendText("hello"), do.Connect()]
    assert walk.tell(ev.LinkOpened()) == [do.RequestResponse()]
