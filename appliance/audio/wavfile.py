"""A WAV file as a sound card: for the demo on a machine without one, and for hearing what a device would hear.

The microphone says the recording once and is silent then; the loudspeaker writes what would have sounded.
Both are paced by the clock like a card. Responsible for: the two PCM look-alikes and reading any WAV.
Names: ``file:question.wav`` as capture, ``file:reply.wav`` as playback.
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np

from appliance.audio.format import SESSION_RATE, Samples
from appliance.errors import DeviceError

PREFIX = "file:"
RING_S = 0.25
Clock = Callable[[], float]


def read_wav(path: Path, rate: int) -> Samples:
    """Read a 16-bit WAV of any rate and channels as int16 mono at ``rate`` Hz.

    Raises:
        DeviceError: absent, or not a 16-bit WAV.
    """
    import soxr

    try:
        with wave.open(str(path), "rb") as file:
            if file.getsampwidth() != 2:
                raise DeviceError(f"{path}: {8 * file.getsampwidth()} bits a sample", hint="convert it to 16 bit")
            flat = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            mono = flat.reshape(-1, file.getnchannels())[:, 0]
            source = file.getframerate()
    except (OSError, EOFError, wave.Error) as error:
        raise DeviceError(f"{path}: {str(error) or 'it is empty'}", hint="name a 16-bit WAV file") from error
    resampled: Samples = mono if source == rate else soxr.resample(mono, source, rate, quality="HQ")
    return np.ascontiguousarray(resampled)


def write_wav(path: Path, samples: Samples, rate: int) -> None:
    """Write int16 mono.

    Raises:
        DeviceError: the file cannot be written.
    """
    try:
        with path.open("wb") as raw, wave.open(raw, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(samples.astype("<i2").tobytes())
    except OSError as error:
        raise DeviceError(f"cannot write {path}: {error.strerror}", hint="name another file") from error


class WavCapture:
    """A microphone that hears a recording, once, from its first reading on."""

    def __init__(self, path: Path, clock: Clock, heard: list[int]) -> None:
        self.rate, self.channels, self.format, self.frame_bytes = SESSION_RATE, 1, "S16_LE", 2
        self.buffer_frames = SESSION_RATE  # it loses nothing
        self._samples = read_wav(path, self.rate)
        self._clock = clock
        self._heard = heard  # frames already said, kept over closings: the recording is said once
        self._begun_at: float | None = None
        self._taken = 0

    def read(self) -> bytes | None:
        """Return what was captured since the last reading."""
        if self._begun_at is None:
            self._begun_at = self._clock()
            return b""
        frames = self.waiting()
        at = self._heard[0]
        said = self._samples[at : at + frames]
        self._taken += frames
        self._heard[0] += frames
        return bytes(said.astype("<i2").tobytes() + bytes(2 * (frames - len(said))))

    def waiting(self) -> int:
        """Return the frames captured and not read."""
        if self._begun_at is None:
            return 0
        return max(0, int((self._clock() - self._begun_at) * self.rate) - self._taken)

    def close(self) -> None:
        """Stop listening."""


class WavPlayback:
    """A loudspeaker that writes what sounded to a file when it is closed; silence between sounds is left out."""

    def __init__(self, path: Path, clock: Clock, sounded: list[Samples]) -> None:
        self.rate, self.channels, self.format = SESSION_RATE, 1, "S16_LE"
        self.buffer_frames, self.period_frames = int(RING_S * self.rate), 1
        self._path, self._clock, self._sounded = path, clock, sounded
        self._begun_at: float | None = None
        self._parts: list[Samples] = []
        self._frames = 0

    def write(self, data: bytes) -> int | None:
        """Take as much as fits into the ring; ``None`` when it had run empty."""
        if self._begun_at is not None and self.delay() is None:
            self._settle(self._frames)
            return None
        if self._begun_at is None:
            self._begun_at = self._clock()
        samples = np.frombuffer(data, "<i2")[: self.buffer_frames - (self.delay() or 0)]
        self._parts.append(samples)
        self._frames += len(samples)
        return len(samples)

    def delay(self) -> int | None:
        """Return the frames that have not sounded; ``None`` when the ring ran empty."""
        if self._begun_at is None:
            return 0
        left = self._frames - int((self._clock() - self._begun_at) * self.rate)
        return left if left >= 0 else None

    def drop(self) -> None:
        """Silence at once: what has not sounded is forgotten."""
        self._settle(self._frames - (self.delay() or 0))

    def _settle(self, frames: int) -> None:
        if self._parts:
            self._sounded.append(np.concatenate(self._parts)[:frames])
        self._parts, self._frames, self._begun_at = [], 0, None

    def close(self) -> None:
        """Write the file."""
        self.drop()
        if self._sounded:
            write_wav(self._path, np.concatenate(self._sounded), self.rate)
