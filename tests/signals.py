"""What the light shows and the ear-cons sound like, drawn and in words, from the panel's and the mixer's own data.

Responsible for: one small picture for each word of the light and each ear-con, and the words for who cannot see it. Not
for: what they mean and what to do (docs/troubleshooting.md).
"""

from __future__ import annotations

import math
from itertools import groupby, pairwise

from appliance.audio.cues import SCORES
from appliance.conversation.effects import Sound
from appliance.conversation.state import Led
from appliance.panel.indicator import _PATTERNS, RGB, light

WIDTH = 300
SHOWN_S = 6.0  # longer than any pattern takes
HEARD_MS = 1800  # longer than any ear-con takes
LEFT, WIDE = 8, 284
# An LED is looked at in the dark: these pictures are the same by day and by night.
NIGHT, EDGE, MUTED, NOTE = "#0b1020", "#475569", "#94a3b8", "#7dd3fc"
FONT = 'font-family="Helvetica,Arial,sans-serif"'
COLOURS: dict[RGB, str] = {
    (0.0, 0.0, 0.0): "dark",
    (1.0, 1.0, 1.0): "white",
    (1.0, 0.0, 0.0): "red",
    (0.0, 1.0, 0.0): "green",
    (0.0, 0.0, 1.0): "blue",
    (0.0, 1.0, 1.0): "cyan",
    (1.0, 0.6, 0.0): "yellow",
    (1.0, 0.0, 1.0): "magenta",
}
STEP_S = 0.01


def rhythm(led: Led) -> str:
    """Say how a plain LED shows ``led``: the seconds of one round, lit first."""
    pattern = _PATTERNS[led]
    period_s = pattern.corners[-1][0]
    lit = [light(led, step * STEP_S + STEP_S / 2).lit for step in range(round(period_s / STEP_S))]
    if len(set(lit)) == 1:
        return "lit all the time" if lit[0] else "dark all the time"
    runs = [(on, len(list(run)) * STEP_S) for on, run in groupby(lit)]
    if runs[0][0] == runs[-1][0] and len(runs) > 2:  # the round ends in the middle of a run
        runs[0] = (runs[0][0], runs[0][1] + runs.pop()[1])
    if not runs[0][0]:
        runs = [*runs[1:], runs[0]]
    told = ", ".join(f"{round(lasts_s, 2):g} {'lit' if on else 'dark'}" for on, lasts_s in runs)
    return f"{told} (seconds)"


def colour(led: Led) -> str:
    """Name the colour that an RGB LED has."""
    return COLOURS[_PATTERNS[led].colour]


def told(led: Led) -> str:
    """Say it for who does not see the picture."""
    return rhythm(led) if led in (Led.OFF, Led.IDLE) else f"{colour(led)}: {rhythm(led)}"


def strip(led: Led, *, x: float, y: float, wide: float, high: float, until_s: float = SHOWN_S) -> str:
    """Draw the light over time: where the pattern holds, a block; where it swells or fades, a slope of colour."""
    scale, parts = wide / until_s, [f'<rect x="{x}" y="{y}" width="{wide}" height="{high}" fill="#000"/>']
    slopes: dict[str, str] = {}
    corners = _PATTERNS[led].corners
    if len({brightness for _, brightness in corners}) == 1:  # steady: one block without seams
        corners = ((0.0, corners[0][1]), (until_s, corners[0][1]))
    if not any(brightness for _, brightness in corners):
        middle = f'x="{x + wide / 2:.1f}" y="{y + high / 2 + 4:.1f}"'
        parts.append(f'<text {middle} font-size="12" text-anchor="middle" fill="{MUTED}">dark</text>')
    period_s = corners[-1][0]
    for turn in range(math.ceil(until_s / period_s)):
        for (from_s, before), (to_s, after) in pairwise(corners):
            starts_s, ends_s = turn * period_s + from_s, turn * period_s + to_s
            if starts_s >= until_s or ends_s == starts_s or before == after == 0:
                continue
            tints = [tint(led, before), tint(led, after)]
            name = f"{led.value}-{before * 100:.0f}-{after * 100:.0f}"
            fill = tints[0]
            if before != after:
                fill = f"url(#{name})"
                stops = "".join(f'<stop offset="{place}" stop-color="{hue}"/>' for place, hue in enumerate(tints))
                slopes[name] = f'<linearGradient id="{name}">{stops}</linearGradient>'
            width = (min(ends_s, until_s) - starts_s) * scale
            block = f'x="{x + starts_s * scale:.1f}" y="{y}" width="{width:.1f}" height="{high}"'
            parts.append(f'<rect {block} fill="{fill}"/>')
    return f"<defs>{''.join(slopes.values())}</defs>" * bool(slopes) + "".join(parts)


def tint(led: Led, brightness: float) -> str:
    """Write the colour of an RGB LED for the web."""
    return "#" + "".join(f"{round(255 * part * brightness):02x}" for part in _PATTERNS[led].colour)


def light_picture(led: Led) -> str:
    """Draw six seconds of a word of the light."""
    ticks = "".join(_tick(second, LEFT + second * WIDE / SHOWN_S) for second in range(round(SHOWN_S) + 1))
    return _picture(f"{led.value}, {told(led)}", strip(led, x=LEFT, y=6, wide=WIDE, high=20) + ticks, high=44)


def _tick(second: int, x: float) -> str:
    anchor = "start" if second == 0 else "end" if second == SHOWN_S else "middle"
    label = f"{second} s" if second in (0, SHOWN_S) else str(second)
    text = f'<text x="{x:.1f}" y="40" font-size="9" text-anchor="{anchor}" fill="{MUTED}">{label}</text>'
    return f'<path d="M{x:.1f} 28v3" stroke="{MUTED}"/>{text}'


def tone_picture(sound: Sound) -> str:
    """Draw the notes of an ear-con: further up is higher, further right is later."""
    scale = WIDE / HEARD_MS
    low, high = math.log(180), math.log(1500)
    notes = []
    for hertz, from_ms, lasts_ms in SCORES[sound]:
        y = 52 - 44 * (math.log(hertz) - low) / (high - low)
        place = f'x="{LEFT + from_ms * scale:.1f}" y="{y - 3:.1f}" width="{lasts_ms * scale:.1f}"'
        notes.append(f'<rect {place} height="6" rx="3" fill="{NOTE}"/>')
    return _picture(f"{sound.value}, {melody(sound)}", "".join(notes), high=60)


def melody(sound: Sound) -> str:
    """Say which way the notes of an ear-con go."""
    hertz = [note[0] for note in sorted(SCORES[sound], key=lambda note: note[1])]
    ways = {(later > before) - (later < before) for before, later in pairwise(hertz)}
    way = {1: "rising", -1: "falling", 0: "equal"}[ways.pop()] if len(ways) == 1 else "up and down"
    return f"{len(hertz)} notes, {way}"


def _picture(label: str, inside: str, *, high: int) -> str:
    size = f'viewBox="0 0 {WIDTH} {high}" width="{WIDTH}" height="{high}"'
    panel = f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{high - 1}" rx="6" fill="{NIGHT}" stroke="{EDGE}"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {FONT} role="img" aria-label="{label}">\n'
        f"{panel}\n{inside}\n</svg>\n"
    )


def pictures() -> dict[str, str]:
    """Draw all of them, by file."""
    lights = {f"docs/pictures/light-{led.value}.svg": light_picture(led) for led in Led}
    return lights | {f"docs/pictures/tone-{sound.value}.svg": tone_picture(sound) for sound in Sound}
