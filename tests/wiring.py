"""The wiring pictures of hardware/pictures, drawn from the board profiles: picture and profile cannot differ.

Responsible for: the 40-pin header with what hangs on it, and what is plugged where. Not for the page (``boards_page``).
"""

from __future__ import annotations

from html import escape

from appliance.board import Board

WIDTH = 770
FONT = 'font-family="Helvetica,Arial,sans-serif"'
TOP = 86
STEP = 22
INK, SOFT, PAPER, UNUSED = "#0f172a", "#475569", "#f8fafc", "#94a3b8"
COLOURS = {"3.3 V": "#d97706", "5 V": "#dc2626", "GND": "#334155"}
LINE = "#2563eb"
# What each pin of the Raspberry Pi's header is, from pin 1 on: a supply, or its GPIO number (BCM).
PINS: tuple[str | int, ...] = (
    *("3.3 V", "5 V", 2, "5 V", 3, "GND", 4, 14, "GND", 15, 17, 18, 27, "GND", 22, 23, "3.3 V", 24, 10, "GND"),
    *(9, 25, 11, 8, "GND", 7, 0, 1, 5, "GND", 6, 12, 13, "GND", 19, 16, 26, 20, "GND", 21),
)
ALSO = {2: "SDA", 3: "SCL", 0: "ID SDA", 1: "ID SCL", 10: "MOSI", 11: "SCLK"}
ALSO |= {18: "BCLK", 19: "LRCLK", 20: "DIN", 21: "DOUT"}
SPI_DATA, SPI_CLOCK = 10, 11


def pin_of(gpio: int) -> int:
    """Return the header pin of a GPIO line."""
    return PINS.index(gpio) + 1


def ends(board: Board) -> dict[int, str]:
    """Say what is at the other end of each header pin that the board uses."""
    found: dict[int, str] = {}
    if board.button.pin is not None:
        found[pin_of(board.button.pin)] = f"button (to {'ground' if board.button.pull_up else '3.3 V'})"
    colours = ("LED, red", "LED, green", "LED, blue") if len(board.light.pins) == 3 else ("LED",)
    found |= {pin_of(line): colour for line, colour in zip(board.light.pins, colours, strict=False)}
    if board.light.spi:
        found |= {pin_of(SPI_DATA): "LED data", pin_of(SPI_CLOCK): "LED clock"}
    if board.light.power is not None:
        found[pin_of(board.light.power)] = "LED power"
    return found | board.header if board.header else {}


def picture(name: str, board: Board) -> str:
    """Draw the board; empty where there is nothing to connect."""
    on_header = ends(board)
    if not on_header and not board.sockets:
        return ""
    parts, bottom = _header(on_header) if on_header else ([], TOP - 16)
    for number, (socket, what) in enumerate(board.sockets.items()):
        parts += _socket(bottom + 12 + number * 42, socket, what)
    bottom += 12 + len(board.sockets) * 42 + 14
    notes = ["GPIO numbers are BCM numbers, as in the profile."] if on_header else []
    if on_header:
        notes.insert(0, "40-pin header, pin 1 at the top left (square solder pad); in the circles its pin numbers.")
    notes.append(f"Verified: {board.verified}.")
    for number, note in enumerate(notes):
        parts.append(_text(24, bottom + 14 + number * 18, note, size=12, fill=SOFT))
    label = f'aria-label="{escape(name)}: {what}"'
    height = bottom + 14 + len(notes) * 18
    what = "what each line of the header is for" if on_header else "what is plugged in where"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT} role="img" {label}>',
            f'<rect width="{WIDTH}" height="{height}" rx="12" fill="{PAPER}"/>',
            _text(24, 34, board.name, size=19, weight="bold"),
            _text(24, 57, f"{name}: {what}. Generated from {name}.toml.", size=13, fill=SOFT),
            *parts,
            "</svg>\n",
        ]
    )


def _header(on_header: dict[int, str]) -> tuple[list[str], int]:
    bottom = TOP + 20 * STEP
    parts = [f'<rect x="352" y="{TOP - 16}" width="66" height="{20 * STEP + 10}" rx="6" fill="{INK}"/>']
    for index, pin in enumerate(PINS):
        left, y = index % 2 == 0, TOP + index // 2 * STEP
        x = 371 if left else 399
        end = on_header.get(index + 1)
        colour = COLOURS.get(pin, LINE) if isinstance(pin, str) else LINE
        fill = colour if end else "none"
        parts.append(f'<circle cx="{x}" cy="{y}" r="9" fill="{fill}" stroke="{PAPER if end else SOFT}"/>')
        parts.append(_text(x, y + 3, str(index + 1), size=9, anchor="middle", fill="#fff" if end else UNUSED))
        if end:
            side, anchor = (-1, "end") if left else (1, "start")
            edge = 385 + side * 36
            parts.append(f'<path d="M{edge} {y}h{side * 118}" stroke="{colour}" stroke-width="2.5"/>')
            parts.append(_text(edge + side * 6, y - 4, _function(pin), size=11, anchor=anchor, fill=colour))
            parts.append(_text(edge + side * 126, y + 4, end, size=12.5, anchor=anchor))
    return parts, bottom


def _function(pin: str | int) -> str:
    return pin if isinstance(pin, str) else f"GPIO{pin} {ALSO.get(pin, '')}".strip()


def _socket(y: int, socket: str, what: str) -> list[str]:
    """Draw a socket of the board, a cable, and what goes there."""
    box = '<rect x="{}" y="{}" width="{}" height="32" rx="6" fill="{}" stroke="{}"/>'
    return [
        box.format(24, y, 300, INK, INK),
        _text(174, y + 21, socket, size=13, anchor="middle", fill="#fff"),
        f'<path d="M324 {y + 16}h96" stroke="{INK}" stroke-width="2.5"/>',
        box.format(420, y, 326, "#fff", INK),
        _text(583, y + 21, what, size=13, anchor="middle"),
    ]


def _text(x: float, y: float, text: str, *, size: float, fill: str = INK, anchor: str = "", weight: str = "") -> str:
    more = f' text-anchor="{anchor}"' * bool(anchor) + f' font-weight="{weight}"' * bool(weight)
    return f'<text x="{x}" y="{y}" font-size="{size}"{more} fill="{fill}">{escape(text)}</text>'
