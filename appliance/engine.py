"""The control plane: facts in, decisions by ``conversation.step``, effects out, mirrors kept in step.

Responsible for: ``post(event) -> step -> perform(effect) -> reflect``, and for carrying audio between the audio
thread and the session by way of the gate and the admission. Not for: building the parts (``daemon``) or deciding
(``conversation``). One thread (the event loop); nothing here blocks.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from appliance.audio import facts as heard
from appliance.audio.duplex import Duplex
from appliance.conversation import effects as do
from appliance.conversation import events as ev
from appliance.conversation.lines import SETUP, words_of
from appliance.conversation.state import Led, Mirror, Phase, Settings, State, Timer, mirror
from appliance.conversation.transitions import step
from appliance.hearing import Hearing
from appliance.realtime import facts
from appliance.realtime.protocol import Protocol
from appliance.realtime.responses import Truncate
from appliance.realtime.session import Need, Session
from appliance.realtime.uplink import BYTES_PER_MS
from appliance.records import Records
from appliance.tools.toolbox import Toolbox

log = logging.getLogger(__name__)
DECLINED = '{"error":"the person went on before this could be done"}'
ASKED = (ev.TalkPressed, ev.VoiceStarted, ev.SpeechStarted, ev.TextSaid, ev.SettingsTaken)  # a person wants a session
CODES = (ev.ENROLMENT_PENDING, SETUP)
CLOSES = {do.Disconnect: "idle", do.Reconnect: "stalled"}
RELAPSE_S = 10.0  # a card that is lost again so soon was never well: it opens, and stands
ACTIVE = (Phase.LISTENING, Phase.THINKING, Phase.SPEAKING)


@dataclass(slots=True)
class Parts:
    """What the engine drives."""

    duplex: Duplex
    protocol: Protocol
    session: Session
    toolbox: Toolbox
    records: Records


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the engine calls: the panel's light, followers of the state, a display of words, an update to take."""

    show: Callable[[Led], None]
    changed: Callable[[], None]  # phase, link or mute
    said: Callable[[str, str], None]
    update: Callable[[], None]
    words: Callable[[str], tuple[str, ...]] = words_of  # the recordings that tell of a failure's code
    setup: Callable[[do.BeginSetup | do.EndSetup | do.ForgetAll], None] = lambda _: None


class Engine:
    """One conversation, running."""

    def __init__(
        self,
        parts: Parts,
        settings: Settings,
        hooks: Hooks,
        loop: asyncio.AbstractEventLoop,
        state: State,
        *,
        cues: bool,
        duplex_reason: str = "",
    ) -> None:
        self.state = state
        self.counters: Counter[str] = Counter()
        self.hearing = Hearing(self.post, lambda: self.state, settings, self.counters, duplex_reason)
        self._parts, self._settings, self._hooks, self._loop, self._cues = parts, settings, hooks, loop, cues
        self._events: deque[ev.Event] = deque()
        self._posting = False
        self._shown: Mirror | None = None
        self._timer: Timer | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._turn = 0
        self._pressed_at: float | None = None
        self._card_lost_at = float("-inf")
        self._asked_at = 0.0  # when it began to listen, or was pressed meanwhile
        self._pushed = 0
        self._flushed_at = -1  # what had been pushed when the loudspeaker was last told to be silent
        self._heard_before: dict[str, float] = {}  # that silence: what had drained while the order was on its way
        self._speaker = False
        self._response = ""  # the response whose audio sounds
        self._words: list[str] = []
        self.last_error = ""
        self._event: ev.Event | None = None  # what is being decided about
        self._trouble = ""  # the code of what there is to explain

    # --- the control plane ---

    def post(self, event: ev.Event) -> None:
        """Decide about a fact and carry the decision out. Facts posted meanwhile follow in order."""
        self._events.append(event)
        if self._posting:
            return
        self._posting = True
        try:
            while self._events:
                self._take(self._events.popleft())
        finally:
            self._posting = False
        self._parts.session.flush()

    def _take(self, event: ev.Event) -> None:
        before, self._event = self.state, event
        self._note_trouble(event)
        self.state, effects, ignored = step(before, event, self._settings)
        if ignored:
            self.counters["ignored_events"] += 1
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s + %s -> %s %s", before.phase.value, event, self.state.phase.value, effects)
        if self.state.phase is Phase.LISTENING and before.phase is not Phase.LISTENING:
            self._asked_at = self._pressed_at or self._loop.time()
        for effect in effects:
            self._perform(effect)
        self.reflect()
        now = self.state
        if (now.phase, now.link, now.muted) != (before.phase, before.link, before.muted):
            self._hooks.changed()
        if self.state.phase is Phase.IDLE and before.phase is not Phase.IDLE:
            self._parts.records.end()

    def _note_trouble(self, event: ev.Event) -> None:
        match event:
            case ev.LinkRefused(code) | ev.EnrolmentEnded(code):
                self._trouble = code
            case ev.LinkLost():
                self._trouble = self._parts.session.trouble
            case ev.Enrolled():
                self._trouble = "enrolled"

    def _need(self) -> Need:
        """Say who wants the session that the present event led to."""
        if isinstance(self._event, ASKED):
            return Need.PRESS
        return Need.ITSELF if isinstance(self._event, ev.PhaseTimeout) else Need.WAITING

    def pressed(self, at: float) -> None:
        """The button went down at ``at`` (monotonic s)."""
        self._pressed_at = self._asked_at = at
        self._card_lost_at = float("-inf")
        self.post(ev.TalkPressed())
        self._pressed_at = None

    @property
    def captured_ms(self) -> int:
        """Milliseconds of audio that the present turn holds."""
        turn = self._parts.protocol.uplink.current
        return turn.total // BYTES_PER_MS if turn else 0

    def _perform(self, effect: do.Effect) -> None:
        parts = self._parts
        match effect:
            case do.Cue(sound):
                self._cue(sound)
            case do.Explain(code):
                self._explain(code or self._trouble)
            case do.Connect():
                parts.session.open(self._need())
            case do.Disconnect() | do.Reconnect():
                parts.session.close(CLOSES[type(effect)])
            case do.BeginTurn():
                self._begin_turn()
            case do.CommitTurn():
                parts.protocol.end_turn()
            case do.ClearTurn():
                parts.protocol.clear_turn()
            case do.Interrupt():
                self._interrupt()
            case do.InstallUpdate():
                self._hooks.update()
            case _:
                self._perform_reply(effect)

    def _perform_reply(self, effect: do.Effect) -> None:
        protocol = self._parts.protocol
        match effect:
            case do.SendText(text):
                self._hooks.said("you", text)
                self._parts.records.begin(None)
                protocol.say(text)
            case do.SendImage(image_url):
                protocol.show(image_url)
            case do.RequestResponse(may_call_tools):
                self._ask(may_call_tools=may_call_tools)
            case do.Admit(response_id):
                self._response = response_id
                protocol.admit(response_id)
            case do.CancelResponse(response_id):
                protocol.cancel(response_id)
            case do.RunTool(call) if not call.remote:
                self._parts.toolbox.run(call)
            case do.DeclineTool(call):
                protocol.tool_output(call.call_id, DECLINED)
            case do.SendToolOutput(call_id, output):
                protocol.tool_output(call_id, output)
            case do.BeginSetup() | do.EndSetup() | do.ForgetAll():
                self._hooks.setup(effect)

    def _ask(self, *, may_call_tools: bool) -> None:
        if not may_call_tools:
            log.warning("the model has called tools all through this turn: it is asked for words now")
        self._parts.protocol.request_response(may_call_tools=may_call_tools)

    def _begin_turn(self) -> None:
        self._turn += 1
        self._parts.records.begin(self._pressed_at)
        self._parts.protocol.begin_turn()

    def _interrupt(self) -> None:
        self._parts.records.interrupted(self._pressed_at or self._loop.time())
        for fact in self._parts.protocol.interrupt():
            self.session_fact(fact)
        self._flushed_at = self._pushed
        self._parts.duplex.flush()
        self._parts.toolbox.stop()
        self._tell_words()

    def _cue(self, sound: do.Sound) -> None:
        if isinstance(self._event, ev.DeviceFailed) and self._relapsed():
            return
        self.counters[f"cue_{sound.value}"] += 1
        if sound in (do.Sound.OFFLINE, do.Sound.ERROR):
            log.warning("told the person: %s", sound.value)
        if self._cues or sound is do.Sound.TIMER:  # a timer that does not ring is none
            self._parts.duplex.cue(sound)

    def _relapsed(self) -> bool:
        """Say whether the card was lost a moment ago as well, and nobody has pressed since: that was told."""
        before, self._card_lost_at = self._card_lost_at, self._loop.time()
        return self._card_lost_at - before < RELAPSE_S

    def complain(self) -> None:
        """Tell the person by a sound what is none of this conversation's: a part is missing, the last run broke off."""
        self._cue(do.Sound.ERROR)

    def _explain(self, code: str) -> None:
        words = self._hooks.words(code)
        if words and (self._cues or code in CODES):  # who is not told a code cannot enrol it
            self.counters[f"said_{code}"] += 1
            self._parts.duplex.say(words, afresh=not self._cues)

    # --- mirrors ---

    def reflect(self) -> None:
        """Bring every output that mirrors state in step with it."""
        now = mirror(self.state, self._settings)
        was, self._shown = self._shown, now
        duplex = self._parts.duplex
        speaker = self.state.phase in ACTIVE
        if was is None or was.server_vad != now.server_vad:
            self._parts.protocol.set_server_vad(now.server_vad)
        if now.barred != (was is not None and was.barred):
            duplex.bar_microphone(now.barred)
        if now.microphone and (was is None or not was.microphone):
            duplex.set_microphone(True)
        if was is None or was.gate != now.gate:
            voice = isinstance(self._event, ev.VoiceStarted)
            duplex.set_gate(now.gate, self._turn, None if voice else self._asked_at)
        if was is not None and (was.microphone or was.calibration > now.calibration) and not now.microphone:
            duplex.set_microphone(False)  # which ends a calibration as well
        if speaker != self._speaker:
            self._speaker = speaker
            duplex.set_speaker(speaker)
        if was is None or was.led is not now.led:
            self._hooks.show(now.led)
        if now.timer != self._timer:
            self._arm(now.timer)

    def _arm(self, timer: Timer | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._timer = timer
        self._alarm = None if timer is None else self._loop.call_later(timer.after_s, self._expire, timer)

    def _expire(self, timer: Timer) -> None:
        if timer is self._timer:
            self._timer = self._alarm = None
            self.post(ev.PhaseTimeout())

    def hush(self) -> None:
        """Silence a reply with a fade, and tell the session what of it was heard."""
        self._interrupt()
        self._parts.session.flush()

    def close(self) -> None:
        """Stop the timer: nothing is decided any more."""
        self._arm(None)

    @property
    def mirror(self) -> Mirror:
        """What is shown now."""
        return self._shown or mirror(self.state, self._settings)

    # --- facts of the session ---

    def session_fact(self, fact: facts.Fact) -> None:
        """Take a fact of the session."""
        match fact:
            case facts.AudioReceived(response_id, item_id, pcm):
                self._pushed = self._parts.duplex.push(item_id, pcm)
                if not self.state.audible:
                    self.post(ev.AudioStarted(response_id))
            case facts.AudioEnded(item_id):
                self._parts.duplex.end_item(item_id)
            case facts.WordsReceived(_, words):
                self._words.append(words)
                if self.state.phase is Phase.THINKING:
                    self._arm(self._timer)  # an answer that is being written is on its way: patience begins anew
            case facts.CaptionReceived(_, words):
                self._hooks.said("you", words)
            case facts.UsageReported(_, tokens):
                self._parts.records.used(tokens)
            case facts.Configured():
                self._parts.records.model = self._parts.protocol.model
                self.post(ev.LinkOpened())
            case ev.Event():
                self._session_event(fact)

    def _session_event(self, event: ev.Event) -> None:
        finished = isinstance(event, ev.ResponseFinished) and event.response_id == self._response
        if finished or isinstance(event, ev.LinkLost | ev.LinkRefused):
            self._tell_words()
            self._parts.duplex.end_reply()
        self.post(event)

    def _tell_words(self) -> None:
        if self._words:
            words, self._words = "".join(self._words), []
            self._hooks.said("appliance", words)

    def sent(self, captured_at: float, sent_at: float) -> None:
        """Microphone audio captured at ``captured_at`` was handed to the socket."""
        self._parts.records.sent(captured_at, sent_at)

    # --- facts of the audio thread ---

    def audio_fact(self, fact: heard.AudioFact) -> None:
        """Take a fact of the audio thread."""
        match fact:
            case heard.Captured(turn, pcm, captured_at):
                if turn == self._turn:
                    self._parts.records.captured(captured_at)
                    self._parts.protocol.append(pcm, captured_at)
                    self._parts.session.flush()
            case heard.TurnTail(turn, voice_ended_at):
                self._tail(turn, voice_ended_at)
            case heard.ReplyStarted(pushed_at, sounds_at):
                self._parts.records.reply_started(pushed_at, sounds_at)
            case heard.Drained(pushes, heard_ms):
                self._drained(pushes, heard_ms)
            case heard.Flushed(heard_ms, silent_at):
                self._flushed(heard_ms, silent_at)
            case heard.DeviceLost() | heard.DeviceBack():
                self._card(fact)
            case _:
                self.hearing.take(fact)

    def _card(self, fact: heard.DeviceLost | heard.DeviceBack) -> None:
        if isinstance(fact, heard.DeviceLost):
            self.last_error = str(fact.error)
            log.error("%s", fact.error)
            self.post(ev.DeviceFailed())
        else:
            self.last_error = ""
            log.info("the sound card is back")
            self.post(ev.DeviceRestored())

    def _tail(self, turn: int, voice_ended_at: float | None) -> None:
        if turn != self._turn:
            return
        if self.state.phase is Phase.THINKING:
            self._parts.records.committed(voice_ended_at)
        for fact in self._parts.protocol.turn_complete():
            self.session_fact(fact)
        self._parts.session.flush()

    def _drained(self, pushes: int, heard_ms: dict[str, float]) -> None:
        if pushes != self._pushed:
            return  # more was pushed meanwhile; it will drain in its turn
        if pushes == self._flushed_at:
            self._heard_before = heard_ms  # the interruption came a moment later: it repairs what was heard
            return
        self._parts.protocol.played()
        self._parts.records.heard(sum(heard_ms.values()))
        self.post(ev.PlaybackDrained())

    def _flushed(self, heard_ms: dict[str, float], silent_at: float) -> None:
        before, self._heard_before = self._heard_before, {}
        heard_ms = {item: before.get(item, 0.0) + heard_ms.get(item, 0.0) for item in {**before, **heard_ms}}
        repairs = self._parts.protocol.repair(heard_ms)
        cut = [r.audio_end_ms for r in repairs if isinstance(r, Truncate)]
        self._parts.records.silent(silent_at, sum(heard_ms.values()), cut[-1] if cut else None)
        self._parts.session.flush()
