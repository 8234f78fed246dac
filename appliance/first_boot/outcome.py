"""How the settings on the card were taken over, told to whoever may not read them: the daemon, ``doctor``.

Responsible for: one small file in /run, without secrets. Not for: what is made of it (``appliance.guidance``).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

log = logging.getLogger(__name__)
FILE_NAME = "outcome.json"
LINES_NAME = "board-lines"  # one line, left by the program of that name: what it did about new lines
NAME = "voice-appliance-setup"  # of its directory, beside the appliance's own
DIRECTORY = Path("/run") / NAME


class Lines(Struct, frozen=True, kw_only=True):
    """What the firmware is told about the board. ``new``: other lines than the machine was started with are needed.

    ``missing`` are overlays that the lines name and the card does not have.
    """

    state: Literal["auto", "in_use", "new", "unusable"]
    board: str = ""
    lines: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    problem: str = ""


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of it. ``problem`` is one line for people; ``id`` is new each time that somebody looked.

    ``out_of_reach``: the partition that would hold settings did not come, or cannot be read.
    """

    id: str = ""
    settings: Literal["none", "unchanged", "taken", "refused", "out_of_reach"] = "none"
    problem: str = ""
    wifi_known: bool = False
    page: bool = False  # there is a set-up page, which the button opens
    lines: Lines | None = None  # no card image: nobody but its owner writes its config.txt


def load(directory: Path = DIRECTORY) -> Outcome | None:
    """Read it; ``None``: nobody looks for settings on this machine."""
    try:
        return msgspec.json.decode((directory / FILE_NAME).read_bytes(), type=Outcome)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("%s is not used: %s", directory / FILE_NAME, error)
        return None


def load_lines(directory: Path = DIRECTORY) -> str:
    """Read what was done about the board's lines at this start; nothing where nothing was to be done."""
    try:
        return (directory / LINES_NAME).read_text("utf-8").strip()
    except (OSError, ValueError):
        return ""
