"""Writes the pages and pictures that come from tables, boards and the panel; ``--check`` fails when one is stale."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from appliance.conversation import effects, events
from appliance.conversation.state import Fault, Led, Phase, Settings, State, mirror
from appliance.conversation.transitions import TABLE, Rule
from tests import boards_page, flashing_pictures, refusals, signals, wiring

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# The conversation

*Generated from `appliance/conversation/transitions.py` by `make docs`; do not edit.*

Audio never enters this machine, only facts about audio do. `step(state, event, settings)` looks up a cell, applies
its rule, and then settles: connect where a link is needed, ask for the reply that is owed, come to rest when
nothing is pending, do chores when idle. An empty cell ignores its event (the button and the network race).
LED, open microphone, gate and timers are functions of state (`mirror`), not effects.
"""


SPECIAL = [
    ("IDLE, muted", State(muted=True), Settings()),
    ("IDLE, hands-free", State(), Settings(hands_free=True)),
    ("IDLE, calibrating", State(calibrating=True), Settings()),
    ("IDLE or THINKING, offline", State(offline=True), Settings()),
    ("FAULT, waiting to be approved", State(phase=Phase.FAULT, fault=Fault.ENROLMENT), Settings()),
    ("FAULT, the settings on the card are refused", State(phase=Phase.FAULT, fault=Fault.SETTINGS), Settings()),
    ("LISTENING with an ailment", State(phase=Phase.LISTENING, ailment=events.Ailment.ZERO), Settings()),
    ("SPEAKING, full duplex lost", State(phase=Phase.SPEAKING, half_duplex=True), Settings(full_duplex=True)),
]


def first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").splitlines()[0]


def table() -> list[str]:
    lines = ["## Table", "", "| event | " + " | ".join(p.name for p in Phase) + " |", "|---" * (len(Phase) + 1) + "|"]
    for event, row in TABLE.items():
        cells = [f"`{row[phase].__name__}`" if phase in row else "" for phase in Phase]
        lines.append(f"| **{event.__name__}** | " + " | ".join(cells) + " |")
    return lines


def rules() -> list[str]:
    seen: dict[str, Rule] = {}
    for row in TABLE.values():
        for rule in row.values():
            seen.setdefault(rule.__name__, rule)
    return ["## Rules", "", *(f"- `{name}`: {first_line(rule)}" for name, rule in seen.items())]


def glossary(title: str, module: object, base: type) -> list[str]:
    found = [
        thing
        for thing in vars(module).values()
        if inspect.isclass(thing) and issubclass(thing, base) and thing is not base
    ]
    return [f"## {title}", "", *(f"- **{thing.__name__}**: {first_line(thing)}" for thing in found)]


def lights() -> list[str]:
    shown = [f"- {phase.name}: LED `{mirror(State(phase=phase), Settings()).led.value}`" for phase in Phase]
    shown += [f"- {name}: LED `{mirror(state, settings).led.value}`" for name, state, settings in SPECIAL]
    words = ", ".join(f"`{led.value}`" for led in Led)
    return ["## What is shown", "", *shown, "", f"All LED words: {words}."]


def page() -> str:
    sections = [
        table(),
        rules(),
        glossary("Events", events, events.Event),
        glossary("Effects", effects, effects.Effect),
        lights(),
    ]
    return "\n".join([HEAD, *("\n".join(section) + "\n" for section in sections)])


def generated() -> dict[str, str]:
    """What each generated file has to hold."""
    boards = boards_page.shipped()
    pictures = {f"hardware/pictures/{name}.svg": wiring.picture(name, board) for name, board in boards.items()}
    return {
        "docs/conversation.md": page(),
        "docs/refusals.md": refusals.page(),
        "hardware/boards.md": boards_page.page(boards),
        **{path: text for path, text in pictures.items() if text},
        **signals.pictures(),
        **flashing_pictures.pictures(),
    }


def main() -> int:
    stale = 0
    for name, wanted in generated().items():
        path = ROOT / name
        if "--check" not in sys.argv:
            path.write_text(wanted)
        elif not path.exists() or path.read_text() != wanted:
            sys.stderr.write(f"{name} is stale: run `make docs` and commit it\n")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
