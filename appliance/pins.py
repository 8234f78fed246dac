"""A provisioning service's address with the keys it may show: ``https://box.local:8443#spki-sha256=PIN[,PIN]``.

Responsible for: taking the address apart. Not for: holding a server to its pins (``credentials.http``). A pin is the
SHA-256 of the SubjectPublicKeyInfo of the server's certificate (as in RFC 7469), in base64, base64url or hexadecimal.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple

PREFIX = "spki-sha256="


class Address(NamedTuple):
    """A service's issuer, and its pins as digests; without any, the system's roots decide."""

    issuer: str
    pins: frozenset[bytes] = frozenset()


def parse(url: str) -> Address:
    """Take ``url`` apart; a slash at its end does not count.

    Raises:
        ValueError: what follows the ``#`` is no list of pins, or there are pins for an address that is not https.
    """
    address, mark, fragment = url.partition("#")
    issuer = address.rstrip("/")
    if not mark:
        return Address(issuer)
    if not fragment.startswith(PREFIX):
        raise ValueError(f"after the # belongs a pin: {PREFIX}…")
    if not issuer.startswith("https://"):
        raise ValueError("a pin is for https:// addresses")
    return Address(issuer, frozenset(_digest(pin) for pin in fragment.removeprefix(PREFIX).split(",")))


def canonical(pins: frozenset[bytes]) -> str:
    """Write pins as one text, the same for the same pins."""
    return ",".join(sorted(base64.urlsafe_b64encode(pin).rstrip(b"=").decode("ascii") for pin in pins))


def _digest(pin: str) -> bytes:
    text = pin.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        if re.fullmatch("[0-9A-Fa-f]{64}", text):
            return bytes.fromhex(text)
        digest = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 32:
        raise ValueError("a pin is the SHA-256 of the server's public key: 43 characters of base64url, or 64 of hex")
    return digest
