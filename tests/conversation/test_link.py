"""The link is up, being worked at, refused, or nobody needs it: a fifth thing does not exist.

The search knows beside the state whether a session is at work, by the effects alone: only one at work can open, be
lost or be refused. So the daemon's watchdog may take a link without anybody at work for what it is: a bug.
"""

from __future__ import annotations

from collections import deque

import pytest

from appliance.conversation import effects as do
from appliance.conversation import events as ev
from appliance.conversation.state import Link, Phase, Settings, State, Turns
from appliance.conversation.transitions import step
from tests.conversation.space import alphabet

OF_A_SESSION = (ev.LinkOpened, ev.LinkLost, ev.LinkRefused)
ENDS = (do.Disconnect, do.Reconnect)


def worked(effects: list[do.Effect], at_work: bool) -> bool:
    for effect in effects:
        if isinstance(effect, do.Connect):
            at_work = True
        elif isinstance(effect, ENDS):
            at_work = False
    return at_work


def complaint(state: State, at_work: bool) -> str:
    if (state.link in (Link.OPENING, Link.UP)) is not at_work:
        return "the link is not what the session does"
    waits = state.phase is Phase.THINKING and state.awaits
    talks = state.phase is Phase.LISTENING and (state.voiced or not state.follow_up)
    if (waits or talks) and not at_work:
        return "somebody waits, and nobody works at the link"
    return ""


@pytest.mark.parametrize("settings", [Settings(), Settings(turns=Turns.SERVER, hands_free=True, full_duplex=True)])
def test_whoever_waits_has_somebody_at_work(settings: Settings) -> None:
    events = alphabet(settings)
    waiting = deque([(State(), False)])
    known = {waiting[0]}
    while waiting:
        state, at_work = waiting.popleft()
        for event in events:
            of_a_session = isinstance(event, OF_A_SESSION)
            if of_a_session and not at_work:
                continue
            over = isinstance(event, ev.LinkLost | ev.LinkRefused)
            after, effects, _ = step(state, event, settings)
            found = after, worked(effects, at_work and not over)
            wrong = complaint(*found)
            assert not wrong, f"{wrong}: {state} at_work={at_work} + {event} -> {after}"
            if found not in known:
                known.add(found)
                waiting.append(found)
    assert len(known) > 1000
