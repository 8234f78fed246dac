"""The audio thread: it alone touches the sound cards.

It sleeps until the next microphone block is due, the ring wants filling, or a command comes; idle, with both
PCMs closed, it sleeps for good. Commands are called on the event loop and take effect within a millisecond;
facts go back through ``post``, which must be safe to call from this thread.
Responsible for: the thread, opening and closing, healing a lost card. Not for: what is said (``realtime``).
"""

from __future__ import annotations

import os
import select
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from appliance.audio.calibration.background import Background, OnDone, OnTried
from appliance.audio.capturer import Capturer
from appliance.audio.cards import Cards
from appliance.audio.chain import Chain
from appliance.audio.cues import render
from appliance.audio.drift import Drift
from appliance.audio.ears import Ears
from appliance.audio.facts import AudioFact, DeviceBack, DeviceLost, Flushed, TurnTail
from appliance.audio.format import Samples
from appliance.audio.gate import Gate
from appliance.audio.player import Player
from appliance.audio.playout import Playout
from appliance.conversation.effects import Sound
from appliance.errors import DeviceError

PROBE_S = 1.0  # how often a lost card is looked for


class Duplex:
    """Microphone and loudspeaker. Public methods are for the event loop; none blocks."""

    def __init__(
        self, cards: Cards, chain: Chain, gain: float, clock: Callable[[], float], post: Callable[[AudioFact], None]
    ) -> None:
        self._cards, self._chain, self._clock, self._post = cards, chain, clock, post
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="audio", daemon=True)
        self._stopping = False
        self._gate = Gate()
        self._ears = Ears(chain.processor, chain.detector)
        self._listener = chain.listener(self._ears, post, self._duck)
        self._playout = Playout()
        self._drift = Drift(chain.clock_ppm)
        self._gain, self._reference_ms = gain, chain.reference_ms
        self._capturer: Capturer | None = None
        self._player: Player | None = None
        self._calibration = Background(cards, chain.microphones)
        self._wants_microphone = False
        self._barred = False
        self._wants_speaker = False
        self._lost = False
        self._probe_at = 0.0
        self._cues: dict[tuple[Sound, int], Samples] = {}
        self._totals: Counter[str] = Counter()
        self._pushes = 0
        self._unreported: dict[str, float] = {}  # what was heard of a reply when its loudspeaker was lost
        self.beats = 0  # rises with every turn of the thread

    # --- for the event loop ---

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Close both cards and end the thread; waits for it, a moment at most."""
        self._stopping = True
        self._wake()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    @property
    def alive(self) -> bool:
        """Say whether the thread lives."""
        return self._thread.is_alive()

    @property
    def microphone_open(self) -> bool:
        """Say whether the capture PCM is open."""
        return self._capturer is not None or self._calibration.listening

    @property
    def level_dbfs(self) -> float:
        """The microphone's level."""
        capturer = self._capturer  # the thread may close it meanwhile
        return -96.0 if capturer is None else capturer.level_dbfs

    @property
    def drift_ppm(self) -> float | None:
        """The loudspeaker's clock against the microphone's in ppm; ``None`` while it is not known."""
        return self._drift.ppm

    @property
    def clock_ppm(self) -> float | None:
        """The same once it is known well enough to be kept for the next start."""
        return self._drift.worth_keeping_ppm

    @property
    def cancels(self) -> bool:
        """Say whether an echo canceller of ours is at work; it may have failed meanwhile."""
        return self._ears.processor.cancels

    def set_microphone(self, wanted: bool) -> None:
        """Open or close the microphone."""
        self._do(lambda: self._set_microphone(wanted))

    def bar_microphone(self, barred: bool) -> None:
        """Do not open the microphone even to see whether a lost card is back: the loudspeaker alone tells then."""
        self._do(lambda: setattr(self, "_barred", barred))

    def set_speaker(self, wanted: bool) -> None:
        """Keep the loudspeaker open, or let it close when it is idle."""
        self._do(lambda: self._set_speaker(wanted))

    def set_gate(self, is_open: bool, turn: int, asked_at: float | None = None) -> None:
        """Let microphone audio through as ``turn``, or hold it back; closing reports :class:`TurnTail`.

        A voice that opens it brings its beginning along; ``asked_at``: something else did, and its turn begins then.
        """
        self._do(lambda: self._set_gate(is_open, turn, asked_at))

    def set_gain(self, gain: float) -> None:
        """Set the volume as a factor."""
        self._do(lambda: self._set_gain(gain))

    def set_reference(self, late_ms: float) -> None:
        """Set how much later than ALSA's position the far end is read; it holds from here on, for an open card too."""
        self._do(lambda: self._set_reference(late_ms))

    def push(self, item_id: str, pcm: bytes) -> int:
        """Play reply audio, 24 kHz mono s16le; returns the number of this push, for :class:`Drained`."""
        self._pushes += 1
        number, at = self._pushes, self._clock()
        self._do(lambda: self._push(item_id, pcm, at, number))
        return number

    def end_item(self, item_id: str) -> None:
        """Note that an item has all its audio."""
        self._do(lambda: self._player.end_item(item_id) if self._player else None)

    def end_reply(self) -> None:
        """Note that the reply has all its audio."""
        self._do(lambda: self._player.end_reply() if self._player else None)

    def flush(self) -> None:
        """Silence the loudspeaker; reports :class:`Flushed`."""
        self._do(self._flush)

    def cue(self, sound: Sound) -> None:
        """Play an ear-con."""
        self._do(lambda: self._cue(sound))

    def say(self, words: Sequence[str], *, afresh: bool) -> None:
        """Play recorded words, after the ear-con before them; ``afresh``: instead of what was said before."""
        self._do(lambda: self._say(words, afresh))

    def calibrate(self, canceller: str, on_done: OnDone) -> None:
        """Measure the loop with a short soft hiss; whatever else needs a card, and closing the microphone, ends it.

        ``on_done`` is called once, in the audio thread: with ``None`` if it was ended, or a card failed or was in use.
        """
        self._do(lambda: self._calibrate(canceller, on_done))

    def try_cards(self, on_tried: OnTried, *, microphone: bool) -> None:
        """See for a second whether frames move, without a sound; ``on_tried`` is called once, in the audio thread."""
        self._do(lambda: self._try_cards(on_tried, microphone))

    def ping(self, answer: Callable[[], None]) -> None:
        """Have the thread call ``answer``: proof that it lives."""
        self._do(answer)

    def counters(self) -> dict[str, int | float]:
        """Return overruns, underruns, starvations and dropped milliseconds so far. Read without a lock."""
        capturer, player = self._capturer, self._player
        totals = Counter(self._totals)
        if capturer is not None:
            totals["overruns"] += capturer.overruns
        if player is not None:
            totals["underruns"] += player.speaker.underruns
            totals["starvations"] += player.starvations
            totals["playback_dropped_ms"] += round(player.queue.dropped_ms)
        return dict(totals)

    def _do(self, command: Callable[[], object]) -> None:
        self._commands.put(lambda: (command(), None)[1])
        self._wake()

    def _wake(self) -> None:
        os.eventfd_write(self._wakeup, 1)

    # --- the thread ---

    def _run(self) -> None:
        try:
            while not self._stopping:
                self.beats += 1
                self._turn()
                self._sleep(self._due_s())
        finally:
            self._close_all()

    def _turn(self) -> None:
        try:
            while not self._commands.empty():
                self._commands.get_nowait()()
            now = self._clock()
            if self._capturer is not None:
                self._capturer.pump(now, self._far)
            if self._player is not None:
                self._player.pump(now)
                if not self._wants_speaker and self._player.lingered(now):
                    self._close_player()
            self._calibration.pump(now)
            if self._lost and now >= self._probe_at:
                self._probe(now)
        except DeviceError as error:
            self._lose(error)

    def _due_s(self) -> float | None:
        now = self._clock()
        due = []
        if self._capturer is not None:
            due.append(self._capturer.due_s())
        if self._player is not None and not (self._wants_speaker and self._player.idle):
            due.append(self._player.due_s(now))
        if self._calibration.active:
            due.append(self._calibration.due_s())
        if self._lost:
            due.append(max(0.01, self._probe_at - now))
        return min(due) if due else None

    def _sleep(self, timeout_s: float | None) -> None:
        if self._commands.empty():
            ready, _, _ = select.select([self._wakeup], [], [], timeout_s)
            if ready:
                os.eventfd_read(self._wakeup)

    def _far(self, at: float) -> Samples | None:
        return self._player.far(at, self._clock()) if self._player else None

    def _reply_sounds(self) -> bool:
        return self._player is not None and self._player.reply_sounds(self._clock())

    # --- commands, in the thread ---

    def _set_microphone(self, wanted: bool) -> None:
        self._wants_microphone = wanted
        self._calibration.abort()
        if wanted and self._capturer is None and not self._lost:
            pcm = self._cards.open_capture()
            chain = self._chain
            self._capturer = Capturer(
                pcm, chain.microphones, chain.reference, self._gate, self._listener, self._post, self._reply_sounds
            )
            self._capturer.pump(self._clock(), self._far)  # it runs from here on, however long the loudspeaker takes
        elif not wanted and self._capturer is not None:
            self._close_capturer()

    def _set_speaker(self, wanted: bool) -> None:
        self._wants_speaker = wanted
        if wanted and not self._lost:
            self._open_player()

    def _set_gate(self, is_open: bool, turn: int, asked_at: float | None) -> None:
        if self._capturer is not None:
            if not is_open:
                self._capturer.pump(self._clock(), self._far)  # the last words are in the card
            self._capturer.set_gate(is_open=is_open, turn=turn, asked_at=asked_at)
            return
        if self._gate.open and not is_open:
            self._post(TurnTail(self._gate.turn, None))
        self._gate.set(is_open=is_open, turn=turn)

    def _set_gain(self, gain: float) -> None:
        self._gain = gain
        if self._player is not None:
            self._player.loudness.volume = gain

    def _set_reference(self, late_ms: float) -> None:
        self._reference_ms = late_ms
        if self._player is not None:
            self._player.reference.delay_ms = late_ms

    def _duck(self, down: bool) -> bool:
        """Lower the reply under a suspected talker, or let it return; called while the microphone is pumped."""
        if self._player is None:
            return False
        return self._player.duck(self._clock()) if down else self._player.rise()

    def _open_player(self) -> Player:
        self._calibration.abort()
        if self._player is None:
            self._player = Player(self._cards.open_playback(), self._playout, self._drift, self._gain, self._post)
            self._player.reference.delay_ms = self._reference_ms
        return self._player

    def _push(self, item_id: str, pcm: bytes, at: float, number: int) -> None:
        if not self._lost:  # else nobody can hear it: it is not for this to look for the card
            self._open_player().push(item_id, pcm, at, number)

    def _flush(self) -> None:
        now = self._clock()
        heard, self._unreported = self._unreported, {}
        if self._player is None:
            self._post(Flushed(heard, now))
            return
        try:
            self._player.flush(now)
        except DeviceError:  # gone, but whoever asked still has to know what was heard
            self._post(Flushed(self._player.heard_ms(), now))
            raise

    def _telling_player(self) -> Player | None:
        try:
            return self._open_player()
        except DeviceError:
            if not self._lost:
                raise
            return None  # the light alone can tell; with only the microphone gone, the loudspeaker tells too

    def _say(self, words: Sequence[str], afresh: bool) -> None:
        from appliance.audio.speech import join

        player = self._telling_player()
        if player is not None:
            samples = join(words, player.speaker.rate)
            samples = samples if self._gain == 1.0 else self._scaled(samples)
            (player.cue if afresh else player.say)(samples)

    def _cue(self, sound: Sound) -> None:
        player = self._telling_player()
        if player is None:
            return
        rate = player.speaker.rate
        if (sound, rate) not in self._cues:
            self._cues[sound, rate] = render(sound, rate)
        player.cue(self._cues[sound, rate] if self._gain == 1.0 else self._scaled(self._cues[sound, rate]))

    def _scaled(self, samples: Samples) -> Samples:
        return (samples * max(self._gain, 0.1)).astype(samples.dtype)

    def _calibrate(self, canceller: str, on_done: OnDone) -> None:
        if self._capturer or self._player or self._calibration.active or self._lost:
            on_done(None)
        else:
            self._calibration.begin(self._gain, canceller, on_done)

    def _try_cards(self, on_tried: OnTried, microphone: bool) -> None:
        if self._lost:
            on_tried("a sound card is gone")
        elif self._capturer or self._player or self._calibration.active:
            on_tried(None)
        else:
            self._calibration.try_cards(on_tried, microphone=microphone)

    # --- opening, closing, healing ---

    def _lose(self, error: DeviceError) -> None:
        """Close everything, say so, and look for the cards from now on."""
        self._close_all()
        if not self._lost:
            self._lost = True
            self._post(DeviceLost(error))
        self._probe_at = self._clock() + PROBE_S

    def _probe(self, now: float) -> None:
        """Try to open both cards; the microphone is opened but not read, and closed again, unless it is barred."""
        self._probe_at = now + PROBE_S
        try:
            if self._player is None:
                self._cards.open_playback().close()
            if not self._barred:
                self._cards.open_capture().close()
        except DeviceError:
            return  # still gone, which is known; what the loudspeaker tells meanwhile goes on
        self._lost = False
        self._post(DeviceBack())
        self._set_microphone(self._wants_microphone)

    def _close_capturer(self) -> None:
        if self._capturer is not None:
            if self._gate.open:
                self._capturer.set_gate(is_open=False, turn=self._gate.turn)
            self._totals["overruns"] += self._capturer.overruns
            self._capturer.close()
            self._capturer = None

    def _close_player(self) -> None:
        player, self._player = self._player, None
        if player is not None:
            self._unreported = player.heard_ms()  # the flush that answers a loss wants to know
            self._totals["underruns"] += player.speaker.underruns
            self._totals["starvations"] += player.starvations
            self._totals["playback_dropped_ms"] += round(player.queue.dropped_ms)
            player.close()

    def _close_all(self) -> None:
        self._calibration.abort()
        self._close_capturer()
        self._close_player()
