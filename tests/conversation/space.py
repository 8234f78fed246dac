"""The whole state space of the conversation, found by breadth-first search over a closed alphabet of events."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from appliance.conversation import events as ev
from appliance.conversation.effects import Effect
from appliance.conversation.state import Settings, State
from appliance.conversation.transitions import step

CALL = ev.ToolCall("call_1", "set_timer", "{}")


def alphabet(settings: Settings) -> list[ev.Event]:
    """Every event, with arguments for each way it can matter."""
    return [
        ev.TalkPressed(),
        ev.TalkHeld(),
        ev.TalkReleased(held_ms=settings.hold_ms - 1, captured_ms=340),
        ev.TalkReleased(held_ms=settings.hold_ms, captured_ms=settings.shortest_ms - 1),
        ev.TalkReleased(held_ms=2000, captured_ms=2000),
        ev.TalkHeldLong(fresh=False),
        ev.TalkHeldLong(fresh=True),
        ev.TalkHeldOn(),
        ev.TalkHeldOut(),
        ev.TalkReleased(held_ms=ev.FORGET_FROM_MS, captured_ms=9000),
        ev.VoiceStarted(),
        ev.VoiceEnded(),
        ev.SpeechStarted(),
        ev.SpeechStopped(),
        ev.MuteToggled(),
        ev.TextSaid("hello"),
        ev.ImageShown("data:image/png;base64,"),
        ev.TurnRejected(),
        ev.ResponseStarted("resp_1"),
        ev.ResponseStarted("resp_2"),
        ev.AudioStarted("resp_1"),
        ev.ResponseFinished("resp_1", ev.Outcome.COMPLETED),
        ev.ResponseFinished("resp_1", ev.Outcome.FAILED),
        ev.ResponseFinished("resp_1", ev.Outcome.INCOMPLETE),
        ev.ResponseFinished("resp_2", ev.Outcome.CANCELLED),
        ev.ResponseRefused("server_error"),
        ev.ToolRequested(CALL),
        ev.ToolFinished(CALL.call_id, "{}"),
        ev.TimerRang(),
        ev.PlaybackDrained(),
        ev.PhaseTimeout(),
        ev.LinkOpened(),
        ev.LinkLost(was_up=True),
        ev.LinkLost(was_up=False),
        ev.LinkRefused("insufficient_quota"),
        ev.LinkRefused(ev.ENROLMENT_PENDING),
        ev.Enrolled(),
        ev.EnrolmentEnded("expired_token"),
        ev.UpdateStaged(),
        ev.DeviceFailed(),
        ev.DeviceRestored(),
        ev.MicrophoneAiled(ev.Ailment.ZERO),
        ev.MicrophoneAiled(ev.Ailment.CLIPPED),
        ev.MicrophoneHealed(),
        ev.DuplexLost(),
        ev.DuplexRestored(),
        ev.CalibrationStarted(),
        ev.CalibrationEnded(),
        ev.SettingsRefused(),
        ev.SettingsTaken(),
        ev.FoundReady(),
        ev.FoundUnreachable("no_network"),
        ev.SetupFailed(),
        ev.SetupEnded(done=True),
        ev.SetupEnded(done=False),
    ]


@dataclass
class Space:
    """All reachable states, and for each the step that every event leads to."""

    settings: Settings
    steps: dict[State, list[tuple[ev.Event, State, list[Effect]]]] = field(default_factory=dict)


def explore(settings: Settings) -> Space:
    """Search from the initial state until nothing new appears."""
    space, events = Space(settings), alphabet(settings)
    waiting = deque([State()])
    known = {state: state for state in waiting}  # one object a state: a million equal ones would fill the memory
    while waiting:
        state = waiting.popleft()
        found = []
        for event in events:
            after, effects, _ = step(state, event, settings)
            if after not in known:
                known[after] = after
                waiting.append(after)
            found.append((event, known[after], effects))
        space.steps[state] = found
    return space
