"""The owner's settings: voice.toml on the card's first partition, written as a computer does, taken over by the card.

Responsible for: the file, what must have come of it, and what must not be left of it. Not for: the starts
(``__main__``).
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from image.layout import SELECTOR
from image.test import firmware
from image.test.guest import Guest
from image.test.home import Home

NAME, PASSWORD = "voice.toml", "correct horse battery"
TEXT = """# mine
name = "Kitchen shelf"
time_zone = "Europe/Berlin"
country = "DE"
board = "qemu"

[[wifi]]
name = "Home"
password = "{password}"  # {password}

[provisioning]
url = "{url}"
enrolment_token = "{token}"

[conversation]
follow_up_s = 0
"""
KEYFILES = "/etc/NetworkManager/system-connections"


def write(card: Path, home: Home) -> None:
    """Write the file over the template that the image brings."""
    place = f"{card}@@{firmware.partitions(card)[SELECTOR.number][0]}"
    text = TEXT.format(password=PASSWORD, url=home.url, token=home.token)
    subprocess.run(["mcopy", "-o", "-i", place, "-", f"::{NAME}"], input=text.encode(), check=True)


def wrong(guest: Guest) -> list[str]:
    """Say what did not come of the settings; nothing, if all did."""
    outcome = json.loads(guest.run("cat /run/voice-appliance-setup/outcome.json"))
    asked = {
        "name": ("hostname", "kitchen-shelf"),
        "time zone": ("readlink -f /etc/localtime", "/usr/share/zoneinfo/Europe/Berlin"),
        "token": ("stat -c %a:%U /etc/voice-appliance/enrolment-token", "600:root"),
        "Wi-Fi": (f"stat -c %a:%U {KEYFILES}/*", "600:root"),
        "appliance": ("systemctl is-active voice-appliance", "active"),
    }
    said = {what: guest.run(command, check=False) for what, (command, _) in asked.items()}
    faults = [f"{what}: {said[what]!r}" for what, (_, wanted) in asked.items() if said[what] != wanted]
    if outcome["settings"] != "taken":
        faults.append(f"settings {outcome['settings']}: {outcome['problem']}")
    return faults


def left(card: Path, home: Home) -> list[str]:
    """Say which secrets the first partition still has, in the file or in what was freed."""
    offset, length = firmware.partitions(card)[SELECTOR.number]
    with card.open("rb") as file:
        file.seek(offset)
        content = file.read(length)
    found = {"the Wi-Fi's password": PASSWORD, "the token": home.token}
    faults = [f"{what} is on the card" for what, secret in found.items() if secret.encode() in content]
    text = firmware.read(card, offset, NAME).decode()
    if text.count('"***"') != len(found) or not text.startswith("# mine\n"):
        faults.append(f"{NAME} is not as it was written but for its secrets:\n{text}")
    return faults
