"""A random conversation with breaks of the line, and what has to be true of it.

``tell`` is one story by its seed; ``Verdict`` counts what was lost or doubled. The yardstick is the server's own book:
after everything, one more session is opened, and what it was told has to be what was said.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from random import Random

from appliance.conversation.state import Phase, Turns
from appliance.realtime.history import SEEN, UNTRANSCRIBED
from tests.continuity.server import Said, Server
from tests.continuity.world import World
from tests.virtual_time import run

OWNED_UP = ("offline", "error")
PATIENCE_S = 90.0


@dataclass
class Verdict:
    """What one story came to."""

    steps: int = 0
    cuts: int = 0
    moves: int = 0
    said: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # out of order, refused by the server, silent

    @property
    def flawless(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)


@dataclass
class Losses:
    """What many broken conversations came to."""

    points: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0


def many(points: int) -> Losses:
    """Tell that many conversations, each broken once, half of them with turns that the server ends."""
    told = Losses()
    for seed in range(points):
        verdict = tell(seed, list(Turns)[seed % 2])
        told.points += verdict.cuts
        told.lost += len(verdict.lost)
        told.doubled += len(verdict.doubled)
        told.wrong += len(verdict.wrong)
    return told


def tell(seed: int, turns: Turns = Turns.LOCAL, *, cuts: int = 1, moves: bool = False, remote: bool = False) -> Verdict:
    """Tell the story of ``seed`` once whole, then with the line broken at random steps of it."""
    steps, chance = _length(seed, turns, remote), Random(f"{seed} cuts")
    at = frozenset(chance.randint(1, steps) for _ in range(cuts))
    return run(_tell(seed, turns, at, chance.randint(1, steps) if moves else 0, remote))


@cache
def _length(seed: int, turns: Turns, remote: bool) -> int:
    """Count the steps of the story when nothing breaks."""
    return run(_tell(seed, turns, frozenset(), 0, remote)).steps


async def _tell(seed: int, turns: Turns, cuts: frozenset[int], move_at: int, remote: bool) -> Verdict:
    verdict = Verdict(cuts=len(cuts))
    async with asyncio.TaskGroup() as group:
        world = World(seed, group, turns=turns, captions=seed % 4 != 0, remote=remote)
        world.cuts, world.move_at = cuts, move_at
        for _ in range(world.chance.randint(2, 5)):
            await _act(world, verdict)
        await world.rest(PATIENCE_S)
        verdict.steps, world.cuts = world.steps, frozenset()
        if world.line.wanted:
            world.line.lose()
        await world.type()
        await world.rest(PATIENCE_S)
        world.engine.close()
    _judge(world, verdict)
    return verdict


async def _act(world: World, verdict: Verdict) -> None:
    """Say or show something, then wait for what comes of it, or not."""
    act = world.chance.choice((world.hold, world.hold, world.tap, world.type, world.show))
    heard_ms, told, said = world.speaker.heard_ms, len(world.speaker.told), len(world.expected)
    await act()
    if world.chance.random() < 0.5:
        await world.some(40)
        return
    await world.rest(PATIENCE_S)
    asked = len(world.expected) > said and world.expected[-1][0] != "picture"
    heard = world.speaker.heard_ms > heard_ms or any(cue in OWNED_UP for cue in world.speaker.told[told:])
    if world.phase is not Phase.IDLE or (asked and not heard):
        verdict.wrong.append(f"{world.expected[-1:]} was met with silence")


def _judge(world: World, verdict: Verdict) -> None:
    final = world.line.server
    verdict.moves, verdict.said = world.moves, len(world.expected)
    verdict.wrong += [fault for server in world.servers for fault in server.faults]
    if final is None:
        verdict.wrong.append("no session after all")
        return
    _judge_person(world, list(final.items.values()), verdict)
    _judge_answers(world, final, verdict)
    told = Counter(said.what for said in final.items.values() if said.kind == "output")
    verdict.lost += [call for call in world.called if not told[call]]
    verdict.doubled += [call for call, count in told.items() if count > 1]


def _of_person(said: Said) -> tuple[str, str] | None:
    """Name an item as the person would; "" for one that is told without its content."""
    match said:
        case Said("audio", what) | Said("user", what) if what.startswith("turn "):
            return "turn", what
        case Said("user", what) if what == UNTRANSCRIBED:
            return "turn", ""
        case Said("user", what) if what == SEEN:
            return "picture", ""
        case Said("user", what):
            return ("picture" if what.startswith("data:") else "user"), what
    return None


def _judge_person(world: World, items: list[Said], verdict: Verdict) -> None:
    told = [named for said in items if (named := _of_person(said))]
    counts = Counter(named for named in told if named[1])
    verdict.doubled += [f"{named}" for named, count in counts.items() if count > 1]
    fits = len(told) == len(world.expected) and all(
        kind == wanted and (not what or what == content)
        for (kind, what), (wanted, content) in zip(told, world.expected, strict=True)
    )
    if len(told) < len(world.expected):
        verdict.lost.append(f"of {world.expected} only {told}")
    elif len(told) > len(world.expected):
        verdict.doubled.append(f"for {world.expected} {told}")
    elif not fits:
        verdict.wrong.append(f"for {world.expected} {told}")
    for said in items:
        if said.kind == "audio" and said.ms != world.captured.get(said.what):
            verdict.lost.append(f"{said.what}: {said.ms} of {world.captured.get(said.what)} ms")


def _name(said: Said) -> str:
    """An answer is known by its first word; one that was only announced has none."""
    return (said.text or said.what).partition(" ")[0]


def _place(server: Server, named: str) -> int | None:
    """Count what of the person's comes before an answer."""
    before = 0
    for said in server.items.values():
        if said.kind == "assistant" and _name(said) == named:
            return before
        before += (_of_person(said) or ("picture",))[0] != "picture"  # which may come at any time
    return None


def _judge_answers(world: World, final: Server, verdict: Verdict) -> None:
    told = Counter(_name(said) for said in final.items.values() if said.kind == "assistant")
    verdict.doubled += [answer for answer, count in told.items() if answer and count > 1]
    for server in world.servers:
        for item_id, said in server.items.items():
            if item_id not in world.sounded or said.kind != "assistant":
                continue
            place, then = _place(server, said.what), _place(final, said.what)
            if then is None:
                verdict.lost.append(f"{said.what}, of which something was heard")
            elif place != then:
                verdict.wrong.append(f"{said.what} follows {then} things said instead of {place}")
