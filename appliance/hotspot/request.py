"""The seam between the appliance, which may do nothing to the machine, and the small unit of root's that may.

The appliance writes a wish into its own run directory; systemd's path unit sees it and starts the other one
(``session``), which tells how far it is in a file of its own. The wish goes away: it is not wished any more.
Responsible for: both files. Not for: what is done about them.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

WISH = "setup-wanted"
PROGRESS = "progress.json"
DIGITS = 12  # of the Wi-Fi's password: it can be said, and 10^12 are too many to try before the next one
LONGEST = 4096


class Wish(Struct, frozen=True):
    """What the appliance wants. ``password`` is for the Wi-Fi of the set-up page, new each time."""

    what: Literal["setup", "forget"]
    id: str
    password: str = ""


class Progress(Struct, frozen=True):
    """How far it is with the wish ``id``; ``failures`` counts what was entered and did not lead to a network."""

    id: str
    state: Literal["open", "done", "over"]
    failures: int = 0


def ask(directory: Path, what: Literal["setup", "forget"]) -> Wish:
    """Wish for something, instead of what was wished for before.

    Raises:
        OSError: the directory cannot be written.
    """
    password = "".join(secrets.choice("0123456789") for _ in range(DIGITS)) if what == "setup" else ""
    wish = Wish(what, secrets.token_hex(8), password)
    new = directory / f".{WISH}.new"
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.encode(wish))
    new.replace(directory / WISH)
    return wish


def withdraw(directory: Path) -> None:
    """Wish for nothing any more."""
    with contextlib.suppress(OSError):
        (directory / WISH).unlink(missing_ok=True)


def wished(directory: Path) -> Wish | None:
    """Read the wish as root: whoever wrote it may be anybody's puppet, so nothing but its form is believed."""
    try:
        handle = os.open(directory / WISH, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            wish = msgspec.json.decode(file.read(LONGEST), type=Wish)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    good = re.fullmatch("[0-9a-f]{16}", wish.id) and re.fullmatch(f"([0-9]{{{DIGITS}}})?", wish.password)
    return wish if good and bool(wish.password) == (wish.what == "setup") else None


def tell(directory: Path, progress: Progress) -> None:
    """Say how far it is. Everybody may read it.

    Raises:
        OSError: the directory cannot be written.
    """
    new = directory / f".{PROGRESS}.new"
    new.write_bytes(msgspec.json.encode(progress))
    new.chmod(0o644)
    new.replace(directory / PROGRESS)


def progress(directory: Path, wish: Wish) -> Progress | None:
    """Read how far it is with ``wish``; ``None``: nobody has begun."""
    try:
        found = msgspec.json.decode((directory / PROGRESS).read_bytes(), type=Progress)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if found.id == wish.id else None
