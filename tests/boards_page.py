"""The page hardware/boards.md: of every board what its profile says, with its picture. From the profiles.

Responsible for: that page. Not for: the pictures (``wiring``), or how boards are added (hardware/README.md).
"""

from __future__ import annotations

from pathlib import Path

from appliance import board as profiles
from appliance.board import Board, Setting
from appliance.plugged import ANY_USB
from tests import wiring

HARDWARE = Path(__file__).resolve().parent.parent / "hardware"
HEAD = """# The boards

*Generated from the profiles in this folder by `make docs`; do not edit.*

**None of the real boards was at hand.** What is here was read from the sources that each names. If you try one, correct
its profile and its `verified` line. How a board is found, and how one is added: [README](README.md).

| profile | board | found by itself | button | light | echo removed by |
|---|---|---|---|---|---|
"""


def shipped() -> dict[str, Board]:
    """Read the profiles of this repository."""
    return {path.stem: profiles.load(path.stem) for path in sorted(HARDWARE.glob("*.toml"))}


def page(boards: dict[str, Board]) -> str:
    """Write the page."""
    rows = [
        f"| [`{name}`](#{name}) | {board.name} | {_found_by(board) or 'no'} | {_button(board)} | {_light(board)} "
        f"| {'the board' if board.aec == 'hardware' else 'us'} |"
        for name, board in boards.items()
    ]
    return HEAD + "\n".join(rows) + "\n\n" + "\n\n".join(_section(name, board) for name, board in boards.items()) + "\n"


def _section(name: str, board: Board) -> str:
    lines = [f"## {name}", "", f"**{board.name}** · [{name}.toml]({name}.toml) · {board.verified}", ""]
    if wiring.picture(name, board):
        lines += [f"![{name}: what is connected where](pictures/{name}.svg)", ""]
    lines += [f"- {note}" for note in board.notes]
    if board.config_txt:
        block = "\n".join(f"  {line}" for line in board.config_txt)
        where = "- in `config.txt` (the card image does it by itself once the board is named):"
        lines += [where, "", f"  ```ini\n{block}\n  ```", ""]
    lines += [
        f"- driver: {board.driver.rstrip('.')}",
        f"- found by: {_found_by(board) or 'nothing, name it'}",
        f"- microphone: `{board.capture.device}`, {_channels(board)}, {board.capture.rate} Hz",
        f"- loudspeaker: `{board.playback.device}`, {board.playback.rate} Hz",
        f"- button: {_button(board)}; light: {_light(board)}",
        f"- echo: removed by {'the board' if board.aec == 'hardware' else 'us'}; delay beyond ALSA's "
        + (f"{board.delay_ms} ms" if board.delay_ms else "not known, measured at the first start"),
    ]
    if board.mixer:
        lines.append(f"- mixer, set at every start: {'; '.join(map(_setting, board.mixer))}")
    lines += [f"- read: {source}" for source in board.sources]
    return "\n".join(lines)


def _found_by(board: Board) -> str:
    by = board.found_by
    words = [f"EEPROM `{pattern}`" for pattern in by.hat]
    words += ["the only USB card that records and plays" if usb == ANY_USB else f"USB `{usb}`" for usb in by.usb]
    words += [f"card `{card}`" + (f" with codec `{by.codec}`" if by.codec else "") for card in by.card]
    return ", ".join(words)


def _channels(board: Board) -> str:
    capture = board.capture
    used = ", ".join(map(str, capture.microphones))
    back = "" if capture.reference is None else f", {capture.reference} is what the loudspeaker plays"
    return f"{capture.channels} channel(s), of which {used} used as microphone{back}"


def _button(board: Board) -> str:
    return "none" if board.button.pin is None else f"GPIO{board.button.pin}"


def _light(board: Board) -> str:
    light = board.light
    if light.spi:
        power = "" if light.power is None else f", power GPIO{light.power}"
        return f"{light.leds} APA102 on SPI {light.spi}{power}"
    return ", ".join(f"GPIO{pin}" for pin in light.pins) or "none"


def _setting(setting: Setting) -> str:
    on = {True: "on", False: "off", None: ""}[setting.on]
    words = [on, "" if setting.volume is None else str(setting.volume), setting.choice or ""]
    capture = " (capture)" if setting.direction == "capture" else ""
    return f"`{setting.control}`{capture} {' '.join(word for word in words if word)}"
