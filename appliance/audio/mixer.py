"""The mixer settings that a board needs: many codecs are silent until their routes are switched.

Responsible for: which card's mixer a setting is of, making them all, and one line about those that cannot be made.
Not for: the appliance's own volume (``loudness``), or ALSA's mixer itself (``alsa``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from appliance.audio import alsa
from appliance.board import Board, Setting
from appliance.config import Audio
from appliance.errors import DeviceError

REMEDY = "levels may be wrong: correct `mixer` in a copy of the board profile, or set it with alsamixer"


def make(board: Board, audio: Audio) -> str:
    """Make the board's settings; say what could not be made, empty if nothing.

    They are of the board's own cards: where ``audio`` names another one they are left alone. A control that fails does
    not keep the others from being set. Blocks for some milliseconds a setting.
    """
    failures = list(_failures(settings_of(board, audio)))
    if not failures:
        return ""
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return f"{failures[0]}{more}; {REMEDY}"


def there(board: Board, audio: Audio) -> bool:
    """Say whether the mixers that the settings are of can be opened: what cannot be made then never can."""
    return all(alsa.has_mixer(device) for device in {device for device, _ in settings_of(board, audio)})


def settings_of(board: Board, audio: Audio) -> list[tuple[str, Setting]]:
    """List the settings to make, each with the mixer that it is of."""
    used = {"capture": mixer_of(audio.capture), "playback": mixer_of(audio.playback)}
    own = {"capture": mixer_of(board.capture.device), "playback": mixer_of(board.playback.device)}
    ways = ((setting.direction, setting) for setting in board.mixer)
    return [(own[way], setting) for way, setting in ways if used[way] == own[way]]


def _failures(settings: Iterable[tuple[str, Setting]]) -> Iterator[DeviceError]:
    for device, setting in settings:
        try:
            alsa.set_control(device, setting)
        except DeviceError as error:
            yield error


def mixer_of(device: str) -> str:
    """Name the mixer of an ALSA PCM: that of its card, or the name itself where it names no card."""
    card = re.search(r"CARD=([^,]+)", device) or re.match(r"(?:plug)?hw:([^,=]+)", device)  # plughw:Zero,0 as well
    return f"hw:CARD={card[1]}" if card else device
