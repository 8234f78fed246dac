"""The words of a report that its owner finds on the card: first what is wrong and what to do, then all that was seen.

Responsible for: remedies for somebody who cannot log in, and a text that Windows' Notepad shows. Needs nothing but the
standard library. Not for: what is in it (``collecting``), nor for putting it onto the card (``putting``).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

TEXT, BUNDLE = "voice-report.txt", "voice-report.tar.xz"
LARGEST_TEXT = 128 * 1024
WIDTH = 100
_BACK = "put the card back and switch on"
_AGAIN = "switch it off and on; if it comes again, write the card again"
# By the name of a finding: what whoever has only the card and a press can do. Else it is what ``doctor`` says.
DO = {
    "configuration": f"correct voice.toml on this card, {_BACK}",
    "voice.toml": f"correct it, as voice.toml.problem.txt beside it says, {_BACK}",
    "service": f"mend what else is wrong here; then {_AGAIN}",
    "daemon": _AGAIN,
    "microphone": "is the board plugged in well, a switch on it at mute? Is the right one named: board = in voice.toml",
    "loudspeaker": "is the board plugged in well? Is the right one named: board = in voice.toml",
    "gpio": "is the board plugged in well? Is the right one named: board = in voice.toml",
    "button": "is it jammed? Is the right board named: board = in voice.toml",
    "light": "is the board plugged in well? It works without its light",
    "user": "write the card again",
    "state": "write the card again",
    "updates": "write the card again",
    "disk": "take another memory card: this one is full, or worn out",
    "clock": "is there a network? It takes the time from there, and many routers have it too",
    "service address": f"write the address of your service into voice.toml (url below [provisioning]), {_BACK}",
    "name": "is the Wi-Fi in voice.toml the right one, and in reach? Is url below [provisioning] spelled right?",
    "provisioning": "is the computer with your service on? Is url below [provisioning] in voice.toml its address?",
    "enrolment": "press its button, and type the code that it says on your service's page",
    "calibration": "it can be lived with; softer, or the loudspeaker further from the microphone, it may go away",
    "last error": "a press tries again",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Collected:
    """What there is to tell, without secrets. ``problem``: why there is no bundle."""

    doctor: Sequence[str] = ()
    status: Mapping[str, object] | None = None
    versions: Sequence[str] = ()
    journal: Sequence[str] = ()
    problem: str = ""


def write(found: Collected, at: datetime) -> str:
    """Write the report."""
    lines = [f"Voice appliance: report of {at:%Y-%m-%d %H:%M} UTC, by its own clock", ""]
    lines += [*_verdict(found), ""]
    if found.problem:
        lines += [f"There is no {BUNDLE}: {found.problem}."]
    else:
        lines += [f"For somebody who helps from afar there is {BUNDLE} beside this file."]
    lines += ["No secrets, no sound and nothing that was said is in here; have a look before you send it."]
    lines += _chapter("What was looked at", found.doctor, "nothing: see the log below")
    if found.status is not None:
        told = [f"{name.replace('_', ' '):<16} {_words(value)}" for name, value in found.status.items()]
        lines += _chapter("What it does", told, "it does not run, or does not answer")
    lines += _chapter("What it is", found.versions, "not known")
    if found.journal:
        lines += _chapter("Its log, the newest last", found.journal, "")
    return "\n".join(line for long in lines for line in _wrapped(long)) + "\n"


def encode(text: str) -> bytes:
    """Encode it as Windows' editors like it; what is too long loses its end."""
    data = text.replace("\n", "\r\n").encode("utf-8-sig", errors="replace")
    return data if len(data) <= LARGEST_TEXT else data[:LARGEST_TEXT].decode("utf-8", errors="ignore").encode()


def _verdict(found: Collected) -> Iterator[str]:
    troubles = [line[8:] for line in found.doctor if line.startswith("trouble ")]
    if not found.doctor:
        yield "Its program is broken: it cannot even be examined."
        yield "   Do: write the card again. If that does not help, send this file to somebody who helps."
    elif not troubles:
        yield "It finds nothing wrong with itself."
    else:
        yield f"{len(troubles)} {'thing is' if len(troubles) == 1 else 'things are'} wrong:"
    for number, line in enumerate(troubles, 1):
        name, _, words = line.partition(": ")
        what, _, remedy = words.partition("; ")
        yield ""
        yield f"{number}. {name}: {what}"
        yield f"   Do: {DO.get(name, remedy)}."


def _chapter(title: str, lines: Sequence[str], otherwise: str) -> list[str]:
    return ["", "", f"--- {title} ---", "", *(lines or [otherwise])]


def _words(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{key} {inner}" for key, inner in value.items() if inner) or "none"
        case _:
            return str(value)


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH, subsequent_indent=" " * 8, break_on_hyphens=False) or [""]
