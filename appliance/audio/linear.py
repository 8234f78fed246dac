"""A linear echo canceller that leaves the talker whole: its residue is evidence, it is never sent or played.

AEC3 hides weak talkers together with the echo's rest. This filter only subtracts what is linear in the far end, so
a talker 20 dB below the echo stands out of its residue. Responsible for: the adaptive filter and starting it anew
when the path has changed. Not for: what the residue means (``unexplained``). numpy; owned by the audio thread.
Source: Enzner & Vary, "Frequency-domain adaptive Kalman filter for acoustic echo control", Signal Processing 86
(2006); partitioned: Kuech, Mabande, Enzner, ICASSP 2014.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HOP = 320  # samples at 16 kHz: 20 ms at a time costs half of 10 ms at a time
BINS = HOP // 2 + 1  # of one band: the spectrum is kept in two halves, 0-4 kHz and 4-8 kHz
PARTITIONS = 4  # to a group: 80 ms of one band of the room
LOW_GROUPS = 3  # the first 240 ms of the low band, where rooms go on for longest and voices are strongest ...
HIGH = 3  # ... and in the last group the first 80 ms of the high band
GROUPS = LOW_GROUPS + 1
FORGETTING = 0.999  # of the path's certainty, per hop: a room changes
UNCERTAIN = 1.0  # the path's power at first, falling by 1/sqrt(e) a partition
LOST_SHARE = 0.5  # a residue above this share of the microphone's energy, though the far end sounds, ...
LOST_HOPS = 10  # ... for so many hops means that the path is another one
UNLEARNED = 0.05  # a path that explains less than this share of what is heard was never learned
USUAL = 0.02  # of the echo's usual energy, per hop
LOUD_SHARE = 0.25  # of the usual energy: so loud, no talker is a match for the echo
FAR_SOUNDS = 1e-4  # mean square of a far end that counts
MISLED_ECHO_SHARE = 0.3  # an understood echo of this share which, taken away, leaves LOST_SHARE: it is out of step
TINY = np.float32(1e-9)

Sound = NDArray[np.float32]  # full scale is 1


class LinearCanceller:
    """Partitioned-block frequency-domain Kalman filter, 50 µs per 10 ms on x86-64. Blocks of ``HOP`` samples.

    All state is (group, partition, bin), so that one operation serves both bands although one is longer.
    """

    def __init__(self) -> None:
        self.restarts = 0
        self.jumped = False  # the same while the echo is loud, when no talker can be the cause
        self._usual = 0.0
        self.misled = False  # what it understands is not what is heard: the path has just changed
        shape = (GROUPS, PARTITIONS, BINS)
        decay = np.exp(-np.arange(LOW_GROUPS * PARTITIONS, dtype=np.float32) / 2).reshape(LOW_GROUPS, PARTITIONS, 1)
        self._decay = np.concatenate((decay, decay[:1]))
        self._path = np.zeros(shape, np.complex64)
        self._doubt = np.full(shape, UNCERTAIN, np.float32) * self._decay
        self._far = np.zeros(shape, np.complex64)  # spectra of the last hops, newest first
        self._far_power = np.zeros(shape, np.float32)
        self._product = np.zeros(shape, np.complex64)  # working memory, here and in the next three lines
        self._step = np.zeros(shape, np.float32)
        self._error = np.zeros((GROUPS, 1, BINS), np.complex64)
        self._spectrum = np.zeros(HOP + 1, np.complex64)
        self._window = np.zeros(2 * HOP, np.float32)
        self._padded = np.zeros(2 * HOP, np.float32)
        self._noise = np.full((GROUPS, 1, BINS), 1e-6, np.float32)  # power of what the filter cannot explain
        self._turn = 0
        self._lost = 0

    def resume(self) -> None:
        """Go on after a pause in which nothing sounded: the room is silent, the path is still known."""
        self._far[:] = 0
        self._far_power[:] = 0
        self._window[:] = 0
        self.misled = self.jumped = False

    def __call__(self, near: Sound, far: Sound) -> tuple[Sound, Sound]:
        """Take ``HOP`` samples each; returns the residue and the echo as the filter understands it."""
        self._hear_far(far)
        np.multiply(self._far, self._path, out=self._product)
        groups = self._product.sum(axis=1)
        self._spectrum[:BINS] = groups[:HIGH].sum(axis=0)
        self._spectrum[BINS:] = groups[HIGH, : BINS - 1]
        echo: Sound = np.fft.irfft(self._spectrum).astype(np.float32, copy=False)
        understood = echo[HOP:]
        residue: Sound = near - understood
        self._watch(near, residue, understood, far)
        self._adapt(residue)
        return residue, understood

    def _hear_far(self, far: Sound) -> None:
        self._window[:HOP] = self._window[HOP:]
        self._window[HOP:] = far
        spectrum = np.fft.rfft(self._window)
        _shift(self._far, spectrum)
        _shift(self._far_power, np.square(spectrum.real) + np.square(spectrum.imag))

    def _adapt(self, residue: Sound) -> None:
        self._padded[HOP:] = residue
        spectrum = np.fft.rfft(self._padded)
        error = self._error
        error[:HIGH, 0] = spectrum[:BINS]
        error[HIGH, 0, : BINS - 1] = spectrum[BINS:]
        self._noise = np.float32(0.5) * (self._noise + np.square(error.real) + np.square(error.imag))
        heard = np.multiply(self._far_power, self._doubt, out=self._step).sum(axis=1, keepdims=True)
        heard[:HIGH] = heard[:HIGH].sum(axis=0)
        step = np.divide(self._doubt, heard + 2 * self._noise + TINY, out=self._step)
        np.conjugate(self._far, out=self._product)
        self._product *= step
        self._product *= error
        self._path += self._product
        self._constrain()
        aged = np.float32(FORGETTING**2)
        power = np.square(self._path.real) + np.square(self._path.imag)
        self._doubt *= aged * (1 - np.float32(0.5) * step * self._far_power)
        self._doubt += (1 - aged) * power

    def _constrain(self) -> None:
        """Keep one partition a hop to its own stretch of time; all at every hop would cost twelve times as much."""
        group, partition = divmod(self._turn, PARTITIONS)
        both = group == 0  # only the first stretch of time is heard in both bands
        self._spectrum[:BINS] = self._path[group, partition]
        self._spectrum[BINS:] = self._path[HIGH, partition, : BINS - 1] if both else 0
        response = np.fft.irfft(self._spectrum)
        response[HOP:] = 0
        spectrum = np.fft.rfft(response)
        self._path[group, partition] = spectrum[:BINS]
        if both:
            self._path[HIGH, partition, : BINS - 1] = spectrum[BINS:]
        self._turn = (self._turn + 1) % (LOW_GROUPS * PARTITIONS)

    def _watch(self, near: Sound, residue: Sound, understood: Sound, far: Sound) -> None:
        """Doubt everything again when the filter has stopped to explain: it is too sure of a path that has changed."""
        energy = float(near @ near)
        lost = float(residue @ residue) > LOST_SHARE * energy
        self.misled = lost and float(understood @ understood) > MISLED_ECHO_SHARE * energy
        self.jumped = self.misled and energy > LOUD_SHARE * self._usual > 0.0
        if float(far @ far) <= FAR_SOUNDS * HOP:
            return
        self._usual += USUAL * (energy - self._usual)
        self._lost = self._lost + 1 if lost else max(0, self._lost - 2)
        if self._lost >= LOST_HOPS:
            self._lost = 0
            self.restarts += 1
            known = float(np.mean(np.square(np.abs(self._path[0, 0]))))
            heard = float(residue @ residue) / float(far @ far)
            if known < UNLEARNED * heard:  # the microphone was dead, or the room silent, so long that all doubt is gone
                known = min(heard, UNCERTAIN)
            np.maximum(self._doubt, np.float32(known + 1e-3) * self._decay, out=self._doubt)


def _shift(history: NDArray[np.inexact], spectrum: NDArray[np.inexact]) -> None:
    """Take the newest spectrum into a history of (group, partition, bin); the oldest falls out."""
    low = history[:HIGH].reshape(LOW_GROUPS * PARTITIONS, BINS)
    low[1:] = low[:-1]
    low[0] = spectrum[:BINS]
    high = history[HIGH]
    high[1:] = high[:-1]
    high[0, : BINS - 1] = spectrum[BINS:]
