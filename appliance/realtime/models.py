"""What is known of the models: capabilities and prices, as data with a date.

Responsible for: choosing request fields by capability, never by a hard-coded name elsewhere. Prices are USD per
million tokens as stored from the vendor's pages on ``PRICES_OF``; unknown models have no price, and then no
cost is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass

PRICES_OF = "2026-11-22"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What of our wishes a model accepts; a wish that only some models take gets its flag here."""

    long_context_truncation: bool = True
    reasoning: bool = True


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens: input, cached input and output of each kind."""

    text_in: float
    text_cached: float
    text_out: float
    audio_in: float
    audio_cached: float
    audio_out: float
    image_in: float = 0.0
    image_cached: float = 0.0


CAPABILITIES = {
    "gpt-realtime-2.1": Capabilities(),
    "gpt-realtime-2.1-mini": Capabilities(),
    "gpt-realtime-2": Capabilities(),
    "gpt-realtime-1.5": Capabilities(reasoning=False),
    "gpt-realtime": Capabilities(reasoning=False),
    "gpt-realtime-mini": Capabilities(reasoning=False),
}
# A model we do not know is most likely a compatible server's: ask for nothing beyond the common core by ourselves.
_UNKNOWN = Capabilities(long_context_truncation=False)

_FIRST = Price(4, 0.40, 16, 32, 0.40, 64, 5, 0.50)
_SECOND = Price(4, 0.40, 24, 32, 0.40, 64, 5, 0.50)
PRICES = {
    "gpt-realtime-1.5": _FIRST,
    "gpt-realtime": _FIRST,
    "gpt-realtime-2": _SECOND,
    "gpt-realtime-2.1": _SECOND,
    "gpt-realtime-2.1-mini": Price(0.60, 0.06, 2.40, 10, 0.30, 20, 0.80, 0.08),
}


def capabilities(model: str) -> Capabilities:
    """Look up what ``model`` accepts; dated snapshots count as their family."""
    return CAPABILITIES.get(_family(model), _UNKNOWN)


def price(model: str) -> Price | None:
    """Look up what ``model`` costs, or ``None`` where that is not known."""
    return PRICES.get(_family(model))


def _family(model: str) -> str:
    """Strip a date suffix: ``gpt-realtime-2025-08-28`` is ``gpt-realtime``."""
    parts = model.rsplit("-", 3)
    dated = len(parts) == 4 and [len(p) for p in parts[1:]] == [4, 2, 2] and "".join(parts[1:]).isdigit()
    return parts[0] if dated else model
