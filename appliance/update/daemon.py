"""The running appliance, asked over its control socket like anybody may who is in its group.

Responsible for: its status, the trial of its sound, and standing still for a restart. Not for: what follows of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from appliance.panel import ctl
from appliance.update.health import Sound

Status = dict[str, object]
TRIAL_S = 15.0  # for one second of sound, a busy machine included
LOOK_S = 0.5


class Appliance:
    """The daemon behind ``socket``; ``sleep`` waits seconds."""

    def __init__(self, socket: Path, sleep: Callable[[float], None]) -> None:
        self._socket, self._sleep = socket, sleep

    def status(self) -> Status | None:
        """Return its status, ``None`` where none runs.

        Raises:
            ApplianceError: it runs and does not answer, or we may not ask.
        """
        try:
            return ctl.ask(self._socket, {"cmd": "status"})
        except ctl.NotRunningError:
            return None

    def stand_still(self) -> bool:
        """Have it show that it is being updated, and take no press for a minute; returns whether one runs.

        Raises:
            ApplianceError: somebody is in a conversation with it.
        """
        try:
            ctl.ask(self._socket, {"cmd": "stand-still"})
        except ctl.NotRunningError:
            return False
        return True

    def try_sound(self) -> tuple[Sound, str]:
        """Let it move frames through microphone and loudspeaker for a second, silently; how that went, and why.

        Raises:
            ApplianceError: it does not answer.
        """
        try:
            ctl.ask(self._socket, {"cmd": "try-sound"})
        except ctl.RefusedError as error:
            return "unknown", error.message
        for _ in range(int(TRIAL_S / LOOK_S)):
            self._sleep(LOOK_S)
            status = self.status()
            told = status.get("sound_trial") if status else None
            if isinstance(told, dict) and told.get("state") != "running":
                return _outcome(told)
        return "unknown", "the trial of the sound did not end"


def _outcome(told: dict[str, object]) -> tuple[Sound, str]:
    why = str(told.get("why") or "")
    match told.get("state"):
        case "moves":
            return "moves", why
        case "muted":
            return "muted", why
        case "fails":
            return "fails", why
        case _:
            return "unknown", why or "the trial of the sound was disturbed"
