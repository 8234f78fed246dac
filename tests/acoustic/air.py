"""The air between loudspeaker and microphones, 10 ms at a time, so that what the device does can change what it hears.

Responsible for: streaming convolution with a room's responses, a moved path, the microphones' converter. Not for:
when anybody talks (``scenes``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.acoustic.rooms import Room, distorted
from tests.acoustic.voices import RATE, Sound

BLOCK = 160
LONGEST_LATENCY_S = 0.3
BATCH = 10  # blocks after which the late part of the response is applied: it is not needed sooner


class Convolver:
    """A stream through an impulse response of any length; output is as long as input, without delay."""

    def __init__(self, response: NDArray[np.float32]) -> None:
        """Take the response: (outputs, taps)."""
        head = BATCH * BLOCK
        self._outputs = len(response)
        self._size = 1 << (head + BLOCK - 1).bit_length()
        self._head = np.fft.rfft(response[:, :head], self._size).astype(np.complex64)
        late = response[:, head:]
        self._late_size = 1 << (late.shape[1] + head - 1).bit_length() if late.shape[1] else 0
        self._late = np.fft.rfft(late, self._late_size).astype(np.complex64) if self._late_size else None
        self._coming = np.zeros((self._outputs, max(self._size, self._late_size) + 2 * head), np.float32)
        self._batch = np.zeros(head, np.float32)
        self._filled = 0

    def block(self, sound: Sound) -> NDArray[np.float32]:
        """Pass 160 samples; returns (outputs, 160)."""
        self._coming[:, : self._size] += np.fft.irfft(np.fft.rfft(sound, self._size) * self._head, self._size)
        out = self._coming[:, :BLOCK].copy()
        self._coming[:, :-BLOCK] = self._coming[:, BLOCK:]
        self._coming[:, -BLOCK:] = 0
        self._batch[self._filled : self._filled + BLOCK] = sound
        self._filled += BLOCK
        if self._filled == len(self._batch):
            self._filled = 0
            if self._late is not None:
                spectrum = np.fft.rfft(self._batch, self._late_size) * self._late
                self._coming[:, : self._late_size] += np.fft.irfft(spectrum, self._late_size)
        return out


class Air:
    """A room in which the device plays and hears; ``near`` is what the microphones hear besides: (mics, samples).

    Between loudspeaker and air lies a latency that no driver reports; ``jump`` changes it at a time, by so many ms.
    """

    def __init__(
        self,
        room: Room,
        near: NDArray[np.float32],
        moved_at_s: float | None = None,
        jump: tuple[float, float] | None = None,
    ) -> None:
        self._room, self._near = room, near
        self._paths = [Convolver(room.echo), *([Convolver(room.moved)] if moved_at_s is not None else [])]
        self._moved_at = None if moved_at_s is None else int(moved_at_s * RATE)
        self._jump = None if jump is None else (int(jump[0] * RATE), jump[1])
        self._line = np.zeros(int(LONGEST_LATENCY_S * RATE), np.float32)
        self._latency = int(room.latency_ms * RATE / 1000)
        self._at = 0
        self.echo_power = 0.0  # of the last block, first microphone

    def _late(self, played: Sound) -> Sound:
        if self._jump is not None and self._at >= self._jump[0]:
            self._latency = max(0, self._latency + int(self._jump[1] * RATE / 1000))
            self._jump = None
        self._line = np.concatenate((self._line[BLOCK:], played))
        end = len(self._line) - self._latency
        return self._line[end - BLOCK : end]

    def block(self, played: Sound) -> NDArray[np.int16]:
        """Play 160 samples (full scale is 1); returns what the microphones' converter gives: (160, mics)."""
        sound = distorted(self._late(played), self._room.drive)
        echoes = [path.block(sound) for path in self._paths]
        echo = echoes[0]
        if self._moved_at is not None and self._at >= self._moved_at:
            share = np.float32(min(1.0, (self._at - self._moved_at) / 3200))  # it takes 0.2 s
            echo = (1 - share) * echoes[0] + share * echoes[1]
        near = self._near[:, self._at : self._at + BLOCK]
        if near.shape[1] < BLOCK:
            near = np.pad(near, ((0, 0), (0, BLOCK - near.shape[1])))
        self._at += BLOCK
        self.echo_power = float(np.mean(np.square(echo[0])))
        heard = np.clip((echo + near) * 32768, -32768, 32767)
        return np.ascontiguousarray(heard.T).astype(np.int16)
