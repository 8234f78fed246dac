"""DPoP nonces without memory: a time window and our signature over it, so that any replica knows any other's.

A nonce says "this proof was made after I spoke to you, at most ten minutes ago" and thereby replaces the device's
clock, which may stand in 1970.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

WINDOW_S = 300


def issue(secret: bytes, issuer: str, now_s: float) -> str:
    """The nonce of the current window."""
    return _make(secret, issuer, int(now_s // WINDOW_S))


def accepts(secret: bytes, issuer: str, now_s: float, nonce: str) -> bool:
    """Whether it is ours, of the current window or the one before."""
    try:
        window = int.from_bytes(base64.urlsafe_b64decode(nonce.encode("ascii"))[:8], "big")
    except (binascii.Error, UnicodeEncodeError):
        return False
    current = int(now_s // WINDOW_S)
    return window in (current, current - 1) and hmac.compare_digest(nonce, _make(secret, issuer, window))


def _make(secret: bytes, issuer: str, window: int) -> str:
    packed = window.to_bytes(8, "big")
    mac = hmac.new(secret, issuer.encode() + b"\0" + packed, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(packed + mac[:28]).decode("ascii")  # 36 bytes: 48 characters, no padding
