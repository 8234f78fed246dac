"""Tokens and money of one response.

Source: realtime-api reference §7: cost = Σ over kinds (input - cached) · p_in + cached · p_cached + output · p_out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from appliance.realtime import models, wire

MOST = 10**9  # no response has more tokens: a server's nonsense must not overflow the sums


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens by kind; the ``cached`` ones are part of the input."""

    text_in: int = 0
    text_cached: int = 0
    text_out: int = 0
    audio_in: int = 0
    audio_cached: int = 0
    audio_out: int = 0
    image_in: int = 0
    image_cached: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Tokens)))

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


def tokens(usage: wire.Usage | None) -> Tokens:
    """Count a ``usage`` object; whatever is missing or negative counts as zero."""
    if usage is None:
        return Tokens()
    given = usage.input_token_details or wire.InputTokens()
    cached = given.cached_tokens_details or wire.CachedTokens()
    out = usage.output_token_details or wire.OutputTokens()
    return Tokens(
        text_in=_count(given.text_tokens),
        text_cached=_count(cached.text_tokens),
        text_out=_count(out.text_tokens),
        audio_in=_count(given.audio_tokens),
        audio_cached=_count(cached.audio_tokens),
        audio_out=_count(out.audio_tokens),
        image_in=_count(given.image_tokens),
        image_cached=_count(cached.image_tokens),
    )


def _count(value: int | None) -> int:
    return min(max(0, value or 0), MOST)


def cost_usd(counted: Tokens, model: str) -> float | None:
    """Price ``counted`` tokens of ``model`` in USD; ``None`` where the price is not known."""
    price = models.price(model)
    if price is None:
        return None
    total = 0.0
    for kind in ("text", "audio", "image"):
        given, cached = getattr(counted, f"{kind}_in"), getattr(counted, f"{kind}_cached")
        total += max(0, given - cached) * getattr(price, f"{kind}_in") + cached * getattr(price, f"{kind}_cached")
    total += counted.text_out * price.text_out + counted.audio_out * price.audio_out
    return total / 1e6
