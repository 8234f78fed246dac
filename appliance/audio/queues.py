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


@dataclass(slots=True)
class Item:
    """One item of a reply. Frames are the card's."""

    id: str
    resampler: Resampler
    waiting: deque[Samples] = field(default_factory=deque)
    frames: int = 0  # waiting
    ended: bool = False


class PlaybackQueue:
    """Items in the order in which they are to sound; rates in Hz, audio in int16 mono."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.dropped_ms = 0.0
        self._items: deque[Item] = deque()

    @property
    def frames(self) -> int:
        """Frames that wait."""
        return sum(item.frames for item in self._items)

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
        if self.frames > LONGEST_S * self.rate:
            self.dropped_ms += len(pcm) / 48
            return
        self._put(item, item.resampler.process(np.frombuffer(pcm, "<i2")))

    @staticmethod
    def _put(item: Item, samples: Samples) -> None:
        if len(samples):
            item.waiting.append(samples)
            item.frames += len(samples)

    def end(self, item_id: str) -> None:
        """Note that an item has all its audio."""
        for item in self._items:
            if item.id == item_id and not item.ended:
                self._put(item, item.resampler.flush())
                item.ended = True
        self._tidy()

    def end_all(self) -> None:
        """Note that no more audio will come for anything."""
        for item in list(self._items):
            self.end(item.id)

    def pull(self, frames: int) -> list[tuple[str, Samples]]:
        """Take up to ``frames`` frames, in runs of one item each. An unfinished item holds back later ones."""
        runs: list[tuple[str, Samples]] = []
        while frames > 0 and self._items:
            item = self._items[0]
            if not item.waiting:
                if not item.ended:
                    break
                self._items.popleft()
                continue
            samples = item.waiting.popleft()
            if len(samples) > frames:
                item.waiting.appendleft(samples[frames:])
                samples = samples[:frames]
            item.frames -= len(samples)
            frames -= len(samples)
            runs.append((item.id, samples))
        self._tidy()
        return runs

    def _tidy(self) -> None:
        while self._items and self._items[0].ended and not self._items[0].waiting:
            self._items.popleft()

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()
