"""Gets to know the loop from loudspeaker to microphone: what was found before, or a quiet calibration while idle.

At the first start with a board or card a soft hiss is played for a moment and heard. A press, a mute or anything else
that needs a card ends it at once; it is then tried again when the appliance has been left alone for a while.
Responsible for: when to measure, and what follows from a finding. Not for: measuring (``audio``), keeping it
(``calibrated``) or the commands for people (``maintenance``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from appliance import __version__, calibrated
from appliance.audio.calibration.background import SOFTEST, prepare
from appliance.audio.duplex import Duplex
from appliance.audio.facts import EchoUncontrolled
from appliance.audio.loop import Loop, judge, reference_ms
from appliance.calibrated import Entry
from appliance.config import Loaded
from appliance.conversation import events as ev
from appliance.conversation.state import Phase
from appliance.engine import Engine
from appliance.translation import canceller_of, gain_of, half_duplex_reason

log = logging.getLogger(__name__)
ATTEMPTS = 3  # a start: who lives with it must not hear it hiss around the clock
TRIED_S = 4.0  # longer than a trial of the cards takes
RESTED_S = 30.0  # idle for so long, nobody seems to want anything


class FirstStart:
    """What is known of the loop. All methods are for the event loop."""

    def __init__(self, loaded: Loaded, engine: Engine, duplex: Duplex, volume_percent: Callable[[], int]) -> None:
        self._loaded, self._engine, self._duplex, self._volume_percent = loaded, engine, duplex, volume_percent
        self._directory = Path(loaded.config.state.directory)
        self._canceller = canceller_of(loaded)
        self._resting, self._disturbed = asyncio.Event(), asyncio.Event()  # one of the two is set
        self.entry: Entry | None = None  # what counts now
        self.changed()

    def changed(self) -> None:
        """Notice that phase or mute may have changed."""
        state = self._engine.state
        now, before = self._resting, self._disturbed
        if state.phase is not Phase.IDLE or state.muted:
            now, before = before, now
        before.clear()
        now.set()

    async def load(self) -> None:
        """Take into use what was found at an earlier start, or by hand."""
        entry = await asyncio.to_thread(calibrated.load, self._directory, calibrated.key_of(self._loaded))
        if entry is not None and entry.loop.canceller == self._canceller:  # else its verdict is on another chain
            self._use(entry)

    async def learn(self) -> None:
        """Measure the loop if nothing is known of it, as soon as nobody needs the appliance."""
        if not self._wanted:
            return
        await asyncio.to_thread(prepare)
        attempts, rest_s = 0, 0.0
        while attempts < ATTEMPTS:
            await self._rest(rest_s)
            if gain_of(self._volume_percent()) >= SOFTEST:  # else nothing would be heard
                attempts += 1
                if await self._attempt():
                    return
            await self._disturbed.wait()
            rest_s = RESTED_S
        log.info("the loop stays unknown until the next start; `voice-appliance calibrate` measures it at once")

    @property
    def _wanted(self) -> bool:
        """Say whether a measurement may happen, and could change anything."""
        asked = self._loaded.board.calibrate == "first_start" and not half_duplex_reason(self._loaded)
        return asked and self.entry is None and self._cancels

    @property
    def _cancels(self) -> bool:
        """Say whether the canceller that is hoped for works."""
        return self._canceller == "none" or self._duplex.cancels

    async def _rest(self, rest_s: float) -> None:
        """Wait until it has been idle and unmuted for ``rest_s`` seconds on end."""
        while True:
            if self._disturbed.is_set():
                await self._resting.wait()
                rest_s = RESTED_S
            try:
                async with asyncio.timeout(rest_s):
                    await self._disturbed.wait()
            except TimeoutError:
                return

    async def _attempt(self) -> bool:
        """Measure; use and keep what was learnt. Returns whether anything was."""
        percent = self._volume_percent()
        loop = await self._measured()
        if loop is None:
            log.info("the calibration was given up for something else; again when it was idle for a while")
            return False
        if not loop.conclusive:
            log.warning("calibration: %s", judge(loop))
            return False
        at = datetime.now(UTC).isoformat(timespec="seconds")
        entry = Entry(
            key=calibrated.key_of(self._loaded), loop=loop, volume_percent=percent, at=at, version=__version__
        )
        self._use(entry)
        if judge(loop).full_duplex and self._cancels:
            self._engine.hearing.restore_duplex()
        await asyncio.to_thread(calibrated.save, self._directory, entry)
        return True

    async def _measured(self) -> Loop | None:
        """Run the quiet calibration; ``None`` if it was ended. The light says that the microphone is open."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Loop | None] = loop.create_future()

        def take(found: Loop | None) -> None:
            if not answer.done():  # we may have been cancelled
                answer.set_result(found)

        def done(found: Loop | None) -> None:  # in the audio thread
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are ending
                loop.call_soon_threadsafe(take, found)

        if self._engine.state.calibrating:  # the cards are being tried: that light is not ours to end
            await asyncio.sleep(TRIED_S)
        self._engine.post(ev.CalibrationStarted())
        if not self._engine.state.calibrating:
            return None  # muted, or wanted for something else, in this very moment
        self._duplex.calibrate(self._canceller, done)
        try:
            return await answer
        finally:
            if self._engine.state.calibrating:
                self._engine.post(ev.CalibrationEnded())

    def _use(self, entry: Entry) -> None:
        """Let the echo canceller's reference and the verdict follow from a loop."""
        self.entry = entry
        self._duplex.set_reference(reference_ms(entry.loop, self._loaded.board.delay_ms))
        verdict = judge(entry.loop)
        log.info("calibrated %s: %s", entry.at, verdict)
        if not verdict.full_duplex:
            self._engine.audio_fact(EchoUncontrolled(verdict.reason, verdict.hint))

    def status(self) -> dict[str, object] | None:
        """Say what counts now, for the control socket; ``None`` where nothing is known."""
        if self.entry is None:
            return None
        loop = self.entry.loop
        return {
            "at": self.entry.at,
            "delay_ms": loop.delay_ms,
            "return_loss_db": loop.return_loss_db,
            "erle_db": loop.erle_db,
            "full_duplex": judge(loop).full_duplex,
        }
