"""Runs the fault bench (``make bench-faults``).

``--quick`` is the short form of every row, ``--only NAME`` the rows with that in their name, ``--write`` puts what was
measured into docs/faults.md. Responsible for: the programme. A row that the bench cannot bring about counts as silent.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.report import machine, say
from tests.faults import fuzz, kills, report
from tests.faults.bench import run
from tests.faults.fuzz import Fuzzed
from tests.faults.kills import Killed
from tests.faults.row import Outcome
from tests.faults.rows import ALL
from tests.faults.scene import Missing
from tests.faults.town import Town

FUZZED, FUZZED_QUICKLY = 1_000_000, 20_000
KILLS, KILLS_QUICKLY = 100, 10
SEED = 20261127


def outcomes(only: str, *, quick: bool) -> Iterator[Outcome]:
    """Let every fault happen, one after the other."""
    with tempfile.TemporaryDirectory(prefix="faults") as directory:
        town = Town(Path(directory) / "town")
        try:
            for number, row in enumerate(ALL):
                if any(part in row.name for part in only.split(",")):
                    try:
                        yield run(row, town, Path(directory) / f"{number}", quick=quick)
                    except (Missing, AssertionError) as error:
                        yield Outcome(row, complaints=[f"the bench did not get there: {error}"])
        finally:
            town.close()


def kill_and_fuzz(*, quick: bool) -> tuple[Killed, Fuzzed]:
    """Kill a life at random moments, and feed it broken events."""
    with tempfile.TemporaryDirectory(prefix="kills") as directory:
        town = Town(Path(directory) / "town")
        try:
            killed = kills.run(KILLS_QUICKLY if quick else KILLS, town, Path(directory) / "life", SEED)
        finally:
            town.close()
    for loss in killed.lost:
        say(f"after a SIGKILL: {loss}")
    return killed, fuzz.run(FUZZED_QUICKLY if quick else FUZZED, say)


def main() -> int:
    """Run the bench; returns 1 if a fault was silent, an event crashed something or a kill lost something."""
    arguments = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="the short form")
    arguments.add_argument(
        "--only",
        default="",
        metavar="NAME",
        help="rows whose name has this in it (several: by commas), and no kills or fuzzing",
    )
    arguments.add_argument("--write", action="store_true", help="write docs/faults.md")
    chosen = arguments.parse_args()
    load, found = os.getloadavg()[0], list[Outcome]()
    say(" | ".join(report.TITLES))
    for outcome in outcomes(chosen.only, quick=chosen.quick):
        found.append(outcome)
        say(report.line(outcome))
    killed, fuzzed = (Killed(), Fuzzed()) if chosen.only else kill_and_fuzz(quick=chosen.quick)
    lines = report.summary(found, killed, fuzzed)
    for text in lines:
        say(text)
    ran_on = machine(f"{'short' if chosen.quick else 'full'} form, each fault once", load)
    say(ran_on)
    if chosen.write:
        report.write(report.page(found, lines, ran_on))
    silent = [outcome for outcome in found if outcome.verdict == "silent"]
    return int(bool(silent or fuzzed.crashes or killed.lost))


if __name__ == "__main__":
    sys.exit(main())
