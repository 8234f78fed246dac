"""The device put together as ``daemon`` does it, with every part in one thread and on the clock of the test.

Responsible for: the real engine, audio thread, protocol, transport, tools, button and first start; a card and a server
of the test at their ends. The audio thread is a callback that is late by as much as the test says, and so are its
facts. Not for: minting (``tickets``), sockets, the panel.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from websockets.asyncio.client import ClientConnection

from appliance.audio.chain import Chain
from appliance.audio.duplex import Duplex
from appliance.audio.facts import AudioFact
from appliance.audio.processing import DETECTORS, PROCESSORS
from appliance.board import Board
from appliance.config import Config, Loaded
from appliance.controls import Button
from appliance.conversation import events as ev
from appliance.conversation.state import Led, State
from appliance.engine import Engine, Hooks, Parts
from appliance.errors import ProvisioningError, Secret
from appliance.first_start import FirstStart
from appliance.realtime.protocol import Protocol
from appliance.realtime.session import Need, Ticket
from appliance.realtime.websocket import WebSocketSession
from appliance.records import Record, Records
from appliance.tools.builtin import Timers, timer_tools, volume_tool
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
from tests.device.card import Card
from tests.device.server import Server

MINT_S = 0.05
SHORTEST_STEP_S = 0.0005


@dataclass(frozen=True, slots=True)
class Late:
    """By how many seconds the audio thread, and what it tells, are late."""

    thread_s: float = 0.001
    fact_s: float = 0.001


class SteppedDuplex(Duplex):
    """The audio thread, a turn at a time: what would be its sleep is a timer of the loop."""

    def __init__(self, card: Card, chain: Chain, late: Late, told: Callable[[AudioFact], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._late, self._told = late, told
        self._facts: deque[AudioFact] = deque()
        self._next: asyncio.TimerHandle | None = None
        super().__init__(card, chain, 1.0, self._loop.time, self._tell)

    def _tell(self, fact: AudioFact) -> None:
        self._facts.append(fact)
        self._loop.call_later(self._late.fact_s, lambda: self._told(self._facts.popleft()))

    def start(self) -> None:
        self._step()

    def stop(self) -> None:
        self._stopping = True
        if self._next is not None:
            self._next.cancel()
        self._close_all()
        os.close(self._wakeup)

    def _wake(self) -> None:
        self._loop.call_later(self._late.thread_s, self._step)

    def _step(self) -> None:
        if self._stopping:
            return
        if self._next is not None:
            self._next.cancel()
        self.beats += 1
        self._turn()
        due_s = self._due_s()
        self._next = None
        if due_s is not None:
            self._next = self._loop.call_later(max(SHORTEST_STEP_S, due_s) + self._late.thread_s, self._step)


class MemorySession(WebSocketSession):
    """The real transport, whose connections are the server's wires."""

    def to(self, server: Server) -> None:
        """Dial this server."""

        async def connect(_: Ticket) -> ClientConnection:
            return cast("ClientConnection", await server.connect())

        self._dialler._connect = connect  # type: ignore[assignment, method-assign]  # where the socket would be opened


class Device:
    """One device. ``light`` is told each word of the LED, ``told`` each fact of the audio thread before the engine.

    ``refusal`` is what the provisioning service says, if it refuses.
    """

    def __init__(
        self,
        config: Config,
        board: Board,
        server: Server,
        card: Card,
        *,
        late: Late,
        light: Callable[[Led], None] = lambda _: None,
        told: Callable[[AudioFact], None] = lambda _: None,
        seed: int = 0,
        muted: bool = False,
        refusal: Callable[[], ProvisioningError | None] = lambda: None,
    ) -> None:
        self.loop = loop = asyncio.get_running_loop()
        self.loaded = loaded = Loaded(config, board, {}, Path())
        self.server, self.card = server, card
        self.records: list[Record] = []
        self._refusal = refusal
        self.updates = 0
        self._fact_seen = told
        self._tasks: set[asyncio.Task[Any]] = set()
        canceller = canceller_of(loaded)
        chain = Chain(
            PROCESSORS[canceller](),
            DETECTORS[config.audio.detector](),
            config.audio.microphones,
            config.conversation.end_of_turn_ms,
            hush=config.realtime.turn_detection != "local",
        )
        self.duplex = SteppedDuplex(card, chain, late, self._told)
        self.timers = Timers(loop, lambda _: self.engine.post(ev.TimerRang()))
        tools = [*timer_tools(self.timers), volume_tool(self.set_volume)]
        self.toolbox = Toolbox(tools, self.spawn, lambda event: self.engine.post(event))
        ids = (f"va_{n}" for n in itertools.count(1))
        self.protocol = Protocol(wishes_of(loaded, self.toolbox.declarations()), ids)
        self.session = MemorySession(
            self.protocol,
            self._mint,
            lambda fact: self.engine.session_fact(fact),
            lambda captured_at, sent_at: self.engine.sent(captured_at, sent_at),
            self.spawn,
            timing_of(config),
            random.Random(seed),
        )
        self.session.to(server)
        self.book = Records(self.records.append, lambda: (0.0, 0.0))
        parts = Parts(self.duplex, self.protocol, self.session, self.toolbox, self.book)
        self._light, self._ended = light, False
        hooks = Hooks(self._show, self._changed, lambda _who, _text: None, self._update)
        self.engine = Engine(
            parts,
            settings_of(loaded),
            hooks,
            loop,
            State(muted=muted),
            cues=config.audio.cues,
            duplex_reason=half_duplex_reason(loaded),
        )
        self.first_start = FirstStart(loaded, self.engine, self.duplex, lambda: 80)
        self.button = Button(self.engine, hold_ms_of(config), loop)
        self.duplex.start()
        self.engine.reflect()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in the background; it stays known until it is over."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()  # a bug goes to the loop's exception handler

    def _show(self, led: Led) -> None:
        if not self._ended:  # else it is another life's light by now
            self._light(led)

    def _told(self, fact: AudioFact) -> None:
        if self._ended:
            return  # it was under way when the process ended
        self._fact_seen(fact)
        self.engine.audio_fact(fact)

    async def _mint(self, _: Need) -> Ticket:
        await asyncio.sleep(MINT_S)
        if (refusal := self._refusal()) is not None:
            raise refusal
        return Ticket("ws://server", "gpt-realtime-1.5", Secret("ek_none"))

    def _changed(self) -> None:
        self.first_start.changed()

    def _update(self) -> None:
        self.updates += 1

    def set_volume(self, percent: int) -> None:
        """As the daemon does."""
        self.duplex.set_gain(gain_of(percent))

    async def calibrate(self) -> None:
        """What the first start does once the device has been idle for a while."""
        await self.first_start._measured()

    @property
    def tasks(self) -> int:
        """How many tasks run in the background."""
        return len(self._tasks)

    async def close(self) -> None:
        """End in the daemon's order."""
        self.engine.hush()
        self.timers.close()
        await self.session.finish()
        self.engine.close()
        self.duplex.stop()
        self._ended = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
