"""The far end: what the loudspeaker sounded, block by block on the microphone's clock, for the echo canceller.

A reader follows the loudspeaker's own position through :class:`Speaker`'s memory. It reads at exactly 16 kHz while
nothing speaks for a difference of the clocks; else at the rate that ``drift`` has learned, through a fractional
delay, so that it never jumps while the loudspeaker runs on. Where the stream really moved it is put in place anew.
Responsible for: where to read, and reading. Not for: learning the rate (``drift``), cancelling (``processing``).
"""

from __future__ import annotations

from collections import deque
from math import ceil, floor
from statistics import median

import numpy as np
from numpy.typing import NDArray

from appliance.audio.drift import Drift
from appliance.audio.endpoint import BLOCK_S
from appliance.audio.format import DETECTOR_RATE, Samples
from appliance.audio.processing import BLOCK
from appliance.audio.resample import Resampler
from appliance.audio.speaker import Speaker

TAIL_S = 1.0  # how long a room may go on after the loudspeaker
FRESH_S = 0.005  # blocks taken in one turn of the thread share its errors: one reading serves them
RECENT = 5  # readings that tell a stream that moved from a thread that was held up
SETTLED_S = 0.25e-3  # the one reading after a start may be off by more: the first five decide once again
AWAY_S = 5e-3  # farther than this is neither drift nor one step of a USB card's position
HOLE_S = 0.1  # the microphone was away
SURE = 3.0  # standard deviations: what is less is taken for noise and moves nothing
CLOSE_S = 0.1e-3  # an offset that is left alone
RETURN_S = 1.5  # in which an offset is worked off
FASTEST = 1e-3  # of the reader, against the nominal rate
HALF = 16  # taps of the fractional delay on either side
PHASES = 64  # of its table; between two of them it is blended
KAISER_BETA = 6.0
HISTORY = 24  # samples held before the next one: for HALF, and for the resampler's filter when it has just begun
_TAIL = round(TAIL_S / BLOCK_S)


class Reference:
    """The far end of one open loudspeaker. Owned by the audio thread; nothing blocks.

    ``delay_ms`` is the calibrated round trip: what the microphone hears now sounded so long ago.

    A block costs 21 us at a 48 kHz card and 32 us with a drift to follow, of which the rate conversion is 15 (43 and
    57 at 44.1 kHz: 34): medians of 6000 blocks in turns of two from a loudspeaker in virtual time, on a shared x86-64.
    A tone read at 200 ppm is 78 dB above what the reading adds at 300 Hz, 61 at 3 kHz, 53 at 7 kHz.
    """

    def __init__(self, speaker: Speaker, drift: Drift) -> None:
        self.delay_ms = 0.0
        self._speaker, self._drift = speaker, drift
        self._down = Resampler(speaker.rate, DETECTOR_RATE)
        self._ratio = speaker.rate / DETECTOR_RATE  # card frames to a sample
        self._starts = 0  # of the loudspeaker, when the reader was put in place
        self._silent = _TAIL  # blocks since it sounded
        self._expected_at = self._read_at = 0.0
        self._silent_before = 0  # card frame; what is in memory before it sounded long ago
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._place(0.0, settled=False)

    def _place(self, position: float, *, settled: bool) -> None:
        """Read on from a position of the loudspeaker, in card frames."""
        self._fetched = round(position - HISTORY * self._ratio)
        self._origin = self._fetched + HISTORY * self._ratio
        self._down.reset()
        self._held: Samples = np.zeros(0, np.int16)  # at 16 kHz
        self._cursor = float(HISTORY)  # of the next sample, in it
        self._blocks = 0
        self._ahead_s = 0.0  # of the nominal rate, since it was put here
        self._settled = settled
        self._recent.clear()
        self._drift.begin()
        self._rate = self._learned()

    @property
    def drift_ppm(self) -> float | None:
        """The loudspeaker's clock against the microphone's in ppm; ``None`` while it is not known."""
        return self._drift.ppm

    def block(self, at: float, now: float) -> Samples | None:
        """Return what sounded in the 10 ms from ``at`` on: 160 samples at 16 kHz, int16.

        Call it for one block of the microphone after the other; both times are monotonic seconds. For a second
        after the loudspeaker stopped it is silence, for the room still sounds; then ``None``.
        """
        hole, self._expected_at = at - self._expected_at > HOLE_S, at + BLOCK_S
        position = self._speaker.position()
        if self._speaker.running:
            self._follow(position - (now - at + self.delay_ms / 1000) * self._speaker.rate, now, hole)
        elif self._silent < _TAIL and not hole:
            self._silent += 1
        else:
            self._silent = _TAIL
            return None
        return self._next()

    def _follow(self, position: float, now: float, hole: bool) -> None:
        """Compare the reader with where the loudspeaker was when the block began, in card frames."""
        if self._silent:
            self._silent_before, self._silent = self._speaker.began, 0
        if self._starts != self._speaker.starts or hole:
            self._starts, self._read_at = self._speaker.starts, now
            self._place(position, settled=False)
        elif now - self._read_at >= FRESH_S:
            self._read_at = now
            self._compare(position)

    def _compare(self, position: float) -> None:
        """Take a reading: it moves the reader at once, or by its rate, or not at all."""
        passed_s = self._blocks * BLOCK_S
        ahead_s = (position - self._origin) / self._speaker.rate - passed_s
        self._recent.append(ahead_s)
        if len(self._recent) == RECENT:
            if self._moved():
                self._place(self._origin + (passed_s + median(self._recent)) * self._speaker.rate, settled=True)
                return
            self._settled = True
        if self._drift.read(passed_s, ahead_s):
            behind_s = self._drift.ahead_s(passed_s) - self._ahead_s
            rate = _beyond(behind_s, max(CLOSE_S, SURE * self._drift.offset_sd_s)) / RETURN_S
            rate += self._learned()
            self._rate = max(-FASTEST, min(FASTEST, rate))

    def _learned(self) -> float:
        """The learned rate, whole: half a correction would leave the canceller behind all the time. Doubtful: none."""
        rate = self._drift.rate
        return rate if abs(rate) > SURE * self._drift.rate_sd else 0.0

    def _moved(self) -> bool:
        """Say whether the recent readings are away from the reader one and all; of the first the median counts."""
        off_s = [reading_s - self._ahead_s for reading_s in self._recent]
        if not self._settled:
            return abs(median(off_s)) > SETTLED_S
        return min(off_s) > AWAY_S or max(off_s) < -AWAY_S

    def _next(self) -> Samples:
        end = self._cursor + BLOCK * (1.0 + self._rate)
        if self._rate or self._cursor % 1.0:
            self._hold(floor(end) + HALF + 1)
            out = self._between(self._cursor, end)
        else:
            self._hold(int(end))
            out = self._held[int(self._cursor) : int(end)]
        spent = floor(end) - HISTORY
        self._held, self._cursor = self._held[spent:], end - spent
        self._blocks += 1
        self._ahead_s += self._rate * BLOCK_S
        return out

    def _hold(self, count: int) -> None:
        """Fetch until there are so many samples."""
        while (lacking := count - len(self._held)) > 0:
            frames = ceil(lacking * self._ratio)
            sounded = self._speaker.sounding(self._fetched, frames)
            if self._fetched < self._silent_before:
                sounded[: self._silent_before - self._fetched] = 0
            self._fetched += frames
            self._held = np.concatenate((self._held, self._down.process(sounded)))

    def _between(self, start: float, end: float) -> Samples:
        """Read a block whose samples are not quite 1 apart: its delay at the start goes over into that at the end."""
        out = self._delayed(start)
        out += (self._delayed(end - BLOCK) - out) * _RAMP
        np.rint(out, out)
        np.maximum(out, -32768.0, out=out)
        np.minimum(out, 32767.0, out=out)
        return out.astype(np.int16)

    def _delayed(self, start: float) -> NDArray[np.float32]:
        first = floor(start)
        phase, blend = divmod((start - first) * PHASES, 1.0)
        kernel = _KERNELS[int(phase)] + np.float32(blend) * _STEPS[int(phase)]
        window = self._held[first - HALF + 1 : first + BLOCK + HALF].astype(np.float32)
        delayed: NDArray[np.float32] = np.correlate(window, kernel, "valid")
        return delayed


def _beyond(value: float, doubt: float) -> float:
    """Return how far a value lies outside of ``doubt`` on either side."""
    return value - doubt if value > doubt else value + doubt if value < -doubt else 0.0


def _kernels() -> NDArray[np.float32]:
    """Design a sinc under a Kaiser window for delays of 0, 1/PHASES … 1 sample; the first one only copies."""
    offsets = np.arange(1 - HALF, HALF + 1) - np.arange(PHASES + 1)[:, np.newaxis] / PHASES
    window = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (offsets / HALF) ** 2, 0, 1))) / np.i0(KAISER_BETA)
    kernels: NDArray[np.float32] = (np.sinc(offsets) * window).astype(np.float32)
    return kernels


_KERNELS = _kernels()
_STEPS = np.diff(_KERNELS, axis=0)
_RAMP = (np.arange(BLOCK) / BLOCK).astype(np.float32)
