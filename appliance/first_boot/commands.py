"""``voice-appliance import``: what systemd starts before the network, and what people try their file with.

Responsible for: what it prints and its exit codes. Not for: the work (``importing``).
"""

from __future__ import annotations

import argparse
import logging
import subprocess
from pathlib import Path

from appliance.errors import EXIT_CONFIG, ConfigError
from appliance.first_boot import changes, importing, text, wishes
from appliance.first_boot.places import Places

log = logging.getLogger(__name__)


def import_settings(arguments: argparse.Namespace) -> int:
    """Take the settings on the card over; with ``--check`` only say what is wrong with them."""
    where = Places(arguments.root)
    given: Path | None = arguments.file
    if arguments.check:
        return check(given or importing.find(where), where)
    found = importing.take(given or importing.find(where), where, regulate)
    if found.settings in ("refused", "out_of_reach"):
        print(f"{found.settings.replace('_', ' ')}: {found.problem}")
        return EXIT_CONFIG
    print({"none": "no settings on the card", "unchanged": "nothing new", "taken": "taken over"}[found.settings])
    return 0


def check(path: Path | None, where: Places) -> int:
    """Judge a file and change nothing.

    Raises:
        ConfigError: what is wrong with it.
    """
    if path is None:
        raise ConfigError("no voice.toml", hint="name the file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="name the file") from error
    changes.plan(wishes.read(text.decode(data), where), where)
    print(f"{path}: good")
    return 0


def regulate(country: str) -> None:
    """Tell the Wi-Fi which country's rules hold. Without it the channels that are allowed everywhere remain."""
    try:
        subprocess.run(["iw", "reg", "set", country], check=True, capture_output=True, timeout=10)  # noqa: S603, S607  # two letters that were checked
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("the Wi-Fi's country stays unset: %s", type(error).__name__)
