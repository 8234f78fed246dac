"""The microphone side of the audio thread: device blocks in, gated session audio and voice facts out.

Responsible for: one open capture PCM, its channel choice and rates, the gate, and passing on what the chain hears.
Not for: the thread (``duplex``) or what a voice leads to (``conversation``). Owned by the audio thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from appliance.audio.endpoint import BLOCK_S
from appliance.audio.facts import AudioFact, Captured, TurnTail
from appliance.audio.format import DETECTOR_RATE, SESSION_RATE, Samples, from_device, mono_of
from appliance.audio.gate import Gate
from appliance.audio.listener import Listener
from appliance.audio.processing import BLOCK
from appliance.audio.resample import Resampler
from appliance.audio.upstream import Upstream
from appliance.errors import ConfigError, DeviceError

FROZEN_S = 2.0
AT_ONCE = 2  # blocks: waking for each 10 ms would cost nearly twice the CPU for 10 ms of latency
READS = 64  # at most, in one turn of the thread: a ring is 24 periods
Far = Callable[[float], Samples | None]  # the 10 ms at 16 kHz that sounded from a time on; None: nothing for long


class CapturePcm(Protocol):
    """What the capturer needs of a sound card."""

    rate: int
    channels: int
    format: str
    frame_bytes: int
    buffer_frames: int

    def read(self) -> bytes | None: ...  # noqa: D102
    def waiting(self) -> int: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Capturer:
    """An open microphone. Blocks are 10 ms."""

    def __init__(
        self,
        pcm: CapturePcm,
        microphones: Sequence[int],
        reference: int | None,
        gate: Gate,
        listener: Listener,
        post: Callable[[AudioFact], None],
        reply_sounds: Callable[[], bool] = lambda: True,
    ) -> None:
        """``reference``: the channel on which the board gives the loudspeaker's signal back, if it does.

        ``reply_sounds``: whether it is a reply that sounds. Under an ear-con what goes up is left as it is: the first
        word is said over it, and the canceller would take more of the word than of the ear-con.
        """
        self.pcm = pcm
        self.overruns = 0
        self._microphones, self._reference = tuple(microphones), reference
        self._gate, self._listener, self._post, self._reply_sounds = gate, listener, post, reply_sounds
        self._block = pcm.rate // 100
        self._up = Resampler(pcm.rate, SESSION_RATE)
        self._down = Resampler(SESSION_RATE, DETECTOR_RATE)
        self._back_up = Resampler(pcm.rate, SESSION_RATE)  # the same way for the reference: both stay as late
        self._back_down = Resampler(SESSION_RATE, DETECTOR_RATE)
        self._upstream = Upstream(listener.delay)
        self._pending = np.zeros((0, pcm.channels), np.int16)
        self._listened = np.zeros(0, np.int16)  # 16 kHz, less than a block
        self._given_back = np.zeros(0, np.int16)  # of the reference channel, as late as the microphone's
        self._cleaning = False  # what goes up has the loudspeaker taken out of it
        self._moved_at: float | None = None
        gate.forget()
        listener.opened()

    @property
    def level_dbfs(self) -> float:
        """The level of the last block, without the echo."""
        return self._listener.level_dbfs

    def due_s(self) -> float:
        """Seconds until the next block should be there, or half of the ring is full."""
        wanted = min(AT_ONCE * self._block - len(self._pending), self.pcm.buffer_frames // 2)
        return max(0.0, (wanted - self.pcm.waiting()) / self.pcm.rate)

    def pump(self, now: float, far: Far) -> None:
        """Take everything that the card has.

        Raises:
            DeviceError: the card is gone, or delivers nothing for two seconds.
        """
        there = self.pcm.waiting()
        behind = len(self._pending) + there  # frames, between the next block's first one and now
        parts = [self._pending]
        for _ in range(READS):
            data = self.pcm.read()
            if data is None:
                self.overruns += 1
                behind = sum(map(len, parts))
                continue
            if not data:
                break
            self._moved_at = now
            parts.append(from_device(data, self.pcm.format, self.pcm.channels))
            there -= len(parts[-1])
            if there <= 0:  # what comes while we read is for the next turn: a slow machine would stay here for good
                break
        frames = np.concatenate(parts) if len(parts) > 1 else self._pending
        whole = len(frames) // self._block * self._block
        self._pending = frames[whole:]
        if whole:
            self._take(frames[:whole], now - behind / self.pcm.rate, far)
        if self._moved_at is None:
            self._moved_at = now
        if now - self._moved_at > FROZEN_S:
            raise DeviceError("the microphone delivers nothing", hint="unplug it and plug it in again")

    def _take(self, blocks: Samples, at: float, far: Far) -> None:
        """Process whole blocks, the first of which began at ``at``."""
        mono = mono_of(blocks, self._microphones)
        self._listener.check(mono, self.pcm.rate)
        self._add(self._up.process(mono))
        if self._reference is not None:
            self._add_back(self._back_up.process(blocks[:, self._reference]))
        end = at + (len(blocks) - self._up.lookahead) / self.pcm.rate
        # The next block is older than ``at``: by what was left of the last turn, and by the filters' lookahead.
        at = end - self._down.lookahead / SESSION_RATE - len(self._listened) / DETECTOR_RATE
        while len(self._listened) >= BLOCK:
            near, self._listened = self._listened[:BLOCK], self._listened[BLOCK:]
            self._hear(near, at, far)
            at += BLOCK_S
        self._give(end, cleaned=self._cleaning)

    def _add(self, session: Samples) -> None:
        self._upstream.capture(session)
        self._listened = np.concatenate((self._listened, self._down.process(session)))

    def _add_back(self, session: Samples) -> None:
        self._given_back = np.concatenate((self._given_back, self._back_down.process(session)))

    def _hear(self, near: Samples, at: float, far: Far) -> None:
        sounding = far(at)
        if self._reference is not None and sounding is not None:
            sounding = self._given_back[:BLOCK] if len(self._given_back) >= BLOCK else None
        self._given_back = self._given_back[BLOCK:]
        clean = self._listener.block(near, sounding, at)
        self._cleaning = clean is not None and self._reply_sounds()
        if clean is None or not self._cleaning:
            self._upstream.skip()
        else:
            self._upstream.clean(clean, self._listener.hush_dbfs)

    def _give(self, end: float, *, cleaned: bool) -> None:
        """Give the gate what is new; ``end`` is when the newest captured sample was."""
        sound, age = self._upstream.take(cleaned=cleaned)
        if len(sound):
            for pcm, captured_at in self._gate.pass_(sound.tobytes(), end - age / SESSION_RATE):
                self._post(Captured(self._gate.turn, pcm, captured_at))

    def set_gate(self, *, is_open: bool, turn: int, asked_at: float | None = None) -> None:
        """Open the gate for ``turn`` (the talker's words so far go first), or close it (the rest goes first).

        ``asked_at``: it was not a voice that opened it; what was captured before goes nowhere.
        """
        if self._gate.open and not is_open:
            self._let_out_rest()
        opening = is_open and not self._gate.open
        since = self._listener.since(asked_at)
        for pcm, captured_at in self._gate.set(is_open=is_open, turn=turn, since=since, asked_at=asked_at):
            self._post(Captured(turn, pcm, captured_at))
        if opening:
            self._listener.turn_began()

    @property
    def _now(self) -> float:
        return self._moved_at or 0.0

    def _let_out_rest(self) -> None:
        """What waits for a whole block, and for the filter's lookahead, belongs to the turn that ends.

        It is heard as well, so that neither the timeline nor the echo canceller's alignment has a gap there.
        """
        pending, self._pending = self._pending, self._pending[:0]
        self._add(self._up.process(mono_of(pending, self._microphones)))
        self._add(self._up.flush())
        if self._reference is not None:
            self._add_back(self._back_up.process(pending[:, self._reference]))
            self._add_back(self._back_up.flush())
        self._give(self._now, cleaned=False)
        self._post(TurnTail(self._gate.turn, self._listener.speech_ended_at))

    def close(self) -> None:
        """Close the microphone."""
        self.pcm.close()


def check_microphones(microphones: Sequence[int]) -> None:
    """Refuse a configuration without microphones.

    Raises:
        ConfigError: none is named.
    """
    if not microphones:
        raise ConfigError("audio.microphones = []: no microphone", hint="name at least one channel, such as [0]")
