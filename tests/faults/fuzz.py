"""A million broken server events through the real protocol and the real engine, while a person goes on using it.

Responsible for: feeding them in virtual time, with presses, audio and broken links in between, and finding what
raises. What an event does is judged elsewhere (``tests/realtime``, ``tests/conversation``); here nothing may crash, and
afterwards a press must still be listened to. Not for: the frames (``frames``).
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from appliance.audio import facts as heard
from appliance.conversation import events as ev
from appliance.conversation.state import Link, Phase, Settings, State, Turns
from appliance.realtime import facts
from tests.engine.rig import Rig
from tests.faults.frames import SOUND, broken
from tests.virtual_time import run as in_virtual_time

EVENTS_A_SEED = 20_000
SHOWN = 20
ACT_EVERY = 7  # events, about
SETTINGS = (
    Settings(),
    Settings(full_duplex=True, hands_free=True),
    Settings(turns=Turns.SERVER, full_duplex=True),
)


@dataclass
class Fuzzed:
    """What came of it."""

    events: int = 0
    crashes: list[str] = field(default_factory=list)
    phases: Counter[Phase] = field(default_factory=Counter)  # in which so many of the events came


def run(events: int, tell: Callable[[str], object], first_seed: int = 1) -> Fuzzed:
    """Feed so many events; each seed begins with a fresh appliance."""
    found = Fuzzed()
    seed = first_seed
    logging.disable()  # it has much to say about all this
    try:
        while found.events < events:
            in_virtual_time(_one_seed(seed, min(EVENTS_A_SEED, events - found.events), found))
            seed += 1
    finally:
        logging.disable(logging.NOTSET)
    tell(f"fuzzed with seeds {first_seed} to {seed - 1}, {EVENTS_A_SEED} events each")
    for crash in found.crashes[:SHOWN]:
        tell(crash)
    return found


async def _one_seed(seed: int, events: int, found: Fuzzed) -> None:
    rng = random.Random(seed)
    done = 0
    while done < events:
        try:
            async with asyncio.TaskGroup() as group:
                rig = Rig(group, SETTINGS[seed % len(SETTINGS)], cues=True, state=State(), duplex_reason="")
                try:
                    while done < events:
                        done += 1
                        found.phases[rig.phase()] += 1
                        await _turn(rig, rng, done)
                    _still_listens(rig)
                finally:
                    rig.slow.set()
                    rig.engine.close()
        except* Exception as errors:  # noqa: BLE001  # this is what is looked for
            found.crashes.append(f"seed {seed}, event {done}: {errors.exceptions[0]!r}")
    found.events += events


async def _turn(rig: Rig, rng: random.Random, number: int) -> None:
    feed(rig, broken(rng))
    if rng.randrange(ACT_EVERY) == 0:
        act(rig, rng)
    while rig.protocol.next_frame() is not None:
        pass  # it is sent
    if number % 50 == 0:
        rig.told.clear()
        rig.records.clear()
        rig.said.clear()
        await asyncio.sleep(rng.choice((0.0, 0.1, 1.0, 30.0)))


def feed(rig: Rig, frame: str | bytes) -> None:
    """Let the server send a frame, as the transport passes it on."""
    for fact in rig.protocol.receive(frame):
        if isinstance(fact, facts.Refused):
            _gone(rig, ev.LinkRefused(fact.code))
            return
        if isinstance(fact, facts.Broken):
            _gone(rig, ev.LinkLost(was_up=rig.engine.state.link is Link.UP))
            return
        rig.engine.session_fact(fact)
        if not rig.session.wanted:
            return  # closed by what the fact led to


def _gone(rig: Rig, event: ev.LinkLost | ev.LinkRefused) -> None:
    if rig.session.wanted:
        rig.session.wanted = False
        rig.protocol.disconnected()
        rig.engine.session_fact(event)


def act(rig: Rig, rng: random.Random) -> None:
    """Do what a person, the sound card or the network does."""
    turn = rig.engine._turn
    match rng.randrange(15):
        case 0 | 1:
            rig.press()
        case 2 | 3:
            rig.release(rng.choice((50, 100, 400, 2000)))
        case 4 | 5:
            rig.engine.audio_fact(heard.Captured(turn, bytes(48 * 100), rig.loop.time()))
        case 6:
            rig.tail(turn)
        case 7:
            rig.engine.audio_fact(heard.Drained(rig.engine._pushed, {"i1": 20.0, "i2": 5.0}))
        case 8:
            rig.engine.audio_fact(heard.Flushed({"i1": 10.0}, rig.loop.time()))
        case 9:
            rig.engine.post(
                rng.choice((ev.MuteToggled(), ev.TextSaid("hello"), ev.ImageShown("data:,"), ev.TimerRang()))
            )
        case 10:
            _gone(rig, ev.LinkLost(was_up=rig.engine.state.link is Link.UP))
        case _:
            serve_well(rig, rng)


def serve_well(rig: Rig, rng: random.Random) -> None:
    """Let the server do what it should, so that there is something to break."""
    response, item = rng.choice(("r1", "r2", "r3")), rng.choice(("i1", "i2", "i3"))
    if rig.session.wanted and rig.engine.state.link is Link.OPENING:
        rig.protocol.connected("m")
        for kind in ("session.created", "session.updated"):
            feed(rig, json.dumps({"type": kind, "session": {}}))
    elif rig.phase() is Phase.THINKING:
        feed(rig, json.dumps({"type": "response.created", "response": {"id": response}}))
        delta = {"response_id": response, "item_id": item, "content_index": 0, "delta": SOUND}
        feed(rig, json.dumps({"type": "response.output_audio.delta", **delta}))
    elif rig.phase() is Phase.LISTENING:
        rig.engine.audio_fact(heard.Captured(rig.engine._turn, bytes(48 * 500), rig.loop.time()))
        rig.release(2000)
        rig.tail(rig.engine._turn)


def _still_listens(rig: Rig) -> None:
    """After all that a press must be heard."""
    if rig.engine.state.muted:
        rig.engine.post(ev.MuteToggled())
    for _ in range(3):  # one ends a conversation or a fault, the next may be answered by it
        rig.release(2000)
        rig.tail(rig.engine._turn)
        _gone(rig, ev.LinkLost(was_up=True))
        rig.press()
        if rig.phase() is Phase.LISTENING:
            return
    raise AssertionError(f"it does not listen any more: {rig.engine.state}")
