"""What people and scripts may do to a running appliance, and what they may see of it.

Responsible for: the button's gestures with their deadlines, the commands of the control socket, the status and
the followers. Not for: the socket (``panel.control``) or decisions (``conversation``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from appliance import __version__
from appliance.conversation import events as ev
from appliance.conversation.state import Phase
from appliance.engine import Engine
from appliance.errors import ApplianceError
from appliance.panel.gestures import Gestures
from appliance.records import Record

if TYPE_CHECKING:
    from appliance.daemon import Daemon

TAP_S = 0.05
FOLLOWER_BACKLOG = 64
PHASE_WORDS = {
    Phase.IDLE: "ready",
    Phase.LISTENING: "listening",
    Phase.THINKING: "waiting for the answer",
    Phase.SPEAKING: "speaking",
    Phase.FAULT: "something is wrong",
    Phase.UPDATING: "taking an update into use",
    Phase.SETUP: "waiting to be set up, by its own Wi-Fi",
}


class Button:
    """Edges in, conversation events out; keeps the gestures' deadlines."""

    def __init__(self, engine: Engine, hold_ms: int, loop: asyncio.AbstractEventLoop) -> None:
        self._engine, self._loop = engine, loop
        self._gestures = Gestures(hold_ms)
        self._alarm: asyncio.TimerHandle | None = None

    def edge(self, pressed: bool, at_s: float) -> None:
        """The button's line changed at ``at_s`` (monotonic). On the event loop."""
        self._post(self._gestures.edge(pressed, at_s, self._engine.captured_ms), at_s)

    def _expire(self) -> None:
        now = self._loop.time()
        self._post(self._gestures.expire(now, self._engine.captured_ms), now)

    def _post(self, events: list[ev.Event], at_s: float) -> None:
        for event in events:
            if isinstance(event, ev.TalkPressed):
                self._engine.pressed(at_s)
            else:
                self._engine.post(event)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if (deadline_s := self._gestures.deadline_s) is not None:
            self._alarm = self._loop.call_at(deadline_s, self._expire)

    @property
    def stuck(self) -> bool:
        """Say whether the button does not come up."""
        return self._gestures.stuck


class LocalControls:
    """The control socket's view of the daemon: ``panel.commands.Controls``."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._begun_at = time.monotonic()
        self._followers: set[asyncio.Queue[Record]] = set()

    # --- commands ---

    def press(self) -> None:
        """Push the button down."""
        self._daemon.button.edge(True, time.monotonic())

    def release(self) -> None:
        """Let the button up."""
        self._daemon.button.edge(False, time.monotonic())

    def tap(self) -> None:
        """Press shortly: the release is told as if it came 50 ms after the press."""
        now = time.monotonic()
        self._daemon.button.edge(True, now)
        asyncio.get_running_loop().call_later(TAP_S, self._daemon.button.edge, False, now + TAP_S)

    def toggle_mute(self) -> bool:
        """Flip the mute; returns whether the appliance is muted now."""
        self._daemon.engine.post(ev.MuteToggled())
        return self._daemon.engine.state.muted

    def say(self, text: str) -> None:
        """Say something in text."""
        if not text.strip():
            raise ApplianceError("nothing to say", hint="give a text")
        self._daemon.engine.post(ev.TextSaid(text))

    def show(self, image_url: str) -> None:
        """Show a picture (data URI)."""
        self._daemon.engine.post(ev.ImageShown(image_url))

    def set_volume(self, percent: int) -> None:
        """Set the volume in percent."""
        self._daemon.set_volume(percent)

    def try_sound(self) -> None:
        """Try whether frames move; the outcome comes into the status."""
        self._daemon.sound_trial.begin()

    def stand_still(self) -> None:
        """Show an update until the machine is restarted; a minute later go on as before."""
        self._daemon.stand_still()

    # --- status ---

    def status(self) -> dict[str, object]:
        """Build the status of the contract."""
        daemon, state, hearing = self._daemon, self._daemon.engine.state, self._daemon.engine.hearing
        return {
            "phase": state.phase.value,
            "link": state.link.value,
            "muted": state.muted,
            "mic_open": daemon.duplex.microphone_open,
            "microphone": hearing.microphone,
            "duplex": {"mode": "full" if hearing.full_duplex else "half", "reason": hearing.duplex_reason or None},
            "enrolment": daemon.tickets.status(),
            "calibration": daemon.first_start.status(),
            "setup": daemon.guidance.status(),
            "sound_trial": daemon.sound_trial.status(),
            "timers": daemon.timers.running,
            "thumbprint": daemon.tickets.thumbprint or None,
            "led": daemon.engine.mirror.led.value,
            "uptime_s": round(time.monotonic() - self._begun_at, 1),
            "version": __version__,
            "volume": daemon.volume,
            "button_stuck": daemon.button.stuck,
            "counters": self.counters(),
            "last_error": self._last_error() or None,
            "last_error_code": daemon.session.trouble or None,
        }

    def _last_error(self) -> str:
        engine = self._daemon.engine
        link = self._daemon.tickets.last_error or self._daemon.session.last_error
        return engine.last_error or self._daemon.panel_trouble or link or engine.hearing.microphone_trouble

    def counters(self) -> dict[str, int | float]:
        """Gather the counters of all parts."""
        daemon = self._daemon
        found: dict[str, int | float] = {**daemon.duplex.counters(), **daemon.engine.counters}
        found.update(daemon.protocol.counters)
        found["uplink_dropped_ms"] = daemon.protocol.uplink.dropped_bytes // 48
        return found

    def losses(self) -> tuple[float, float]:
        """Return xruns and dropped milliseconds so far."""
        counted = self._daemon.duplex.counters()
        xruns = sum(counted.get(k, 0) for k in ("overruns", "underruns", "starvations"))
        return xruns, self._daemon.protocol.uplink.dropped_bytes / 48

    def status_line(self) -> str:
        """Say in one line how we are, for ``systemctl status``."""
        state, hearing = self._daemon.engine.state, self._daemon.engine.hearing
        parts = [PHASE_WORDS[state.phase]]
        if state.muted:
            parts.append("muted")
        parts.append(f"link {state.link.value}")
        if hearing.microphone != "ok":
            parts.append(f"microphone {hearing.microphone}")
        if hearing.degraded:
            parts.append(f"half duplex ({hearing.duplex_reason})")
        error = self._last_error()
        return ", ".join(parts) + (f"; last: {error}" if error else "")

    # --- followers ---

    async def follow(self) -> AsyncIterator[Record]:
        """Yield every record from now on; a follower who does not keep up loses the oldest."""
        queue: asyncio.Queue[Record] = asyncio.Queue(FOLLOWER_BACKLOG)
        self._followers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._followers.discard(queue)

    def publish(self, record: Record) -> None:
        """Hand a record to every follower."""
        for queue in self._followers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(record)

    def state_changed(self) -> None:
        """Tell the followers that phase, link or mute changed."""
        if self._followers:
            state = self._daemon.engine.state
            self.publish({"event": "state", "phase": state.phase.value, "link": state.link.value, "muted": state.muted})
