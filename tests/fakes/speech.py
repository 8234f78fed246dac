"""Ears and a voice without models, for tests of what stands between them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import numpy as np

from appliance.local.audio import Sound

MS_PER_CHARACTER = 20


class FakeListener:
    """Hears the scripted texts, one per sound; then nothing."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.texts = list(texts)
        self.sounds: list[Sound] = []

    async def hear(self, sound: Sound) -> str:
        self.sounds.append(sound)
        await asyncio.sleep(0)
        return self.texts.pop(0) if self.texts else ""


class FakeTalker:
    """Speaks 20 ms of a tone per character; :meth:`hold` makes it think until :meth:`release`."""

    def __init__(self) -> None:
        self.spoken: list[str] = []
        self._free = asyncio.Event()
        self._free.set()

    def hold(self) -> None:
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    async def speak(self, sentence: str, *, speed: float = 1.0) -> Sound:
        await self._free.wait()
        self.spoken.append(sentence)
        count = int(len(sentence) * MS_PER_CHARACTER * 24 / speed)
        tone = 3000 * np.sin(2 * np.pi * 300 / 24000 * np.arange(count))
        return Sound(tone.astype(np.int16), 24000)
