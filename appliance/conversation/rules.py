"""What several cells share, and the state-triggered rules that follow every event.

Responsible for: beginning a turn, telling how it ended, interrupting, coming to rest, and :func:`settle`. Not for:
which event leads to which of these (``transitions``).
"""

from __future__ import annotations

from dataclasses import replace

from appliance.conversation import effects as do
from appliance.conversation.events import Ailment
from appliance.conversation.state import Chore, Fault, Link, Mode, Phase, Settings, State

Outcome = tuple[State, list[do.Effect]]
_NO_CALLS: frozenset[str] = frozenset()


def listening(s: State, mode: Mode, *, cue: bool, follow_up: bool = False) -> Outcome:
    """Enter LISTENING with a fresh turn."""
    after = replace(
        s, phase=Phase.LISTENING, mode=mode, follow_up=follow_up, voiced=False, closing=False, offline=False
    )
    sound: list[do.Effect] = [do.Cue(do.Sound.LISTENING)] if cue else []
    return after, [do.BeginTurn(), *sound]


def told(s: State, sound: do.Sound | None) -> list[do.Effect]:
    """Tell how a turn ended; one that a dead microphone listened to ended in an error, whatever else it did.

    Only told: what was captured is treated as ever, since whoever called the microphone dead may be wrong. An
    overdriven one hears, if badly, and the answer will show it.
    """
    if s.ailment is Ailment.ZERO:
        sound = do.Sound.ERROR
    return [do.Cue(sound)] if sound else []


def fault_told(s: State) -> list[do.Effect]:
    """Tell what is wrong, by a sound and where there are words for it in words."""
    if s.fault is Fault.DEVICE:
        return [do.Cue(do.Sound.ERROR)]
    if s.fault is Fault.SETTINGS:
        return [do.Cue(do.Sound.ERROR), do.Explain("bad_settings")]
    return [do.Cue(do.Sound.CODE if s.fault is Fault.ENROLMENT else do.Sound.ERROR), do.Explain()]


def pending_cleared(s: State) -> State:
    """Forget every response, request, call and debt."""
    return replace(
        s, response=None, requested=False, doomed=False, calls=_NO_CALLS, owes_reply=False, asked=0, asked_again=False
    )


def interrupting(s: State) -> Outcome:
    """Stop the reply: what was asked for or announced is doomed, tools no longer matter, nothing is owed.

    The doomed response stays on the books until the server has finished it, since only one response at a time
    may write the conversation.
    """
    doomed = s.response is not None or s.requested
    busy = doomed or s.audible or bool(s.calls)
    quiet = replace(s, doomed=doomed, audible=False, cut=False, calls=_NO_CALLS, owes_reply=False)
    return replace(quiet, asked=0, asked_again=False), [do.Interrupt()] if busy else []


def rest(s: State) -> State:
    """Return to IDLE with the marks of the turn wiped."""
    return replace(s, phase=Phase.IDLE, follow_up=False, voiced=False, closing=False)


def settle(s: State, settings: Settings) -> Outcome:
    """Apply the state-triggered rules to a fixed point; returns the settled state and their effects."""
    effects: list[do.Effect] = []
    while True:
        after, more = _settle_once(s, settings)
        if after == s:
            return _normal(s), effects
        s = after
        effects += more


def _settle_once(s: State, settings: Settings) -> Outcome:
    if s.link is Link.REFUSED and s.phase in (Phase.IDLE, Phase.LISTENING, Phase.THINKING):
        clear: list[do.Effect] = [do.ClearTurn()] if s.phase is Phase.LISTENING else []
        after = replace(rest(s), phase=Phase.FAULT, fault=Fault.LINK)
        return after, [*clear, *fault_told(after)]
    absent = s.link is Link.DOWN or (s.link is Link.OPENING and s.unasked)  # an attempt for nobody may take its time
    if s.phase in (Phase.LISTENING, Phase.THINKING) and absent and (_speaks(s) or s.awaits):
        return replace(s, link=Link.OPENING, unasked=False), [do.Connect()]
    if s.phase in (Phase.THINKING, Phase.SPEAKING):
        return _settle_reply(s, settings)
    if s.phase is Phase.IDLE:
        return _settle_chores(s)
    if s.phase is Phase.FAULT and Chore.UPDATE in s.chores:
        return _update(s)  # it may be what heals the fault
    return s, []


def _speaks(s: State) -> bool:
    return s.phase is Phase.LISTENING and (s.voiced or not s.follow_up)


def _settle_reply(s: State, settings: Settings) -> Outcome:
    free = s.response is None and not s.requested and not s.calls
    if s.owes_reply and free and s.link is Link.UP:
        return _ask(s, settings)
    if s.awaits or s.audible:
        return s, []
    if s.mode is Mode.TAP and not s.muted and settings.follow_up_s > 0 and s.link is not Link.REFUSED:
        return listening(s, Mode.TAP, cue=False, follow_up=True)
    return rest(s), []


def _ask(s: State, settings: Settings) -> Outcome:
    """Ask the model, so often a turn and no more: one that only calls tools would think, and cost, for ever."""
    if s.asked >= settings.most_responses:
        return replace(s, owes_reply=False, mode=Mode.HOLD), [do.Cue(do.Sound.ERROR)]
    after = replace(s, owes_reply=False, requested=True, asked=s.asked + 1)
    return after, [do.RequestResponse(may_call_tools=after.asked < settings.most_responses)]


def _settle_chores(s: State) -> Outcome:
    if Chore.UPDATE in s.chores:
        return _update(s)
    return s, []


def _update(s: State) -> Outcome:
    return replace(s, chores=s.chores - {Chore.UPDATE}, phase=Phase.UPDATING, fault=None), [do.InstallUpdate()]


def _normal(s: State) -> State:
    """Wipe marks that mean nothing in this phase, so that equal situations are equal states."""
    if s.phase is not Phase.LISTENING and (s.follow_up or s.voiced or s.closing):
        s = replace(s, follow_up=False, voiced=False, closing=False)
    if s.phase is not Phase.THINKING and s.asked_again:
        s = replace(s, asked_again=False)
    at_rest = s.phase in (Phase.IDLE, Phase.FAULT, Phase.UPDATING, Phase.SETUP)
    if at_rest and (s.mode is not Mode.HOLD or s.owes_reply or s.calls):
        s = replace(s, mode=Mode.HOLD, owes_reply=False, calls=_NO_CALLS)
    if s.asked and s.phase not in (Phase.THINKING, Phase.SPEAKING):
        s = replace(s, asked=0)
    if s.cut and s.phase is not Phase.SPEAKING:
        s = replace(s, cut=False)
    if s.calibrating and (s.phase is not Phase.IDLE or s.muted):
        s = replace(s, calibrating=False)
    if s.unasked and s.link is not Link.OPENING:
        s = replace(s, unasked=False)
    return s
