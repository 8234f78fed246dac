"""Who is talking: the ears' evidence made into voice facts, with and without a loudspeaker that sounds meanwhile.

While nothing sounds the endpointer alone finds a talker; over a sounding loudspeaker, and for a second after it, a
talker has to convince the barge-in watch first. Responsible for: joining ears, watch, endpointer and the two healths,
and for what they say. Not for: devices (``capturer``) or the loudspeaker's level (``player``, told by ``duck``).
Owned by the audio thread and kept over openings: what was learned of the room stays.
"""

from __future__ import annotations

from collections.abc import Callable

from appliance.audio.bargein import BargeIn, Cleared, Confirmed, Suspected
from appliance.audio.ears import Ears, Evidence
from appliance.audio.endpoint import End, Endpointer, Onset
from appliance.audio.facts import AudioFact, EchoUncontrolled, VoiceBegan, VoiceCleared, VoiceStopped, VoiceSuspected
from appliance.audio.format import Samples, level_dbfs
from appliance.audio.health import CLIPPED, EchoHealth, MicrophoneHealth
from appliance.audio.processing import ProcessorError, Untouched

TALK = 0.35  # voiced, as far as telling a person from a ghost goes
SURE = 0.7  # of a voice while nothing else sounds
STILL = 0.5  # of one that goes on
ABOVE_FLOOR_DB = 6.0  # a talker is this much louder than the room
PRE_ROLL_S = 0.5  # before the onset: its first sound is softer than what gave it away
OVER_PRE_ROLL_S = 1.0  # over the loudspeaker, where the first thing to be noticed is often the second word
ALL_ECHO_DB = -28.0  # so little left of the microphone is nothing but echo


class Listener:
    """The whole chain behind one microphone signal. Blocks are 10 ms at 16 kHz, times monotonic seconds."""

    def __init__(
        self,
        ears: Ears,
        watch: BargeIn,
        endpointer: Endpointer,
        post: Callable[[AudioFact], None],
        duck: Callable[[bool], bool],
        *,
        hush: bool,
    ) -> None:
        """``duck`` lowers the loudspeaker or lets it return and says whether a reply sounds.

        ``hush``: somebody upstream listens for voices all the time, so what is only echo must be silence for him.
        """
        self._ears, self._watch, self._endpointer = ears, watch, endpointer
        self._post, self._duck, self._hush = post, duck, hush
        self._board_cancels = not ears.processor.cancels
        self._microphone, self._echo = MicrophoneHealth(), EchoHealth()
        self._clipped = False  # the blocks that are being heard
        self._ducked = self._over = False
        self._onset_at: float | None = None  # of the talker who is talking
        self._before_s = PRE_ROLL_S  # how much before it belongs to the talker's turn
        self.level_dbfs = -96.0
        self.hush_dbfs: float | None = None  # the last block is nothing but echo: noise so loud shall stand for it

    @property
    def delay(self) -> int:
        """Samples at 16 kHz by which the cleaned sound is late."""
        return self._ears.processor.delay

    @property
    def speech_ended_at(self) -> float | None:
        """When the last sound of speech of this turn was."""
        return self._endpointer.speech_ended_at

    def opened(self) -> None:
        """Begin with a microphone that was just opened."""
        self._endpointer.reset()
        self._watch.reset()
        self._restore()
        self._onset_at = None
        self._over = False

    def turn_began(self) -> None:
        """Forget the end of what was said before this turn."""
        self._endpointer.speech_ended_at = None

    def since(self, asked_at: float | None = None) -> float | None:
        """Say from when on remembered sound belongs to a turn that opens now; ``None``: as much as is usual.

        A turn that nobody's voice has opened but a press at ``asked_at``, or the end of a reply, has no past.
        """
        if asked_at is None and self._onset_at is not None:
            return self._onset_at - self._before_s
        return float("inf") if self._over else asked_at  # what was heard of the own voice belongs to nobody's turn

    def check(self, samples: Samples, rate: int) -> None:
        """Look at the microphone's raw samples, for its health alone."""
        self._clipped = bool(samples.max() >= CLIPPED or samples.min() <= -CLIPPED)
        changed = self._microphone.hear(samples, rate)
        if changed is not None:
            self._post(changed)

    def block(self, near: Samples, far: Samples | None, at: float) -> Samples | None:
        """Hear a block that began at ``at`` while ``far`` sounded; returns it without the echo if that was done."""
        try:
            clean, evidence = self._ears.block(near, far, found=self._watch.sure)
        except ProcessorError as error:
            self._ears.processor = Untouched()
            self._post(EchoUncontrolled(error.message, error.hint))
            clean, evidence = self._ears.block(near, far)
        self.level_dbfs = evidence.level_dbfs
        cancelled = far is not None and self._ears.processor.cancels
        over = far is not None and (cancelled or self._board_cancels)
        only_echo = self._hush and evidence.far_active and evidence.left_db < ALL_ECHO_DB
        self.hush_dbfs = evidence.floor_dbfs if only_echo else None
        self._judge(at, evidence, over=over)
        if self._ears.processor.cancels:
            self._check_echo(at, near, evidence)
        return clean if cancelled else None

    def _judge(self, at: float, evidence: Evidence, *, over: bool) -> None:
        if self._over and not over:
            self._watch.reset()
            self._restore()
        self._over = over
        if over:
            self._weigh(at, evidence)
        loud = evidence.level_dbfs > evidence.floor_dbfs + ABOVE_FLOOR_DB
        enough = SURE if self._onset_at is None else STILL
        voiced = evidence.voice >= enough and loud and (self._watch.sure or not over)
        match self._endpointer.block(at, voiced, evidence.level_dbfs):
            case Onset(onset_at):
                self._onset_at, self._before_s = onset_at, PRE_ROLL_S
                self._post(VoiceBegan(onset_at))
            case End(ended_at):
                self._onset_at = None
                if self._watch.sure:  # else somebody who began before the reply has ended: a suspicion goes on
                    self._watch.reset()
                self._post(VoiceStopped(ended_at))
            case None:
                pass

    def _weigh(self, at: float, evidence: Evidence) -> None:
        match self._watch.block(at, evidence):
            case Suspected(since):
                self._ducked = self._duck(True)
                if self._ducked:
                    self._post(VoiceSuspected(since))
            case Cleared(cleared_at):
                if self._restore():
                    self._post(VoiceCleared(cleared_at))
            case Confirmed(onset_at):
                self._ducked = False  # whoever silences the loudspeaker lets it return
                self._onset_at, self._before_s = onset_at, OVER_PRE_ROLL_S
                self._endpointer.began(onset_at, at)
                self._echo.cut()
                self._post(VoiceBegan(onset_at))
            case None:
                pass

    def _restore(self) -> bool:
        was, self._ducked = self._ducked, False
        if was:
            self._duck(False)
        return was

    def _check_echo(self, at: float, near: Samples, evidence: Evidence) -> None:
        voiced, talks = evidence.voice >= TALK, self._onset_at is not None
        lost = self._echo.hear(at, evidence, level_dbfs(near), clipped=self._clipped, voiced=voiced, talks=talks)
        if lost is not None:
            self._post(lost)
