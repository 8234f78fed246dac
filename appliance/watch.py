"""Never deaf without knowing it: the watchdog is fed while everything lives that a person counts on.

Responsible for: asking the audio thread, the loop and the link whether they live, and telling systemd, or ending. Not
for: healing: a restart does (``systemd/voice-appliance.service``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from appliance.audio.duplex import Duplex
from appliance.conversation.state import Link
from appliance.realtime.websocket import WebSocketSession
from appliance.system.notify import Notifier

log = logging.getLogger(__name__)


class Watch:
    """Looks after audio thread, loop and link. One thread (the event loop), but for the ping's answer."""

    def __init__(
        self,
        notifier: Notifier,
        duplex: Duplex,
        session: WebSocketSession,
        link: Callable[[], Link],
        status_line: Callable[[], str],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._notifier, self._duplex, self._session = notifier, duplex, session
        self._link, self._status_line, self._loop = link, status_line, loop
        self._audio_answered = True

    async def keep(self) -> None:
        """Feed the watchdog while the loop lives, the audio thread answers, frames move and the link is worked at.

        Raises:
            RuntimeError: one of them is dead: rather begin afresh than be deaf or dumb and not know it.
        """
        interval_s = min(5.0, (self._notifier.watchdog_s or 10.0) / 3)
        while True:
            self._notifier.status(self._status_line())
            self._check_alive()
            if self._audio_answered:
                self._notifier.alive()
            else:
                log.error("the audio thread does not answer")
            self._audio_answered = False
            self._duplex.ping(self._answer)
            await asyncio.sleep(interval_s)

    def _check_alive(self) -> None:
        if not self._duplex.alive:
            raise RuntimeError("the audio thread is dead")
        link = self._link()
        if link in (Link.OPENING, Link.UP) and not self._session.working:
            raise RuntimeError(f"the link is {link.value}, and nobody works at it")

    def _answer(self) -> None:
        """In the audio thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._heard)

    def _heard(self) -> None:
        self._audio_answered = True
