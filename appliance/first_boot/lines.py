"""What the board asks of the Raspberry Pi's firmware: lines that its kernel needs before there is a sound card.

On the card image config.txt ends with ``include board.txt``, a file beside it. Whose board is named gets its lines in
there; "auto" changes none: what it recognises has brought its lines along, or is at work already.

Responsible for: which lines, and how those differ that the machine was started with. Not for: what a line may be
(``board``), writing them onto the card and the restart (image/overlay/late/usr/lib/voice-appliance/board-lines).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from appliance import board, config
from appliance.board import LONGEST_LINES
from appliance.config import AUTO, Config
from appliance.errors import ApplianceError
from appliance.first_boot import places as files
from appliance.first_boot.outcome import Lines
from appliance.first_boot.places import Places
from appliance.logs import one_line, without_secrets

log = logging.getLogger(__name__)
SECTOR = 512  # bytes: a file of one sector is written in place, and is the old or the new one after a power cut
HEAD = "# What the sound board needs. Written by voice-appliance: name your board in voice.toml.\n[all]\n"
INCLUDE = re.compile(rf"^include {files.LINES}\s*$", re.MULTILINE)
OVERLAY = re.compile(r"dtoverlay=([^,]+)")


def text(lines: Sequence[str]) -> str:
    """Write board.txt, one sector long. What a profile wants to be commented out in config.txt is switched off here."""
    off = (re.sub(r"^#(dtparam=\w+)=on$", r"\1=off", line) for line in lines)
    written = HEAD + "".join(f"{line}\n" for line in off)
    return written + "\n" * (SECTOR - len(written))


def look(places: Places) -> Lines | None:
    """Compare; where they differ the new board.txt is left in /run. ``None``: this is no card image.

    Never raises: a board whose lines cannot be told keeps those that are there.
    """
    if not places.boot.is_dir():
        return None
    wanted = places.run / files.LINES
    try:
        wanted.unlink(missing_ok=True)
        return _look(places, wanted)
    except ApplianceError as error:
        problem = without_secrets(one_line(str(error)))
    except OSError as error:
        problem = f"{error.filename} cannot be used ({error.strerror}): was the boot partition not mounted?"
    log.error("the board's lines stay as they are: %s", problem)
    return Lines(state="unusable", problem=problem)


def _look(places: Places, wanted: Path) -> Lines:
    named = config.convert(config.read_toml(places.config / "appliance.toml"), Config, Path("appliance.toml")).board
    if named == AUTO:
        return Lines(state="auto")
    lines = board.load(named).config_txt
    boot = places.boot
    if not INCLUDE.search((boot / "config.txt").read_text("utf-8", "replace")):
        return Lines(state="unusable", board=named, problem=f"config.txt does not include {files.LINES}")
    overlays = [found[1] for line in lines if (found := OVERLAY.match(line))]
    missing = tuple(name for name in overlays if not (boot / "overlays" / f"{name}.dtbo").is_file())
    for name in missing:
        log.warning("the overlay %s is not on this card: board %s may stay silent", name, named)
    new = text(lines).encode()
    if _there(boot / files.LINES) == new:
        return Lines(state="in_use", board=named, lines=lines, missing=missing)
    files.make_folder(wanted.parent, 0o755)
    files.replace(wanted, new, 0o644)
    log.info("board %s needs other lines in %s: %s", named, files.LINES, " ".join(lines) or "none")
    return Lines(state="new", board=named, lines=lines, missing=missing)


def _there(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(SECTOR + 1)
    except FileNotFoundError:
        return b""


assert len(HEAD) + LONGEST_LINES <= SECTOR
