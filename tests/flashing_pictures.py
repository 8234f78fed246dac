"""The pictures of docs/flashing.md. What they show of names, sentences, lights and times is the code's own.

Responsible for: those pictures, as wide as a phone, light and dark. Not for: the light's rhythm (``signals``), wires
(``wiring``).
"""

from __future__ import annotations

import textwrap
from html import escape

from appliance.config import Conversation
from appliance.conversation.lines import TEXTS, Line
from appliance.conversation.state import Led, Settings
from appliance.guidance import WIFI_S
from image import layout
from tests import signals

WIDTH = 400
FONT = 'font-family="Helvetica,Arial,sans-serif"'
MONO = 'font-family="Menlo,Consolas,monospace"'
STYLE = """<style>
.paper{fill:#f8fafc}.ink{fill:#0f172a}.soft{fill:#475569}.box{fill:#fff;stroke:#94a3b8}.deed{fill:#1d4ed8}
.no{fill:#b91c1c}
.yes{fill:#15803d}.line{stroke:#475569;fill:none}.on{fill:#fff}.board{fill:#166534}.chip{fill:#0f172a}
@media (prefers-color-scheme:dark){
.paper{fill:#111827}.ink{fill:#f1f5f9}.soft{fill:#cbd5e1}.box{fill:#1e293b;stroke:#64748b}
.deed{fill:#60a5fa}.no{fill:#f87171}.yes{fill:#4ade80}.line{stroke:#cbd5e1}.on{fill:#0b1020}}
</style>"""
SETTINGS = """name = "Kitchen"
time_zone = "Europe/Berlin"
country = "DE"

[[wifi]]
name = "Home"
password = "correct horse"

[provisioning]
url = "http://192.168.1.10:8787"
enrolment_token = ""
"""
NUMBERED = {"name": 1, "time_zone": 2, "country": 3, "[[wifi]]": 4, "password": 5, "url": 6, "enrolment_token": 7}


def pictures() -> dict[str, str]:
    """Draw all of them, by file."""
    return {
        f"docs/pictures/flash-{name}.svg": text
        for name, text in (
            ("imager", imager()),
            ("card", card()),
            ("settings", settings()),
            ("plug", plug()),
            ("start", start()),
            ("talk", talk()),
        )
    }


def imager() -> str:
    """Draw what is chosen in Raspberry Pi Imager."""
    rows = (
        ("Device", "which Raspberry Pi it is for", "ink"),
        ("OS", "the last one: Use custom, then the file …arm64.img.xz", "deed"),
        ("Storage", "the card. What is on it now will be lost", "ink"),
        ("Customisation", "Imager leaves it out: your settings come later", "soft"),
        ("Writing", "Write; then take the card out, and put it in again", "deed"),
    )
    parts, y = [], 48
    for number, (step, what, kind) in enumerate(rows, 1):
        parts += [f'<rect class="box" x="14" y="{y}" width="372" height="50" rx="8"/>']
        parts += [_number(38, y + 25, number), _text(62, y + 30, step, size=14, weight="bold", kind=kind)]
        lines = _lines(182, y + 21, what, size=13, wide=28, kind=kind)
        parts += lines if len(lines) > 1 else _lines(182, y + 30, what, size=13, wide=28, kind=kind)
        y += 58
    return _picture("In Raspberry Pi Imager", parts, y + 6)


def card() -> str:
    """Draw the drives that a computer shows of the card."""
    names = [part.name.upper().replace("_", "-") for part in layout.PARTITIONS if part.type == "fat"]
    parts, y = [], 48
    for name in names:
        ours = name == names[0]
        parts.append(f'<rect class="box" x="14" y="{y}" width="372" height="44" rx="8"/>')
        parts.append(f'<rect class="{"deed" if ours else "soft"}" x="28" y="{y + 11}" width="30" height="22" rx="3"/>')
        parts.append(_text(70, y + 28, name, size=15, weight="bold"))
        what = "open it: voice.toml is here" if ours else "leave it alone"
        parts.append(_text(180, y + 28, what, size=13, kind="yes" if ours else "soft"))
        y += 52
    parts.append(f'<rect class="box" x="14" y="{y}" width="372" height="62" rx="8" stroke-dasharray="5 4"/>')
    parts.append(_text(28, y + 25, "“You need to format the disk”", size=14))
    parts.append(_text(28, y + 47, "Say Cancel, each time it asks.", size=14, weight="bold", kind="no"))
    return _picture("The card in your computer", parts, y + 76)


def settings() -> str:
    """Draw the settings file, with a number at each line that is explained."""
    rows, numbered = SETTINGS.splitlines(), dict(NUMBERED)
    parts = [f'<rect class="box" x="14" y="46" width="372" height="{len(rows) * 23 + 18}" rx="8"/>']
    for index, row in enumerate(rows):
        y = 70 + index * 23
        parts.append(_text(26, y, row, size=13, kind="soft" if row.startswith("[") else "ink", font=MONO))
        number = numbered.pop(row.partition(" ")[0], 0)  # where a word comes twice, the first one has it
        parts += [_number(364, y - 5, number)] * bool(number)
    return _picture("voice.toml", parts, 46 + len(rows) * 23 + 32)


def plug() -> str:
    """Draw what is plugged in, in its order."""
    parts = [
        '<rect class="board" x="120" y="78" width="170" height="110" rx="8"/>',
        '<rect class="chip" x="132" y="86" width="146" height="12"/>',
        '<rect class="chip" x="176" y="118" width="34" height="34" rx="3"/>',
        _text(205, 178, "Raspberry Pi", size=12, anchor="middle", raw="#fff"),
        '<path class="line" d="M84 133h36" stroke-width="2" stroke-dasharray="4 3"/>',
        '<rect class="deed" x="34" y="118" width="44" height="30" rx="3"/>',
        _text(56, 138, "card", size=12, anchor="middle", kind="on"),
        _number(56, 104, 1),
        '<path class="line" d="M205 78V66" stroke-width="2"/>',
        '<rect class="box" x="120" y="44" width="170" height="22" rx="5"/>',
        _text(205, 60, "sound board, button, light", size=12, anchor="middle"),
        _number(106, 55, 2),
        '<path class="line" d="M290 55h28v47" stroke-width="2"/>',
        '<circle class="box" cx="318" cy="124" r="24"/><circle class="chip" cx="318" cy="124" r="13"/>',
        _number(356, 124, 3),
        '<path class="line" d="M205 188v34" stroke-width="3"/>',
        '<path class="yes" d="M210 222l-13 20h9l-4 16 14-21h-9z"/>',
        _number(178, 240, 4),
    ]
    y = 290
    rows = (
        "The card, while it has no power.",
        "The sound board on its pins, or its USB plug. Button and light as its own picture shows.",
        "The loudspeaker, at the sound board.",
        "The power, last of all.",
    )
    for number, row in enumerate(rows, 1):
        parts.append(_number(30, y - 5, number))
        lines = _lines(52, y, row, size=14, wide=46)
        parts += lines
        y += 18 * len(lines) + 10
    return _picture("Plug it together", parts, y - 4)


def start() -> str:
    """Draw what is seen and heard at the first start."""
    rows = (
        (Led.IDLE, "It starts. Nothing to see or to hear yet."),
        (Led.CALIBRATING, "A soft hiss: it hears its own loudspeaker, for about a second. Once for each sound card."),
        (Led.IDLE, f"It joins your Wi-Fi: up to {WIFI_S:.0f} seconds."),
        (Led.ENROLLING, f"“{TEXTS[Line.APPROVE]}” and nine digits, again every {Settings().retry_s:.0f} seconds."),
        (Led.IDLE, f"“{TEXTS[Line.READY]}” Press, and talk."),
        (None, "Or, if something is missing:"),
        (Led.OFFLINE, f"“{TEXTS[Line.NO_NETWORK]} {TEXTS[Line.HOLD]}”"),
        (Led.ERROR, f"“{TEXTS[Line.SETTINGS]}” Read voice.toml.problem.txt on the card."),
    )
    return _story("The first start", rows)


def talk() -> str:
    """Draw a conversation as the light tells it."""
    defaults = Conversation()
    rows = (
        (Led.LISTENING, "Press the button for a moment. It listens: ask."),
        (Led.THINKING, f"Stop talking. After {defaults.end_of_turn_ms / 1000:g} seconds it thinks."),
        (Led.SPEAKING, "It answers. Press to stop it, or talk."),
        (Led.LISTENING, f"It listens again, for {defaults.follow_up_s:.0f} seconds: no press needed."),
        (Led.IDLE, "Dark: it rests, and its microphone is closed."),
    )
    return _story("Press, and talk", rows)


def _story(title: str, rows: tuple[tuple[Led | None, str], ...]) -> str:
    parts, y = [], 46
    for led, what in rows:
        if led is None:
            parts.append(_text(14, y + 18, what, size=14, weight="bold"))
            y += 32
            continue
        lines = _lines(150, y + 16, what, size=14, wide=31)
        high = max(34, 18 * len(lines) + 4)
        parts.append(f'<rect x="14" y="{y}" width="124" height="30" rx="6" fill="{signals.NIGHT}"/>')
        parts.append(signals.strip(led, x=20, y=y + 6, wide=112, high=18, until_s=3.0))
        parts += lines
        y += high + 10
    return _picture(title, parts, y + 4)


def _number(x: float, y: float, number: int) -> str:
    digit = _text(x, y + 4.5, str(number), size=13, anchor="middle", weight="bold", kind="on")
    return f'<circle class="deed" cx="{x}" cy="{y}" r="11"/>{digit}'


def _lines(x: float, y: float, text: str, *, size: float, wide: int, kind: str = "ink") -> list[str]:
    return [
        _text(x, y + index * 18, line, size=size, kind=kind) for index, line in enumerate(textwrap.wrap(text, wide))
    ]


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: float,
    kind: str = "ink",
    anchor: str = "",
    weight: str = "",
    font: str = "",
    raw: str = "",
) -> str:
    more = (
        f' text-anchor="{anchor}"' * bool(anchor) + f' font-weight="{weight}"' * bool(weight) + f" {font}" * bool(font)
    )
    paint = f'fill="{raw}"' if raw else f'class="{kind}"'
    return f'<text x="{x}" y="{y}" font-size="{size}"{more} {paint} xml:space="preserve">{escape(text)}</text>'


def _picture(title: str, parts: list[str], high: float) -> str:
    size = f'viewBox="0 0 {WIDTH} {high:.0f}" width="{WIDTH}" height="{high:.0f}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {FONT} role="img" aria-label="{escape(title)}">',
            STYLE,
            f'<rect class="paper" width="{WIDTH}" height="{high:.0f}" rx="12"/>',
            _text(14, 30, title, size=18, weight="bold"),
            *parts,
            "</svg>\n",
        ]
    )
