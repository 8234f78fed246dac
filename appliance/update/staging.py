"""Which devices are among the first to get a version. Pure.

Each device has its own place from 0 to 100 for each version: a hash of its key's thumbprint and the version. So the
share of devices is the percentage, who was in stays in as it grows, and the first are others each time.
"""

from __future__ import annotations

import hashlib

ALL = 100.0


def place(thumbprint: str, version: str) -> float:
    """Return the device's place for this version: at least 0, below 100."""
    digest = hashlib.sha256(f"{thumbprint}\n{version}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48 * ALL


def is_in(thumbprint: str, version: str, percent: float) -> bool:
    """Say whether this device is among the first ``percent``; one whose key is not known yet only when all are."""
    if percent >= ALL:
        return True
    return bool(thumbprint) and place(thumbprint, version) < percent
