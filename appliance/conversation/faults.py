"""Rules for what the world does: time runs out, the link breaks, sound card and microphone fail and heal."""

from __future__ import annotations

from dataclasses import replace

from appliance.conversation import effects as do
from appliance.conversation import events as ev
from appliance.conversation.rules import Outcome, fault_told, interrupting, pending_cleared, rest, told
from appliance.conversation.state import Chore, Fault, Link, Mode, Phase, Settings, State

# --- time ---


def stop_listening(s: State, _: ev.PhaseTimeout, settings: Settings) -> Outcome:
    """Nobody spoke, or nobody stopped: forget the turn. The follow-up window closes without a sound."""
    quietly = s.follow_up and not s.voiced
    cue = [] if quietly else told(s, do.Sound.TOO_SHORT)
    return replace(s, phase=Phase.IDLE, mode=Mode.HOLD), [do.ClearTurn(), *cue]


def stop_waiting(s: State, _: ev.PhaseTimeout, settings: Settings) -> Outcome:
    """No answer came in time: say so, drop a session that no longer answers."""
    sound = do.Sound.ERROR if s.link is Link.UP else do.Sound.OFFLINE
    after = replace(pending_cleared(s), phase=Phase.IDLE, link=Link.DOWN, audible=False, offline=True)
    return after, [do.Interrupt(), do.Reconnect(), do.Cue(sound)]


def cool_down(s: State, _: ev.PhaseTimeout, settings: Settings) -> Outcome:
    """Idle for long: close the session."""
    return replace(pending_cleared(s), link=Link.DOWN), [do.Disconnect()]


def try_again(s: State, _: ev.PhaseTimeout, settings: Settings) -> Outcome:
    """Try the link again without being asked; say a waiting code again."""
    if s.fault is Fault.ENROLMENT:
        return s, fault_told(s)
    if s.fault in (Fault.DEVICE, Fault.SETTINGS) or s.link is Link.OPENING:
        return s, []
    return replace(s, link=Link.OPENING, unasked=True), [do.Connect()]


def give_up_update(s: State, _: ev.PhaseTimeout, settings: Settings) -> Outcome:
    """The update did not take over: go on as before."""
    return replace(s, phase=Phase.IDLE), [do.Cue(do.Sound.ERROR)]


# --- the link ---


def link_up(s: State, _: ev.LinkOpened, settings: Settings) -> Outcome:
    """The session is open; settling sends what waited."""
    healed = s.fault in (Fault.LINK, Fault.ENROLMENT)
    phase = Phase.IDLE if healed else s.phase
    fault = None if healed else s.fault
    return replace(s, link=Link.UP, phase=phase, fault=fault, offline=False), []


def link_down(s: State, _: ev.LinkLost, settings: Settings) -> Outcome:
    """No session; whoever needs one next opens it."""
    return replace(s, response=None, requested=False, doomed=False, link=Link.DOWN), []


def link_broke_in_thought(s: State, event: ev.LinkLost, settings: Settings) -> Outcome:
    """Ask again once in a new session; if that breaks too, own up. A failed attempt is told once."""
    waiting = s.awaits
    after, effects = link_down(s, event, settings)
    if not event.was_up:
        told: list[do.Effect] = [] if s.offline else [do.Cue(do.Sound.OFFLINE), do.Explain()]
        return replace(after, offline=True, owes_reply=waiting and not s.calls), [*effects, *told]
    if s.asked_again:
        return replace(rest(pending_cleared(after)), offline=True), [do.Cue(do.Sound.OFFLINE)]
    return replace(after, asked_again=True, owes_reply=waiting and not s.calls), effects


def link_broke_in_reply(s: State, event: ev.LinkLost, settings: Settings) -> Outcome:
    """Play what is there; if more of it was to come, own up afterwards; what was only asked for is asked again."""
    cut = s.cut or (s.response is not None and not s.doomed)
    owes = s.owes_reply or (s.requested and not s.doomed)
    after, effects = link_down(s, event, settings)
    return replace(after, cut=cut, owes_reply=owes), effects


def leave_link_fault(s: State, event: ev.LinkLost, settings: Settings) -> Outcome:
    """Not refused any more, only unreachable: the next press tries again."""
    after, effects = link_down(s, event, settings)
    if s.fault in (Fault.DEVICE, Fault.SETTINGS):
        return after, effects
    return replace(after, phase=Phase.IDLE, fault=None, offline=True), effects


def link_refused(s: State, event: ev.LinkRefused, settings: Settings) -> Outcome:
    """A person has to act; settling shows it when the reply has sounded. A code to approve is said at once."""
    after = replace(pending_cleared(s), link=Link.REFUSED)
    if event.code == ev.ENROLMENT_PENDING and s.phase is Phase.SPEAKING:
        return replace(after, link=Link.DOWN), []  # whoever needs a session next is told the code
    if s.phase in (Phase.UPDATING, Phase.SETUP) or s.fault is Fault.DEVICE:
        return after, []
    if event.code == ev.ENROLMENT_PENDING:
        clear: list[do.Effect] = [do.ClearTurn()] if s.phase is Phase.LISTENING else []
        after = replace(rest(after), phase=Phase.FAULT, fault=Fault.ENROLMENT)
        return after, [*clear, *fault_told(after)]
    return after, []


def enrolled(s: State, _: ev.Enrolled, settings: Settings) -> Outcome:
    """Say that it is ready; the next press talks."""
    if s.fault is not Fault.ENROLMENT:
        return s, []
    after = replace(s, phase=Phase.IDLE, fault=None, link=Link.DOWN, offline=False)
    return after, [do.Cue(do.Sound.READY), do.Explain()]


def enrolment_ended(s: State, _: ev.EnrolmentEnded, settings: Settings) -> Outcome:
    """Nobody approved: say so and rest; the next press asks for another code."""
    if s.fault is not Fault.ENROLMENT:
        return s, []
    after = replace(s, phase=Phase.IDLE, fault=None, link=Link.DOWN, offline=True)
    return after, [do.Cue(do.Sound.OFFLINE), do.Explain()]


def update_staged(s: State, _: ev.UpdateStaged, settings: Settings) -> Outcome:
    """Take it into use when idle."""
    return replace(s, chores=s.chores | {Chore.UPDATE}), []


# --- the sound card ---


def device_failed(s: State, _: ev.DeviceFailed, settings: Settings) -> Outcome:
    """Deaf or dumb: stop everything and show it."""
    quiet, effects = interrupting(s)
    if s.phase is Phase.LISTENING:
        effects.append(do.ClearTurn())
    after = replace(quiet, phase=Phase.FAULT, fault=Fault.DEVICE)
    return after, [*effects, do.Cue(do.Sound.ERROR)] if s.fault is None else effects


def device_restored(s: State, _: ev.DeviceRestored, settings: Settings) -> Outcome:
    """Healed."""
    if s.fault is not Fault.DEVICE:
        return s, []
    return replace(s, phase=Phase.IDLE, fault=None), []


# --- what the microphone hears, of a talker and of ourselves ---


def microphone_ailed(s: State, event: ev.MicrophoneAiled, settings: Settings) -> Outcome:
    """Show it while listening, and say it when a turn ends; the turn itself goes on."""
    return replace(s, ailment=event.ailment), []


def microphone_healed(s: State, _: ev.MicrophoneHealed, settings: Settings) -> Outcome:
    """It hears again."""
    return replace(s, ailment=None), []


def duplex_lost(s: State, _: ev.DuplexLost, settings: Settings) -> Outcome:
    """Half duplex from now on: the microphone closes under a reply, which goes on."""
    return replace(s, half_duplex=settings.full_duplex), []


def duplex_restored(s: State, _: ev.DuplexRestored, settings: Settings) -> Outcome:
    """Voices interrupt again."""
    return replace(s, half_duplex=False), []


def calibration_started(s: State, _: ev.CalibrationStarted, settings: Settings) -> Outcome:
    """Show that the microphone is open; muted it stays closed. Whatever leaves IDLE, or a mute, ends it."""
    return replace(s, calibrating=not s.muted), []


def calibration_ended(s: State, _: ev.CalibrationEnded, settings: Settings) -> Outcome:
    """The microphone is closed again."""
    return replace(s, calibrating=False), []
