"""The loudspeaker side of the audio thread: replies and ear-cons onto one open playback PCM.

Responsible for: starting a reply when ``playout`` says so, keeping the ring filled, noticing its end or its
starving, flushing. Not for: the thread (``duplex``). Owned by the audio thread.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from appliance.audio.drift import Drift
from appliance.audio.facts import AudioFact, Drained, Flushed, ReplyStarted
from appliance.audio.format import Samples, mixed
from appliance.audio.loudness import Loudness
from appliance.audio.playout import Playout
from appliance.audio.queues import PlaybackQueue
from appliance.audio.reference import Reference
from appliance.audio.speaker import FADE_MS, PlaybackPcm, Speaker
from appliance.errors import DeviceError

FILL_S = 0.2  # how full the ring is kept
REFILL_S = 0.1  # when it is filled up again
TAIL_S = 0.03  # silence behind the last sample, so that stopping is not an underrun
NEAR_S = 0.006  # a ring so close to its end gets that silence although more is expected
DUCKED_FILL_S = 0.06  # while ducked: what is in the ring delays the return
RINGS_ON_S = 0.2  # the room, after a reply: what goes up is still cleaned of it
LONGEST_DUCK_S = 2.0  # whoever ducked has either silenced the reply by then, or never will
STARVED_S = 10.0  # a reply that stays dry for so long is over
FROZEN_S = 2.0
LINGER_S = 3.0  # an idle loudspeaker is closed after


class Player:
    """An open loudspeaker. Times are monotonic seconds, given by the caller."""

    def __init__(
        self, pcm: PlaybackPcm, playout: Playout, drift: Drift, gain: float, post: Callable[[AudioFact], None]
    ) -> None:
        self.speaker = Speaker(pcm)
        self.reference = Reference(self.speaker, drift)
        self.queue = PlaybackQueue(pcm.rate)
        self.playout = playout
        self.loudness = Loudness(pcm.rate, gain)
        self.starvations = 0
        self._post = post
        self._cue: Samples = np.zeros(0, np.int16)
        self._reply = False  # a reply is on the books: pushed and not yet drained
        self._ended = False  # the reply has all its audio
        self._playing = False
        self._pushes = 0
        self._first_push_at: float | None = None
        self._dry_at: float | None = None
        self._busy_at = 0.0
        self._ducked_at = 0.0
        self._replied_at = float("-inf")  # when a reply last sounded
        self._end = 0  # position of the last sample that matters
        tail = max(int(TAIL_S * pcm.rate), pcm.period_frames)  # what fills no period would not sound
        self._near_frames = int(NEAR_S * pcm.rate) + (pcm.period_frames if tail == pcm.period_frames else 0)
        self._tail: Samples = np.zeros(min(tail, pcm.buffer_frames // 4), np.int16)
        self._full = min(int(FILL_S * pcm.rate), pcm.buffer_frames - len(self._tail))
        self._refill = min(int(REFILL_S * pcm.rate), self._full // 2)
        self._progress: tuple[int, float] | None = None  # position, and when it was seen to move
        self._seen: tuple[int, float] | None = None  # where a running card was at the end of the last turn, and when
        self._underruns = 0  # known then
        self._doubt = tail  # of a position: some cards know it by the period
        self._ducked_full = min(int(DUCKED_FILL_S * pcm.rate), self._full)
        self._ducked_refill = self._ducked_full // 2

    # --- commands ---

    def push(self, item_id: str, pcm: bytes, at: float, pushes: int) -> None:
        """Add reply audio: 24 kHz mono s16le, received at ``at``; ``pushes`` numbers it."""
        if not self._reply:
            self._reply, self._first_push_at = True, at
            self.speaker.forget_items()
        self._ended = False  # another response may follow one that still sounds
        self._pushes = pushes
        self._dry_at = None
        self.queue.push(item_id, pcm)
        self.playout.received(at, len(pcm) / 48)

    def end_item(self, item_id: str) -> None:
        """Note that an item has all its audio."""
        self.queue.end(item_id)
        self.playout.paused()

    def end_reply(self) -> None:
        """Note that the reply has all its audio."""
        self.queue.end_all()
        self.playout.paused()
        self._ended = True

    def cue(self, samples: Samples) -> None:
        """Play an ear-con (int16 mono at the card's rate), mixed over whatever sounds; it replaces an older one."""
        if not self._playing:
            samples = _over_fade(self.speaker.rewind(), samples, self.speaker.rate * FADE_MS // 1000)
        self._cue = samples

    def say(self, samples: Samples) -> None:
        """Play recorded words (int16 mono at the card's rate) after the ear-con; the next ear-con replaces them."""
        self._cue = np.concatenate((self._cue, samples))

    def flush(self, now: float) -> None:
        """Silence now; reports what was heard."""
        frames = self.speaker.silence()
        rate = self.speaker.rate
        self._post(Flushed({i: n * 1000 / rate for i, n in frames.items()}, now + FADE_MS / 1000))
        self._seen = None
        self.queue.clear()
        self.playout.finished()
        self.loudness.reset()
        self._cue = self._cue[:0]
        self._reply = self._playing = self._ended = False
        self._first_push_at = self._dry_at = None
        self.speaker.forget_items()
        self._end = self.speaker.position() + rate * FADE_MS // 1000  # let the fade sound

    def duck(self, now: float) -> bool:
        """Lower a reply that sounds, at once; returns whether one does."""
        if not self._playing:
            return False
        if not self.loudness.ducked:
            self.speaker.reshape(lambda count: self.loudness.duck(count, self.speaker.written))
        self._ducked_at = now
        return True

    def reply_sounds(self, now: float) -> bool:
        """Say whether a reply sounds, or did a moment ago; ear-cons are no reply."""
        return self._playing or now - self._replied_at < RINGS_ON_S

    def rise(self) -> bool:
        """Let a ducked reply come back; returns whether one sounds."""
        self.loudness.rise()
        return self._playing

    # --- the thread's turn ---

    def pump(self, now: float) -> None:
        """Start, fill, notice the end.

        Raises:
            DeviceError: the card is gone, or does not move for two seconds.
        """
        self._go_on(now)
        if self.loudness.ducked and now - self._ducked_at > LONGEST_DUCK_S:
            self.loudness.rise()
        if self._reply and not self._playing:
            self._start_if_due(now)
        if self._playing:
            self._replied_at = now
        if self._playing or len(self._cue):
            self._busy_at = now
            self._fill(now)
            self._write_tail()
        self._watch(now)
        if self._playing and not self.queue.frames:
            self._run_out(now)
        elif not self._playing and self.speaker.running and self.speaker.position() >= self._end:
            self.speaker.stop()
        position = self.speaker.position()
        self._seen = (position, now) if self.speaker.running else None
        self._underruns = self.speaker.underruns

    def _go_on(self, now: float) -> None:
        """Where the card stopped before its ring can have been empty, play what it has lost."""
        position = self.speaker.position()
        if self._seen is None or self.speaker.underruns == self._underruns:
            return
        sounded = self._seen[0] + round((now - self._seen[1]) * self.speaker.rate)
        if min(position, self._end) - sounded > self._doubt:  # nearer to its end it did run empty
            self.speaker.go_on(sounded)

    def _start_if_due(self, now: float) -> None:
        nothing_more = self.queue.complete and self._ended
        if nothing_more and self.queue.empty:
            self._drain()
        elif self.queue.frames and (nothing_more or self.playout.wait_ms(now) <= 0):
            # An ear-con in the ring must not hold up the reply: take it back and mix it over.
            self._cue = np.concatenate((self.speaker.rewind(), self._cue))
            self._playing = True

    def _fill(self, now: float) -> None:
        if self._hungry and self._tail_written:
            self.speaker.take_back(self._end)
        full = self._ducked_full if self.loudness.ducked else self._full
        wanted = full - self.speaker.delay()
        while wanted > 0 and self._hungry:
            runs = self.queue.pull(wanted) if self._playing else []
            if not runs:
                if not len(self._cue):
                    break
                runs = [("", np.zeros(min(wanted, len(self._cue)), np.int16))]
            for item, samples in runs:
                self._write(samples, item, now)
                wanted -= len(samples)

    @property
    def _expecting(self) -> bool:
        """True while a sounding reply has not all its audio."""
        return self._playing and not (self._ended and self.queue.complete)

    @property
    def _near(self) -> bool:
        return self.speaker.delay() <= self._near_frames

    @property
    def _hungry(self) -> bool:
        """True when there is something to write: an ear-con alone does not push apart a reply that is awaited."""
        return bool(self.queue.frames and self._playing) or (len(self._cue) > 0 and (not self._expecting or self._near))

    @property
    def _tail_written(self) -> bool:
        return self.speaker.running and self.speaker.written > self._end

    def _write_tail(self) -> None:
        """Put silence behind the last sample; while more is expected only at the last moment, or it would be heard."""
        if self.speaker.running and not (self._hungry or self._tail_written) and (self._near or not self._expecting):
            self.speaker.write(self._tail)

    def _write(self, samples: Samples, item: str, now: float) -> None:
        sound = self.loudness(samples, self.speaker.written)
        if len(self._cue):
            part, self._cue = self._cue[: len(sound)], self._cue[len(sound) :]
            over = np.zeros(len(sound), np.int16)
            over[: len(part)] = part
            sound = mixed(sound, over)
        if item and self._first_push_at is not None:
            sounds_at = now + self.speaker.delay() / self.speaker.rate
            self._post(ReplyStarted(self._first_push_at, sounds_at))
            self._first_push_at = None
        self.speaker.write(sound, item)
        self._end = self.speaker.written

    def _run_out(self, now: float) -> None:
        """The queue is dry: the reply is over, or it starves."""
        over = self._ended and self.queue.complete
        if self.speaker.running and self.speaker.position() < self._end:
            return
        if over:
            self._drain()
        elif self._dry_at is None:
            self._dry_at = now
            self._playing = False
            self.speaker.stop()
            if self.queue.complete:  # an item has ended and another may follow
                self.playout.finished()
            else:
                self.starvations += 1
                self.playout.starved()

    def _drain(self) -> None:
        heard = self.heard_ms()
        self._reply = self._playing = self._ended = False
        self._first_push_at = self._dry_at = None
        self.queue.clear()
        self.playout.finished()
        self.loudness.reset()
        self.speaker.forget_items()
        self._post(Drained(self._pushes, heard))
        if not len(self._cue):
            self.speaker.stop()

    def heard_ms(self) -> dict[str, float]:
        """Say how much of each item of the present reply was heard so far."""
        return {item: frames * 1000 / self.speaker.rate for item, frames in self.speaker.heard().items()}

    def _watch(self, now: float) -> None:
        """Notice a card that does not move, and a reply that stays dry."""
        if self._dry_at is not None and now - self._dry_at > STARVED_S:
            self._drain()
        position = self.speaker.position()
        if not self.speaker.running:
            self._progress = None
        elif self._progress is None or position != self._progress[0]:
            self._progress = (position, now)
        elif now - self._progress[1] > FROZEN_S:
            raise DeviceError("the loudspeaker does not move", hint="unplug it and plug it in again")

    def due_s(self, now: float) -> float:
        """Seconds until :meth:`pump` has something to do, or until an idle loudspeaker may be closed."""
        due = []
        if self._playing or len(self._cue) or self.speaker.running:
            due.append(self._ring_due_s())
        if self._reply and not self._playing:
            due.append(self.playout.wait_ms(now) / 1000 if self.queue.frames else 1.0)
        if not due:
            return max(0.01, LINGER_S - (now - self._busy_at))
        return max(0.001, min(due))

    def _ring_due_s(self) -> float:
        rate = self.speaker.rate
        if self._hungry:
            refill = self._ducked_refill if self.loudness.ducked else self._refill
            return (self.speaker.delay() - refill) / rate
        if self._expecting and not self._tail_written:
            return (self.speaker.delay() - self._near_frames) / rate
        return (self._end - self.speaker.position()) / rate

    @property
    def idle(self) -> bool:
        """True when nothing sounds and nothing is expected."""
        return not (self._reply or self._playing or len(self._cue) or self.speaker.running)

    def lingered(self, now: float) -> bool:
        """Say whether the loudspeaker has been idle long enough to be closed."""
        return self.idle and now - self._busy_at > LINGER_S

    # --- the far end ---

    def far(self, at: float, now: float) -> Samples | None:
        """Return the 10 ms at 16 kHz that sounded from ``at`` on; ``None`` when nothing has for a second."""
        return self.reference.block(at, now)

    def close(self) -> None:
        """Give the device back."""
        if self._reply:
            self.playout.finished()
        self.speaker.close()


def _over_fade(rest: Samples, samples: Samples, fade: int) -> Samples:
    """Lay ``samples`` over the faded start of what was about to sound: a flushed reply's end, an older ear-con."""
    count = min(len(rest), fade, len(samples))
    if not count:
        return samples
    out = samples.copy()
    ramp = np.linspace(1.0, 0.0, count, dtype=np.float32)
    out[:count] = mixed(out[:count], (rest[:count] * ramp).astype(np.int16))
    return out
