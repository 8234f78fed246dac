"""The engine with the real protocol: facts in, acts in their order, whatever crosses on the way.

Time is virtual; the loudspeaker, the microphone and the socket are the test.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import Callable, Coroutine
from typing import Any, cast

from appliance.audio import facts as heard
from appliance.audio.duplex import Duplex
from appliance.conversation import events as ev
from appliance.conversation.state import Led, Link, Phase, Settings, State, Turns
from appliance.engine import Engine, Hooks, Parts
from appliance.realtime.configuration import Wishes
from appliance.realtime.protocol import Protocol
from appliance.records import Record, Records
from appliance.tools.toolbox import Arguments, Tool, Toolbox
from tests.fakes.parts import RecordedDuplex, RecordedSession
from tests.virtual_time import run

SECOND = bytes(48_000)
Told = list[tuple[Any, ...]]


class Rig:
    """An engine, and everything that it told its parts."""

    def __init__(
        self, group: asyncio.TaskGroup, settings: Settings, *, cues: bool, state: State, duplex_reason: str
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.told: Told = []
        self.shown: list[Led] = []
        self.said: list[tuple[str, str]] = []
        self.records: list[Record] = []
        self.slow = asyncio.Event()
        turns = "local" if settings.turns is Turns.LOCAL else "server_vad"
        toolbox = Toolbox([Tool("wait", "", {}, self._wait)], group.create_task, self._tool_finished)
        self.protocol = Protocol(
            Wishes("m", "v", "i", turn_detection=turns, tools=toolbox.declarations()),
            (f"id_{n}" for n in itertools.count()),
        )
        self.session = RecordedSession(self.told, self.protocol)
        records = Records(self.records.append, lambda: (0.0, 0.0))
        self.duplex = RecordedDuplex(self.told)
        self.follow: Callable[[], None] = lambda: None
        parts = Parts(cast("Duplex", self.duplex), self.protocol, self.session, toolbox, records)
        hooks = Hooks(
            self.shown.append,
            self._changed,
            lambda who, text: self.said.append((who, text)),
            lambda: self.told.append(("update",)),
        )
        self.engine = Engine(parts, settings, hooks, self.loop, state, cues=cues, duplex_reason=duplex_reason)
        self.engine.reflect()

    def _changed(self) -> None:
        self.follow()

    async def _wait(self, _: Arguments) -> Arguments:
        await self.slow.wait()
        return {"done": True}

    def _tool_finished(self, event: ev.ToolFinished) -> None:
        self.engine.post(event)

    def phase(self) -> Phase:
        return self.engine.state.phase

    def take(self) -> Told:
        """Take what was told since the last look."""
        told = self.told[:]
        self.told.clear()
        return told

    def frames(self) -> list[dict[str, Any]]:
        """Take what would be on the wire now."""
        out = []
        while (frame := self.protocol.next_frame()) is not None:
            out.append(json.loads(frame.text))
        return out

    def kinds(self) -> list[str]:
        return [frame["type"] for frame in self.frames()]

    # --- the server ---

    def serve(self, kind: str, **fields: Any) -> None:
        for fact in self.protocol.receive(json.dumps({"type": kind, "event_id": "e", **fields})):
            self.engine.session_fact(fact)

    def link_up(self) -> None:
        """The socket that the engine asked for opens."""
        assert self.session.wanted
        self.protocol.connected("m")
        self.serve("session.created", session={})
        assert "session.update" in self.kinds()
        self.serve("session.updated", session={})
        assert self.engine.state.link is Link.UP

    def link_lost(self, *, was_up: bool = True) -> None:
        self.session.wanted = False
        self.protocol.disconnected()
        self.engine.session_fact(ev.LinkLost(was_up))

    def audio(self, response: str, item: str, pcm: bytes = SECOND) -> None:
        delta = base64.b64encode(pcm).decode()
        self.serve("response.output_audio.delta", response_id=response, item_id=item, content_index=0, delta=delta)

    def words(self, response: str, item: str, words: str) -> None:
        self.serve("response.output_audio_transcript.delta", response_id=response, item_id=item, delta=words)

    def announce(self, response: str) -> None:
        self.serve("response.created", response={"id": response, "status": "in_progress"})

    def finish(self, response: str, status: str = "completed", output: list[dict[str, Any]] | None = None) -> None:
        self.serve("response.done", response={"id": response, "status": status, "output": output or []})

    # --- the person and the card ---

    def press(self) -> None:
        self.engine.pressed(self.loop.time())

    def speak(self, ms: int = 500, turn: int | None = None) -> None:
        gates = [told for told in self.told if told[0] == "gate"]
        number = turn if turn is not None else gates[-1][2]
        self.engine.audio_fact(heard.Captured(number, bytes(48 * ms), self.loop.time()))

    def release(self, held_ms: int = 1000) -> None:
        """Come up after a hold, or a tap; the last audio follows when the gate closes."""
        if held_ms >= 350:
            self.engine.post(ev.TalkHeld())
        self.engine.post(ev.TalkReleased(held_ms, self.engine.captured_ms))

    def tail(self, turn: int = 1) -> None:
        self.engine.audio_fact(heard.TurnTail(turn, self.loop.time() - 0.2))

    def question(self) -> None:
        """A whole question, up to response.create."""
        self.press()
        turn = self.engine._turn
        if self.engine.state.link is not Link.UP:
            self.link_up()
        self.speak(turn=turn)
        self.release()
        self.tail(turn)
        assert self.kinds()[-1] == "response.create"
        assert self.phase() is Phase.THINKING

    def tapped_question(self) -> None:
        """A tap, a voice, its end: up to response.create."""
        self.press()
        turn = self.engine._turn
        if self.engine.state.link is not Link.UP:
            self.link_up()
        self.release(100)
        self.engine.audio_fact(heard.VoiceBegan(self.loop.time()))
        self.speak(turn=turn)
        self.engine.audio_fact(heard.VoiceStopped(self.loop.time()))
        self.tail(turn)
        assert self.kinds()[-1] == "response.create"

    def reply(self, response: str = "r1", item: str = "i1", seconds: int = 2) -> None:
        """The answer arrives whole, and sounds."""
        self.announce(response)
        for _ in range(seconds):
            self.audio(response, item)
        self.finish(response)
        assert self.phase() is Phase.SPEAKING


def play(
    story: Callable[[Rig], Coroutine[Any, Any, None]],
    *,
    cues: bool = True,
    state: State | None = None,
    duplex_reason: str = "",
    **settings: Any,
) -> Rig:
    async def told() -> Rig:
        async with asyncio.TaskGroup() as group:
            rig = Rig(group, Settings(**settings), cues=cues, state=state or State(), duplex_reason=duplex_reason)
            await story(rig)
            rig.slow.set()
        rig.engine.close()
        return rig

    return run(told())
