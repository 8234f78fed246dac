"""Rules for the first minutes of a device, and for the set-up page that its button opens."""

from __future__ import annotations

from dataclasses import replace

from appliance.conversation import effects as do
from appliance.conversation import events as ev
from appliance.conversation.rules import Outcome, fault_told, interrupting, rest
from appliance.conversation.state import Fault, Link, Mode, Phase, Settings, State

# --- at its start ---


def settings_refused(s: State, _: ev.SettingsRefused, settings: Settings) -> Outcome:
    """Say so and show it, until somebody presses: what there was before still works."""
    after = replace(s, phase=Phase.FAULT, fault=Fault.SETTINGS)
    return after, fault_told(after)


def settings_taken(s: State, _: ev.SettingsTaken, settings: Settings) -> Outcome:
    """Reach for the service unasked: that enrols, or says the code."""
    if s.link is not Link.DOWN:
        return s, []
    return replace(s, link=Link.OPENING, unasked=False), [do.Connect()]


def ready(s: State, _: ev.FoundReady, settings: Settings) -> Outcome:
    """Say that it is ready."""
    return s, [do.Cue(do.Sound.READY), do.Explain("enrolled")]


def unreachable(s: State, event: ev.FoundUnreachable, settings: Settings) -> Outcome:
    """Say what is missing; the next press tries again, and says it again."""
    return replace(s, offline=True), [do.Cue(do.Sound.OFFLINE), do.Explain(event.code)]


# --- the set-up page ---


def ask(s: State, event: ev.TalkHeldLong, settings: Settings) -> Outcome:
    """Open the set-up page, if nobody spoke and the appliance cannot work now, or was just switched on.

    Else a hold of any length is a question: a working appliance does not lose its network by a long press.
    """
    speaks = s.phase is Phase.LISTENING and (s.voiced or s.mode is not Mode.HOLD)
    at_work = s.link is Link.UP and not event.fresh
    elsewhere = s.phase is Phase.IDLE and not s.muted  # the button's turn is over already
    if not settings.setup or speaks or at_work or elsewhere:
        return s, []
    clear: list[do.Effect] = [do.ClearTurn()] if s.phase is Phase.LISTENING else []
    quiet, effects = interrupting(s)
    after = replace(rest(quiet), phase=Phase.SETUP, fault=None)
    return after, [*effects, *clear, do.BeginSetup(), do.Cue(do.Sound.CODE), do.Explain("setup")]


def invite_again(s: State, _: ev.PhaseTimeout, settings: Settings) -> Outcome:
    """Say the password of the Wi-Fi again."""
    return s, [do.Cue(do.Sound.CODE), do.Explain("setup")]


def leave(s: State, _: ev.TalkPressed, settings: Settings) -> Outcome:
    """A press ends it."""
    return _closed(s), [do.EndSetup(), do.Cue(do.Sound.SENT)]


def failed(s: State, _: ev.SetupFailed, settings: Settings) -> Outcome:
    """Say that it was not the right Wi-Fi or password; the page waits for another try."""
    return s, [do.Cue(do.Sound.ERROR), do.Explain("not_joined")]


def ended(s: State, event: ev.SetupEnded, settings: Settings) -> Outcome:
    """The page is closed: with new settings in use, or because its time was over."""
    if event.done:
        return _closed(s), [do.Cue(do.Sound.READY)]
    return replace(_closed(s), offline=s.link is not Link.UP), [do.Cue(do.Sound.OFFLINE)]


def _closed(s: State) -> State:
    """Go on; what a service refused before may be out of date, and the next press finds out."""
    return replace(s, phase=Phase.IDLE, link=Link.DOWN if s.link is Link.REFUSED else s.link)


def warn(s: State, _: ev.TalkHeldOn, settings: Settings) -> Outcome:
    """Warn before everything is forgotten."""
    return s, [do.Cue(do.Sound.ERROR), do.Explain("reset_warning")]


def spare(s: State, _: ev.TalkHeldOut, settings: Settings) -> Outcome:
    """Held on after the warning: nothing is forgotten. A button that is stuck never lets go in time."""
    return s, [do.Cue(do.Sound.SENT)]


def forget(s: State, event: ev.TalkReleased, settings: Settings) -> Outcome:
    """Let go after the warning and before it was over: back to how it came."""
    if not ev.FORGET_FROM_MS <= event.held_ms < ev.FORGET_UNTIL_MS:
        return s, []
    return replace(s, phase=Phase.UPDATING), [do.EndSetup(), do.ForgetAll(), do.Cue(do.Sound.MUTED)]
