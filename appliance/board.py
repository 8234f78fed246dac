"""Board profiles: what a sound board is called, how it is wired, what it can do. Data, one TOML a board.

Responsible for: the shape of ``hardware/<board>.toml`` and reading one. Not for: finding out which board is
plugged in (``plugged``), or opening anything.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from appliance.errors import ConfigError

OWN_BOARDS = Path("/etc/voice-appliance/hardware")
Pin = Annotated[int, Meta(ge=0, le=63)]
Channel = Annotated[int, Meta(ge=0, le=63)]
# Lines for the firmware: Raspberry Pi's documentation, "config.txt" (file format), and of device trees and parameters.
LONGEST_LINE = 98  # what is beyond, the firmware ignores
LONGEST_LINES = 400  # bytes of all of them: what is written on the card fits one sector
_VALUE = r"[A-Za-z0-9_./:+-]+"
_LINE = re.compile(
    rf"#dtparam=\w+=on|dtparam=\w+={_VALUE}(,\w+={_VALUE})*|dtoverlay=|dtoverlay=\w[\w.-]*(,\w+(={_VALUE})?)*", re.ASCII
)


class Part(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of a board profile: unknown keys are refused."""


class Capture(Part, frozen=True, kw_only=True):
    """The microphones: ALSA name, preferred rate, the channels that are microphones.

    ``reference`` is the channel on which the board returns what its loudspeaker plays, if it does.
    """

    device: str = "default"
    rate: Annotated[int, Meta(ge=8000, le=192_000)] = 48_000
    channels: Annotated[int, Meta(ge=1, le=64)] = 1
    microphones: tuple[Channel, ...] = (0,)
    reference: Channel | None = None


class Playback(Part, frozen=True, kw_only=True):
    """The loudspeaker: ALSA name, preferred rate and channels."""

    device: str = "default"
    rate: Annotated[int, Meta(ge=8000, le=192_000)] = 48_000
    channels: Annotated[int, Meta(ge=1, le=8)] = 1


class Button(Part, frozen=True, kw_only=True):
    """The push button's GPIO line (BCM numbering)."""

    pin: Pin | None = None
    pull_up: bool = True


class Light(Part, frozen=True, kw_only=True):
    """The LED: on GPIO lines (none, one, or red-green-blue), or ``leds`` APA102 in a row on the SPI bus ``spi``.

    ``power`` is the GPIO line that has to be high for the LEDs on SPI to have power.
    """

    pins: tuple[Pin, ...] = ()
    active_high: bool = True
    dimmable: bool = True
    spi: Annotated[str, Meta(pattern=r"^([0-9]+\.[0-9]+)?$")] = ""
    leds: Annotated[int, Meta(ge=1, le=64)] = 1
    power: Pin | None = None

    @property
    def wired(self) -> bool:
        """Whether there is a light that the panel drives."""
        return bool(self.pins or self.spi)


class Setting(Part, frozen=True, kw_only=True):
    """A control of the card's mixer, by the name that amixer and alsamixer give it, and what it has to be.

    ``volume`` is in the control's own steps, as vendors publish it.
    """

    control: Annotated[str, Meta(min_length=1)]
    direction: Literal["playback", "capture"] = "playback"
    volume: int | None = None
    on: bool | None = None
    choice: str | None = None


class FoundBy(Part, frozen=True, kw_only=True):
    """How ``board = "auto"`` knows the board: any of ``hat``, ``usb`` and ``card`` is enough.

    ``hat`` are patterns for vendor, product id and product of the EEPROM. ``codec`` narrows ``card`` down.
    ``usb = ["*:*"]`` is every USB card that records and plays, and counts only where nothing else is found.
    """

    hat: tuple[str, ...] = ()
    usb: tuple[Annotated[str, Meta(pattern=r"^(\*:\*|[0-9a-f]{4}:[0-9a-f]{4})$")], ...] = ()
    card: tuple[str, ...] = ()
    codec: str = ""


class Board(Part, frozen=True, kw_only=True):
    """A sound board as data.

    ``aec`` says who removes the loudspeaker's echo, we or the board itself. ``delay_ms`` is the round trip beyond what
    ALSA reports, where it is known; what was measured by calibration counts more.

    ``config_txt`` are lines for the firmware, which the card image writes itself; ``#dtparam=…=on`` there means: off.
    From ``notes`` on all else is for people: it makes the page and the picture of the board.
    """

    name: str
    found_by: FoundBy = field(default_factory=FoundBy)
    capture: Capture = field(default_factory=Capture)
    playback: Playback = field(default_factory=Playback)
    button: Button = field(default_factory=Button)
    light: Light = field(default_factory=Light)
    mixer: tuple[Setting, ...] = ()
    aec: Literal["software", "hardware"] = "software"
    delay_ms: Annotated[int, Meta(ge=0, le=450)] = 0
    calibrate: Literal["first_start", "never"] = "first_start"
    verified: str = "read from the vendor's documentation, not tried"
    notes: tuple[str, ...] = ()
    config_txt: tuple[str, ...] = ()
    driver: str = ""
    header: dict[Annotated[int, Meta(ge=1, le=40)], str] = field(default_factory=dict)
    sockets: dict[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()

    @property
    def has_panel(self) -> bool:
        """Whether button or light hang on the header."""
        return self.button.pin is not None or self.light.wired


def folders() -> list[Path]:
    """List where profiles are looked for, the owner's own first."""
    own = os.environ.get("VOICE_APPLIANCE_HARDWARE")
    here = Path(__file__).resolve().parent
    packaged, source = here / "boards", here.parent / "hardware"
    return [*([Path(own)] if own else []), OWN_BOARDS, packaged, source]


def names() -> list[str]:
    """List the known boards."""
    return sorted({path.stem for path in _profiles()})


def _profiles() -> Iterator[Path]:
    for folder in folders():
        try:
            if folder.is_dir():
                yield from sorted(folder.glob("*.toml"))
        except OSError as error:
            raise ConfigError(f"{folder}: {error.strerror}", hint="make the board profiles readable") from error


def mentioning(words: Sequence[str]) -> dict[str, Board]:
    """Read the profiles in whose files one of ``words`` stands: a start need not parse them all.

    Raises:
        ConfigError: one of them is malformed.
    """
    found: dict[str, Board] = {}
    for path in _profiles():
        if path.stem not in found and any(word in _text(path) for word in words):
            found[path.stem] = load(path.stem)
    return found


def load(name: str) -> Board:
    """Read the profile of ``name``.

    Raises:
        ConfigError: no such board, or its profile is malformed.
    """
    for path in _profiles():
        if path.stem == name:
            return _read(path)
    near = difflib.get_close_matches(name, names(), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"board = {name!r}: no such board", hint=f"{hint}known boards: {', '.join(names())}")


def _read(path: Path) -> Board:
    try:
        board = msgspec.convert(tomllib.loads(_text(path)), Board, str_keys=True)
    except (ValueError, RecursionError) as error:  # msgspec's, tomllib's
        raise ConfigError(f"{path}: {' '.join(str(error).split())}", hint="correct the board profile") from error
    _check_light(board.light, path)
    for setting in board.mixer:
        if setting.volume is None and setting.on is None and setting.choice is None:
            raise ConfigError(
                f"{path}: mixer control {setting.control!r} is to be nothing", hint="give volume, on or choice"
            )
    if board.capture.reference is not None and board.capture.reference >= board.capture.channels:
        raise ConfigError(
            f"{path}: capture.reference = {board.capture.reference}: capture.channels is {board.capture.channels}",
            hint=f"name a channel from 0 to {board.capture.channels - 1}",
        )
    check_reference(board, board.capture.microphones, f"{path}: capture.microphones")
    _check_lines(board.config_txt, path)
    return board


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", hint="correct the board profile") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="make the board profile readable") from error


def _check_light(light: Light, path: Path) -> None:
    if len(light.pins) not in (0, 1, 3):
        raise ConfigError(f"{path}: light.pins = {list(light.pins)}", hint="an LED has one line, or red, green, blue")
    if light.pins and light.spi:
        raise ConfigError(f"{path}: light.pins and light.spi", hint="the LED is on GPIO lines or on SPI, name one")
    if light.power is not None and not light.spi:
        raise ConfigError(
            f"{path}: light.power = {light.power} without light.spi", hint="leave it out, or name the bus"
        )


def _check_lines(lines: Sequence[str], path: Path) -> None:
    for line in lines:
        if not _LINE.fullmatch(line):
            hint = "only dtparam=NAME=VALUE, dtoverlay=NAME,PARAMETER=VALUE and #dtparam=NAME=on, without blanks"
            raise ConfigError(f"{path}: config_txt has {line[:LONGEST_LINE]!r}", hint=hint)
        if len(line) > LONGEST_LINE:
            hint = (
                f"the firmware reads {LONGEST_LINE} characters of a line: write parameters on dtparam= lines below it"
            )
            raise ConfigError(f"{path}: config_txt has a line of {len(line)} characters: {line[:40]}…", hint=hint)
    length = sum(len(line) + 1 for line in lines)
    if length > LONGEST_LINES:
        raise ConfigError(f"{path}: config_txt has {length} bytes", hint=f"at most {LONGEST_LINES}, with the line ends")


def check_reference(board: Board, microphones: Sequence[int], name: str) -> None:
    """Refuse the loudspeaker's own signal as a microphone; ``name`` says where ``microphones`` come from.

    Raises:
        ConfigError: the board's reference channel is among them.
    """
    if board.capture.reference in microphones:
        raise ConfigError(
            f"{name} = {list(microphones)}: channel {board.capture.reference} is what the loudspeaker plays",
            hint="leave it out, or correct capture.reference of the board",
        )
