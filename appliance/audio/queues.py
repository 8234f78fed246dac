"""The reply's audio on its way to the loudspeaker, an item after another.

Responsible for: holding at most five minutes, converting to the card's rate, giving the next samples with the
item they belong to, and knowing whether more is to come. Not for: devices or position (``speaker``), nor for
when to start (``playout``). Owned by the audio thread.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from appliance.audio.format import SESSION_RATE, Samples
from appliance.audio.resample import Resampler

LONGEST_S = 300


PIECE = SESSION_RATE // 50  # 20 ms: what is converted at a time


@dataclass(slots=True)
class Item:
    """One item of a reply. Audio waits as received and is converted when it is pulled: pushing stays cheap."""

    id: str
    resampler: Resampler
    received: deque[Samples] = field(default_factory=deque)  # 24 kHz
    received_frames: int = 0
    converted: deque[Samples] = field(default_factory=deque)  # the card's rate
    converted_frames: int = 0
    ended: bool = False
    flushed: bool = False

    @property
    def empty(self) -> bool:
        """True when nothing of it waits."""
        return not self.received and not self.converted and (self.flushed or not self.ended)

    def push(self, samples: Samples) -> None:
        """Add audio at 24 kHz."""
        if len(samples):
            self.received.append(samples)
            self.received_frames += len(samples)

    def take(self, frames: int) -> Samples | None:
        """Take at most ``frames`` at the card's rate; ``None``: nothing is there."""
        while not self.converted:
            if not self._convert():
                return None
        samples = self.converted.popleft()
        if len(samples) > frames:
            self.converted.appendleft(samples[frames:])
            samples = samples[:frames]
        self.converted_frames -= len(samples)
        return samples

    def _convert(self) -> bool:
        """Convert the next 20 ms, or the resampler's rest; returns whether there was anything."""
        if self.received:
            chunk = self.received.popleft()
            if len(chunk) > PIECE:
                self.received.appendleft(chunk[PIECE:])
                chunk = chunk[:PIECE]
            self.received_frames -= len(chunk)
            out = self.resampler.process(chunk)
        elif self.ended and not self.flushed:
            self.flushed = True
            out = self.resampler.flush()
        else:
            return False
        if len(out):
            self.converted.append(out)
            self.converted_frames += len(out)
        return True


class PlaybackQueue:
    """Items in the order in which they are to sound; rates in Hz, audio in int16 mono."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.dropped_ms = 0.0
        self._items: deque[Item] = deque()

    @property
    def frames(self) -> int:
        """Frames that may be pulled, at the card's rate; before conversion an estimate to a frame or two."""
        waiting = 0
        for item in self._items:
            unconverted = item.received_frames
            if item.ended and not item.flushed:
                unconverted += max(1, item.resampler.lookahead)  # an ended item is not over before it is flushed
            waiting += item.converted_frames + -(-unconverted * self.rate // SESSION_RATE)
            if not item.ended:
                break  # it holds back the later ones
        return waiting

    @property
    def complete(self) -> bool:
        """True when no item expects more audio."""
        return all(item.ended for item in self._items)

    @property
    def empty(self) -> bool:
        """True when nothing waits and nothing more is expected."""
        return not self._items

    def push(self, item_id: str, pcm: bytes) -> None:
        """Add audio (24 kHz mono s16le) of an item; beyond five minutes it is dropped and counted."""
        item = next((i for i in self._items if i.id == item_id and not i.ended), None)
        if item is None:
            item = Item(item_id, Resampler(SESSION_RATE, self.rate))
            self._items.append(item)
        if sum(i.received_frames for i in self._items) + len(pcm) // 2 > LONGEST_S * SESSION_RATE:
            self.dropped_ms += len(pcm) / 48
            return
        item.push(np.frombuffer(pcm, "<i2"))

    def end(self, item_id: str) -> None:
        """Note that an item has all its audio."""
        for item in self._items:
            if item.id == item_id:
                item.ended = True
        self._tidy()

    def end_all(self) -> None:
        """Note that no more audio will come for anything."""
        for item in self._items:
            item.ended = True
        self._tidy()

    def pull(self, frames: int) -> list[tuple[str, Samples]]:
        """Take up to ``frames`` frames, in runs of one item each. An unfinished item holds back later ones."""
        runs: list[tuple[str, Samples]] = []
        while frames > 0 and self._items:
            item = self._items[0]
            samples = item.take(frames)
            if samples is None:
                if not item.ended:
                    break
                self._items.popleft()
                continue
            frames -= len(samples)
            runs.append((item.id, samples))
        self._tidy()
        return runs

    def _tidy(self) -> None:
        while self._items and self._items[0].ended and self._items[0].empty:
            self._items.popleft()

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()
