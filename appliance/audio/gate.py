"""The gate: which microphone audio goes up to the session.

Closed, it remembers a pre-roll; opened, it lets the pre-roll out first, so that the words that opened it are
not lost. Pure: bytes and times in, bytes and times out.
"""

from __future__ import annotations

from collections import deque
from math import ceil

PRE_ROLL_MS = 600  # 300 ms before the onset, plus what the detector needs to be sure
BYTES_PER_MS = 48
ROUNDING = 0.01  # of a sample
REMEMBERED_MS = 3000  # over a loudspeaker it needs longer


class Gate:
    """Lets 24 kHz mono s16le chunks through, or remembers the last ``REMEMBERED_MS`` of them."""

    def __init__(self) -> None:
        self.turn = 0
        self.open = False
        self._remembered: deque[tuple[bytes, float]] = deque()
        self._bytes = 0
        self._asked_at = float("-inf")

    def set(
        self, *, is_open: bool, turn: int, since: float | None = None, asked_at: float | None = None
    ) -> list[tuple[bytes, float]]:
        """Open for ``turn``, or close; returns the chunks to let out now, oldest first.

        What was captured from ``since`` (monotonic s) on, to the sample; ``None``: of the last ``PRE_ROLL_MS``.
        ``asked_at``: of what comes later, too, nothing goes up that was captured before.
        """
        was_open, self.open, self.turn = self.open, is_open, turn
        if not is_open or was_open:
            return []
        self._asked_at = float("-inf") if asked_at is None else asked_at
        chunks = list(self._remembered)
        self.forget()
        if since is None:
            return _last(chunks, PRE_ROLL_MS * BYTES_PER_MS)
        return [part for pcm, at in chunks if (part := _from(pcm, at, since))[0]]

    def pass_(self, pcm: bytes, captured_at: float) -> list[tuple[bytes, float]]:
        """Take a chunk; returns what goes up."""
        if self.open:
            part = _from(pcm, captured_at, self._asked_at)
            return [part] if part[0] else []
        self._remembered.append((pcm, captured_at))
        self._bytes += len(pcm)
        while self._bytes > REMEMBERED_MS * BYTES_PER_MS:
            self._bytes -= len(self._remembered.popleft()[0])
        return []

    def forget(self) -> None:
        """Forget the pre-roll: the microphone was closed in between."""
        self._remembered.clear()
        self._bytes = 0


def _from(pcm: bytes, at: float, since: float) -> tuple[bytes, float]:
    """Cut off what of a chunk was captured before ``since``."""
    if at >= since:
        return pcm, at
    samples = ceil(min(since - at, len(pcm)) * 500 * BYTES_PER_MS - ROUNDING)
    return pcm[2 * samples :], at + samples / (500 * BYTES_PER_MS)


def _last(chunks: list[tuple[bytes, float]], size: int) -> list[tuple[bytes, float]]:
    """Choose the newest chunks that together have at most ``size`` bytes."""
    first = len(chunks)
    while first and (size := size - len(chunks[first - 1][0])) >= 0:
        first -= 1
    return chunks[first:]
