"""This machine's address as others in its network know it. Not for: the service's public one (``issuer``)."""

from __future__ import annotations

import socket


def own() -> str:
    """The IPv4 address on the way out, empty where there is none. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))  # nobody's (RFC 5737): the kernel chooses a way, and our end of it
        except OSError:
            return ""
        return str(asked.getsockname()[0])
