"""Opaque tokens: made from the system's randomness, stored as SHA-256 only.

They carry 256 bits, so a plain hash is enough: nothing can be guessed and tried.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

from appliance.errors import Secret

ACCESS = "vdt"
ENROLMENT = "vet"
DEVICE_CODE = "vdc"
SIGN_IN = "vsl"


def make(kind: str) -> Secret:
    """A new token, its kind as a prefix so that scanners and people recognise a leaked one."""
    return Secret(f"{kind}_{base64.urlsafe_b64encode(os.urandom(32)).rstrip(b'=').decode()}")


def digest(secret: str) -> str:
    """What the database keeps: SHA-256, hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def safety_identifier(pepper: bytes, device_id: str) -> str:
    """The stable name of a device towards the provider; it tells them nothing about the device."""
    return hmac.new(pepper, device_id.encode(), hashlib.sha256).hexdigest()
