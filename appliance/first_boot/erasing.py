"""Erases the secrets of a settings file that was taken over, on the card itself.

First they are overwritten in place, where the very sectors are that hold them; then the file is replaced by one in
which each is three asterisks long, so that its length tells nothing either. A power cut in between leaves a file that
is known again by its other bytes, and the erasing goes on. A card may still keep old sectors that no computer can ask
for: whoever opens its controller may find them.

Responsible for: the settings file and the note beside it. Not for: when (``importing``).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from appliance.errors import StateError
from appliance.first_boot import places as files
from appliance.first_boot import spans
from appliance.first_boot.record import Taken
from appliance.first_boot.text import Text

NOTE_SUFFIX = ".problem.txt"
_INTRODUCTION = (
    "The voice appliance could not use voice.toml, and changed nothing.\n\n{problem}\n\n"
    "Correct voice.toml on this card, put the card back and switch the appliance on again.\n"
    "This note goes away by itself when all is well.\n"
)


def digest(data: bytes) -> str:
    """Name bytes by their SHA-256."""
    return hashlib.sha256(data).hexdigest()


def knowing(text: Text) -> Taken:
    """Note how to know a file again."""
    data = text.encode(text.text)
    found = tuple((text.offset(span.start), text.offset(span.end)) for span in spans.secrets(text.text))
    return Taken(
        whole=digest(data),
        spans=found,
        rest=digest(_zeroed(data, found)),
        erased=digest(text.encode(spans.without_secrets(text.text))),
    )


def is_half_erased(data: bytes, taken: Taken) -> bool:
    """Say whether this is what a power cut left of the file while its secrets were overwritten."""
    star = _star(data)
    touched = any(data[start:end].startswith(star) or data[start:end].endswith(star) for start, end in taken.spans)
    return touched and digest(_zeroed(data, taken.spans)) == taken.rest


def erase(path: Path, data: bytes, taken: Taken) -> bytes:
    """Erase the secrets; returns what the file holds then. ``data`` is what it holds now.

    Raises:
        StateError: the card cannot be written.
    """
    if not taken.spans:
        return data
    try:
        star = _star(data)
        with path.open("r+b", buffering=0) as file:
            for start, end in taken.spans:
                file.seek(start)
                file.write(star * ((end - start) // len(star)))
            os.fsync(file.fileno())
        return _shortened(path, data, taken, star)
    except OSError as error:
        hint = "take the card out and erase them yourself: they are in use already"
        raise StateError(f"cannot erase the secrets in {path} ({error.strerror})", hint=hint) from error


def _shortened(path: Path, data: bytes, taken: Taken, star: bytes) -> bytes:
    parts, last = [], 0
    for start, end in taken.spans:
        parts += [data[last:start], star * len(spans.ERASED)]
        last = end
    after = b"".join((*parts, data[last:]))
    files.replace(path, after, 0o600)
    return after


def _star(data: bytes) -> bytes:
    """An asterisk in the encoding of the file."""
    return "*".encode({b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(data[:2], "utf-8"))


def _zeroed(data: bytes, found: tuple[tuple[int, int], ...]) -> bytes:
    zeroed = bytearray(data)
    for start, end in found:
        zeroed[start:end] = bytes(end - start)
    return bytes(zeroed)


def note(path: Path, problem: str) -> None:
    """Write beside the settings file what is wrong with it, as Windows' editors like it; "": take the note away."""
    beside = path.with_name(f"voice.toml{NOTE_SUFFIX}")
    with contextlib.suppress(OSError):  # a card that cannot be written: it is also spoken, shown and logged
        if problem:
            text = _INTRODUCTION.format(problem=problem).replace("\n", "\r\n")
            files.replace(beside, text.encode("utf-8-sig"), 0o644)
        elif beside.exists():
            files.remove(beside)
