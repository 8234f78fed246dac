"""The Realtime conversation, sans I/O: commands and frames in, frames and facts out.

The caller calls :meth:`connected` for each new socket, gives every received frame to :meth:`receive`, acts on
the facts it returns, and after any call sends what :meth:`next_frame` hands out until it returns ``None``.

Responsible for: the life of a session (configured before anything is sent), the response sequencer, the
repairs of an interruption, replay to a new session, the error policy. Not for: sockets, time, sound.
Strict in what it sends, lenient in what it receives: nothing a server says is fatal, only counted.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from appliance.conversation import events as ev
from appliance.errors import LocalProtocolError
from appliance.realtime import configuration, wire
from appliance.realtime.configuration import Wishes
from appliance.realtime.facts import Fact, Stage
from appliance.realtime.history import History
from appliance.realtime.profile import NO_PROFILE, Profile
from appliance.realtime.receiving import Receiving
from appliance.realtime.responses import UNNAMED, Delete, Responses, Truncate
from appliance.realtime.uplink import Uplink

ASKED_BY = {"by": "voice-appliance"}  # metadata of the responses that are ours
NOBODY_TO_ASK = "This device has no way to ask a person for leave. Do without this tool and say so."


class Frame(NamedTuple):
    """A frame to send; ``captured_at`` is the capture time of its oldest sample when it carries audio."""

    text: str
    captured_at: float | None = None


class Protocol:
    """One conversation over any number of sessions. One thread (the event loop)."""

    def __init__(self, wishes: Wishes, ids: Iterator[str]) -> None:
        self.wishes = wishes
        self.history = History()
        self.responses = Responses()
        self.uplink = Uplink()
        self.counters: Counter[str] = Counter()
        self.stage = Stage.CLOSED
        self.model = wishes.model
        self.profile = NO_PROFILE  # that the present session's credential came with
        self.reduced = False
        self.reduced_because = ""  # in the server's words
        self.update_id = ""
        self.refused_update_id = ""  # of the full update that was refused before the reduced one was sent
        self.create_id = ""  # of the response.create that waits for its response
        self.commit_id = ""  # of the input_audio_buffer.commit that was sent last
        self.withdrawn_id = ""  # of the response.create that was interrupted before its response was announced
        self.wanted = False  # a response is to be asked for as soon as that is allowed
        self._may_call_tools = True  # the response that is wanted, or was asked for last
        self.blocked = False  # the server says that a response is active which it did not announce
        self.calls_told: set[str] = set()  # tool calls that the present session knows of
        self.remote_calls: dict[str, bool] = {}  # that the server runs and has not ended; True: it asks for leave to
        self._later: list[wire.Json] = []  # items that follow the turns which the present session is told as audio
        self._later_than: frozenset[str] = frozenset()  # these turns
        self._ids = ids
        self._outbox: deque[Frame] = deque()
        self._server_vad = True
        self.server_vad_applied = wishes.turn_detection != "local"  # in the present session
        self._receiving = Receiving(self)

    # --- the session's life ---

    def connected(self, model: str, profile: Profile = NO_PROFILE) -> None:
        """Begin with a new socket; ``model`` is the one its credential is bound to, ``profile`` came with it."""
        self.model, self.profile = model or self.wishes.model, profile
        self.stage = Stage.GREETING
        self.reduced = False
        self.create_id = self.update_id = self.refused_update_id = ""
        self.blocked = False
        self._forget_session()

    def _forget_session(self) -> None:
        self._outbox.clear()
        self._later.clear()
        self.responses.reset()
        self.calls_told.clear()
        self._receiving.begin()

    def disconnected(self) -> None:
        """Note that the socket is gone; the turns that were not answered stay."""
        self.stage = Stage.CLOSED
        self.create_id = ""
        self.wanted = False
        self._outbox.clear()
        self._later.clear()
        self.responses.abandon()

    def configure(self) -> None:
        """Send the session object; with ``reduced`` set, its core only."""
        # Turns that wait are replayed with explicit commits: the server must not end them by itself.
        waiting = self.uplink.reopened()
        self.server_vad_applied = self._server_vad and not waiting and self.wishes.turn_detection != "local"
        session = configuration.session(
            self.wishes,
            model=self.model,
            server_vad=self.server_vad_applied,
            reduced=self.reduced,
            profile=self.profile,
        )
        self.update_id = self.send("session.update", session=session)
        self.stage = Stage.CONFIGURING

    def ready(self) -> None:
        """The session is configured: tell it the conversation so far, then what waited."""
        self.stage = Stage.READY
        self.update_id = ""
        turns = frozenset(self.uplink.ending_keys)  # not told as text, but again as audio
        replay = self.history.replay(turns)
        self.calls_told = replay.calls
        for item in replay.before:
            self.send("conversation.item.create", item=item)
        self._later, self._later_than = replay.after, turns if replay.after else frozenset()

    # --- its successor ---

    def may_move(self, *, old: bool) -> bool:
        """Say whether a new session can take over now and nobody notices.

        An ``old`` session also goes in the middle of what the person says, which is then sent again from the start.
        """
        silent = self.responses.active is None and not self.responses.sounding and not self.blocked
        sent = not (self.wanted or self.create_id or self.update_id or self._outbox or self._later)
        sent = sent and not self.remote_calls
        return self.stage is Stage.READY and silent and sent and self.uplink.is_quiet(but_for_current=old)

    def successor(self, model: str, profile: Profile = NO_PROFILE) -> Protocol:
        """Begin to set up another session, beside the present one: drive it as any other until it is configured."""
        other = Protocol(self.wishes, self._ids)
        other.set_server_vad(self._server_vad)
        other.connected(model, profile)
        return other

    def adopt(self, other: Protocol) -> None:
        """Go on in a successor that is configured: it is told the conversation, and what is being said."""
        self.model, self.profile, self.reduced = other.model, other.profile, other.reduced
        self.server_vad_applied = other.server_vad_applied
        self._forget_session()
        self.uplink.reopened()
        self.ready()

    @property
    def engaged(self) -> bool:
        """Whether somebody talks or waits: a session that is dead now costs a question."""
        waits = self.wanted or self.create_id or self.remote_calls or self.responses.active is not None
        return bool(waits or self.uplink.ending or self.uplink.current)

    # --- commands ---

    def set_server_vad(self, wanted: bool) -> None:
        """Let the server end turns, or not. Off at once, on when no finished turn waits for its explicit commit."""
        self._server_vad = wanted
        if self.stage is Stage.READY and self._vad_is_due():
            self._apply_server_vad()

    def _vad_is_due(self) -> bool:
        differs = self._server_vad != self.server_vad_applied and self.wishes.turn_detection != "local"
        return differs and not (self._server_vad and self.uplink.ending)

    def _apply_server_vad(self) -> None:
        self.server_vad_applied = self._server_vad
        session = configuration.turn_detection_update(self.wishes, server_vad=self._server_vad)
        self.update_id = self.send("session.update", session=session)

    def begin_turn(self) -> None:
        """Begin a turn of the person: what the server holds of an abandoned one is thrown away first."""
        self.history.forget(self.uplink.complete())
        self.uplink.begin(self.new_id())
        # A finished turn on its way is not to be thrown away: its commit will empty the server's buffer.
        if self.stage is Stage.READY and not self.uplink.ending:
            self.send("input_audio_buffer.clear")

    def append(self, pcm: bytes, captured_at: float) -> None:
        """Add microphone audio (24 kHz mono s16le) captured at ``captured_at`` to the turn."""
        self.uplink.append(pcm, captured_at)

    def end_turn(self) -> None:
        """The person is done; :meth:`turn_complete` follows with the last audio."""
        if key := self.uplink.end():
            self.history.spoken(key)

    def turn_complete(self) -> list[Fact]:
        """The last audio of the ending turn was appended; a turn too short is thrown away and reported."""
        too_short = self.uplink.complete()
        if not too_short:
            return []
        self.history.forget(too_short)
        if self.stage is Stage.READY and not self.uplink.ending:  # as above
            self.send("input_audio_buffer.clear")
        return [ev.TurnRejected(), *self._withdraw()]

    def clear_turn(self) -> None:
        """Throw the turn away."""
        if self.uplink.clear() and self.stage is Stage.READY:
            self.send("input_audio_buffer.clear")

    def request_response(self, *, may_call_tools: bool = True) -> None:
        """Ask for an answer: after the turn is committed and no other response is active."""
        self.wanted, self._may_call_tools = True, may_call_tools

    def admit(self, response_id: str) -> None:
        """Let the audio of a response through."""
        self.responses.admit(response_id)

    def cancel(self, response_id: str) -> None:
        """Cancel a response of which nothing was played."""
        response = self.responses.get(response_id)
        if response is not None and not response.finished and self.stage is Stage.READY:
            named = {} if response_id.startswith(UNNAMED) else {"response_id": response_id}
            self.responses.cancelling(response_id, self.send("response.cancel", **named))

    def interrupt(self) -> list[Fact]:
        """Stop what sounds: nothing more is let through, the response is cancelled; :meth:`repair` follows.

        Returns the refusal of a response that was asked for and is now not even requested from the server.
        """
        self.uplink.answered()  # the person went on: a new session need not be asked again
        self.history.forget(self.uplink.complete())  # nor need an ended turn wait for its last audio
        active = self.responses.active
        self.responses.silence()
        if active is not None:
            self.cancel(active.id)
        self.withdrawn_id = self.create_id
        self.remote_calls.clear()  # they go on, and nobody waits for them
        return self._withdraw()

    def _withdraw(self) -> list[Fact]:
        withdrawn, self.wanted = self.wanted, False
        return [ev.ResponseRefused("withdrawn")] if withdrawn else []

    def repair(self, heard_ms: Mapping[str, float]) -> list[Truncate | Delete]:
        """Truncate or delete what was interrupted, given what was heard (milliseconds by item id)."""
        repairs = self.responses.repairs(heard_ms)
        for repair in repairs:
            self._repair(repair)
        return repairs

    def forget(self, unheard: list[Delete]) -> None:
        """Delete what nobody will hear."""
        for repair in unheard:
            self._repair(repair)

    def _repair(self, repair: Truncate | Delete) -> None:
        match repair:
            case Truncate(item_id, end_ms, fraction, session):
                self.history.heard(_key(session, item_id), fraction)
                if self._knows(session):
                    self.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=end_ms)
            case Delete(item_id, session):
                self.history.heard(_key(session, item_id), 0.0)
                if self._knows(session):
                    self.send("conversation.item.delete", item_id=item_id)

    def _knows(self, session: int) -> bool:
        return self.stage is Stage.READY and session == self.responses.session

    def played(self) -> None:
        """Everything that was to sound has sounded."""
        self.responses.played()

    def say(self, text: str) -> None:
        """Add what the person typed."""
        key = self.new_id()
        self.history.user(key, text)
        self._tell({"id": key, **wire.user_text(text)})

    def show(self, image_url: str) -> None:
        """Add a picture (data URI)."""
        key = self.new_id()
        self.history.picture(key, image_url)
        self._tell({"id": key, **wire.user_image(image_url)})

    def _tell(self, item: wire.Json) -> None:
        """Add an item, in its order; a session that is not ready yet is told with the history."""
        if self.stage is Stage.READY and self.uplink.ending and not self._later:
            self._later_than = frozenset(self.uplink.ending_keys)
            self._later.append(item)
        elif self._later:
            self._later.append(item)
        elif self.stage is Stage.READY:
            self.send("conversation.item.create", item=item)

    def tool_output(self, call_id: str, output: str) -> None:
        """Answer a tool call; a session that never saw the call is told of it first.

        One that the server runs needs no answer, but for its question whether it may.
        """
        if (asks_leave := self.remote_calls.pop(call_id, None)) is not None:
            if asks_leave:
                self._tell(wire.mcp_denial(self.new_id(), call_id, NOBODY_TO_ASK))
            return
        self.history.returned(call_id, output)
        if self.stage is not Stage.READY:
            return  # told with the history
        if call_id not in self.calls_told:
            call = self.history.call_of(call_id)
            if call is None:
                return  # too long ago: the session would refuse an output without its call
            self.calls_told.add(call_id)
            self._tell(wire.function_call(call_id, call.name, call.text))
        self._tell(wire.function_call_output(call_id, output))

    # --- frames ---

    def receive(self, frame: str | bytes) -> Iterator[Fact]:
        """Take one received frame; yields the facts in it. Never raises on what a server says.

        Act on each fact before taking the next: whether audio is let through depends on it.
        """
        return self._receiving.receive(frame)

    def next_frame(self) -> Frame | None:
        """Hand out the next frame to send, or ``None``.

        Microphone audio is encoded only now, so that a slow socket leaves it joined and bounded in the uplink.
        """
        if not self._outbox and self.stage is Stage.READY:
            if self._later and not self.uplink.waits(self._later_than):
                later, self._later = self._later, []
                for item in later:
                    self.send("conversation.item.create", item=item)
            elif self._vad_is_due():
                self._apply_server_vad()
            elif (audio := self.uplink.next_append()) is not None:
                pcm, captured_at = audio
                return Frame(wire.append(self.new_id(), pcm), captured_at)
            elif self.uplink.next_commit():
                self.commit_id = self.send("input_audio_buffer.commit")
            elif self._may_ask():
                self.wanted = False
                self.history.asked()
                choice = {} if self._may_call_tools else {"tool_choice": "none"}
                self.create_id = self.send("response.create", response={"metadata": ASKED_BY, **choice})
        return self._outbox.popleft() if self._outbox else None

    def _may_ask(self) -> bool:
        free = not self.create_id and not self.blocked and self.responses.active is None
        return self.wanted and free and not self.uplink.ending

    def send(self, kind: str, **fields: object) -> str:
        """Queue an event; returns its id.

        Raises:
            LocalProtocolError: before the session is configured only ``session.update`` may be sent.
        """
        if self.stage is not Stage.READY and kind != "session.update":
            raise LocalProtocolError(f"{kind} before session.updated")
        event_id = self.new_id()
        self._outbox.append(Frame(wire.encode(event_id, kind, **fields)))
        return event_id

    # --- names ---

    def new_id(self) -> str:
        """Make a name for an event, an item or a turn."""
        return next(self._ids)

    def key_of(self, item_id: str) -> str:
        """Name an item of the present session in the history."""
        return _key(self.responses.session, item_id)


def _key(session: int, item_id: str) -> str:
    return f"{session}:{item_id}"
