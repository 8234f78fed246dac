"""RAUC, by its command: which slot is which, install, mark. It checks the signature and alone writes to slots.

Responsible for: calling it, and its failures in one line. Not for: how the boot selector works (the bootloader backend
``rauc-boot``). Source: RAUC's reference manual, "Command line tool" and "D-Bus API" (the command talks to the service).
"""

from __future__ import annotations

import configparser
import json
import subprocess
from pathlib import Path
from typing import NamedTuple

from appliance.errors import UpdateError

SYSTEM = Path("/etc/rauc/system.conf")
INSTALL_S = 3600.0
ANSWER_S = 60.0
NO_IMAGE = "only the card image has two slots; an installation made by hand is updated as docs/install.md says"


class Slots(NamedTuple):
    """Names of the slots: which one runs, which one starts next time, and the one that does not run."""

    booted: str
    primary: str
    other: str

    @property
    def on_trial(self) -> bool:
        """Say whether what runs was started once only, and a plain start leads back."""
        return self.booted != self.primary


def compatible(path: Path = SYSTEM) -> str:
    """Read which images fit this device.

    Raises:
        UpdateError: this is not a card image.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text("utf-8"))
        return parser["system"]["compatible"]
    except (OSError, ValueError, KeyError, configparser.Error) as error:
        raise UpdateError(f"{path} does not say which images fit this device", hint=NO_IMAGE) from error


def slots() -> Slots:
    """Ask which slot is which.

    Raises:
        UpdateError: no answer, or not two slots to start from.
    """
    told = _rauc("status", "--output-format=json", within_s=ANSWER_S)
    try:
        found = json.loads(told)
        named = {name: slot["bootname"] for entry in found["slots"] for name, slot in entry.items() if slot["bootname"]}
        booted, primary = str(found["booted"]), named.get(found["boot_primary"], "")
        other = next(name for name in named.values() if name != booted)
        running = {slot["bootname"] for entry in found["slots"] for slot in entry.values() if slot["state"] == "booted"}
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise UpdateError("rauc does not say which slot is which", hint="rauc status") from error
    if booted not in named.values():  # the kernel's root= may be what it tells
        booted = next(iter(running), booted)
        other = next((name for name in named.values() if name != booted), other)
    return Slots(booted, primary, str(other))


def install(bundle: Path) -> None:
    """Write a bundle into the slot that does not run.

    Raises:
        UpdateError: not signed by whom this device trusts, not for this device, damaged, or a slot that fails.
    """
    _rauc("install", str(bundle), within_s=INSTALL_S)


def start_other_once() -> None:
    """Let the next start be from the other slot, once.

    Raises:
        UpdateError: the boot selector cannot be used.
    """
    _rauc("status", "mark-active", "other", within_s=ANSWER_S)


def keep() -> None:
    """Let every start from now on be from the slot that runs.

    Raises:
        UpdateError: the boot selector cannot be used.
    """
    _rauc("status", "mark-good", "booted", within_s=ANSWER_S)


def give_up() -> None:
    """Note that the slot that runs is not to be started from.

    Raises:
        UpdateError: the boot selector cannot be used.
    """
    _rauc("status", "mark-bad", "booted", within_s=ANSWER_S)


def _rauc(*arguments: str, within_s: float) -> str:
    try:
        done = subprocess.run(["rauc", *arguments], capture_output=True, text=True, timeout=within_s, check=False)  # noqa: S603, S607  # by PATH: the system's
    except FileNotFoundError as error:
        raise UpdateError("rauc is not installed", hint=NO_IMAGE) from error
    except subprocess.TimeoutExpired as error:
        raise UpdateError(
            f"rauc {arguments[0]} took longer than {within_s:.0f} s", hint="journalctl -u rauc"
        ) from error
    if done.returncode != 0:
        raise UpdateError(f"rauc {arguments[0]}: {_reason(done.stdout + done.stderr)}", hint="journalctl -u rauc -e")
    return done.stdout


def _reason(told: str) -> str:
    """Pick the line that says why."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    for line in lines:
        if line.startswith("LastError:"):
            return line.removeprefix("LastError:").strip()
    return lines[-1] if lines else "it failed without a word"
