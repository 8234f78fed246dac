"""A hundred SIGKILLs at random moments of a life that never rests: what must survive does, and each restart is ready.

Responsible for: the life, the kills and the comparison of what was kept with what it may be. Not for: what a single
kill costs the person (``rows.machine``).
"""

from __future__ import annotations

import dataclasses
import json
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.row import Heals, Row, When
from tests.faults.scene import UNIT, Scene
from tests.faults.town import Town

LONGEST_S = 1.2  # from readiness to the kill
SETTLED_S = 0.6  # what a person set so long before the kill has to be kept
CLOCKS = {"capture": "vhw", "playback": "vhw", "ppm": 31.5}
ROW = Row("a life", When.IDLE, "", lambda _: None, Heals.RESTART)
# Six restarts in two minutes would be the end of it, as they should; here each of them is ours.
SUPERVISED = dataclasses.replace(UNIT, restart_s=0.02, limit_burst=10_000)


@dataclass
class Killed:
    """What came of it."""

    kills: int = 0
    ready_s: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@dataclass
class Life:
    """What a person did, and what may therefore be found afterwards."""

    muted: set[bool]
    volume: set[int]


def run(kills: int, town: Town, directory: Path, seed: int) -> Killed:
    """Kill so often; the times of the kills follow from the seed."""
    rng, found = random.Random(seed), Killed()
    town.fair()
    with Scene(ROW, town, directory, quick=False, unit=SUPERVISED) as at:
        at.expect(at.exchange() or at.exchange(), "first exchange")
        kept = at.state / "kept.json"
        ready = at.supervisor.count("ready")
        _with_clocks(at, kept, ready)
        ready += 1
        before = {name: (at.state / name).read_bytes() for name in ("identity.jwk", "enrolment.json")}
        life = Life({False}, {80})
        for _ in range(kills):
            _live(at, rng, life)
            at.signal(signal.SIGKILL)
            killed_at = time.monotonic()
            found.kills += 1
            ready += 1
            found.ready_s.append(at.supervisor.until("ready", ready, 25.0).at - killed_at)
            _compare(at, before, life, found, killed_at)
        if at.status.get("muted"):
            at.command("mute")
        if at.exchange() is None and at.exchange() is None:
            found.lost.append("it does not answer any more")
    return found


def _with_clocks(at: Scene, kept: Path, ready: int) -> None:
    """Let the appliance have learned the clocks of its card long ago."""
    at.signal(signal.SIGKILL)
    at.supervisor.until("exited", 1, 5.0)
    kept.write_text(json.dumps({"clocks": CLOCKS}))
    at.supervisor.until("ready", ready + 1, 25.0)
    at.witness.until(lambda look: look.status is not None, 5.0)


def _live(at: Scene, rng: random.Random, life: Life) -> None:
    """Do what people do, for a random while."""
    end = time.monotonic() + rng.uniform(0.0, LONGEST_S)
    at.answer(rng.uniform(0.1, 2.0), think_s=rng.uniform(0.0, 0.3), pace=rng.choice((0.0, 1.0)))
    while (left := end - time.monotonic()) > 0:
        match rng.randrange(4):
            case 0:
                at.press()
                time.sleep(min(left, rng.uniform(0.0, 0.5)))
                at.release()
            case 1:
                answer = at.command("mute")
                if answer.get("ok"):
                    life.muted.add(bool(answer["muted"]))
            case 2:
                percent = rng.randrange(10, 100)
                at.command("volume", percent=percent)
                life.volume.add(percent)
            case _:
                time.sleep(min(left, rng.uniform(0.0, SETTLED_S)))


def _compare(at: Scene, before: dict[str, bytes], life: Life, found: Killed, killed_at: float) -> None:
    for name, content in before.items():
        if (at.state / name).read_bytes() != content:
            found.lost.append(f"{name} is another one")
    look = at.witness.until(lambda one: one.status is not None and one.at > killed_at + 0.05, 5.0)
    if look is None:
        found.lost.append("no status after a restart")
        return
    muted, volume = bool(look.get("muted")), int(look.get("volume"))
    if muted not in life.muted or volume not in life.volume:
        found.lost.append(f"muted {muted}, volume {volume}: nobody set that, but {life}")
    # Each of the next may again be kept or not: only what is there now is sure.
    life.muted, life.volume = {muted}, {volume}
    stored = json.loads((at.state / "kept.json").read_bytes())
    if stored.get("clocks") != CLOCKS:
        found.lost.append(f"the clocks are {stored.get('clocks')}")
