"""Guides whoever sets the appliance up: says at its start what is missing, and has the set-up page opened and closed.

What is told at a start, the first that applies: the settings on the card cannot be used or read; no network is known
(or new settings lead to none); with new settings: the code to approve, or that it is ready. At all other starts it is
silent. Once for each time the settings were looked at, however often the appliance is started again.
Responsible for: when. Not for: words (``conversation``), taking settings over (``first_boot``), the page (``hotspot``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from appliance.conversation import effects as do
from appliance.conversation import events as ev
from appliance.conversation.lines import SETUP
from appliance.conversation.state import Link, Phase
from appliance.engine import Engine
from appliance.first_boot import outcome
from appliance.hotspot import request
from appliance.hotspot.request import Progress, Wish
from appliance.system import routes

log = logging.getLogger(__name__)
GUIDED = "guided"
LOOK_S = 1.0
CABLE_S = 20.0  # a cable, or nothing
WIFI_S = 60.0  # until a Wi-Fi that is known has let us in
TRIES, TRY_AGAIN_S = 3, 20.0  # to reach the service: the clock of a Pi is set a while after the network is there
STARTS_S = 30.0  # the other unit, and a Wi-Fi of our own
LONGEST_S = 660.0  # it closes the page after ten minutes by itself


class Guidance:
    """All methods are for the event loop."""

    def __init__(
        self,
        trouble: Callable[[], str],
        runtime: str | None,
        *,
        connected: Callable[[], bool] = routes.is_connected,
    ) -> None:
        """``trouble`` names what kept the last session from being opened; ``runtime`` is our own run directory."""
        self._trouble, self._runtime, self._connected = trouble, runtime, connected
        self._told = Path(runtime).parent / outcome.NAME if runtime else outcome.DIRECTORY
        self._found = outcome.load(self._told)
        self._change = asyncio.Event()
        self._wish: Wish | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def page(self) -> bool:
        """Say whether there is a set-up page to be opened."""
        return self._found is not None and self._found.page and self._runtime is not None

    @property
    def password(self) -> str:
        """The password of the set-up page's Wi-Fi, in groups as it is said."""
        digits = self._wish.password if self._wish else ""
        return "-".join(digits[at : at + 3] for at in range(0, len(digits), 3))

    def code(self, code: str) -> str:
        """Say more exactly what is wrong: out of reach without any network is no fault of the service."""
        return "no_network" if code == "unreachable" and not self._connected() else code

    def changed(self) -> None:
        """Notice that phase or link may have changed."""
        self._change.set()

    # --- at the start ---

    async def begin(self, engine: Engine) -> None:
        """Tell what there is to tell, once."""
        found = self._found
        if found is None or not self._first_time(found.id):
            return
        if found.settings in ("refused", "out_of_reach"):
            await self._idle(engine)
            engine.post(ev.SettingsRefused())
            return
        waited_for = found.settings == "taken"
        if not await self._network(WIFI_S if found.wifi_known else CABLE_S):
            if waited_for or not found.wifi_known:
                await self._idle(engine)
                engine.post(ev.FoundUnreachable("no_network"))
            return
        if waited_for:
            await self._reach(engine)

    def _first_time(self, number: str) -> bool:
        if self._runtime is None:
            return True
        mark = Path(self._runtime) / GUIDED
        try:
            if mark.read_text() == number:
                return False
        except (OSError, ValueError):
            pass
        try:
            mark.write_text(number)
        except OSError as error:
            log.warning("cannot write %s: %s", mark, error.strerror)
        return True

    async def _idle(self, engine: Engine) -> None:
        while engine.state.phase is not Phase.IDLE or engine.state.calibrating:
            await self._next_change()

    async def _next_change(self) -> None:
        self._change.clear()
        await self._change.wait()

    async def _network(self, within_s: float) -> bool:
        for _ in range(round(within_s / LOOK_S)):
            if self._connected():
                return True
            await asyncio.sleep(LOOK_S)
        return self._connected()

    async def _reach(self, engine: Engine) -> None:
        """Reach for the service, which enrols or says a code; tell how it went, unless somebody presses meanwhile."""
        for left in reversed(range(TRIES)):
            await self._idle(engine)
            engine.post(ev.SettingsTaken())
            while engine.state.phase is Phase.IDLE and engine.state.link is Link.OPENING:
                await self._next_change()
            if engine.state.phase is not Phase.IDLE:
                return  # a fault that was told, or a person
            if engine.state.link is Link.UP:
                engine.post(ev.FoundReady())
                return
            if left:
                await asyncio.sleep(TRY_AGAIN_S)
        engine.post(ev.FoundUnreachable(self._trouble() or "unreachable"))

    # --- the set-up page ---

    def act(self, effect: do.BeginSetup | do.EndSetup | do.ForgetAll, engine: Engine) -> None:
        """Wish for the page, or for its end, or for everything to be forgotten."""
        directory = Path(self._runtime or ".")
        self._stop_watching()
        try:
            match effect:
                case do.BeginSetup():
                    self._wish = request.ask(directory, SETUP)
                    self._watching = asyncio.get_running_loop().create_task(self._watch(engine, self._wish))
                case do.EndSetup():
                    self._wish = None
                    request.withdraw(directory)
                case do.ForgetAll():
                    request.ask(directory, "forget")
        except OSError as error:
            log.error("the set-up page cannot be asked for: %s", error.strerror)
            asyncio.get_running_loop().call_soon(engine.post, ev.SetupEnded(done=False))

    async def _watch(self, engine: Engine, wish: Wish) -> None:
        """Follow how it goes with the page, until it is closed, or was never opened."""
        failures, now = 0, Progress(wish.id, "over")
        for second in range(round(LONGEST_S)):
            await asyncio.sleep(LOOK_S)
            found = request.progress(self._told, wish)
            if found is None and second * LOOK_S < STARTS_S:
                continue
            if found is None:
                log.error("nobody opens the set-up page; is voice-appliance-setup.path started?")
                break
            now = found
            if now.state != "open":
                break
            if now.failures > failures:
                failures = now.failures
                engine.post(ev.SetupFailed())
        self._wish = self._watching = None
        request.withdraw(Path(self._runtime or "."))
        engine.post(ev.SetupEnded(done=now.state == "done"))

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def close(self) -> None:
        """Stop watching; a page that is open is closed."""
        self._stop_watching()
        if self._wish is not None and self._runtime is not None:
            request.withdraw(Path(self._runtime))

    def status(self) -> dict[str, object] | None:
        """Say what came of the settings on the card, for the control socket; ``None``: nobody looks for any."""
        if self._found is None:
            return None
        found = self._found
        return {"settings": found.settings, "problem": found.problem or None, "page_open": self._wish is not None}
