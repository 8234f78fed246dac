"""Which sound hardware is plugged in, as the kernel tells it, and which board profile that is.

Responsible for: reading the HAT's EEPROM and the sound cards below a root directory, and the choice that
``board = "auto"`` stands for. Not for: the profiles (``board``), opening a card or asking ALSA.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
from msgspec import Struct

from appliance import board as profiles
from appliance.board import Board

ROOT = Path("/")
FALLBACK = "any"
ANY_USB = "*:*"
_CARD = re.compile(r"CARD=([^,]+)")
_LISTED = re.compile(r"^\s*(\d+) \[(\S+)\s*\]: ", re.MULTILINE)


class Card(Struct, frozen=True):
    """A sound card: ALSA's name for it, USB vendor and product where it has any, and what its devices say of codecs."""

    name: str
    usb: str = ""
    devices: str = ""

    @property
    def duplex(self) -> bool:
        """Whether it records and plays."""
        return "playback" in self.devices and "capture" in self.devices


class Plugged(Struct, frozen=True):
    """What is plugged in: the words of the HAT's EEPROM (vendor, product id, product; empty: none) and the cards."""

    hat: str = ""
    cards: tuple[Card, ...] = ()


class Choice(Struct, frozen=True):
    """The board that was chosen, and why. ``sure`` is false where no board, or more than one, was recognised.

    ``others`` are boards whose cards are there as well. ``missing`` is a card of the chosen board that is not.
    """

    name: str
    board: Board
    why: str
    sure: bool
    others: tuple[str, ...] = ()
    missing: str = ""


def look(root: Path | None = None) -> Plugged:
    """Read what the kernel says below ``root``. What is not there, or cannot be read, is not plugged in."""
    root = root or ROOT
    hat = root / "proc/device-tree/hat"
    words = (_read(hat / name) for name in ("vendor", "product_id", "product"))
    asound = root / "proc/asound"
    pcms = _read(asound / "pcm").splitlines()
    cards = []
    for number, name in _LISTED.findall(_read(asound / "cards")):
        devices = "; ".join(line.partition(": ")[2] for line in pcms if line.startswith(f"{int(number):02d}-"))
        cards.append(Card(name, _read(asound / f"card{number}/usbid").lower(), devices))
    return Plugged(" ".join(word for word in words if word), tuple(cards))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace").strip("\0 \n")  # the device tree ends its words with NUL
    except OSError:
        return ""


def choose(plugged: Plugged) -> Choice:
    """Say which board this is: the one that its EEPROM, USB id or card tells, else :data:`FALLBACK`, with the reason.

    Raises:
        ConfigError: a profile that could be it is malformed.
    """
    words = [word for card in plugged.cards for word in (card.name, card.usb) if word]
    words += ["hat ="] * bool(plugged.hat) + [ANY_USB] * any(card.usb for card in plugged.cards)
    boards = profiles.mentioning(words)
    fitting = tuple(name for name, board in boards.items() if fits(board, plugged))
    known = {name: seen for name, board in boards.items() if (seen := _recognised(board, plugged))}
    generic = [name for name, board in boards.items() if ANY_USB in board.found_by.usb]
    usb = [card for card in plugged.cards if card.usb and card.duplex]
    if len(known) == 1:
        name, (why, card) = known.popitem()
        board = on_card(boards[name], card) if card else boards[name]
    elif not known and len(usb) == 1 and len(generic) == 1:
        name, board = generic[0], on_card(boards[generic[0]], usb[0])
        why = f"{usb[0].name} is the only USB card that records and plays"
    else:
        return _fall_back(known, usb, fitting)
    others = tuple(other for other in fitting if other != name)
    missing = sorted(_cards_of(board) - {card.name for card in plugged.cards})
    return Choice(name, board, why, sure=True, others=others, missing=", ".join(missing))


def _fall_back(known: Iterable[str], usb: list[Card], fitting: tuple[str, ...]) -> Choice:
    if known:
        why = f"it could be {' or '.join(sorted(known))}"
    elif len(usb) > 1:
        why = f"{len(usb)} USB cards record and play: {', '.join(card.name for card in usb)}"
    else:
        why = "no known board was found"
    return Choice(FALLBACK, profiles.load(FALLBACK), f"{why}: name yours, board = …", sure=False, others=fitting)


def _recognised(board: Board, plugged: Plugged) -> tuple[str, Card | None] | None:
    """Say what tells that this is ``board``, and its card where that is what told it."""
    by = board.found_by
    if plugged.hat and any(fnmatchcase(plugged.hat, pattern) for pattern in by.hat):
        return f'its EEPROM says "{plugged.hat}"', None
    for card in plugged.cards:
        if card.usb and card.usb in by.usb:
            return f"USB {card.usb} is {card.name}", card
        if card.name in by.card and by.codec in card.devices:
            codec = f" with a {by.codec}" if by.codec else ""
            return f"there is a card {card.name}{codec}", None
    return None


def on_card(board: Board, card: Card) -> Board:
    """Point the profile at ``card``: ALSA numbers the names of USB cards of which there are several."""
    capture, playback = (
        msgspec.structs.replace(part, device=_CARD.sub(f"CARD={card.name}", part.device))
        for part in (board.capture, board.playback)
    )
    return msgspec.structs.replace(board, capture=capture, playback=playback)


def fits(board: Board, plugged: Plugged) -> bool:
    """Say whether the cards that the profile names are there, with the codec that it names."""
    wanted, codec = _cards_of(board), board.found_by.codec
    there = {card.name for card in plugged.cards if not codec or codec in card.devices}
    return bool(wanted) and wanted <= there


def _cards_of(board: Board) -> set[str]:
    devices = (board.capture.device, board.playback.device)
    return {found[1] for device in devices if (found := _CARD.search(device))}
