"""The receiving half of the protocol: what each server event means.

Responsible for: one short method an event type, leniency (a response never announced, a missing id, an event
out of order), the error policy. Not for: sending on its own account; it uses the ``Protocol`` it belongs to.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from appliance.conversation import events as ev
from appliance.realtime import facts, policy, usage, wire
from appliance.realtime.facts import Fact, Stage
from appliance.realtime.policy import Policy
from appliance.realtime.remote import Remote
from appliance.realtime.responses import UNNAMED, AudioItem, Response

if TYPE_CHECKING:
    from appliance.realtime.protocol import Protocol

Facts = Iterator[Fact]
OUTCOMES = {outcome.value: outcome for outcome in ev.Outcome}
CALLS_REMEMBERED = 64
COUNTED = 128  # kinds of things counted: servers name them, and must not fill the memory


class Receiving:
    """Turns frames into facts for one :class:`Protocol`."""

    def __init__(self, protocol: Protocol) -> None:
        self._p = protocol
        self._called: OrderedDict[str, None] = OrderedDict()
        self._remote = Remote(protocol)
        self._handlers: dict[str, Callable[[wire.Received], Facts]] = {
            "session.created": self._session_created,
            "session.updated": self._session_updated,
            "error": self._error,
            "input_audio_buffer.speech_started": lambda _: iter([ev.SpeechStarted()]),
            "input_audio_buffer.speech_stopped": self._speech_stopped,
            "input_audio_buffer.committed": self._committed,
            "conversation.item.input_audio_transcription.completed": self._caption,
            "response.created": self._response_created,
            "response.output_item.added": self._item_added,
            "response.output_audio.delta": self._audio,
            "response.output_audio.done": self._audio_done,
            "response.output_audio_transcript.delta": self._words,
            "response.output_text.delta": self._words,
            "response.output_audio_transcript.done": self._whole_words,
            "response.output_text.done": self._whole_words,
            "response.output_item.done": self._item_done,
            "response.done": self._response_done,
            "response.mcp_call.completed": self._remote.ended,
            "response.mcp_call.failed": self._remote.ended,
            "mcp_list_tools.failed": self._remote.not_listed,
        }

    def receive(self, frame: str | bytes) -> Facts:
        """Take one frame; whatever is not understood is counted and dropped."""
        event = wire.decode(frame)
        if event is None:
            event = wire.salvage(frame)
            self._p.counters["malformed_frames" if event is None else "malformed_events"] += 1
        handler = self._handlers.get(event.type) if event else None
        if event is not None and handler is None:
            self._p.counters["other_events"] += 1
        elif event is not None and handler is not None:
            yield from handler(event)

    def begin(self) -> None:
        """Begin a new session, whose call ids may repeat those of an earlier one."""
        self._called.clear()
        self._remote.begin()

    def _count(self, name: str) -> None:
        counters = self._p.counters
        counters[name[:48] if name[:48] in counters or len(counters) < COUNTED else "other_errors"] += 1

    # --- the session ---

    def _session_created(self, _: wire.Received) -> Facts:
        if self._p.stage is Stage.GREETING:
            self._p.configure()
        yield from ()

    def _session_updated(self, _: wire.Received) -> Facts:
        if self._p.stage is Stage.CONFIGURING:
            self._p.ready()
            yield facts.Configured()
            yield from self._remote.lost()
        else:
            self._p.update_id = ""

    # --- the person's turn ---

    def _speech_stopped(self, _: wire.Received) -> Facts:
        if self._p.server_vad_applied:
            self._server_ended()  # a session that breaks before it says "committed" has not answered the turn either
        yield ev.SpeechStopped()

    def _server_ended(self) -> bool:
        key = self._p.uplink.server_ended(self._p.new_id())
        if key:
            self._p.history.spoken(key)
        return bool(key)

    def _committed(self, event: wire.Received) -> Facts:
        item_id = event.item_id or ""
        key = self._p.uplink.acknowledge()
        if not key and self._server_ended():
            key = self._p.uplink.acknowledge()
        if key or item_id:
            self._p.history.spoken(key or self._p.new_id(), item_id)
        yield from ()

    def _caption(self, event: wire.Received) -> Facts:
        if event.item_id and event.transcript is not None:
            # Where the server never said "committed", it is of the oldest turn that waits for that.
            if not self._p.history.knows(event.item_id) and (key := self._p.uplink.acknowledge()):
                self._p.history.spoken(key, event.item_id)
            self._p.history.caption(event.item_id, event.transcript)
            yield facts.CaptionReceived(event.item_id, event.transcript)

    # --- responses ---

    def _response(self, response_id: str | None) -> Response | None:
        """Find the living response that an event belongs to, known or not."""
        book = self._p.responses
        if not response_id:
            if book.active is not None:
                return book.active
            if not self._p.create_id and not self._p.server_vad_applied:
                self._p.counters["late_events"] += 1  # nothing was asked for: it belongs to one that is over
                return None
            self._p.counters["unnamed_responses"] += 1
            response_id = f"{UNNAMED}{self._p.counters['unnamed_responses']}"
        if book.is_dead(response_id):
            self._p.counters["late_events"] += 1
            return None
        return book.announce(response_id)

    def _announced(self, response: Response) -> Facts:
        """Announce a response once, by its ``response.created`` or by whatever came first of it."""
        if not response.announced:
            response.announced = True
            if not self._p.create_id:
                self._p.history.asked()  # the server asked itself
            self._p.create_id = ""
            yield ev.ResponseStarted(response.id)

    def _response_created(self, event: wire.Received) -> Facts:
        response = self._response(event.response.id if event.response else event.response_id)
        if response is not None:
            yield from self._announced(response)

    def _item_added(self, event: wire.Received) -> Facts:
        item = event.item
        response = self._response(event.response_id)
        if response is None:
            return
        yield from self._announced(response)
        spoken = self._p.wishes.output == "audio"
        if spoken and item is not None and item.id and item.type == "message":
            response.items.setdefault(item.id, AudioItem())

    def _audio(self, event: wire.Received) -> Facts:
        response = self._response(event.response_id)
        if response is None:
            return
        yield from self._announced(response)
        pcm = wire.audio_of(event.delta or "")
        if not pcm:
            self._p.counters["malformed_audio"] += 1
            return
        if not response.admitted:
            self._p.counters["audio_of_dead_responses"] += 1
            return
        item_id = _named(response, event.item_id)
        if pcm := response.items.setdefault(item_id, AudioItem()).take(pcm):
            yield facts.AudioReceived(response.id, item_id, pcm)

    def _audio_done(self, event: wire.Received) -> Facts:
        response = self._p.responses.get(event.response_id or "") or self._p.responses.active
        item = response.items.get(event.item_id or "") if response else None
        if item is not None and event.item_id:
            item.ended = True
            yield facts.AudioEnded(event.item_id)

    def _words(self, event: wire.Received) -> Facts:
        response = self._response(event.response_id)
        if response is None:
            return
        yield from self._announced(response)
        yield from self._worded(response, event.item_id, event.delta)

    def _whole_words(self, event: wire.Received) -> Facts:
        response = self._response(event.response_id)
        if response is None:
            return
        yield from self._announced(response)
        yield from self._whole(response, event.item_id, event.transcript or event.text)

    def _whole(self, response: Response, item_id: str | None, words: str | None) -> Facts:
        """Take the words of a whole item; most servers have sent them piece by piece already."""
        known = response.worded & {item_id, _named(response, None)} if item_id else response.worded
        if not known:
            yield from self._worded(response, item_id, words)

    def _worded(self, response: Response, item_id: str | None, words: str | None) -> Facts:
        item_id = _named(response, item_id)
        if words and response.admitted:
            response.worded.add(item_id)
            self._p.history.assistant(self._p.key_of(item_id), words)
            yield facts.WordsReceived(item_id, words)

    def _item_done(self, event: wire.Received) -> Facts:
        response = self._response(event.response_id)
        if response is None:
            return
        yield from self._announced(response)
        yield from self._call(response, event.item)
        yield from self._remote.item(response, event.item)

    def _call(self, response: Response, item: wire.Item | None) -> Facts:
        """Report a complete function call once; a half-written one is not run."""
        if item is None or item.type != "function_call" or item.status == "incomplete":
            return
        response.called = True
        if not item.call_id or not item.name or item.call_id in self._called:
            return
        self._called[item.call_id] = None
        self._p.calls_told.add(item.call_id)
        while len(self._called) > CALLS_REMEMBERED:
            self._called.popitem(last=False)
        self._p.history.called(item.call_id, item.name, item.arguments or "{}")
        yield ev.ToolRequested(ev.ToolCall(item.call_id, item.name, item.arguments or "{}"))

    def _response_done(self, event: wire.Received) -> Facts:
        done = event.response or wire.Response()
        unknown = self._p.responses.get(done.id or event.response_id or "") is None
        self._p.blocked = False
        # Never heard of, and not asked for or cancelled (we cancel none before it is announced): nothing to end.
        not_ours = not self._p.create_id or done.status == "cancelled"
        if unknown and not_ours and self._p.responses.active is None:
            self._p.counters["unannounced_responses"] += 1
            return
        response = self._response(done.id or event.response_id)
        if response is None:
            return
        if response.finished:
            self._p.counters["late_events"] += 1  # told twice: it is not billed twice
            return
        yield from self._announced(response)
        yield from self._end(response, done)

    def _end(self, response: Response, done: wire.Response) -> Facts:
        outcome = OUTCOMES.get(done.status or "", ev.Outcome.COMPLETED)
        output = (done.output or []) if outcome is ev.Outcome.COMPLETED else []
        for item in output:
            yield from self._call(response, item)
            yield from self._remote.item(response, item)
            words = "".join(part.transcript or part.text or "" for part in item.content or [])
            yield from self._whole(response, item.id, words)
        if outcome is ev.Outcome.COMPLETED:
            yield from self._remote.over(response)
        for item_id, audio in response.items.items():
            if not audio.ended:
                yield facts.AudioEnded(item_id)
        yield facts.UsageReported(response.id, usage.tokens(done.usage))
        self._p.forget(self._p.responses.latecomers(response))
        self._p.responses.finish(response.id)
        if outcome is not ev.Outcome.CANCELLED and not response.called:
            self._p.uplink.answered()
            self._p.history.answered()
        yield from self._failure(done)
        yield ev.ResponseFinished(response.id, self._felt(response, outcome))

    def _felt(self, response: Response, outcome: ev.Outcome) -> ev.Outcome:
        """Say how a response ended for a listener: complete without a sound or a call of a tool, it is no answer."""
        awaited = response.admitted and not response.called and self._p.wishes.output == "audio"
        if outcome is not ev.Outcome.COMPLETED or not awaited or not response.is_soundless:
            return outcome
        self._count("soundless_responses")
        return ev.Outcome.INCOMPLETE

    def _failure(self, done: wire.Response) -> Facts:
        error = done.status_details.error if done.status_details else None
        if done.status == "failed" and error is not None:
            self._count(f"failed_{error.code or 'unknown'}")
            if policy.of(error, is_update=False, is_create=True) is Policy.FATAL:
                code = error.code or "refused"
                yield facts.Refused(code, error.message or code)

    # --- errors ---

    def _error(self, event: wire.Received) -> Facts:
        fault = event.error or wire.Fault()
        mine = fault.event_id or ""
        is_update = bool(mine) and mine == self._p.update_id
        is_create = bool(mine) and mine == self._p.create_id
        is_commit = bool(mine) and mine == self._p.commit_id
        self._count(f"error_{fault.code or fault.type or 'unknown'}")
        # Some servers do not name the event they complain about, or put an id of theirs: while configuring it can
        # only be the update, unless it is a second complaint about the one that we have already reduced.
        configuring = self._p.stage is Stage.CONFIGURING and (not mine or mine != self._p.refused_update_id)
        chosen = policy.of(fault, is_update=is_update or configuring, is_create=is_create, is_commit=is_commit)
        if chosen is Policy.IGNORE:
            yield from self._none_to_cancel(mine)
        yield from self._carry_out(chosen, fault)

    def _none_to_cancel(self, mine: str) -> Facts:
        """The server knows of no response that we could cancel: the one that we meant is over, and nobody told us."""
        response = self._p.responses.not_cancelled(mine)
        if response is not None:
            yield from self._end(response, wire.Response(response.id, "cancelled"))

    def _carry_out(self, chosen: Policy, fault: wire.Fault) -> Facts:
        code, message = fault.code or fault.type or "error", fault.message or "the server gave no reason"
        match chosen:
            case Policy.FATAL:
                yield facts.Refused(code, message)
            case Policy.RECONNECT:
                yield facts.Broken(code, message)
            case Policy.CONFIGURE:
                yield from self._configure_again(code, message)
            case Policy.REQUEUE:
                yield from self._ask_again(code)
            case Policy.RESPONSE if self._p.create_id or self._p.responses.active is None:  # else it is under way
                self._p.create_id = ""
                yield ev.ResponseRefused(code)
            case Policy.TURN if not self._p.server_vad_applied:
                self._p.history.forget(self._p.uplink.refused())
                yield ev.TurnRejected()
            case _:
                pass

    def _configure_again(self, code: str, message: str) -> Facts:
        """A rejected update applies nothing: ask for the core only, then give up, never go on silently."""
        if self._p.stage is Stage.READY:
            yield facts.Broken(code, message)  # of the turn detection: only a new session is sure to have the right one
            return
        if self._p.reduced:
            yield facts.Refused(code, f"the server refuses our session settings: {message}")
            return
        self._p.reduced, self._p.reduced_because = True, message
        self._count("reduced_sessions")
        self._p.refused_update_id = self._p.update_id
        self._p.configure()

    def _ask_again(self, code: str) -> Facts:
        """Another response is active: ask again after it, unless nobody waits any more."""
        if not self._p.create_id:
            return  # a response was announced meanwhile, and is taken for the one that was asked for
        withdrawn = self._p.create_id == self._p.withdrawn_id
        self._p.create_id = ""
        self._p.blocked = self._p.responses.active is None
        if withdrawn:
            yield ev.ResponseRefused(code)
        else:
            self._p.wanted = True


def _named(response: Response, item_id: str | None) -> str:
    return item_id or f"item_of_{response.id}"[:32]
