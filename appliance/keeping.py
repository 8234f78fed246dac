"""Writes down what a restart is to find again, as it changes, without holding anybody up.

Responsible for: when it is written, and one write at a time. Not for: what the file holds (``kept``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from appliance import kept
from appliance.config import Audio
from appliance.kept import Kept


class Keeper:
    """Keeps mute, volume and clocks. One thread (the event loop); the disk is waited for in others."""

    def __init__(
        self,
        directory: Path,
        audio: Audio,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self.kept = kept.load(directory)
        self._directory, self._audio, self._spawn = directory, audio, spawn
        self._wanted = self.kept
        self._saving: asyncio.Task[None] | None = None

    def keep(self, *, muted: bool, volume: int, clock_ppm: float | None) -> None:
        """Note how it is now; it is written if it changed: a card's flush takes a while."""
        audio, configured = self._audio, self._audio.volume
        chosen = (volume, configured) if volume != configured else (None, None)
        clocks = self.kept.clocks_with(audio.capture, audio.playback, clock_ppm)
        self._wanted = Kept(muted=muted, volume=chosen[0], volume_over=chosen[1], clocks=clocks)
        self._save()

    async def finish(self) -> None:
        """Return when what is being written is written."""
        if self._saving is not None:
            await self._saving

    def _save(self) -> None:
        if self._wanted == self.kept or self._saving is not None:
            return
        self.kept = self._wanted
        self._saving = self._spawn(asyncio.to_thread(kept.save, self._directory, self.kept))
        self._saving.add_done_callback(self._saved)

    def _saved(self, task: asyncio.Task[None]) -> None:
        self._saving = None
        task.result()
        self._save()  # if it was changed meanwhile
