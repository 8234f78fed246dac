"""Turns requests away at the door while too many are in hand, before everybody waits too long.

Responsible for: counting, and the quick 503. A request that is in hand takes about two milliseconds of ours besides
the provider's time, so that the last of 200 waits half a second longer than the first; the 201st is told so at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from starlette.types import Send

IN_HAND_AT_MOST = 200
_RETRY_S, _RETRY_SPREAD_S = 2, 8
_TEXT = "too many devices ask at once"


class Admission:
    """The door of one process."""

    def __init__(self, random: Callable[[], float], at_most: int = IN_HAND_AT_MOST) -> None:
        self.in_hand = 0
        self.turned_away = 0
        self._at_most = at_most
        self._random = random

    @property
    def full(self) -> bool:
        """Whether the next one has to be turned away."""
        return self.in_hand >= self._at_most

    async def turn_away(self, path: str, send: Send) -> None:
        """Answers 503 ``overloaded``; Retry-After is spread, or all would come back together."""
        self.turned_away += 1
        oauth = path.startswith("/oauth/")
        content: dict[str, object] = {"error": "temporarily_unavailable", "error_description": _TEXT}
        if not oauth:
            content = {"type": "about:blank", "title": "Service Unavailable", "status": 503}
            content.update(code="overloaded", detail=_TEXT)
        body = json.dumps(content).encode()
        headers = [
            (b"content-type", b"application/json" if oauth else b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", str(_RETRY_S + round(self._random() * _RETRY_SPREAD_S)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})
