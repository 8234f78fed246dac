"""``make soak``: a daemon lived with for minutes or hours, a device for days of virtual time; prints what grows.

``--minutes`` is real time with the whole daemon on the virtual card, ``--virtual-hours`` is virtual; 0 leaves one out.
Responsible for: the programme and what is printed. Exits with 1 if a question came to nothing, a bug was met, or
something is sure to grow.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.bench.report import machine, say
from tests.soak.home import SoakHome
from tests.soak.people import People
from tests.soak.slopes import HOUR_S, Slope, slope
from tests.soak.virtual import live

WARM_UP = 0.25  # of a run: caches fill, libraries load
LEAST = 3.0  # elements: what holds less than this more at the end than at the beginning does not grow
BOUNDED = {  # containers that fill up to a bound of the product's own, by the end of their path
    "history._entries": 256,
    "history._asked_about": 256,  # some of them
    "reports.waiting": 20,
    "_receiving._called": 64,
    "responses._dead": 64,
    "calls_told": 64,
    "protocol.counters": 128,
    "engine.counters": 64,
    "speaker._memory": 400,
    "queue._items[].converted[]": 1920,  # what is left of a piece of 20 ms
}
Series = dict[str, list[tuple[float, float, int]]]  # by name: (s, value, life)


def run_real(minutes: float, seed: int) -> list[str]:
    """Live with a daemon; print what came of it, return what is wrong."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("SOAK_DIRECTORY")) as name:
        home = SoakHome(Path(name), minutes)
        try:
            began = time.monotonic()
            people = People(home, seed)
            people.run(began + 60 * minutes)
            series = _series(home, began + 60 * minutes * WARM_UP)
            turns = home.told["turn"]
        finally:
            home.close()
    tell_done(people.done, turns)
    wrong = [f"a question came to nothing: {words}" for words in people.unanswered]
    say(f"unanswered: {len(people.unanswered)}")
    return wrong + tell_slopes(series)


def _series(home: SoakHome, since: float) -> Series:
    """Everything that was sampled, from inside and outside, by name; of each life after its first quarter minute."""
    births = [line["born"] for line in home.daemon.gauges() if "born" in line]
    found: Series = {}

    def add(name: str, at: float, value: float) -> None:
        lived = sum(born <= at for born in births)
        if at >= since and at - births[lived - 1] > 15:
            found.setdefault(name, []).append((at, value, lived))

    for sample in home.samples:
        for name in ("rss_kb", "anonymous_kb", "fds", "threads"):
            add(name, sample.at, getattr(sample, name))
    for line in home.daemon.gauges():
        if "at" in line:
            add("tasks", line["at"], line["tasks"])
            add("timers", line["at"], line["timers"])
            for path, count in line["sizes"].items():
                add(f"size {path}", line["at"], count)
    return found


def run_virtual(hours: float, seed: int, *, traced: bool) -> list[str]:
    """Live with a device in virtual time; print what came of it, return what is wrong."""
    began = time.monotonic()
    lived = live(hours, seed, traced=traced)
    say(f"virtual_hours: {lived.hours:.1f} in {time.monotonic() - began:.0f} s")
    tell_done(lived.done, lived.done["answered"])
    say(f"unanswered: {len(lived.unanswered)}")
    series: Series = {}
    for name, pairs in lived.looks.items():
        looks = zip(pairs[::2], pairs[1::2], strict=True)
        series[name] = [(at, value, 0) for at, value in looks if at >= hours * HOUR_S * WARM_UP]
    wrong = [f"a question came to nothing: {words}" for words in lived.unanswered] + lived.bugs
    return wrong + tell_slopes(series, "virtual_")


def tell_done(done: Counter[str], turns: int) -> None:
    """Print what people did and what they met."""
    faults = sum(count for name, count in done.items() if name.startswith("fault "))
    say(f"turns_done: {turns}")
    say(f"faults_injected: {faults} ({', '.join(f'{n[6:]} {c}' for n, c in done.items() if n.startswith('fault '))})")
    say(f"replies_heard: {done['answered']}")
    say(f"owned_up: {done['owned up']}")
    say(
        f"also: {', '.join(f'{name} {count}' for name, count in sorted(done.items()) if not name.startswith('fault '))}"
    )


def tell_slopes(series: Series, prefix: str = "") -> list[str]:
    """Print the slope of each gauge, and of the containers those that are sure to grow; return what grows."""
    growing: list[str] = []
    worst = ("none", 0.0)
    watched = 0
    for name, points in sorted(series.items()):
        if len(points) < 4:
            continue
        values = [value for _, value, _ in points]
        watched += name.startswith("size ")
        if name.startswith("size ") and len(set(values)) == 1:
            continue
        found = slope([at for at, _, _ in points], values, [life for _, _, life in points])
        rises = found.grows and _last(values) - _first(values) >= LEAST
        if not name.startswith("size "):
            tell_slope(prefix + name, found, values)
        elif found.grows and found.per_h > worst[1] and not _within_bounds(name, values):
            worst = (name, found.per_h)
        if rises and name not in ("rss_kb", "anonymous_kb") and not _within_bounds(name, values):
            growing.append(f"{name} grows by {found.per_h:.1f} an hour ({found.low:.1f} to {found.high:.1f})")
    say(f"{prefix}containers_watched: {watched}")
    say(f"{prefix}queue_slope_worst_per_h: {worst[1]:.2f} ({worst[0]})")
    for words in growing:
        say(words)
    return growing


def tell_slope(name: str, found: Slope, values: Sequence[float]) -> None:
    """Print one slope with its interval and the range of values."""
    stem, _, unit = name.rpartition("_") if name.endswith("_kb") else (name, "", "")
    unit = f"_{unit}" if unit else ""
    interval = f"95 %: {found.low:.1f} to {found.high:.1f}"
    say(f"{stem}_slope{unit}_per_h: {found.per_h:.1f} ({interval}; {values[0]:.0f} to {values[-1]:.0f})")


def _within_bounds(name: str, values: Sequence[float]) -> bool:
    return any(name.endswith(end) and max(values) <= bound for end, bound in BOUNDED.items())


def _first(values: Sequence[float]) -> float:
    return sorted(values[: max(1, len(values) // 5)])[len(values[: max(1, len(values) // 5)]) // 2]


def _last(values: Sequence[float]) -> float:
    return _first(list(reversed(values)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--virtual-hours", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--traced", action="store_true", help="by tracemalloc in virtual time: three times slower")
    asked, load = parser.parse_args(), os.getloadavg()[0]
    say(f"seed: {asked.seed}")
    wrong: list[str] = []
    if asked.minutes:
        wrong += run_real(asked.minutes, asked.seed)
    if asked.virtual_hours:
        wrong += run_virtual(asked.virtual_hours, asked.seed, traced=asked.traced)
    for words in wrong:
        say(f"WRONG: {words}")
    say(machine(f"{asked.minutes:g} min, {asked.virtual_hours:g} virtual h", load))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
