"""Rules for what the person does: the button, voices, mute, typed words and pictures."""

from __future__ import annotations

from dataclasses import replace

from appliance.conversation import effects as do
from appliance.conversation import events as ev
from appliance.conversation.rules import Outcome, fault_told, interrupting, listening, told
from appliance.conversation.state import Fault, Link, Mode, Phase, Settings, State, Turns, is_full_duplex

# --- the button ---


def start_turn(s: State, _: ev.TalkPressed, settings: Settings) -> Outcome:
    """Listen at once, whatever the link is; muted: say so."""
    if s.muted:
        return s, [do.Cue(do.Sound.MUTED)]
    return listening(s, Mode.PRESSED, cue=True)


def press_again(s: State, _: ev.TalkPressed, settings: Settings) -> Outcome:
    """In an open conversation: a short press will end it, a hold will take the turn."""
    if s.mode is not Mode.TAP:
        return s, []
    return replace(s, mode=Mode.PRESSED, closing=True), []


def press_over_reply(s: State, event: ev.TalkPressed, settings: Settings) -> Outcome:
    """Interrupt, then listen."""
    quiet, effects = interrupting(s)
    after, more = start_turn(replace(quiet, phase=Phase.IDLE), event, settings)
    return after, effects + more


def retry(s: State, event: ev.TalkPressed, settings: Settings) -> Outcome:
    """Listen, and try the link again: whoever mended it wants to talk, and who did not is told what is wrong again.

    A code that waits for its owner is only said again.
    """
    if s.fault is Fault.SETTINGS:  # told again; then what there was before has to do
        return _without_fault(s), fault_told(s)
    if s.fault is not Fault.LINK:
        return s, fault_told(s)
    return start_turn(_without_fault(s), event, settings)


def _without_fault(s: State) -> State:
    """Take a refusal for out of date."""
    return replace(s, phase=Phase.IDLE, fault=None, link=Link.DOWN if s.link is Link.REFUSED else s.link)


def hold(s: State, _: ev.TalkHeld, settings: Settings) -> Outcome:
    """The gesture is push-to-talk: the release will end the turn."""
    if s.mode is not Mode.PRESSED:
        return s, []
    return replace(s, mode=Mode.HOLD, closing=False, follow_up=False), []


def release(s: State, event: ev.TalkReleased, settings: Settings) -> Outcome:
    """Held: commit the turn. Tapped: go on listening, silence ends the turn; a tap in a conversation ends it."""
    if s.mode is Mode.TAP:
        return s, []
    if event.held_ms >= settings.hold_ms:
        if event.captured_ms < settings.shortest_ms:
            return replace(s, phase=Phase.IDLE), [do.ClearTurn(), *told(s, do.Sound.TOO_SHORT)]
        return _commit(replace(s, mode=Mode.HOLD))
    if s.closing:
        # Who gives up talking to a dead microphone is told why; a window that nobody asked for closes quietly.
        told_why = [] if s.follow_up and not s.voiced else told(s, None)
        return replace(s, phase=Phase.IDLE, mode=Mode.HOLD), [do.ClearTurn(), *told_why]
    return replace(s, mode=Mode.TAP), []


def _commit(s: State) -> Outcome:
    after = replace(s, phase=Phase.THINKING, owes_reply=True, asked_again=False)
    return after, [do.CommitTurn(), *told(s, do.Sound.SENT)]


# --- voices ---


def wake(s: State, _: ev.VoiceStarted, settings: Settings) -> Outcome:
    """Hands-free: a voice begins a turn."""
    if s.muted or not settings.hands_free:
        return s, []
    after, effects = listening(s, Mode.TAP, cue=False)
    return replace(after, voiced=True), effects


def hear(s: State, _: ev.VoiceStarted | ev.SpeechStarted, settings: Settings) -> Outcome:
    """Somebody speaks in this turn."""
    return replace(s, voiced=True), []


def barge_in(s: State, event: ev.VoiceStarted, settings: Settings) -> Outcome:
    """Full duplex: a voice over the reply interrupts it. Half duplex: a stale fact, nothing."""
    if s.muted or not is_full_duplex(s, settings) or s.mode is not Mode.TAP:
        return s, []
    quiet, effects = interrupting(s)
    after, more = listening(quiet, Mode.TAP, cue=False)
    return replace(after, voiced=True), effects + more


def end_of_speech(s: State, _: ev.VoiceEnded, settings: Settings) -> Outcome:
    """Tap gesture with local turns: commit what was said."""
    if s.mode is not Mode.TAP or settings.turns is not Turns.LOCAL or not s.voiced:
        return s, []
    return _commit(s)


def server_hears_more(s: State, _: ev.SpeechStarted, settings: Settings) -> Outcome:
    """The talker went on after the server ended the turn: drop that answer, listen on."""
    if s.muted or settings.turns is not Turns.SERVER or s.mode is not Mode.TAP:
        return s, []
    quiet, effects = interrupting(s)
    return replace(quiet, phase=Phase.LISTENING, voiced=True, follow_up=False), effects


def server_ended_turn(s: State, _: ev.SpeechStopped, settings: Settings) -> Outcome:
    """The server commits and answers by itself; while the button is held its opinion does not count."""
    if s.mode is not Mode.TAP or settings.turns is not Turns.SERVER:
        return s, []
    after = replace(s, phase=Phase.THINKING, requested=True, doomed=False, asked_again=False)
    return after, told(s, do.Sound.SENT)


def mute_turn(s: State, _: ev.MuteToggled, settings: Settings) -> Outcome:
    """Close the microphone at once and forget the turn."""
    return replace(s, phase=Phase.IDLE, muted=True), [do.ClearTurn(), do.Cue(do.Sound.MUTED)]


def flip_mute(s: State, _: ev.MuteToggled, settings: Settings) -> Outcome:
    """Flip; a reply goes on."""
    muted = not s.muted
    return replace(s, muted=muted), [do.Cue(do.Sound.MUTED)] if muted and s.phase is Phase.IDLE else []


# --- text and pictures ---


def say(s: State, event: ev.TextSaid, settings: Settings) -> Outcome:
    """Typed words are a turn of their own, answered aloud; they end what was going on."""
    quiet, effects = interrupting(s)
    if s.phase is Phase.LISTENING:
        effects.append(do.ClearTurn())
    after = replace(quiet, phase=Phase.THINKING, mode=Mode.HOLD, owes_reply=True, asked_again=False)
    return after, [*effects, do.SendText(event.text)]


def say_again(s: State, event: ev.TextSaid, settings: Settings) -> Outcome:
    """The same where the service refused us: it may have changed its mind."""
    if s.fault is not Fault.LINK:
        return s, fault_told(s)
    return say(_without_fault(s), event, settings)


def show(s: State, event: ev.ImageShown, settings: Settings) -> Outcome:
    """A picture joins the conversation; what is said next may be about it."""
    return s, [do.SendImage(event.image_url)]
