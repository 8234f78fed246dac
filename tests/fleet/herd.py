"""Many devices after an outage, in virtual time: their own rules, session, tickets and pacing; no sound, no sockets.

Responsible for: what stands around those (the door of a service that grants so many a second, the incident, people who
press) and for counting. When anything is tried is decided by the product alone: ``conversation`` with its timer,
``realtime.websocket`` with its back-off, ``tickets`` with ``credentials.pacing``; and what a refusal says by
``provisioning.admission`` and ``provisioning.provider_bucket``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import random
import tempfile
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from appliance.config import Config, Provisioning
from appliance.config import State as Place
from appliance.conversation import effects as do
from appliance.conversation import events as ev
from appliance.conversation.state import Link, Phase, Settings, State, Timer, mirror
from appliance.conversation.transitions import step
from appliance.credentials import mint
from appliance.credentials.http import Response
from appliance.credentials.mint import Grant, Limits, Minter
from appliance.engine import ASKED
from appliance.errors import Secret
from appliance.provisioning import provider_bucket
from appliance.provisioning.admission import IN_HAND_AT_MOST, Admission
from appliance.provisioning.provider_bucket import ProviderBucket
from appliance.realtime.protocol import Protocol
from appliance.realtime.session import Need, Timing
from appliance.realtime.websocket import WebSocketSession
from appliance.tickets import Tickets
from tests.virtual_time import run

URL = "http://127.0.0.1:9"
REPLICAS = 2
SHARE = 10  # the slower comparisons are made with a tenth of devices and capacity
PROVIDER_S = 0.2
RULES = Settings()
PATIENCE = Timing()
HELD_MS = 1500
_GRANT = Grant("s", Secret("ek_x"), 60, "ws://127.0.0.1:9/v1/realtime", "m", Limits())


@dataclass(frozen=True)
class Incident:
    """What happens: all are refused in one moment, ``outage_s`` later the service grants again."""

    devices: int = 100_000
    capacity_per_s: int = 400
    outage_s: float = 0.0
    pressing: float = 0.1  # of the devices: a person presses, once, within the first ten minutes of service
    seconds: float = 3600.0  # of service that are watched
    seed: int = 1


@dataclass(frozen=True)
class Outcome:
    """What the service saw, from the moment on that it granted again."""

    devices: int
    requests: int
    peak_per_s: int
    served: int
    p99_served_s: float  # by when 99 % of all devices had a grant; infinite if they never had
    refused: int

    @property
    def requests_per_device(self) -> float:
        return self.requests / self.devices


class _Bucket(ProviderBucket):
    """The provider's share, held in memory in place of a database."""

    def __init__(self, per_s: float, now_ms: int) -> None:
        super().__init__(cast("Any", None), per_s)
        self._tokens, self._filled_ms, self._rate = 0.0, now_ms, per_s

    async def _lease(self, now_ms: int) -> tuple[int, int]:
        share = provider_bucket.lease(self._tokens, self._filled_ms, now_ms, self._rate)
        self._tokens, self._filled_ms = share.tokens, share.filled_ms
        return share.taken, share.wait_ms


class Door:
    """The service: refuses all before ``opens_s``; then grants what its doors and its provider allow."""

    def __init__(self, incident: Incident, opens_s: float, chance: Callable[[], float]) -> None:
        self._opens_s = opens_s
        self._chance = chance
        self._bucket = _Bucket(incident.capacity_per_s, round(opens_s * 1000))
        self._admission = Admission(chance, REPLICAS * IN_HAND_AT_MOST)
        self.requests: Counter[int] = Counter()
        self.refused = 0

    async def ask(self) -> Response | None:
        """One request: None is a grant."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._opens_s:
            return Response(429, {}, b'{"code": "spend_limit"}')
        self.requests[int(loop.time() - self._opens_s)] += 1
        if self._admission.full:
            self.refused += 1
            return await self._turned_away()
        self._admission.in_hand += 1
        try:
            now_ms = round(loop.time() * 1000)
            if wait_ms := self._bucket.wait_ms(now_ms) or await self._bucket.take(now_ms):
                self.refused += 1
                refusal = provider_bucket.refusal(wait_ms, self._chance)
                content = json.dumps({"code": refusal.code}).encode()
                return Response(refusal.status, {"retry-after": str(refusal.retry_after_s)}, content)
            await asyncio.sleep(PROVIDER_S)
        finally:
            self._admission.in_hand -= 1
        return None

    async def _turned_away(self) -> Response:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await self._admission.turn_away("/v1/sessions", send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Response(sent[0]["status"], headers, sent[1]["body"])


class _Minter:
    """Stands where the device's minter does, and reads refusals as that does."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def mint(self, transport: str, profile: str, tools: object) -> Grant:
        del transport, profile, tools
        response = await self._door.ask()
        if response is not None:
            raise mint.refusal(response, URL)
        return _GRANT


class _Silence:
    """A session's protocol that has nothing to say."""

    def connected(self, model: str) -> None:
        pass

    def disconnected(self) -> None:
        pass


class _Session(WebSocketSession):
    """The session without a socket: with a ticket in hand it is open, and stays so."""

    async def _dial(self, need: Need) -> Any:
        await self._dialler.ticket(need)

    async def _converse(self, opened: Any) -> None:
        del opened
        self._on_fact(ev.LinkOpened())


class House:
    """One device: rules, timer, session and tickets, put together as ``engine`` and ``daemon`` do."""

    def __init__(self, config: Config, door: Door, chance: random.Random, pending: set[asyncio.Task[None]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._pending = pending
        self._state = State()
        self._tickets = Tickets(config, rng=chance)
        self._tickets._minter = cast("Minter", _Minter(door))
        protocol = cast("Protocol", _Silence())
        self._session = _Session(
            protocol, self._tickets.mint, self._fact, lambda _captured, _sent: None, self._spawn, PATIENCE, chance
        )
        self._timer: Timer | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._events: deque[ev.Event] = deque()
        self.served_s: float | None = None

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task

    def press(self) -> None:
        """A person holds the button for a sentence."""
        if self.served_s is None:
            self._post(ev.TalkPressed())
            self._loop.call_later(HELD_MS / 1000, self._post, ev.TalkReleased(HELD_MS, HELD_MS))

    def _fact(self, fact: object) -> None:
        if isinstance(fact, ev.LinkOpened):
            self._tickets.opened()
            self.served_s = self._loop.time()
        elif isinstance(fact, ev.LinkRefused):
            self._tickets.refused(fact.code, self._session.last_error)
        self._post(cast("ev.Event", fact))

    def _post(self, event: ev.Event) -> None:
        self._events.append(event)
        if len(self._events) > 1:
            return
        while self._events:
            event = self._events[0]
            self._state, effects, _ = step(self._state, event, RULES)
            for effect in effects:
                self._perform(effect, event)
            self._arm(mirror(self._state, RULES).timer)
            self._events.popleft()

    def _perform(self, effect: do.Effect, event: ev.Event) -> None:
        if isinstance(effect, do.Connect):
            itself = Need.ITSELF if isinstance(event, ev.PhaseTimeout) else Need.WAITING
            self._session.open(Need.PRESS if isinstance(event, ASKED) else itself)
        elif isinstance(effect, do.Disconnect | do.Reconnect):
            self._session.close()

    def _arm(self, timer: Timer | None) -> None:
        if self.served_s is not None:
            timer = None  # its story is over
        if timer == self._timer:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._timer = timer
        self._alarm = None if timer is None else self._loop.call_later(timer.after_s, self._expire)

    def _expire(self) -> None:
        self._timer = self._alarm = None
        self._post(ev.PhaseTimeout())

    @property
    def is_in_fault(self) -> bool:
        return self._state.phase is Phase.FAULT and self._state.link is Link.REFUSED

    def leave(self) -> None:
        self._arm(None)
        self._session.close()


def play(incident: Incident, directory: Path) -> Outcome:
    """Live through the incident; ``directory`` holds the one key that all devices share here."""
    return run(_play(incident, directory), start_s=0.0)


async def _play(incident: Incident, directory: Path) -> Outcome:
    loop, chance = asyncio.get_running_loop(), random.Random(incident.seed)
    pending: set[asyncio.Task[None]] = set()
    opens_s = loop.time() + 1.0 + incident.outage_s
    door = Door(incident, opens_s, chance.random)
    config = Config(state=Place(directory=str(directory)), provisioning=Provisioning(url=URL))
    houses = [House(config, door, chance, pending) for _ in range(incident.devices)]
    for house in houses:
        house.press()
    await asyncio.sleep(1.0)
    assert all(house.is_in_fault for house in houses), "the incident has not met everybody"
    for house in chance.sample(houses, round(incident.pressing * incident.devices)):
        loop.call_at(opens_s + chance.uniform(0.0, 600.0), house.press)
    await asyncio.sleep(incident.outage_s + incident.seconds)
    served = sorted(house.served_s - opens_s for house in houses if house.served_s is not None)
    for house in houses:
        house.leave()
    await asyncio.gather(*pending, return_exceptions=True)
    enough = -(-incident.devices * 99 // 100)
    return Outcome(
        devices=incident.devices,
        requests=door.requests.total(),
        peak_per_s=max(door.requests.values(), default=0),
        served=len(served),
        p99_served_s=served[enough - 1] if len(served) >= enough else float("inf"),
        refused=door.refused,
    )


async def _naive(incident: Incident) -> Outcome:
    """Clients without a policy: each asks at once, and again as soon as the service's Retry-After is over."""
    loop, chance = asyncio.get_running_loop(), random.Random(incident.seed)
    door = Door(incident, loop.time(), chance.random)
    served: list[float] = []

    async def client() -> None:
        began_s = loop.time()
        while (response := await door.ask()) is not None:  # noqa: ASYNC110 it waits for a time, not for an event
            await asyncio.sleep(float(response.headers["retry-after"]))
        served.append(loop.time() - began_s)

    await asyncio.gather(*(client() for _ in range(incident.devices)))
    enough = -(-incident.devices * 99 // 100)
    peak = max(door.requests.values())
    return Outcome(incident.devices, door.requests.total(), peak, len(served), sorted(served)[enough - 1], door.refused)


def play_naive(incident: Incident) -> Outcome:
    """The same capacity, asked by clients without a policy."""
    return run(_naive(incident), start_s=0.0)


def compare(incident: Incident) -> tuple[Outcome, Outcome, Outcome]:
    """Ours, ours after half an hour of outage, and the naive one, these two on a smaller scale."""
    logging.disable(logging.CRITICAL)
    gc.disable()  # a hundred thousand devices are alive: each full collection looks at all of them for nothing
    small = Incident(devices=incident.devices // SHARE, capacity_per_s=max(1, incident.capacity_per_s // SHARE))
    long = Incident(devices=small.devices, capacity_per_s=small.capacity_per_s, outage_s=1800.0, seconds=7200.0)
    with tempfile.TemporaryDirectory(prefix="voice-herd-") as directory:
        return play(incident, Path(directory)), play(long, Path(directory)), play_naive(small)
