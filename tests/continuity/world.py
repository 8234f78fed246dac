"""A person, a loudspeaker and a line that may break anywhere, around the real engine and the real protocol.

Time is virtual; every step of the world is drawn from one seed. ``Line`` is the transport: what is on its way when it
breaks is lost, in both directions.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, cast

from appliance.audio import facts as heard
from appliance.audio.duplex import Duplex
from appliance.conversation import events as ev
from appliance.conversation.effects import Sound
from appliance.conversation.state import Phase, Settings, State, Turns
from appliance.engine import Engine, Hooks, Parts
from appliance.realtime.configuration import Wishes
from appliance.realtime.facts import Configured, Refused
from appliance.realtime.protocol import Protocol
from appliance.realtime.session import Need
from appliance.records import Records
from appliance.tools.toolbox import Arguments, Tool, Toolbox
from tests.continuity.server import CHUNK_MS, MS, SILENCE_MS, Json, Server


class Line:
    """A `realtime.session.Session` between the protocol and the model server."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.server: Server | None = None
        self.up: deque[Json] = deque()
        self.wanted = False
        self.configured = False
        self.trouble = ""
        self.to_move = False

    def open(self, need: Need) -> None:
        del need
        self._drop()
        self.wanted = True

    def close(self, reason: str) -> None:
        del reason
        if self.wanted:
            self._world.protocol.disconnected()
        self._drop()

    def flush(self) -> None:
        protocol = self._world.protocol
        while self.server is not None and (frame := protocol.next_frame()) is not None:
            self.up.append(json.loads(frame.text))
        if self.to_move and self.server is not None and protocol.may_move(old=self._world.old):
            self.move()

    def _drop(self) -> None:
        self.server, self.wanted, self.configured = None, False, False
        self.up.clear()

    # --- what happens to it ---

    def connect(self) -> None:
        """The socket opens."""
        self.server = self._world.new_server()
        self._world.protocol.connected("m")

    def lose(self) -> None:
        """The line breaks, or could not be had."""
        was_up = self.configured
        self._drop()
        self._world.protocol.disconnected()
        self._world.engine.session_fact(ev.LinkLost(was_up))

    def deliver(self) -> None:
        """What the server said next arrives."""
        assert self.server is not None
        server = self.server
        for fact in self._world.protocol.receive(json.dumps(server.outbox.popleft())):
            assert not isinstance(fact, Refused)
            self.configured = self.configured or isinstance(fact, Configured)
            if isinstance(fact, ev.ToolRequested) and not fact.call.remote:
                self._world.called.append(fact.call.call_id)
            self._world.engine.session_fact(fact)
            if self.server is not server:
                return
        self.flush()

    def move(self) -> None:
        """Go on in a new session, as `websocket` does when one is old."""
        protocol, server = self._world.protocol, self._world.new_server()
        other = protocol.successor("m")
        while server.outbox:
            for _ in other.receive(json.dumps(server.outbox.popleft())):
                pass
            while (frame := other.next_frame()) is not None:
                server.take(json.loads(frame.text))
        protocol.disconnected()
        self._drop()
        protocol.adopt(other)
        self.server, self.wanted, self.configured, self.to_move = server, True, True, False
        self._world.moves += 1
        self._world.engine.session_fact(Configured())
        self.flush()


class Loudspeaker:
    """The calls of `audio.duplex.Duplex` that the engine makes; sounds when it is told to go on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._queue: deque[tuple[str, float]] = deque()
        self._heard: dict[str, float] = {}
        self._pushes = 0
        self._flushing = False
        self.heard_ms = 0.0
        self.told: list[str] = []

    def push(self, item_id: str, pcm: bytes) -> int:
        self._pushes += 1
        self._queue.append((item_id, len(pcm) / MS))
        return self._pushes

    @property
    def busy(self) -> bool:
        return bool(self._queue) or self._flushing

    def go_on(self) -> None:
        """Another piece sounds, or the silence that was ordered sets in."""
        engine, now = self._world.engine, self._world.loop.time()
        if self._flushing:
            self._flushing = False
            heard_ms, self._heard = self._heard, {}
            engine.audio_fact(heard.Flushed(heard_ms, now))
            return
        item, ms = self._queue.popleft()
        self._heard[item] = self._heard.get(item, 0.0) + ms
        self.heard_ms += ms
        self._world.sounded.add(item)
        if not self._queue:
            heard_ms, self._heard = self._heard, {}
            engine.audio_fact(heard.Drained(self._pushes, heard_ms))

    def flush(self) -> None:
        self._queue.clear()
        self._flushing = True

    def cue(self, sound: Sound) -> None:
        self.told.append(sound.value)

    def set_gate(self, is_open: bool, turn: int, since: float | None) -> None:
        """The microphone's last audio follows when the gate closes."""
        del since
        if not is_open:
            self._world.tails.append(turn)

    def say(self, *_: Any, **__: Any) -> None: ...
    def set_microphone(self, wanted: bool) -> None: ...
    def set_speaker(self, wanted: bool) -> None: ...
    def end_item(self, item_id: str) -> None: ...
    def end_reply(self) -> None: ...


class World:
    """Everything around one engine."""

    def __init__(
        self, seed: int, group: asyncio.TaskGroup, *, turns: Turns, captions: bool = True, remote: bool = False
    ) -> None:
        self.chance = Random(seed)
        self.loop = asyncio.get_running_loop()
        self.captions, self.old, self.moves = captions, False, 0
        self.remote_chance = 0.5 if remote else 0.0
        self.servers: list[Server] = []
        self.sounded: set[str] = set()  # items of which something was heard
        self.steps = 0
        self.cuts: frozenset[int] = frozenset()  # the steps at which the line breaks
        self.move_at = 0  # the step from which on the session is old
        self.tails: deque[int] = deque()
        self.expected: list[tuple[str, str]] = []  # what the person said and showed, in order
        self.captured: dict[str, int] = {}  # ms of each turn
        self.called: list[str] = []
        self._turn = itertools.count(1)
        server_vad = "local" if turns is Turns.LOCAL else "server_vad"
        toolbox = Toolbox([Tool("wait", "", {}, self._wait)], group.create_task, self._finished)
        wishes = Wishes("m", "v", "i", turn_detection=server_vad, tools=toolbox.declarations())
        self.protocol = Protocol(wishes, (f"va_{n}" for n in itertools.count()))
        self.speaker, self.line = Loudspeaker(self), Line(self)
        records = Records(lambda _record: None, lambda: (0.0, 0.0))
        parts = Parts(cast("Duplex", self.speaker), self.protocol, self.line, toolbox, records)
        hooks = Hooks(lambda _led: None, lambda: None, lambda _who, _text: None, lambda: None)
        settings = Settings(turns=turns, full_duplex=True, follow_up_s=8.0)
        self.engine = Engine(parts, settings, hooks, self.loop, State(), cues=True)
        self.engine.reflect()

    async def _wait(self, _: Arguments) -> Arguments:
        await asyncio.sleep(self.chance.uniform(0.0, 3.0))
        return {"done": True}

    def _finished(self, event: ev.ToolFinished) -> None:
        self.engine.post(event)

    def new_server(self) -> Server:
        self.servers.append(Server(self.chance, captions=self.captions, remote_chance=self.remote_chance))
        return self.servers[-1]

    @property
    def phase(self) -> Phase:
        return self.engine.state.phase

    # --- what may happen next ---

    def possible(self) -> list[Callable[[], None]]:
        """List what can happen now by itself."""
        line, server = self.line, self.line.server
        steps: list[Callable[[], None]] = []
        if line.wanted and server is None:
            steps.append(line.connect)
        if server is not None:
            if line.up:
                steps.append(lambda: server.take(line.up.popleft()))
            if server.outbox:
                steps.append(line.deliver)
            if server.answering:
                steps.append(server.go_on)
        if self.speaker.busy:
            steps.append(self.speaker.go_on)
        if self.tails:
            steps.append(self._tail)
        return steps

    def _tail(self) -> None:
        self.engine.audio_fact(heard.TurnTail(self.tails.popleft(), self.loop.time()))

    async def step(self) -> bool:
        """Let one thing happen; returns whether anything could."""
        await asyncio.sleep(0)
        self.steps += 1
        if self.steps in self.cuts and self.line.wanted:
            self.line.lose()
        if self.steps == self.move_at:
            self.old = self.line.to_move = True
            self.line.flush()
        steps = self.possible()
        if not steps:
            return False
        self.chance.choice(steps)()
        return True

    async def rest(self, seconds: float = 0.0) -> None:
        """Let happen what happens until nothing does, and time pass."""
        while True:
            while await self.step():
                pass
            if seconds <= 0:
                return
            await asyncio.sleep(min(0.5, seconds))
            seconds -= 0.5

    # --- the person ---

    async def some(self, most: int = 3) -> None:
        """Some things happen meanwhile."""
        for _ in range(self.chance.randint(0, most)):
            await self.step()

    async def speak(self, number: int, ms: int) -> int:
        """Say something that is known by its number; returns what the appliance took of it."""
        taken, turn = 0, self.engine._turn
        for _ in range(0, ms, CHUNK_MS):
            await self.some(1)
            if self.phase is not Phase.LISTENING or self.engine._turn != turn:
                break
            self._capture(turn, bytes([number, 0]) * (CHUNK_MS * MS // 2))
            taken += CHUNK_MS
        return taken

    def _capture(self, turn: int, pcm: bytes) -> None:
        self.engine.audio_fact(heard.Captured(turn, pcm, self.loop.time()))

    async def hold(self) -> None:
        """Hold the button and say a turn."""
        number, ms = next(self._turn), self.chance.randrange(100, 600, CHUNK_MS)
        self.engine.pressed(self.loop.time())
        await self.some()
        self.engine.post(ev.TalkHeld())
        taken = await self.speak(number, ms)
        if self.phase is Phase.LISTENING:
            self.engine.post(ev.TalkReleased(1000, self.engine.captured_ms))
            if taken >= 100:
                self._note(number, taken)
        await self.some()

    async def tap(self) -> None:
        """Tap and say a turn, whose end is found by whoever finds it."""
        number, ms = next(self._turn), self.chance.randrange(100, 600, CHUNK_MS)
        self.engine.pressed(self.loop.time())
        await self.some()
        self.engine.post(ev.TalkReleased(50, self.engine.captured_ms))
        self.engine.audio_fact(heard.VoiceBegan(self.loop.time()))
        taken = await self.speak(number, ms)
        if self.phase is not Phase.LISTENING or taken < 100:
            return
        if self.engine.state.mode.value == "tap" and not self.protocol.server_vad_applied:
            self.engine.audio_fact(heard.VoiceStopped(self.loop.time()))
        self._note(number, taken)
        await self._silence()

    async def _silence(self) -> None:
        """Say nothing, until the server has noticed."""
        for _ in range(0, 4 * SILENCE_MS, CHUNK_MS):
            if self.phase is not Phase.LISTENING:
                return
            self._capture(self.engine._turn, bytes(CHUNK_MS * MS))
            await self.some(6)

    def _note(self, number: int, taken: int) -> None:
        self.expected.append(("turn", f"turn {number}"))
        self.captured[f"turn {number}"] = taken

    async def type(self) -> None:
        """Type a question."""
        text = f"text {next(self._turn)}"
        self.engine.post(ev.TextSaid(text))
        self.expected.append(("user", text))
        await self.some()

    async def show(self) -> None:
        """Show a picture."""
        url = f"data:{next(self._turn)}"
        self.engine.post(ev.ImageShown(url))
        self.expected.append(("picture", url))
        await self.some()
