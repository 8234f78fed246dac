r"""A Wi-Fi as NetworkManager keeps it: the keyfile of nm-settings-keyfile(5).

Responsible for: writing one, and reading the secret back of one that was written here. GLib's key files know the
escapes \s \n \t \r \\. Not for: where they are (``changes``).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence

from appliance.first_boot.wishes import Wifi

PREFIX = "voice-"
SUFFIX = ".nmconnection"
_OURS = uuid.UUID("70a1ce00-0000-4000-8000-00000000f1b0")


def file_name(name: str) -> str:
    """Name the keyfile of the Wi-Fi ``name``: the same for the same name, and safe whatever that is."""
    return f"{PREFIX}{hashlib.sha256(name.encode()).hexdigest()[:16]}{SUFFIX}"


def number(name: str) -> str:
    """Number the connection to the Wi-Fi ``name``: what ``nmcli`` calls it by."""
    return str(uuid.uuid5(_OURS, name))


def keyfile(network: Wifi, priority: int, secret: str) -> str:
    """Write the keyfile. ``secret`` is what :func:`secret_of` or :func:`escaped` gives; "" for an open Wi-Fi."""
    lines = [
        "# Written by voice-appliance.",
        "[connection]",
        f"id={PREFIX}{escaped(network.name)}",
        f"uuid={number(network.name)}",
        "type=wifi",
        f"autoconnect-priority={priority}",
        "autoconnect-retries=0",  # for ever: nobody is there to press anything
        "",
        "[wifi]",
        "mode=infrastructure",
        f"ssid={''.join(f'{byte};' for byte in network.name.encode())}",
    ]
    if network.hidden:
        lines.append("hidden=true")
    if secret:
        lines += ["", "[wifi-security]", "key-mgmt=wpa-psk", f"psk={secret}"]
    lines += ["", "[ipv4]", "method=auto", "", "[ipv6]", "method=auto", ""]
    return "\n".join(lines)


def escaped(value: str) -> str:
    """Write a value so that GLib reads it back the same."""
    return "".join({"\\": "\\\\", " ": "\\s", "\t": "\\t", "\n": "\\n", "\r": "\\r"}.get(c, c) for c in value)


def secret_of(keyfile_lines: Sequence[str]) -> str:
    """Find the secret in a keyfile, escaped as it is; "" if there is none."""
    return next((line.removeprefix("psk=") for line in keyfile_lines if line.startswith("psk=")), "")
