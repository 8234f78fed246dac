"""Board profiles: what a sound board is called, how it is wired, what it can do. Data, one TOML a board.

Responsible for: the shape of ``hardware/<board>.toml`` and finding one. Not for: finding out which board is
plugged in, or opening anything.
"""

from __future__ import annotations

import difflib
import os
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
    """The LED's GPIO lines: none, one, or red-green-blue."""

    pins: tuple[Pin, ...] = ()
    active_high: bool = True
    dimmable: bool = True


class Board(Part, frozen=True, kw_only=True):
    """A sound board as data.

    ``aec`` says who removes the loudspeaker's echo, we or the board itself. ``delay_ms`` is the round trip beyond what
    ALSA reports, where it is known; what was measured by calibration counts more.
    """

    name: str
    capture: Capture = field(default_factory=Capture)
    playback: Playback = field(default_factory=Playback)
    button: Button = field(default_factory=Button)
    light: Light = field(default_factory=Light)
    aec: Literal["software", "hardware"] = "software"
    delay_ms: Annotated[int, Meta(ge=0, le=450)] = 0
    calibrate: Literal["first_start", "never"] = "first_start"
    verified: str = "read from the vendor's documentation, not tried"


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
        board = msgspec.convert(tomllib.loads(path.read_text("utf-8-sig")), Board)
    except (ValueError, RecursionError) as error:  # msgspec's, tomllib's, the encoding's
        raise ConfigError(f"{path}: {' '.join(str(error).split())}", hint="correct the board profile") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="make the board profile readable") from error
    if len(board.light.pins) not in (0, 1, 3):
        raise ConfigError(
            f"{path}: light.pins = {list(board.light.pins)}", hint="an LED has one line, or red, green, blue"
        )
    if board.capture.reference is not None and board.capture.reference >= board.capture.channels:
        raise ConfigError(
            f"{path}: capture.reference = {board.capture.reference}: capture.channels is {board.capture.channels}",
            hint=f"name a channel from 0 to {board.capture.channels - 1}",
        )
    check_reference(board, board.capture.microphones, f"{path}: capture.microphones")
    return board


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
