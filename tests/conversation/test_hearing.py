"""Walks for ears: voices over a reply, an echo out of control, a microphone that ails, calibration."""

from __future__ import annotations

from appliance.conversation import effects as do
from appliance.conversation import events as ev
from appliance.conversation.state import Led, Phase
from tests.conversation.walk import HOLD_RELEASE, TAP_RELEASE, up


def test_a_voice_over_the_reply_interrupts_it_and_is_a_turn() -> None:
    walk = up(full_duplex=True)
    walk.tell(ev.TalkPressed(), TAP_RELEASE, ev.VoiceStarted(), ev.VoiceEnded())
    walk.answered()
    assert walk.shows(Led.SPEAKING)
    assert walk.mirror().microphone
    assert not walk.mirror().gate, "the room stays in the room"
    assert walk.tell(ev.VoiceStarted()) == [do.Interrupt(), do.BeginTurn()]
    assert walk.mirror().gate
    assert walk.tell(ev.VoiceEnded())[0] == do.CommitTurn()


def test_echo_out_of_control_closes_the_microphone_under_a_reply_that_goes_on() -> None:
    walk = up(full_duplex=True)
    walk.tell(ev.TalkPressed(), TAP_RELEASE, ev.VoiceStarted(), ev.VoiceEnded())
    walk.answered()
    assert walk.tell(ev.DuplexLost()) == []
    assert walk.is_in(Phase.SPEAKING)
    assert walk.shows(Led.SPEAKING_ALONE)
    assert not walk.mirror().microphone
    assert walk.tell(ev.VoiceStarted()) == [], "it was our own"
    walk.tell(ev.ResponseFinished("resp_1"), ev.PlaybackDrained())
    assert walk.is_in(Phase.LISTENING), "the conversation goes on, taking turns"
    walk.tell(ev.VoiceStarted(), ev.VoiceEnded())
    walk.answered("resp_2")
    assert walk.tell(ev.TalkPressed())[0] == do.Interrupt(), "a press always interrupts"


def test_duplex_comes_back() -> None:
    walk = up(full_duplex=True)
    walk.tell(ev.DuplexLost(), ev.TalkPressed(), TAP_RELEASE, ev.VoiceStarted(), ev.VoiceEnded())
    walk.answered()
    walk.tell(ev.DuplexRestored())
    assert walk.shows(Led.SPEAKING)
    assert walk.mirror().microphone


def test_where_half_duplex_was_chosen_it_cannot_be_lost() -> None:
    walk = up(full_duplex=False)
    walk.tell(ev.DuplexLost(), ev.TalkPressed(), HOLD_RELEASE)
    walk.answered()
    assert walk.shows(Led.SPEAKING)


def test_a_dead_microphone_is_shown_at_once_and_said_at_the_end_of_the_turn() -> None:
    walk = up()
    walk.tell(ev.TalkPressed())
    assert walk.tell(ev.MicrophoneAiled(ev.Ailment.ZERO)) == []
    assert walk.shows(Led.DEAF)
    assert walk.tell(HOLD_RELEASE) == [do.CommitTurn(), do.Cue(do.Sound.ERROR), do.RequestResponse()]
    walk.answered()
    walk.tell(ev.ResponseFinished("resp_1"), ev.PlaybackDrained(), ev.TalkPressed())
    assert walk.shows(Led.DEAF), "until it is known to hear"
    walk.tell(ev.MicrophoneHealed())
    assert walk.shows(Led.LISTENING)
    assert do.Cue(do.Sound.SENT) in walk.tell(HOLD_RELEASE)


def test_who_taps_and_talks_to_a_dead_microphone_is_told_when_giving_up_or_in_the_end() -> None:
    walk = up()
    walk.tell(ev.TalkPressed(), TAP_RELEASE, ev.MicrophoneAiled(ev.Ailment.ZERO), ev.TalkPressed())
    assert walk.tell(TAP_RELEASE) == [do.ClearTurn(), do.Cue(do.Sound.ERROR)]
    walk.tell(ev.TalkPressed(), TAP_RELEASE)
    assert walk.tell(ev.PhaseTimeout()) == [do.ClearTurn(), do.Cue(do.Sound.ERROR)]


def test_a_follow_up_window_without_a_sound_closes_without_one() -> None:
    walk = up()
    walk.tell(ev.TalkPressed(), TAP_RELEASE, ev.VoiceStarted(), ev.VoiceEnded())
    walk.answered()
    walk.tell(ev.ResponseFinished("resp_1"), ev.PlaybackDrained(), ev.MicrophoneAiled(ev.Ailment.ZERO))
    assert walk.shows(Led.DEAF)
    assert walk.tell(ev.PhaseTimeout()) == [do.ClearTurn()]


def test_an_overdriven_microphone_is_shown_and_its_turns_count() -> None:
    walk = up()
    walk.tell(ev.TalkPressed(), ev.MicrophoneAiled(ev.Ailment.CLIPPED))
    assert walk.shows(Led.DEAF)
    assert do.Cue(do.Sound.SENT) in walk.tell(HOLD_RELEASE)


def test_calibration_shows_the_open_microphone_and_gives_way_to_a_press() -> None:
    walk = up()
    walk.tell(ev.CalibrationStarted())
    assert walk.shows(Led.CALIBRATING)
    assert walk.mirror().calibration
    assert not walk.mirror().microphone, "it opens the microphone for itself"
    walk.tell(ev.TalkPressed())
    assert walk.shows(Led.LISTENING)
    assert not walk.mirror().calibration
    walk.tell(ev.CalibrationEnded(), ev.MuteToggled(), ev.CalibrationStarted())
    assert walk.shows(Led.MUTED), "muted is muted"


def test_mute_ends_a_calibration() -> None:
    walk = up()
    walk.tell(ev.CalibrationStarted(), ev.MuteToggled())
    assert walk.shows(Led.MUTED)
    assert not walk.mirror().calibration
    walk.tell(ev.MuteToggled())
    assert walk.shows(Led.IDLE), "and unmuting does not take it up again"


def test_calibration_runs_to_its_end() -> None:
    walk = up()
    walk.tell(ev.CalibrationStarted(), ev.CalibrationEnded())
    assert walk.shows(Led.IDLE)
