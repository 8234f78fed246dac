"""The microphone side of the audio thread: device blocks in, gated session audio and voice facts out.

Responsible for: one open capture PCM, its channel choice and rates, the gate, detection. Not for: the thread
(``duplex``). Owned by the audio thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from appliance.audio.endpoint import BLOCK_S, End, Endpointer, Onset
from appliance.audio.facts import AudioFact, Captured, TurnTail, VoiceBegan, VoiceStopped
from appliance.audio.format import DETECTOR_RATE, SESSION_RATE, Samples, from_device, level_dbfs, mono_of
from appliance.audio.gate import Gate
from appliance.audio.processing import BLOCK, Detector, Processor
from appliance.audio.resample import Resampler
from appliance.errors import ConfigError, DeviceError

FROZEN_S = 2.0
AT_ONCE = 2  # blocks: waking for each 10 ms would cost nearly twice the CPU for 10 ms of latency
READS = 64  # at most, in one turn of the thread: a ring is 24 periods
SILENT_FAR: Samples = np.zeros(BLOCK, np.int16)
Far = Callable[[float], Samples | None]  # the 10 ms at 16 kHz that sounded from a time on; None: silence


class CapturePcm(Protocol):
    """What the capturer needs of a sound card."""

    rate: int
    channels: int
    format: str
    frame_bytes: int

    def read(self) -> bytes | None: ...  # noqa: D102
    def waiting(self) -> int: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Capturer:
    """An open microphone. Blocks are 10 ms."""

    def __init__(
        self,
        pcm: CapturePcm,
        microphones: Sequence[int],
        gate: Gate,
        processor: Processor,
        detector: Detector,
        endpointer: Endpointer,
        post: Callable[[AudioFact], None],
    ) -> None:
        self.pcm = pcm
        self.overruns = 0
        self.level_dbfs = -96.0
        self._microphones = tuple(microphones)
        self._gate = gate
        self._processor, self._detector, self._endpointer = processor, detector, endpointer
        self._post = post
        self._block = pcm.rate // 100
        self._up = Resampler(pcm.rate, SESSION_RATE)
        self._down = Resampler(SESSION_RATE, DETECTOR_RATE)
        self._pending = np.zeros((0, pcm.channels), np.int16)
        self._listened = np.zeros(0, np.int16)  # 16 kHz, less than a block
        self._moved_at: float | None = None
        gate.forget()
        endpointer.reset()

    def due_s(self) -> float:
        """Seconds until the next block should be there."""
        lacking = AT_ONCE * self._block - len(self._pending) - self.pcm.waiting()
        return max(0.0, lacking / self.pcm.rate)

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
        session = self._up.process(mono_of(blocks, self._microphones))
        for pcm, captured_at in self._gate.pass_(session.tobytes(), at):
            self._post(Captured(self._gate.turn, pcm, captured_at))
        self._listened = np.concatenate((self._listened, self._down.process(session)))
        while len(self._listened) >= BLOCK:
            near, self._listened = self._listened[:BLOCK], self._listened[BLOCK:]
            self._detect(near, at, far)
            at += BLOCK_S

    def _detect(self, near: Samples, at: float, far: Far) -> None:
        sounding = far(at)
        clean = near if sounding is None else self._processor(near, sounding)
        self.level_dbfs = level_dbfs(clean)
        match self._endpointer.block(at, self._detector(clean), self.level_dbfs):
            case Onset(onset_at):
                self._post(VoiceBegan(onset_at))
            case End(ended_at):
                self._post(VoiceStopped(ended_at))
            case None:
                pass

    def set_gate(self, *, is_open: bool, turn: int) -> None:
        """Open the gate for ``turn`` (the pre-roll goes first), or close it (the rest goes first)."""
        if self._gate.open and not is_open:
            self._let_out_rest()
        if is_open and not self._gate.open:
            self._endpointer.speech_ended_at = None
        for pcm, captured_at in self._gate.set(is_open=is_open, turn=turn):
            self._post(Captured(turn, pcm, captured_at))

    def _let_out_rest(self) -> None:
        """What waits for a whole block, and for the filter's lookahead, belongs to the turn that ends."""
        rest = self._up.process(mono_of(self._pending, self._microphones)) if len(self._pending) else SILENT_FAR[:0]
        self._pending = self._pending[:0]
        rest = np.concatenate((rest, self._up.flush()))
        now = self._moved_at or 0.0
        if len(rest):
            self._post(Captured(self._gate.turn, rest.tobytes(), now - len(rest) / SESSION_RATE))
        self._post(TurnTail(self._gate.turn, self._endpointer.speech_ended_at))

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
