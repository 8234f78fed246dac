"""Tries on request whether frames move through both sound cards, silently: how an update finds out that it is well.

Responsible for: when that may be, the light meanwhile (the microphone is open for a second, nothing is sent), and the
outcome for the control socket. A microphone that a person has muted stays closed. Not for: moving frames (``audio``).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal

from appliance.audio.duplex import Duplex
from appliance.conversation import events as ev
from appliance.conversation.state import Fault, Phase
from appliance.engine import Engine
from appliance.errors import ApplianceError

Outcome = Literal["running", "moves", "muted", "fails", "disturbed"]


class SoundTrial:
    """At most one trial at a time. All methods are for the event loop."""

    def __init__(self, engine: Engine, duplex: Duplex) -> None:
        self._engine, self._duplex = engine, duplex
        self._state: Outcome | None = None
        self._why = ""

    def begin(self) -> None:
        """Begin a trial; its outcome will be in :meth:`status`.

        Raises:
            ApplianceError: the appliance is needed for something else.
        """
        state = self._engine.state
        if state.phase is Phase.FAULT and state.fault is Fault.DEVICE:
            self._state, self._why = "fails", self._engine.last_error or "a sound card is gone"
            return
        if state.phase is not Phase.IDLE or state.calibrating:
            raise ApplianceError("the sound cards are in use", hint="try them when it is idle")
        loop, muted = asyncio.get_running_loop(), state.muted
        self._state, self._why = "running", ""
        if not muted:
            self._engine.post(ev.CalibrationStarted())

        def tried(why: str | None) -> None:  # in the audio thread
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are ending
                loop.call_soon_threadsafe(self._ended, why, muted)

        self._duplex.try_cards(tried, microphone=not muted)

    def _ended(self, why: str | None, muted: bool) -> None:
        if why is None:
            self._state, self._why = "disturbed", "something else needed a sound card"
        elif why:
            self._state, self._why = "fails", why
        else:
            self._state, self._why = "muted" if muted else "moves", ""
        if self._engine.state.calibrating:
            self._engine.post(ev.CalibrationEnded())

    def status(self) -> dict[str, object] | None:
        """Say how the last trial went, for the control socket; ``None`` before the first."""
        return None if self._state is None else {"state": self._state, "why": self._why}
