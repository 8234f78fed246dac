"""The composition root: builds the parts, runs them in one task group, ends them in order.

Responsible for: who is wired to whom, start, readiness, watchdog, reload and stop. Not for: decisions
(``conversation``) or carrying them out (``engine``).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from appliance import config as configuration
from appliance import latecomer
from appliance.audio import alsa
from appliance.audio.capturer import check_microphones
from appliance.audio.cards import Cards
from appliance.audio.chain import Chain
from appliance.audio.duplex import Duplex
from appliance.audio.facts import AudioFact, DeviceBack
from appliance.audio.loop import reference_ms
from appliance.audio.processing import DETECTORS, usable
from appliance.config import Loaded
from appliance.controls import Button, LocalControls
from appliance.conversation import effects as do
from appliance.conversation import events as ev
from appliance.conversation.lines import SETUP, text_of, words_of
from appliance.conversation.state import Led, Link, Phase, State
from appliance.engine import ACTIVE, Engine, Hooks, Parts
from appliance.errors import ApplianceError, ConfigError, StateError
from appliance.first_start import FirstStart
from appliance.front import Front, GpioFront, NoFront, TerminalFront
from appliance.guidance import Guidance
from appliance.keeping import Keeper
from appliance.panel.control import ControlServer
from appliance.realtime.facts import Configured, Fact, UsageReported
from appliance.realtime.protocol import Protocol
from appliance.realtime.session import Ticket
from appliance.realtime.websocket import WebSocketSession
from appliance.records import Records
from appliance.remembered import Remembered
from appliance.sound_trial import SoundTrial
from appliance.system import memory, timesync
from appliance.system.notify import Notifier
from appliance.tickets import Tickets
from appliance.tools.builtin import Timers, time_tool, timer_tools, volume_tool
from appliance.tools.toolbox import Toolbox
from appliance.translation import (
    canceller_of,
    gain_of,
    half_duplex_reason,
    hold_ms_of,
    settings_of,
    timing_of,
    wishes_of,
)
from appliance.unfinished import Unfinished
from appliance.watch import Watch

log = logging.getLogger(__name__)
Said = Callable[[str, str], None]
STOP_S = 1.5
FADE_S = 0.03
MIXER_TRIES_S = (0.0, 3.0, 10.0)
MIXER_LOOK_S = 10.0  # for a card that is still not there


class Daemon:
    """One appliance, from start to stop."""

    def __init__(self, loaded: Loaded, *, said: Said | None = None) -> None:
        check_microphones(loaded.config.audio.microphones)
        self._loaded = loaded
        self._said = said or (lambda _who, _text: None)
        self._notifier = Notifier()
        self._stop = asyncio.Event()
        self._card_is_back = asyncio.Event()
        self.started = asyncio.Event()
        self.starts_afresh = False
        self._stands_still = False
        self._failure: BaseException | None = None

    async def run(self) -> None:
        """Run until told to stop.

        Raises:
            ApplianceError: a part cannot start: configuration, state directory, control socket, button.
        """
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        self._loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._loop.set_exception_handler(self._failed)
        try:
            async with asyncio.TaskGroup() as group:
                self._build(group)
                await self._serve(group)
        except* ApplianceError as errors:
            raise errors.exceptions[0] from None

    # --- building ---

    def _build(self, group: asyncio.TaskGroup) -> None:
        config, loop = self._loaded.config, self._loop
        self.timers = Timers(loop, self._rang)
        tools = [*timer_tools(self.timers), volume_tool(self.set_volume), time_tool(timesync.local_time)]
        self._toolbox = Toolbox(tools, group.create_task, lambda event: self.engine.post(event))
        declared = self._toolbox.declarations()
        self.tickets = Tickets(config, spawn=group.create_task, tell=self._enrolment_over, tools=declared)
        self._keeper = Keeper(Path(config.state.directory), config.audio, loop.create_task)
        kept = self._keeper.kept
        self.volume = kept.volume_for(config.audio.volume)
        processor, echo_trouble = usable(canceller_of(self._loaded))
        chain = Chain(
            processor,
            DETECTORS[config.audio.detector](),
            config.audio.microphones,
            config.conversation.end_of_turn_ms,
            reference=self._loaded.board.capture.reference,
            reference_ms=reference_ms(None, self._loaded.board.delay_ms),
            clock_ppm=kept.clock_ppm_for(config.audio.capture, config.audio.playback),
            hush=config.realtime.turn_detection != "local",
        )
        self._cards = cards = Cards(config.audio, self._loaded.board, time.monotonic)
        self.duplex = Duplex(cards, chain, gain_of(self.volume), time.monotonic, self._from_audio)
        self.protocol = Protocol(wishes_of(self._loaded, declared), _ids())
        self._remembered = Remembered(self.protocol.history, os.environ.get("RUNTIME_DIRECTORY"))
        self._remembered.take_up()
        self.session = WebSocketSession(
            self.protocol,
            self.tickets.mint,
            self._session_fact,
            lambda captured_at, sent_at: self.engine.sent(captured_at, sent_at),
            group.create_task,
            timing_of(config),
            random.Random(),  # noqa: S311  # jitter needs no secrecy
            self._session_ended,
        )
        self.controls = LocalControls(self)
        records = Records(self.controls.publish, self.controls.losses)
        parts = Parts(self.duplex, self.protocol, self.session, self._toolbox, records)
        self.guidance = Guidance(lambda: self.session.trouble, os.environ.get("RUNTIME_DIRECTORY"))
        hooks = Hooks(self._show, self._changed, self._say, self._update, self._words, self._set_up)
        state = State(muted=kept.muted, half_duplex=bool(echo_trouble))
        settings = replace(settings_of(self._loaded), setup=self.guidance.page)
        reason = half_duplex_reason(self._loaded) or echo_trouble
        self.engine = Engine(parts, settings, hooks, loop, state, cues=config.audio.cues, duplex_reason=reason)
        self._watch = Watch(
            self._notifier,
            self.duplex,
            self.session,
            lambda: self.engine.state.link,
            self.controls.status_line,
            loop,
        )
        self._unfinished = Unfinished(Path(config.control.socket).parent)
        self.first_start = FirstStart(self._loaded, self.engine, self.duplex, lambda: self.volume)
        self.sound_trial = SoundTrial(self.engine, self.duplex)
        self.button = Button(self.engine, hold_ms_of(config), loop)
        self._front = self._open_front()

    def _open_front(self) -> Front:
        backend = self._loaded.config.panel.backend
        if backend == "gpio" and self._loaded.board.has_panel:
            return GpioFront(self._loaded, self.button.edge, self._loop)
        if backend == "terminal":
            return TerminalFront(self.button.edge, self.controls.toggle_mute, self.stop, self._look, self._loop)
        return NoFront()

    @property
    def panel_trouble(self) -> str:
        """Why button and light cannot be used, "" while they can."""
        return self._front.trouble

    def _look(self) -> tuple[Phase, Link, float | None]:
        level = self.duplex.level_dbfs if self.duplex.microphone_open else None
        return self.engine.state.phase, self.engine.state.link, level

    # --- running ---

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        self.duplex.start()
        control = ControlServer(Path(self._loaded.config.control.socket), self.controls)
        try:
            await control.start()
            self.engine.reflect()
            self._notifier.ready()
            self.started.set()
            if self._unfinished.take() or self._front.trouble:
                self.engine.complain()
            work = (
                self._make_mixer_settings(),
                self._settle_in(),
                self._watch.keep(),
                self._await_board(),
                self.guidance.begin(self.engine),
            )
            others = [group.create_task(task) for task in work]
            log.info("ready: board %s, %s", self._loaded.config.board, self._loaded.config.realtime.turn_detection)
            await self._stop.wait()
            for task in others:
                task.cancel()
            if self._failure is not None:
                raise self._failure
        finally:
            if not self.starts_afresh:
                self._notifier.stopping()
            await self._shut(control)

    async def _shut(self, control: ControlServer) -> None:
        """End in order: silence (with a fade), session, socket, cards, light. Within two seconds."""
        self.engine.hush()
        await asyncio.sleep(FADE_S)  # the fade sounds, and the truncation goes out
        self.timers.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self.session.finish()
                await self._keeper.finish()
                await control.close()
        self.guidance.close()
        self.tickets.close()
        self.engine.close()
        self.duplex.stop()
        self._front.close()
        self._notifier.close()
        log.info("stopped")

    async def _settle_in(self) -> None:
        """Do what readiness need not wait for, so that the first press need not either; give memory back."""
        try:
            await asyncio.to_thread(self.tickets.load)
        except StateError as error:  # a damaged key: the next press tells it, where a restart would change nothing
            log.error("%s", error)
        await asyncio.to_thread(alsa.device_names)  # libasound reads its configuration at the first call
        await self.first_start.load()
        await asyncio.to_thread(memory.give_back)
        await self.first_start.learn()

    async def _make_mixer_settings(self) -> None:
        """Make the board's mixer settings: now, as soon as a card that comes late is there, and when one is back."""
        told = ""
        while True:
            self._card_is_back.clear()
            trouble = await self._mixer_trouble()
            if trouble and trouble != told:
                log.warning("%s", trouble)
            told = trouble
            late = bool(trouble) and not await asyncio.to_thread(self._cards.have_mixers)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(MIXER_LOOK_S if late else None):
                    await self._card_is_back.wait()

    async def _mixer_trouble(self) -> str:
        """Make the settings, a little later again where some cannot be made; say what still could not, if anything."""
        trouble = ""
        for wait_s in MIXER_TRIES_S:
            await asyncio.sleep(wait_s)
            trouble = await asyncio.to_thread(self._cards.make_mixer_settings)
            if not trouble:
                break
        return trouble

    async def _await_board(self) -> None:
        """Say which board was found; where none was, start afresh with the one that is plugged in later."""
        chosen = self._loaded.chosen
        if chosen is not None:
            log.log(logging.INFO if chosen.sure else logging.WARNING, "board %s: %s", chosen.name, chosen.why)
        found = await latecomer.board(self._loaded)
        if found is not None:
            log.info("board %s is there now: %s", found.name, found.why)
            self.engine.post(ev.UpdateStaged())

    def _failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """End for a bug in a callback of the loop as for one in a task: systemd starts us afresh, in a sane state."""
        error = context.get("exception")
        log.error("%s", context["message"], exc_info=error)
        if error is not None and "handle" in context:  # else it was a socket's or a connection's, which ends alone
            self._failure = self._failure or error
            self._stop.set()

    def stop(self) -> None:
        """Ask to stop. Any code on the loop."""
        self._stop.set()

    # --- hooks ---

    def _from_audio(self, fact: AudioFact) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: we are ending
            self._loop.call_soon_threadsafe(self._audio_fact, fact)

    def _audio_fact(self, fact: AudioFact) -> None:
        if isinstance(fact, DeviceBack):
            self._card_is_back.set()  # its mixer is as after power-on
        self.engine.audio_fact(fact)

    def _session_fact(self, fact: Fact) -> None:
        if isinstance(fact, UsageReported):
            self.tickets.reports.used(fact.tokens)
        elif isinstance(fact, Configured):
            self.tickets.opened()
        elif isinstance(fact, ev.LinkRefused) and fact.code != ev.ENROLMENT_PENDING:
            self.tickets.refused(fact.code, self.session.last_error)
        elif isinstance(fact, ev.LinkLost) and self.session.trouble == "clock_behind":
            self.tickets.clock_is_behind()
        self.engine.session_fact(fact)

    def _enrolment_over(self, event: ev.Enrolled | ev.EnrolmentEnded) -> None:
        self.session.last_error = ""  # it spoke of the code
        self.session.trouble = event.code if isinstance(event, ev.EnrolmentEnded) else ""
        self.engine.post(event)

    def _session_ended(self, ticket: Ticket, lasted_s: float, reason: str) -> None:
        self.tickets.reports.ended(ticket, lasted_s, reason)
        # Not after a loss, which others may have met too: all of them would come back in step.
        if reason in ("idle", "rotated") and not self._stop.is_set():
            self.tickets.deliver()

    def _words(self, code: str) -> tuple[str, ...]:
        code, guidance = self.guidance.code(code), self.guidance
        digits = guidance.password if code == SETUP else self.tickets.code
        words = words_of(code, digits, again=self.tickets.was_enrolled, setup=guidance.page)
        if words:
            self._front.say("appliance", text_of(words))
        return words

    def _set_up(self, effect: do.BeginSetup | do.EndSetup | do.ForgetAll) -> None:
        self.guidance.act(effect, self.engine)

    def _rang(self, label: str) -> None:
        log.info("timer %r rings", label)
        self.engine.post(ev.TimerRang())

    def set_volume(self, percent: int) -> None:
        """Set the volume in percent."""
        self.volume = percent
        self.duplex.set_gain(gain_of(percent))
        self._keep()

    def _keep(self) -> None:
        self._keeper.keep(muted=self.engine.state.muted, volume=self.volume, clock_ppm=self.duplex.clock_ppm)

    def _show(self, led: Led) -> None:
        self._front.show(led)

    def _changed(self) -> None:
        self._unfinished.note(busy=self.engine.state.phase in ACTIVE)
        self.controls.state_changed()
        self.first_start.changed()
        self.guidance.changed()
        self._keep()
        if self.engine.state.phase is Phase.IDLE:
            self._remembered.keep()

    def _say(self, who: str, text: str) -> None:
        self._front.say(who, text)
        self.controls.publish({"event": "said", "who": who, "text": text})
        self._said(who, text)

    def _reload(self) -> None:
        """SIGHUP: check the new configuration; take it into use when idle. A broken one changes nothing."""
        try:
            check_microphones(configuration.load(self._loaded.path).config.audio.microphones)
        except ConfigError as error:
            log.error("the new configuration is refused, the old one stays: %s", error)
            return
        self.engine.post(ev.UpdateStaged())

    def stand_still(self) -> None:
        """Show the update that the machine is about to be restarted for, and take no press meanwhile.

        Raises:
            ApplianceError: somebody uses the appliance.
        """
        state = self.engine.state
        if state.phase not in (Phase.IDLE, Phase.FAULT) or state.calibrating or self.timers.running:
            raise ApplianceError("the appliance is in use", hint="try again when it is idle")
        self._stands_still = True
        self.engine.post(ev.UpdateStaged())

    def _update(self) -> None:
        if self._stands_still:  # whoever asked restarts the machine, or the conversation goes on after a while
            self._stands_still = False
            return
        self._notifier.reloading()
        self.starts_afresh = True
        self._stop.set()


def _ids() -> Iterator[str]:
    """Make event and item ids: unique among processes, short enough for the protocol's 32 characters."""
    prefix = secrets.token_hex(6)
    return (f"va_{prefix}_{number}" for number in itertools.count(1))


def run(loaded: Loaded) -> int:
    """Run the daemon; returns its exit code. A new configuration is taken into use by starting afresh in place."""
    daemon = Daemon(loaded)
    asyncio.run(daemon.run())
    if daemon.starts_afresh:
        os.execv(sys.executable, [sys.executable, "-m", "appliance.cli", *sys.argv[1:]])  # noqa: S606  # ourselves
    return 0
