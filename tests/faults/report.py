"""The table that is printed and written, and the summary lines of the contract.

Responsible for: words and figures. Not for: measuring (``bench``).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.faults.fuzz import Fuzzed
from tests.faults.kills import Killed
from tests.faults.row import Heals, Outcome
from tests.scenarios.home import ROOT

PAGE = ROOT / "docs" / "faults.md"
HEAD = """# What can break, and what becomes of it

*Written by `python -m tests.faults --write`, as measured; do not edit.*

Every fault is injected into the whole running daemon: a real process on the virtual sound card (`tests/fakes/card`),
under a supervisor that does what `systemd/voice-appliance.service` says, with wires that can be bad between it, the
Realtime server and the real provisioning service. `make bench-faults` makes the table; `make test` a short form of it.

- **noticed**: seconds from the fault to its first sign, and where that was. A dash: there was nothing to notice.
- **heard**, **seen**: what the person was told, by the counters of `ctl status`, the card's own record of the
  loudspeaker, and the light. Codes are explained in [refusals.md](refusals.md).
- **heals**: by itself, by the next press, by a restart of the supervisor, or by a person who acts; *nobody need*: it
  works while the fault lasts.
- **healed**: seconds from the end of the fault to the first sound of an answer; a held button of 0.4 s is in it where
  a press was needed, and the conversation's own waiting where a question was still open. 0: it never ceased to work.
- **lost**: of what was said. What is lost is owned up to, always.
- **silent** would be a failure of ours: not told, not healed, or lost without a word.
"""
NONE = "-"
SECONDS = ("heal_median_s", "heal_worst_s", "sigkill_to_ready_worst_s")


def row_of(outcome: Outcome) -> list[str]:
    """The cells of one row."""
    row = outcome.row
    noticed = NONE if outcome.noticed_s is None else f"{outcome.noticed_s:.2f} ({outcome.sign})"
    heals = row.heals.value + (f" ({outcome.presses} presses)" if outcome.presses > 1 else "")
    return [
        row.name,
        row.when.value,
        row.what,
        noticed,
        ", ".join(outcome.heard) or NONE,
        ", ".join(outcome.seen) or NONE,
        heals,
        NONE if outcome.healed_s is None else f"{outcome.healed_s:.1f}",
        outcome.lost or NONE,
        f"**{outcome.verdict}**" if outcome.verdict == "silent" else outcome.verdict,
    ]


TITLES = ("fault", "while", "what happens", "noticed (s)", "heard", "seen", "heals", "healed (s)", "lost", "verdict")


def line(outcome: Outcome) -> str:
    """One row to be printed, with what is wrong about it."""
    text = " | ".join(row_of(outcome))
    return text + "".join(f"\n    !! {complaint}" for complaint in outcome.complaints)


def summary(outcomes: Sequence[Outcome], killed: Killed, fuzzed: Fuzzed) -> list[str]:
    """The lines of the contract."""
    verdicts = [outcome.verdict for outcome in outcomes]
    # What never ceased to work did not heal; what a person lifts heals when that person comes.
    healed = [o.healed_s for o in outcomes if o.healed_s is not None and o.row.heals is not Heals.ENDURED]
    figures: dict[str, float] = {
        "faults_total": len(outcomes),
        "faults_healed": verdicts.count("healed"),
        "faults_owned_up": verdicts.count("owned up"),
        "faults_silent": verdicts.count("silent"),
        "heal_median_s": statistics.median(healed) if healed else 0.0,
        "heal_worst_s": max(healed, default=0.0),
        "items_lost": sum(bool(o.lost) and not o.owned_up and not o.row.plain for o in outcomes),
        "items_doubled": sum(o.doubled for o in outcomes),
        "questions_owned_up": sum(o.lost == "question" and o.owned_up for o in outcomes),
        "fuzzed_events": fuzzed.events,
        "fuzz_crashes": len(fuzzed.crashes),
        "sigkills": killed.kills,
        "sigkills_state_lost": len(killed.lost),
        "sigkill_to_ready_worst_s": max(killed.ready_s, default=0.0),
    }
    return [f"{name}: {value:.2f} s" if name in SECONDS else f"{name}: {value:g}" for name, value in figures.items()]


def page(outcomes: Iterable[Outcome], lines: Sequence[str], ran_on: str) -> str:
    """The whole page."""
    table = [f"| {' | '.join(TITLES)} |", "|" + "---|" * len(TITLES)]
    table += [f"| {' | '.join(row_of(outcome))} |" for outcome in outcomes]
    figures = ["## In all", "", *(f"- `{text}`" for text in lines), "", f"Measured {ran_on}."]
    return "\n".join([HEAD, *table, "", *figures, ""])


def write(text: str, path: Path = PAGE) -> None:
    """Write the page."""
    path.write_text(text)
