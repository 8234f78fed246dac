"""The loudspeaker's timeline: what was written, what of it has sounded, and taking back what has not.

The card's ring is kept deep, so that a late thread is not heard; because whatever has not sounded can be taken
back at any frame (:meth:`Speaker.rewind`), depth costs no promptness. Positions come from the device's own
delay, never from a clock.
Responsible for: one open playback PCM. Not for: what is written (``duplex``). Owned by the audio thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from appliance.audio.format import Samples, to_device

FADE_MS = 5
_NOTHING: Samples = np.zeros(0, np.int16)


class PlaybackPcm(Protocol):
    """What the speaker needs of a sound card."""

    rate: int
    channels: int
    format: str
    buffer_frames: int
    period_frames: int  # what ALSA converts goes to the card by whole periods

    def write(self, data: bytes) -> int | None: ...  # noqa: D102
    def delay(self) -> int | None: ...  # noqa: D102
    def drop(self) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Speaker:
    """A playback PCM with a memory of what was written to it. Frames are the card's; audio is int16 mono."""

    def __init__(self, pcm: PlaybackPcm) -> None:
        self.pcm = pcm
        self.rate = pcm.rate
        self.running = False
        self.underruns = 0
        self.starts = 0
        self.began = 0  # position of the first frame since the last start
        self.written = 0  # frames since opening
        self._sounded = 0  # frames known to have sounded when the ring was last empty
        self._memory: deque[tuple[int, Samples]] = deque()  # (position, samples), at least what has not sounded
        self._spans: deque[tuple[int, int, str]] = deque()  # (start, stop, item) in frames

    @property
    def room(self) -> int:
        """Frames that fit into the ring."""
        return self.pcm.buffer_frames - (self.delay() if self.running else 0)

    def delay(self) -> int:
        """Frames until the next one written would sound; notices that the ring ran empty."""
        if not self.running:
            return 0
        delay = self.pcm.delay()
        if delay is None:
            self._ran_empty()
            return 0
        return delay

    def position(self) -> int:
        """The frame that sounds now."""
        return max(self._sounded, self.written - self.delay()) if self.running else self.written

    def _ran_empty(self) -> None:
        self.underruns += 1
        self.running = False
        self._sounded = self.written

    def write(self, samples: Samples, item: str = "") -> int:
        """Write samples, of ``item`` if named; returns the frames taken (the ring may be full)."""
        taken = self._put(samples)
        if taken:
            start = self.written
            self._memory.append((start, samples[:taken]))
            self.written += taken
            self._forget()
            if item:
                self._span(start, self.written, item)
        return taken

    def _put(self, samples: Samples) -> int:
        data = to_device(samples, self.pcm.format, self.pcm.channels)
        taken = self.pcm.write(data)
        if taken is None:  # it ran empty meanwhile: nothing was taken, the next write starts anew
            if self.running:
                self._ran_empty()
            taken = self.pcm.write(data) or 0
        if taken and not self.running:
            self.running, self.began = True, self.written
            self.starts += 1
        return taken

    def _span(self, start: int, stop: int, item: str) -> None:
        if self._spans and self._spans[-1][1:] == (start, item):
            self._spans[-1] = (self._spans[-1][0], stop, item)
        else:
            self._spans.append((start, stop, item))

    def _forget(self) -> None:
        """Drop memory that is a whole ring old: it has sounded."""
        oldest = self.written - self.pcm.buffer_frames - self.rate // 2
        while self._memory and self._memory[0][0] + len(self._memory[0][1]) < oldest:
            self._memory.popleft()

    def rewind(self) -> Samples:
        """Silence at once and give back what was written but has not sounded."""
        if not self.running:
            return _NOTHING
        at = self.position()
        self.pcm.drop()
        # The ring moved on between asking and dropping; the difference is below a period and was heard.
        return self._take_from(at)

    def _take_from(self, at: int) -> Samples:
        self.running = False
        parts = [s[max(0, at - start) :] for start, s in self._memory if start + len(s) > at]
        while self._memory and self._memory[-1][0] >= at:
            self._memory.pop()
        if self._memory and self._memory[-1][0] + len(self._memory[-1][1]) > at:
            start, samples = self._memory.pop()
            self._memory.append((start, samples[: at - start]))
        self._spans = deque((a, min(b, at), i) for a, b, i in self._spans if a < at)
        self.written = self._sounded = at
        return np.concatenate(parts) if parts else _NOTHING

    def silence(self) -> dict[str, int]:
        """Silence at once, with a fade of a few milliseconds instead of a click.

        Returns the frames heard of each item, the fade included.
        """
        spans = tuple(self._spans)
        rest = self.rewind()[: self.rate * FADE_MS // 1000]
        if len(rest):
            stop = self.written + len(rest)
            faded = (rest * np.linspace(1.0, 0.0, len(rest), dtype=np.float32)).astype(np.int16)
            silent = np.zeros(max(4 * len(rest), self.pcm.period_frames), np.int16)
            self._write_again(np.concatenate((faded, silent)), stop, spans)
        return {item: frames for item, frames in self._account(self.written).items() if frames}

    def reshape(self, envelope: Callable[[int], NDArray[np.float32]]) -> None:
        """Change the loudness of what has not sounded yet: ``envelope(n)``, called once, gives ``n`` factors."""
        spans = tuple(self._spans)
        rest = self.rewind()
        shaped = (rest * envelope(len(rest))).astype(np.int16)
        self._write_again(shaped, self.written + len(rest), spans)

    def take_back(self, end: int) -> None:
        """Take back what has not sounded from position ``end`` on; what is before it sounds."""
        spans = tuple(self._spans)
        rest = self.rewind()
        self._write_again(rest[: max(0, end - self.written)], end, spans)

    def go_on(self, at: int) -> None:
        """Write again what a card has lost with its ring: it ran empty at position ``at``, which is not its end."""
        spans, stop = tuple(self._spans), self.written
        self._write_again(self._take_from(at), stop, spans)

    def _write_again(self, samples: Samples, stop: int, spans: tuple[tuple[int, int, str], ...]) -> None:
        """Write what was taken back, to the account of the items it belonged to, up to ``stop``."""
        start = self.written
        if len(samples):
            self.write(samples)
        for first, last, item in spans:
            if max(first, start) < min(last, stop, self.written):
                self._span(max(first, start), min(last, stop, self.written), item)

    def heard(self) -> dict[str, int]:
        """Frames heard of each item since the last :meth:`forget_items`."""
        return self._account(self.position())

    def _account(self, at: int) -> dict[str, int]:
        heard: dict[str, int] = {}
        for start, stop, item in self._spans:
            heard[item] = heard.get(item, 0) + max(0, min(stop, at) - start)
        return heard

    def forget_items(self) -> None:
        """Begin a new account of items."""
        self._spans.clear()

    def sounding(self, start: int, frames: int) -> Samples:
        """Return what was written for the positions from ``start`` on; silence where nothing was."""
        out = np.zeros(frames, np.int16)
        for at, samples in reversed(self._memory):  # what sounds was written lately
            if at + len(samples) <= start:
                break
            first, last = max(start, at), min(start + frames, at + len(samples))
            if first < last:
                out[first - start : last - start] = samples[first - at : last - at]
        return out

    def stop(self) -> None:
        """Stop the card: what has not sounded is discarded."""
        if self.running:
            self.rewind()

    def close(self) -> None:
        """Give the device back."""
        self.running = False
        self.pcm.close()
