"""What the Raspberry Pi's firmware is told about the sound board, on a card image: in use, to be, or impossible.

Responsible for: plain words. Not for: finding it out (``first_boot.lines``), or doing it (the image's ``board-lines``).
"""

from __future__ import annotations

from collections.abc import Iterator

from appliance.config import Loaded
from appliance.diagnosis.finding import Finding, note, ok, trouble
from appliance.first_boot.outcome import Lines, Outcome

NAME = "board lines"
AGAIN = "start the machine again"


def examine(loaded: Loaded, found: Outcome | None, did: str) -> Iterator[Finding]:
    """Say how it is; nothing where nobody but its owner writes config.txt. ``did``: what was done at this start."""
    lines = found.lines if found else None
    if lines is None:
        return
    if loaded.chosen is not None:
        if not loaded.chosen.sure:
            what = 'board = "auto" changes none, and recognises no board'
            yield note(NAME, what, "a HAT without EEPROM must be named: board = … in voice.toml; hardware/boards.md")
        return
    if lines.state != "unusable" and loaded.board.config_txt != lines.lines:
        yield trouble(NAME, f"board {loaded.config.board} was named since the machine was started", AGAIN)
        return
    yield judge(lines, did)
    for name in lines.missing:
        what = f"the overlay {name} is not on this card; driver of {lines.board}: {loaded.board.driver or 'unknown'}"
        yield trouble(NAME, what, "hardware/boards.md; an image with Debian's kernel has few overlays")


def judge(lines: Lines, did: str) -> Finding:
    """Say what became of the lines."""
    told = " ".join(lines.lines) or "none are needed"
    match lines.state:
        case "unusable":
            return trouble(NAME, f"they stay as they are: {lines.problem}", f"correct it, and {AGAIN}")
        case "new":
            what = f"not in use ({told}): {did or 'nobody wrote them'}"
            return trouble(NAME, what, f"{AGAIN}; journalctl -b -u voice-board-lines")
        case _:
            return ok(NAME, told)
