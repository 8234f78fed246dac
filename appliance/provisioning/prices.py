"""What a session cost, from the tokens a device reports. USD per million tokens, as of ``PRICES_OF``.

The same data as the device's own (``appliance.realtime.models``), which a service cannot import; a test holds the
two together. A model that is not here has no cost, not a cost of 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PRICES_OF = "2026-11-22"
_MOST = 10**9  # no session has more tokens: a device's nonsense must not overflow the sums

KINDS = ("text_in", "text_cached", "text_out", "audio_in", "audio_cached", "audio_out", "image_in", "image_cached")
_FIRST = (4, 0.40, 16, 32, 0.40, 64, 5, 0.50)
_SECOND = (4, 0.40, 24, 32, 0.40, 64, 5, 0.50)
PRICES: Mapping[str, tuple[float, ...]] = {
    "gpt-realtime-1.5": _FIRST,
    "gpt-realtime": _FIRST,
    "gpt-realtime-2": _SECOND,
    "gpt-realtime-2.1": _SECOND,
    "gpt-realtime-2.1-mini": (0.60, 0.06, 2.40, 10, 0.30, 20, 0.80, 0.08),
}


def tokens(usage: Mapping[str, Any]) -> int:
    """All tokens of a report: its ``total_tokens``, or what went in and came out by kind."""
    if "total_tokens" in usage:
        return _count(usage["total_tokens"])
    return sum(_count(value) for name, value in usage.items() if name.endswith(("_in", "_out")))


def cost_usd(usage: Mapping[str, Any], model: str) -> float | None:
    """What they cost; None for an unknown model or tokens that are not told by kind."""
    price = PRICES.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model))
    if price is None or not any(kind in usage for kind in KINDS):
        return None
    count = {kind: _count(usage.get(kind)) for kind in KINDS}
    for what in ("text", "audio", "image"):  # the cached ones are part of the input
        count[f"{what}_cached"] = min(count[f"{what}_cached"], count[f"{what}_in"])
        count[f"{what}_in"] -= count[f"{what}_cached"]
    return sum(count[kind] * price[at] for at, kind in enumerate(KINDS)) / 1e6


def _count(value: Any) -> int:
    return min(max(0, value), _MOST) if type(value) is int else 0
