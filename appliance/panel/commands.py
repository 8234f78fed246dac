"""The commands of the control socket: their fields, their checks, their answers.

Responsible for: one command in, one answer out. Not for: the socket (``control``) or what happens then (the
daemon).
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec

from appliance.errors import ApplianceError
from appliance.panel.picture import check_picture

MAX_TEXT_CHARACTERS = 8000


class Controls(Protocol):
    """What the daemon lets a local user do. Whatever cannot be done is raised as an ApplianceError."""

    def press(self) -> None:
        """Act like the button going down."""

    def release(self) -> None:
        """Act like the button coming up."""

    def tap(self) -> None:
        """Act like a short press."""

    def toggle_mute(self) -> bool:
        """Mute or unmute; True: muted now."""

    def say(self, text: str) -> None:
        """Send text in place of speech."""

    def show(self, image_url: str) -> None:
        """Send a picture, as a data URI that ``picture.check_picture`` accepted."""

    def set_volume(self, percent: int) -> None:
        """Set the loudspeaker's volume, 0 to 100."""

    def try_sound(self) -> None:
        """Move frames through both cards for a second, silently; the outcome comes into the status."""

    def stand_still(self) -> None:
        """Show that the machine is about to be restarted, and take no press for a minute."""

    def status(self) -> dict[str, object]:
        """Tell what the appliance does now; whatever msgspec encodes as JSON."""

    def follow(self) -> AsyncIterator[dict[str, object]]:
        """Yield a record whenever there is one; closed (or cancelled) when the client goes."""


class Command(msgspec.Struct, frozen=True):
    """One line of a client. Fields that a command does not use are ignored, so that newer clients work."""

    cmd: str
    text: str | None = None
    image_url: str | None = None
    percent: int | None = None
    value: int | None = None  # another name of percent
    follow: bool = False


def decode(line: bytes) -> Command:
    """Read one line.

    Raises:
        ApplianceError: no JSON object, or a field of the wrong type.
    """
    try:
        return _DECODER.decode(line)
    except msgspec.ValidationError as error:
        raise ApplianceError(f"cannot read the command: {error}", hint='example: {"cmd":"status"}') from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApplianceError("a line is not a JSON object", hint='example: {"cmd":"status"}') from error


def perform(command: Command, controls: Controls) -> dict[str, object]:
    """Carry a command out and say what came of it.

    Raises:
        ApplianceError: no such command, a bad field, or the daemon could not do it.
    """
    act = _COMMANDS.get(command.cmd)
    if act is None:
        near = difflib.get_close_matches(command.cmd[:40], _COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ApplianceError(
            f"no such command: {command.cmd[:40]!r}", hint=f"{hint}known commands: {', '.join(_COMMANDS)}"
        )
    return {**act(command, controls), "ok": True}


def refusal(error: ApplianceError) -> dict[str, object]:
    """Word an error as the answer."""
    return {"ok": False, "error": error.message, "hint": error.hint}


def _press(_: Command, controls: Controls) -> dict[str, object]:
    controls.press()
    return {}


def _release(_: Command, controls: Controls) -> dict[str, object]:
    controls.release()
    return {}


def _tap(_: Command, controls: Controls) -> dict[str, object]:
    controls.tap()
    return {}


def _mute(_: Command, controls: Controls) -> dict[str, object]:
    return {"muted": controls.toggle_mute()}


def _say(command: Command, controls: Controls) -> dict[str, object]:
    text = (command.text or "").strip()
    if not text:
        raise ApplianceError("say: no text", hint='example: {"cmd":"say","text":"What time is it?"}')
    if len(text) > MAX_TEXT_CHARACTERS:
        raise ApplianceError(f"say: more than {MAX_TEXT_CHARACTERS} characters", hint="say less at once")
    controls.say(text)
    return {}


def _show(command: Command, controls: Controls) -> dict[str, object]:
    check_picture(command.image_url or "")
    controls.show(command.image_url or "")
    return {}


def _volume(command: Command, controls: Controls) -> dict[str, object]:
    percent = command.value if command.percent is None else command.percent
    if percent is None or not 0 <= percent <= 100:
        raise ApplianceError("volume: needs a percent from 0 to 100", hint='example: {"cmd":"volume","percent":60}')
    controls.set_volume(percent)
    return {"percent": percent}


def _try_sound(_: Command, controls: Controls) -> dict[str, object]:
    controls.try_sound()
    return {}


def _stand_still(_: Command, controls: Controls) -> dict[str, object]:
    controls.stand_still()
    return {}


def _status(_: Command, controls: Controls) -> dict[str, object]:
    return controls.status()


_DECODER = msgspec.json.Decoder(Command)
_COMMANDS: dict[str, Callable[[Command, Controls], dict[str, object]]] = {
    "press": _press,
    "release": _release,
    "tap": _tap,
    "mute": _mute,
    "say": _say,
    "show": _show,
    "volume": _volume,
    "try-sound": _try_sound,
    "stand-still": _stand_still,
    "status": _status,
}
