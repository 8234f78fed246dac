"""Rules for what the model does: responses, their audio, tools."""

from __future__ import annotations

from dataclasses import replace

from appliance.conversation import effects as do
from appliance.conversation import events as ev
from appliance.conversation.rules import Outcome, interrupting
from appliance.conversation.state import Mode, Phase, Settings, State, Turns


def refuse_response(s: State, event: ev.ResponseStarted, settings: Settings) -> Outcome:
    """Nobody waits for it: cancel."""
    if s.response is not None:
        return s, [do.CancelResponse(event.response_id)]
    after = replace(s, response=event.response_id, requested=False, doomed=True)
    return after, [do.CancelResponse(event.response_id)]


def answer_in_listening(s: State, event: ev.ResponseStarted, settings: Settings) -> Outcome:
    """The server that ends turns answers: the turn is over. Otherwise nobody waits for it: cancel."""
    if settings.turns is Turns.SERVER and s.mode is Mode.TAP and not s.doomed and s.response is None:
        return admit(replace(s, phase=Phase.THINKING, asked_again=False), event, settings)
    return refuse_response(s, event, settings)


def admit(s: State, event: ev.ResponseStarted, settings: Settings) -> Outcome:
    """Play it, unless it was interrupted before it was announced, or another one is active."""
    if s.doomed or s.response is not None:
        return refuse_response(s, event, settings)
    after = replace(s, response=event.response_id, requested=False, owes_reply=False, offline=False)
    return after, [do.Admit(event.response_id)]


def speak(s: State, event: ev.AudioStarted, settings: Settings) -> Outcome:
    """The reply sounds."""
    if s.doomed or event.response_id != s.response:
        return s, []
    return replace(s, phase=Phase.SPEAKING, audible=True, cut=False), []


def run_tool(s: State, event: ev.ToolRequested, settings: Settings) -> Outcome:
    """Run it; the reply waits for it. Of an interrupted response: answer it without running it."""
    if s.doomed:
        return s, [do.DeclineTool(event.call)]
    return replace(s, calls=s.calls | {event.call.call_id}), [do.RunTool(event.call)]


def decline_tool(s: State, event: ev.ToolRequested, settings: Settings) -> Outcome:
    """Nobody waits for it, but every call must be answered."""
    return s, [do.DeclineTool(event.call)]


def tool_answered(s: State, event: ev.ToolFinished, settings: Settings) -> Outcome:
    """Hand the answer over; the model owes words for it, if the person still waits."""
    send: list[do.Effect] = [do.SendToolOutput(event.call_id, event.output)]
    if event.call_id not in s.calls:
        return s, send
    return replace(s, calls=s.calls - {event.call_id}, owes_reply=True), send


def ring(s: State, _: ev.TimerRang, settings: Settings) -> Outcome:
    """Ring, whatever is going on."""
    return s, [do.Cue(do.Sound.TIMER)]


def forget_response(s: State, event: ev.ResponseFinished, settings: Settings) -> Outcome:
    """It is over."""
    if event.response_id != s.response:
        return s, []
    return replace(s, response=None, doomed=False), []


def finish_response(s: State, event: ev.ResponseFinished, settings: Settings) -> Outcome:
    """Over; a failure that the person would otherwise meet with silence gets a cue."""
    after, effects = forget_response(s, event, settings)
    fell_silent = event.outcome is ev.Outcome.INCOMPLETE and not s.audible
    if event.response_id != s.response or s.doomed or not (event.outcome is ev.Outcome.FAILED or fell_silent):
        return after, effects
    effects.append(do.Cue(do.Sound.ERROR))
    return (after if s.audible else replace(after, mode=Mode.HOLD)), effects


def response_refused(s: State, _: ev.ResponseRefused, settings: Settings) -> Outcome:
    """No response will come: say so."""
    if s.doomed and s.response is None:
        return replace(s, requested=False, doomed=False), []
    return replace(s, requested=False, mode=Mode.HOLD), [do.Cue(do.Sound.ERROR)]


def forget_request(s: State, _: ev.ResponseRefused, settings: Settings) -> Outcome:
    """No response will come, and nobody waits."""
    return replace(s, requested=False, doomed=s.doomed and s.response is not None), []


def turn_rejected(s: State, _: ev.TurnRejected, settings: Settings) -> Outcome:
    """Too short to be a turn: say so and drop the answer to it."""
    quiet, effects = interrupting(s)
    return replace(quiet, phase=Phase.IDLE), [*effects, do.Cue(do.Sound.TOO_SHORT)]


def drained(s: State, _: ev.PlaybackDrained, settings: Settings) -> Outcome:
    """Silence again: more is coming, or the conversation rests; a broken link is owned up to."""
    after = replace(s, audible=False, cut=False, phase=Phase.THINKING if s.awaits else s.phase)
    return after, [do.Cue(do.Sound.OFFLINE)] if s.cut else []


def silence(s: State, _: ev.PlaybackDrained, settings: Settings) -> Outcome:
    """Silence where none was waited for."""
    return replace(s, audible=False, cut=False), []
