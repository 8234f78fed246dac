"""A walk through the table: events in, what came of them kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from appliance.conversation import effects as do
from appliance.conversation import events as ev
from appliance.conversation.state import Led, Link, Mirror, Phase, Settings, State, mirror
from appliance.conversation.transitions import step

HOLD_RELEASE = ev.TalkReleased(held_ms=1500, captured_ms=1500)
TAP_RELEASE = ev.TalkReleased(held_ms=80, captured_ms=80)


@dataclass
class Walk:
    """Feeds events and keeps what came of them."""

    settings: Settings = field(default_factory=Settings)
    state: State = field(default_factory=State)
    done: list[do.Effect] = field(default_factory=list)

    def tell(self, *events: ev.Event) -> list[do.Effect]:
        self.done = []
        for event in events:
            self.state, effects, _ = step(self.state, event, self.settings)
            self.done += effects
        return self.done

    def is_in(self, phase: Phase) -> bool:
        return self.state.phase is phase

    def shows(self, led: Led) -> bool:
        return self.mirror().led is led

    def mirror(self) -> Mirror:
        return mirror(self.state, self.settings)

    def answered(self, response: str = "resp_1") -> None:
        """Bring the walk to a reply that sounds."""
        self.tell(ev.ResponseStarted(response), ev.AudioStarted(response))


def up(**settings: object) -> Walk:
    walk = Walk(Settings(**settings))  # type: ignore[arg-type]  # keywords pass through unchanged
    walk.state = State(link=Link.UP)
    return walk
