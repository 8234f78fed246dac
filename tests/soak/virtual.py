"""Days in minutes: engine, audio thread, protocol and transport in virtual time, with random people and faults.

Responsible for: a household in virtual time and what the device holds while it rests, every ten minutes of its time.
Not for: sockets, processes and ALSA, whose time is real (``people``).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import tracemalloc
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from appliance.audio.facts import AudioFact, ReplyStarted
from appliance.board import Board
from appliance.config import Audio, Config
from appliance.conversation import events as ev
from appliance.conversation.state import Phase
from appliance.errors import ProvisioningError
from tests.device.card import RATE, Card
from tests.device.device import Device, Late
from tests.device.server import Ending, Plan, Server
from tests.scenarios.voices import go_forward
from tests.soak.home import OWNED_UP
from tests.soak.sizes import sizes
from tests.virtual_time import VirtualTimeLoop

HOUR_S = 3600.0
LOOKED_EVERY_S = 600.0
AN_HOUR = 20  # visits
PATIENCE_S = 90.0
ENDINGS: tuple[Ending, ...] = ("silent", "failed", "incomplete", "unannounced", "unfinished", "tool", "cut", "refused")
PICTURE = "data:image/png;base64,iVBORw0KGgo="


@dataclass(slots=True)
class Lived:
    """What a virtual household saw; ``looks`` are pairs of s and what was held, one after another, by name.

    In arrays: an object for each of them would be most of what this process holds more at the end.
    """

    hours: float = 0.0
    done: Counter[str] = field(default_factory=Counter)
    unanswered: list[str] = field(default_factory=list)
    bugs: list[str] = field(default_factory=list)
    looks: dict[str, array[float]] = field(default_factory=dict)


class Household:
    """One device and its people."""

    def __init__(self, seed: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.chance = random.Random(seed)
        self.lived = Lived()
        self._plan = Plan()
        self._refusal: ProvisioningError | None = None
        self._heard = 0
        self._voice = go_forward(RATE)
        self.server = Server(self._next_plan)
        self.card = Card(self.loop.time, keeps=False, echo=0.1)
        board = Board(name="virtual")
        self.device = Device(
            Config(audio=Audio(microphones=(0,))),
            board,
            self.server,
            self.card,
            late=Late(),
            told=self._told,
            refusal=lambda: self._refusal,
        )

    def _next_plan(self) -> Plan:
        plan = self._plan
        if plan.how == "tool":  # what it asked the tool for is answered
            self._plan = replace(plan, how="answer")
        return plan

    def _told(self, fact: AudioFact) -> None:
        self._heard += isinstance(fact, ReplyStarted)

    async def live(self, hours: float) -> Lived:
        """Live for so many hours."""
        begun = self.loop.time()
        look_at = begun
        while self.loop.time() < begun + hours * HOUR_S:
            await self._visit()
            await asyncio.sleep(self.chance.expovariate(AN_HOUR / HOUR_S))
            if self.loop.time() >= look_at:
                await self._rest()
                look_at = self.loop.time() + LOOKED_EVERY_S
                for name, value in self._look().items():
                    self.lived.looks.setdefault(name, array("d")).extend((self.loop.time() - begun, value))
        self.lived.hours = (self.loop.time() - begun) / HOUR_S
        await self.device.close()
        return self.lived

    def _look(self) -> dict[str, float]:
        self.device.records.clear()  # what is published is kept by whoever follows
        gc.collect()
        held: dict[str, float] = {
            "anonymous_kb": _anonymous_kb(),
            "objects": sum(str(type(thing).__module__).startswith("appliance.") for thing in gc.get_objects()),
            "tasks": len(asyncio.all_tasks()),
            "timers": sum(not handle.cancelled() for handle in self.loop._scheduled),  # type: ignore[attr-defined]
        }
        if tracemalloc.is_tracing():
            ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/appliance/*")])
            held["traced_kb"] = sum(trace.size for trace in ours.statistics("filename")) / 1024
        roots = (self.device.engine, self.device.session, self.device.timers)
        for root in roots:
            held |= {f"size {path}": count for path, count in sizes(root).items()}
        return held

    # --- a visit: perhaps something fails, somebody wants something, and it is waited for ---

    async def _visit(self) -> None:
        chance = self.chance
        how: Ending = chance.choice(ENDINGS) if chance.random() < 0.3 else "answer"
        self._plan = Plan(
            how, chance.choice([0.1, 0.5, 2.0]), chance.choice([0.4, 2.0, 6.0]), chance.choice([0.1, 0.9])
        )
        if chance.random() < 0.35:
            self._fail()
        await chance.choice([self._hold, self._hold, self._tap, self._tap, self._say, self._interrupt, self._fidget])()
        await self._rest()

    def _fail(self) -> None:
        chance = self.chance
        kind = chance.choice(["cut", "stalled", "unreachable", "overloaded", "gone", "frozen", "deaf", "expiring"])
        lasts_s = chance.choice([0.5, 3.0, 15.0])
        self.lived.done[f"fault {kind}"] += 1
        match kind:
            case "cut":
                self.loop.call_later(chance.uniform(0, 6), self.server.hang_up, chance.choice([1001, 1006, 1011]))
            case "stalled" | "unreachable":
                self._for_a_while(self.server, kind, lasts_s)
                if kind == "unreachable":
                    self.server.hang_up()
            case "overloaded":
                self._refusal = ProvisioningError("busy", code="overloaded", retry=True)
                self.loop.call_later(lasts_s, lambda: setattr(self, "_refusal", None))
            case "expiring":
                succession = self.device.session._succession
                chance.choice([succession.aged, succession.grown_old])()
            case _:
                self.loop.call_later(chance.uniform(0, 4), self._for_a_while, self.card, kind, lasts_s)

    def _for_a_while(self, part: object, trouble: str, lasts_s: float) -> None:
        setattr(part, trouble, True)
        self.loop.call_later(lasts_s, lambda: setattr(part, trouble, False))

    # --- people ---

    def _edge(self, down: bool) -> None:
        self.device.button.edge(down, self.loop.time())

    async def _press(self, seconds: float) -> None:
        self._edge(True)
        await asyncio.sleep(seconds)
        self._edge(False)

    async def _hold(self) -> None:
        async def act() -> None:
            self.card.say(self._voice)
            await self._press(self.chance.uniform(0.4, 3.0))

        await self._ask("hold", act)

    async def _tap(self) -> None:
        async def act() -> None:
            await self._press(0.1)
            self.card.say(self._voice)

        await self._ask("tap", act)

    async def _say(self) -> None:
        async def act() -> None:
            self.device.engine.post(ev.TextSaid("and now?"))

        await self._ask("say", act)

    async def _interrupt(self) -> None:
        await self._tap()
        await asyncio.sleep(self.chance.uniform(0.2, 2.0))
        self.card.say(self._voice)
        self.lived.done["talked into a reply"] += 1

    async def _fidget(self) -> None:
        for _ in range(self.chance.randint(1, 6)):
            match self.chance.randrange(5):
                case 0:
                    self.device.engine.post(ev.MuteToggled())
                    await asyncio.sleep(self.chance.uniform(0.0, 2.0))
                    self.device.engine.post(ev.MuteToggled())
                case 1:
                    self.device.set_volume(self.chance.randint(0, 100))
                case 2:
                    self.device.engine.post(ev.ImageShown(PICTURE))
                case 3:
                    await self._press(0.1)
                case _:
                    await self._press(self.chance.uniform(0.0, 0.5))
            self.lived.done["fidgeted"] += 1

    async def _ask(self, how: str, act: Callable[[], asyncio.Future[None] | object]) -> None:
        """Ask, and wait for what comes of it."""
        self.lived.done[f"asked by {how}"] += 1
        heard, owned = self._heard, self._owned_up
        await act()  # type: ignore[misc]  # each is a coroutine function
        for _ in range(int(PATIENCE_S * 10)):
            if self._heard > heard or self._owned_up > owned:
                self.lived.done["answered" if self._heard > heard else "owned up"] += 1
                return
            await asyncio.sleep(0.1)
        self.lived.unanswered.append(f"{how} at {self.loop.time():.1f}: {self.device.engine.state}, {self._plan}")

    @property
    def _owned_up(self) -> int:
        return sum(self.device.engine.counters[name] for name in OWNED_UP)

    async def _rest(self) -> None:
        """Leave it alone until it is at rest."""
        while self.device.engine.state.phase not in (Phase.IDLE, Phase.FAULT):  # noqa: ASYNC110  # a state is watched
            await asyncio.sleep(1.0)


def _anonymous_kb() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


def live(hours: float, seed: int, *, traced: bool = False) -> Lived:
    """Run a household in virtual time. ``traced``: by tracemalloc, three times slower."""
    logging.disable(logging.ERROR)
    if traced:
        tracemalloc.start()
    try:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            bugs: list[str] = []
            runner.get_loop().set_exception_handler(lambda _, context: bugs.append(str(context)))

            async def story() -> Lived:
                return await Household(seed).live(hours)

            lived = runner.run(story())
            lived.bugs = bugs
            return lived
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)
