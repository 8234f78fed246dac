"""The gate: which microphone audio goes up to the session.

Closed, it remembers a pre-roll; opened, it lets the pre-roll out first, so that the words that opened it are
not lost. Pure: bytes and times in, bytes and times out.
"""

from __future__ import annotations

from collections import deque

PRE_ROLL_MS = 600  # 300 ms before the onset, plus what the detector needs to be sure


class Gate:
    """Lets 24 kHz mono s16le chunks through, or remembers the last ``PRE_ROLL_MS`` of them."""

    def __init__(self) -> None:
        self.turn = 0
        self.open = False
        self._remembered: deque[tuple[bytes, float]] = deque()
        self._bytes = 0

    def set(self, *, is_open: bool, turn: int) -> list[tuple[bytes, float]]:
        """Open for ``turn``, or close; returns the chunks to let out now, oldest first."""
        was_open, self.open, self.turn = self.open, is_open, turn
        if is_open and not was_open:
            out = list(self._remembered)
            self.forget()
            return out
        return []

    def pass_(self, pcm: bytes, captured_at: float) -> list[tuple[bytes, float]]:
        """Take a chunk; returns what goes up."""
        if self.open:
            return [(pcm, captured_at)]
        self._remembered.append((pcm, captured_at))
        self._bytes += len(pcm)
        while self._bytes > PRE_ROLL_MS * 48:
            self._bytes -= len(self._remembered.popleft()[0])
        return []

    def forget(self) -> None:
        """Forget the pre-roll: the microphone was closed in between."""
        self._remembered.clear()
        self._bytes = 0
