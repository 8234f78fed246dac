"""How each word of the LED looks. Pure: the time in the state comes in.

Responsible for: rhythm, depth and colour. Not for: choosing the word (``conversation.state``) or driving pins.

The rhythm carries the meaning, so it also reads on a plain on/off LED and for people who do not tell colours
apart; depth and colour only help. No rhythm has more than three flashes in any second (photosensitivity).

| word           | plain LED                             | dimmable LED adds          | colour  |
|----------------|---------------------------------------|----------------------------|---------|
| off            | dark                                  |                            |         |
| idle           | dark (a press lights it at once)      |                            |         |
| attentive      | a short blip every 3 s                | a faint glow between blips | white   |
| listening      | steady                                |                            | green   |
| deaf           | two long flashes every 3 s            |                            | red     |
| thinking       | even blinking, 0.8 s                  | swells and fades           | cyan    |
| speaking       | lit, with a short gap every 1.2 s     | ripples, never quite dark  | blue    |
| speaking-alone | lit, with two dark gaps every 2.6 s   |                            | blue    |
| muted          | two blips every 4 s                   |                            | red     |
| offline        | 1.5 s lit, 1.5 s dark                 |                            | yellow  |
| error          | three flashes every 2.5 s             |                            | red     |
| updating       | long, short, long, short              |                            | magenta |
| setup          | very long, short                      |                            | magenta |
| enrolling      | one long and two short every 3 s      |                            | magenta |
| calibrating    | quick even blinking, 0.5 s            |                            | white   |

Idle is dark and not a glow: a glow keeps software PWM busy around the clock. Words of a kind look alike: muted and
deaf come in twos, both kinds of speaking are lit with gaps, updating, enrolling and setup begin with a long flash,
an open microphone that sends nothing is white.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

from appliance.conversation.state import Led

RGB = tuple[float, float, float]

FRAME_S = 0.04


class Light(NamedTuple):
    """What to show: ``brightness`` for one LED, ``rgb`` for three (brightness is already in it), all 0 to 1."""

    brightness: float
    rgb: RGB

    @property
    def lit(self) -> bool:
        """What a plain on/off LED does."""
        return self.brightness >= 0.5


class _Pattern(NamedTuple):
    """Corners (seconds, brightness) of one period, straight lines between."""

    colour: RGB
    corners: tuple[tuple[float, float], ...]


def _steps(colour: RGB, *steps: tuple[float, float]) -> _Pattern:
    """Hold each (seconds, brightness) in turn."""
    corners: list[tuple[float, float]] = []
    at_s = 0.0
    for lasts_s, brightness in steps:
        corners += [(at_s, brightness), (at_s + lasts_s, brightness)]
        at_s += lasts_s
    return _Pattern(colour, tuple(corners))


_BLACK: RGB = (0.0, 0.0, 0.0)
_WHITE: RGB = (1.0, 1.0, 1.0)
_RED: RGB = (1.0, 0.0, 0.0)
_GREEN: RGB = (0.0, 1.0, 0.0)
_BLUE: RGB = (0.0, 0.0, 1.0)
_CYAN: RGB = (0.0, 1.0, 1.0)
_YELLOW: RGB = (1.0, 0.6, 0.0)
_MAGENTA: RGB = (1.0, 0.0, 1.0)

_PATTERNS: dict[Led, _Pattern] = {
    Led.OFF: _steps(_BLACK, (1.0, 0.0)),
    Led.IDLE: _steps(_BLACK, (1.0, 0.0)),
    Led.ATTENTIVE: _steps(_WHITE, (0.1, 1.0), (2.9, 0.1)),
    Led.LISTENING: _steps(_GREEN, (1.0, 1.0)),
    Led.DEAF: _steps(_RED, (0.6, 1.0), (0.3, 0.0), (0.6, 1.0), (1.5, 0.0)),
    Led.THINKING: _Pattern(_CYAN, ((0.0, 0.1), (0.4, 0.9), (0.8, 0.1))),
    Led.SPEAKING: _Pattern(_BLUE, ((0.0, 1.0), (0.8, 1.0), (1.0, 0.2), (1.2, 1.0))),
    Led.SPEAKING_ALONE: _steps(_BLUE, (1.7, 1.0), (0.3, 0.0), (0.3, 1.0), (0.3, 0.0)),
    Led.MUTED: _steps(_RED, (0.2, 1.0), (0.3, 0.0), (0.2, 1.0), (3.3, 0.0)),
    Led.OFFLINE: _steps(_YELLOW, (1.5, 1.0), (1.5, 0.0)),
    Led.ERROR: _steps(_RED, (0.2, 1.0), (0.2, 0.0), (0.2, 1.0), (0.2, 0.0), (0.2, 1.0), (1.5, 0.0)),
    Led.UPDATING: _steps(_MAGENTA, (0.8, 1.0), (0.3, 0.0), (0.2, 1.0), (0.3, 0.0)),
    Led.ENROLLING: _steps(_MAGENTA, (0.9, 1.0), (0.3, 0.0), (0.2, 1.0), (0.3, 0.0), (0.2, 1.0), (1.1, 0.0)),
    Led.SETUP: _steps(_MAGENTA, (3.0, 1.0), (0.3, 0.0), (0.3, 1.0), (0.3, 0.0)),
    Led.CALIBRATING: _steps(_WHITE, (0.25, 1.0), (0.25, 0.0)),
}


def light(led: Led, elapsed_s: float) -> Light:
    """Compute what ``led`` looks like ``elapsed_s`` after it began."""
    (red, green, blue), corners = _PATTERNS[led]
    (from_s, before), (to_s, after), at_s = _stretch(corners, elapsed_s)
    brightness = before + (after - before) * (at_s - from_s) / (to_s - from_s)
    return Light(brightness, (red * brightness, green * brightness, blue * brightness))


def next_frame_s(led: Led, elapsed_s: float) -> float | None:
    """Compute when, after ``elapsed_s``, to call :func:`light` again; None: it is steady, once is enough.

    Only a slope needs frames; between two steps nothing has to wake up.
    """
    corners = _PATTERNS[led].corners
    if len({brightness for _, brightness in corners}) == 1:
        return None
    (from_s, before), (to_s, after), at_s = _stretch(corners, elapsed_s)
    due_s = to_s
    if before != after:
        due_s = min(from_s + (math.floor((at_s - from_s) / FRAME_S) + 1) * FRAME_S, to_s)
    return elapsed_s + (due_s - at_s)


def _stretch(
    corners: tuple[tuple[float, float], ...], elapsed_s: float
) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Find the two corners around a moment, and the moment within the period."""
    at_s = math.fmod(elapsed_s, corners[-1][0])
    for before, after in pairwise(corners):
        if at_s < after[0]:
            return before, after, at_s
    raise AssertionError("fmod is less than its divisor")
