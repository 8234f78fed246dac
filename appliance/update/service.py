"""Does the provisioning service answer, and if not, is it the network that is missing?

Responsible for: looking. Opens no session: that would cost the owner one. Not for: what follows of it (``health``).
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlsplit

from appliance import pins
from appliance.config import Config
from appliance.errors import ProvisioningError
from appliance.update.health import Link

PATIENCE_S = 5.0
UP = 0x1  # RTF_UP of <net/route.h>
NET = Path("/proc/net")


def reached(config: Config, net: Path = NET) -> tuple[Link, str]:
    """Ask the service for its description; returns how the link is, and why."""
    address = pins.parse(config.provisioning.url)
    if not address.issuer:
        return "unset", ""
    from appliance.credentials import grant
    from appliance.credentials.http import HttpClient

    try:
        asyncio.run(grant.discover(HttpClient(timeout_s=PATIENCE_S, pins=address.pins), address.issuer))
    except ProvisioningError as error:
        if error.code == "unreachable" and not (_has_route(net) and _answers(pins.parse(config.update.url).issuer)):
            return "absent", error.message
        return "away", error.message
    return "reached", ""


def _has_route(net: Path) -> bool:
    """Say whether there is a way out, by IPv4 or IPv6 (proc(5))."""
    for line in _lines(net / "route")[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == fields[7] == "00000000" and int(fields[3], 16) & UP:
            return True
    for line in _lines(net / "ipv6_route"):
        fields = line.split()
        if len(fields) > 9 and set(fields[0]) == {"0"} and fields[1] == "00" and fields[9] != "lo":
            return True
    return False


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _answers(url: str) -> bool:
    """Say whether somebody else takes a connection: the server with the updates, from which this version came."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), PATIENCE_S).close()
    except (OSError, ValueError):
        return False
    return True
