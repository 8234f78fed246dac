"""The mixer of a sound card without the card: a real ALSA control whose elements are the lines of a file.

Responsible for: making it, naming it ``hw:CARD=…`` in an ALSA configuration, reading what it was set to; the card
"vhw" is the virtual card's own mixer. Not for: sound (``vcard``), which no element of it changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.fakes.card.library import build
from tests.fakes.card.vcard import VirtualCard

_CONF = """\
ctl_type.vmixer {{ lib "{library}" }}
ctl.hw {{
    @args [ CARD ]
    @args.CARD {{ type string }}
    type vmixer
    file {{ @func concat strings [ "{directory}/" $CARD ".mixer" ] }}
}}
ctl.vhw {{ type vmixer file "{directory}/vhw.mixer" }}
"""


class Control(NamedTuple):
    """One element as the driver names it: integer, boolean or, with items, enumerated; of one or two channels."""

    name: str
    high: int = 1
    channels: int = 1
    items: tuple[str, ...] = ()
    low: int = 0


class VirtualMixer:
    """The mixer of the card ``card``; everything is at its lowest, as codecs are at power-on."""

    def __init__(self, directory: Path, card: str, controls: Iterable[Control]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / f"{card}.mixer"
        self._file.write_text("".join(_line(control) for control in controls))
        self._conf = directory / "mixer.conf"
        self._conf.write_text(
            _CONF.format(library=build(Path(__file__).with_name("ctl_vmixer.c")), directory=directory)
        )

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to have this mixer, and those beside it in the directory."""
        return {"ALSA_CONFIG_PATH": str(self._conf)}

    def with_card(self, card: VirtualCard) -> dict[str, str]:
        """What a process needs to have this mixer and a sound card."""
        return {"ALSA_CONFIG_PATH": f"{card.conf}:{self._conf}"}

    def values(self) -> dict[str, tuple[int, ...] | str]:
        """What every element is now, by the driver's name; of an enumerated one its item."""
        found: dict[str, tuple[int, ...] | str] = {}
        for line in self._file.read_text().splitlines():
            kind, count, _, _, items, *values, name = line.split("\t")
            numbers = tuple(int(value) for value in values)[: int(count)]
            found[name] = items.split("|")[numbers[0]] if kind == "e" else numbers
        return found


def _line(control: Control) -> str:
    kind = "e" if control.items else "b" if control.name.endswith(" Switch") else "i"
    fields = (
        kind,
        control.channels,
        control.low,
        control.high,
        "|".join(control.items) or "-",
        control.low,
        control.low,
    )
    return "\t".join(map(str, (*fields, control.name))) + "\n"
