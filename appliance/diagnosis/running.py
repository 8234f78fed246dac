"""The running daemon, as it tells of itself over its control socket.

Responsible for: asking once, and what its status means in plain words. Not for: what only systemd knows (``unit``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from appliance import __version__
from appliance.diagnosis.finding import Finding, failed, note, ok, trouble
from appliance.errors import ApplianceError
from appliance.panel import ctl

Status = dict[str, object]
MICROPHONE = {
    "zero": (
        "the microphone delivers only zeros",
        "is it muted by a switch, in alsamixer, unplugged, the wrong channel? `voice-appliance calibrate` shows each",
    ),
    "clipped": (
        "the microphone is driven into clipping",
        "turn its gain down in alsamixer, or move it away from the loudspeaker",
    ),
    "unavailable": (
        "a sound card is gone",
        "plug it in again: it is found by itself; `voice-appliance devices` lists the cards",
    ),
}
LOST = ("overruns", "underruns")  # sound that was lost on this machine


class Answer(NamedTuple):
    """Whether a daemon runs (then cards and lines are its own), its status if it told, and how it is."""

    runs: bool
    status: Status | None
    finding: Finding


def ask(socket: Path) -> Answer:
    """Ask the daemon for its status."""
    try:
        status = ctl.ask(socket, {"cmd": "status"})
    except ctl.NotRunningError:
        what = f"it does not run (nobody serves {socket})"
        return Answer(False, None, trouble("daemon", what, "start it: sudo systemctl start voice-appliance"))
    except ctl.NotAllowedError as error:
        return Answer(True, None, note("daemon", error.message, f"{error.hint}, or ask with sudo"))
    except ApplianceError as error:
        return Answer(True, None, trouble("daemon", error.message, "sudo systemctl restart voice-appliance"))
    return Answer(True, status, _greeting(status))


def _greeting(status: Status) -> Finding:
    version, up_s = status.get("version"), status.get("uptime_s")
    if version != __version__:
        what = f"version {version} runs, {__version__} is installed"
        return trouble("daemon", what, "sudo systemctl restart voice-appliance")
    hours = up_s / 3600 if isinstance(up_s, (int, float)) else 0.0
    return ok("daemon", f"{status.get('phase')}, link {status.get('link')}, up for {hours:.1f} h, version {version}")


def examine(status: Status) -> Iterator[Finding]:
    """Say what of its status is worth a line."""
    microphone = str(status.get("microphone"))
    if microphone in MICROPHONE:
        yield trouble("microphone", *MICROPHONE[microphone])
    else:
        yield ok("microphone", f"{microphone}, {'open' if status.get('mic_open') else 'closed'} now")
    if status.get("muted"):
        yield note("mute", "it is muted and does not listen", "`voice-appliance ctl mute` ends that")
    if status.get("volume") == 0:
        yield note("volume", "it is 0: nothing is heard", "`voice-appliance ctl volume 60`")
    if status.get("button_stuck"):
        what = "it has been down for longer than anybody presses it"
        yield trouble("button", what, "is it jammed, or wired otherwise than button.pin and pull_up of the board say?")
    yield from _lost(status.get("counters"))
    if status.get("last_error") and microphone == "ok":
        yield failed("last error", ApplianceError(str(status["last_error"]), hint="a press tries again"))


def waiting_code(status: Status | None) -> str:
    """Return the code that waits to be approved, "" if none does."""
    enrolment = status.get("enrolment") if status else None
    return str(enrolment.get("code") or "") if isinstance(enrolment, dict) else ""


def _lost(counters: object) -> Iterator[Finding]:
    if not isinstance(counters, dict):
        return
    lost = {name: counters[name] for name in LOST if counters.get(name)}
    if lost:
        told = ", ".join(f"{count} {name}" for name, count in lost.items())
        yield note("sound", f"some was lost since the start ({told})", "many: the machine is too busy for its sound")
