"""Random people and random faults around a running daemon, from one seed.

Responsible for: what happens, in which order, and for asking of each question whether it came to anything: an answer
that sounds, a sound that owns up to there being none, or the person's own change of mind.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from tests.fakes.realtime_server import Script
from tests.scenarios.home import tone
from tests.scenarios.voices import go_forward
from tests.soak.home import RATE, SoakHome

PATIENCE_S = 40.0  # above all that the device takes for an attempt, a second one, and owning up
PICTURE = "data:image/png;base64,iVBORw0KGgo="
REPLIES = {seconds: tone(seconds, 24_000).tobytes() for seconds in (0.4, 1.0, 2.5)}


class People:
    """One household. ``done`` counts what was done and met."""

    def __init__(self, home: SoakHome, seed: int) -> None:
        self.home, self.chance = home, random.Random(seed)
        self.done: Counter[str] = Counter()
        self.unanswered: list[str] = []
        self._voice = go_forward(RATE)

    def run(self, until: float) -> None:
        """Live until a time (monotonic s)."""
        self._reload(good=True)
        while time.monotonic() < until:
            self._round()

    def _round(self) -> None:
        chance, server = self.chance, self.home.server
        server.heard.clear()
        server.audio.clear()
        server.script = self._script()
        fault = chance.choice([None, None, *self._faults()])
        if fault is not None:
            self.done[f"fault {fault.__name__.strip('_')}"] += 1
            fault()
        chance.choice([self._hold, self._hold, self._tap, self._tap, self._say, self._interrupt, self._fidget])()
        self._heal()
        time.sleep(chance.uniform(0.0, 1.0))

    def _script(self) -> Script:
        chance = self.chance
        script = Script(reply=REPLIES[chance.choice(list(REPLIES))], pace=chance.choice([0.0, 0.3, 1.0]))
        script.think_s = chance.choice([0.0, 0.2, 1.0])
        match chance.randrange(12):
            case 0:
                script.silent = True
            case 1:
                script.finish = False
            case 2:
                script.announce = False
            case 3:
                body = {"type": "server_error", "code": "server_error", "message": "we are sorry"}
                script.errors = {"response.create": body}
            case 4:
                body = {"type": "invalid_request_error", "code": "rate_limit_exceeded", "message": "slow down"}
                script.errors = {"response.create": body}
            case 5:
                call = {"call_id": f"c{chance.randrange(10**6)}", "name": "list_timers", "arguments": "{}"}
                script.calls = [call]
            case 6:
                script.gaps = (0.0, 0.5, 0.0)
        return script

    # --- faults ---

    def _faults(self) -> list[Callable[[], None]]:
        return [
            self._cut,
            self._cut,
            self._refused_at_the_door,
            self._slow_door,
            self._provisioning_unwell,
            self._provisioning_hangs,
            self._unplugged,
            self._xrun,
            self._deaf,
            self._broken_configuration,
        ]

    def _cut(self) -> None:
        """The socket ends a moment from now, whatever goes on then."""
        code = self.chance.choice([1000, 1001, 1006, 1011])
        wait_s = self.chance.uniform(0.0, 3.0)
        self.home.background.loop.call_soon_threadsafe(
            self.home.background.loop.call_later, wait_s, self._hang_up_now, code
        )

    def _hang_up_now(self, code: int) -> None:
        if self.home.server.connections:
            self._hanging = self.home.background.loop.create_task(self.home.server.hang_up(code))

    def _refused_at_the_door(self) -> None:
        self.home.server.script.refuse_status = self.chance.choice([429, 500, 503])

    def _slow_door(self) -> None:
        self.home.server.script.open_delay_s = self.chance.choice([1.0, 4.0])

    def _provisioning_unwell(self) -> None:
        self.home.front.mood = "unwell"

    def _provisioning_hangs(self) -> None:
        self.home.front.mood = "hangs"

    def _unplugged(self) -> None:
        self.home.card.unplug()
        time.sleep(self.chance.uniform(0.2, 1.5))
        self.home.card.plug()

    def _xrun(self) -> None:
        self.home.card.xrun()

    def _deaf(self) -> None:
        self.home.card.deafen(True)

    def _broken_configuration(self) -> None:
        self._reload(good=False)

    def _reload(self, *, good: bool) -> None:
        lives = self._lives()
        self.home.reload(good=good)
        if good:
            self.home.daemon.until(lambda: self._lives() > lives, "another life")
            self.home.daemon.until(self._answers, "the control socket")

    def _lives(self) -> int:
        return sum("born" in line for line in self.home.daemon.gauges())

    def _answers(self) -> bool:
        try:
            self.home.daemon.command("status")
        except OSError:
            return False
        return True

    def _heal(self) -> None:
        self.home.front.mood = "well"
        self.home.card.deafen(False)
        self.home.server.script.refuse_status = 0
        self.home.server.script.open_delay_s = 0.0

    # --- people ---

    def _hold(self) -> None:
        self._ask("hold", lambda: self._held(self.chance.uniform(0.4, 2.5)))

    def _tap(self) -> None:
        self._rest()
        self._ask("tap", lambda: self._tapped(speaks=self.chance.random() < 0.9))

    def _say(self) -> None:
        self._ask("say", lambda: self.home.daemon.command("say", text="and now?"))

    def _held(self, seconds: float) -> None:
        self.home.daemon.command("press")
        self.home.card.say(self._voice)
        time.sleep(seconds)
        self.home.daemon.command("release")

    def _tapped(self, *, speaks: bool) -> None:
        """Begin a conversation: while one is open, a tap would end it."""
        self.home.daemon.command("tap")
        time.sleep(0.1)
        if speaks:
            self.home.card.say(self._voice)

    def _interrupt(self) -> None:
        """Talk into the reply of a conversation."""
        self._tap()
        self.home.card.say(self._voice)
        self.done["talked into a reply"] += 1
        self._rest()

    def _fidget(self) -> None:
        """Mute, volume, pictures, and a button that is pressed for no reason; nothing is asked."""
        for _ in range(self.chance.randint(1, 5)):
            match self.chance.randrange(5):
                case 0:
                    self.home.daemon.command("mute")
                    time.sleep(self.chance.uniform(0.0, 0.5))
                    self.home.daemon.command("mute")
                case 1:
                    self.home.daemon.command("volume", percent=self.chance.randint(20, 80))
                case 2:
                    self.home.daemon.command("show", image_url=PICTURE)
                case 3:
                    self.home.daemon.command("tap")
                case _:
                    self._held(self.chance.uniform(0.0, 0.3))
            self.done["fidgeted"] += 1
        self._rest()

    def _ask(self, how: str, act: Callable[[], object]) -> None:
        """Ask, and wait for what comes of it."""
        self.done[f"asked by {how}"] += 1
        home = self.home
        owned, heard = home.owned_up(), home.told["heard"] + home.told["phase speaking"]
        act()
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if home.told["heard"] + home.told["phase speaking"] > heard:
                self.done["answered"] += 1
                break
            if home.owned_up() > owned:
                self.done["owned up"] += 1
                break
            time.sleep(0.02)
        else:
            self.unanswered.append(f"{how}: {home.daemon.command('status')}, {home.server.script}, {self.done}")
        if self.chance.random() < 0.7:
            self._rest()

    def _rest(self) -> None:
        """Leave it alone until it rests, or is asked again meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while self.home.daemon.phase() not in ("idle", "fault") and time.monotonic() < deadline:
            time.sleep(0.05)
