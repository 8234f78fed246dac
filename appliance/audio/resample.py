"""Rate conversion with little delay: a polyphase filter whose output waits for about a millisecond of input.

Responsible for: streams in the path that a person waits for. soxr is used where delay does not matter
(``wavfile``): its streams hold back 20 ms in the mean and up to 39 ms (HQ) or 20 ms (LQ) of a 10 ms chunked
stream, which alone would break the uplink's budget; see docs/decisions/resampling.md.
"""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from appliance.audio.format import Samples

TAPS = 40  # input samples under the filter at equal or rising rate: passband to 85 % of Nyquist
FEW_PHASES = 4
KAISER_BETA = 7.5  # about 75 dB of image and alias rejection
PIECE = 2048  # outputs filtered at once: each needs all its taps beside each other, 16 kB a millisecond


class Resampler:
    """A stream from ``rate_in`` to ``rate_out``, mono int16. One thread.

    Sample 0 of the output is at the time of sample 0 of the input: the filter's delay is taken out, so that
    output waits for ``lookahead`` input samples; :meth:`flush` gives the rest.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        common = gcd(rate_in, rate_out)
        self._up, self._down = rate_out // common, rate_in // common
        self._same = rate_in == rate_out
        self._taps = 2 * round(TAPS / 2 * max(1.0, rate_in / rate_out))
        self.lookahead = 0 if self._same else self._taps // 2
        self._phases = _prototype(self._up, self._down, self._taps)
        self.reset()

    def reset(self) -> None:
        """Forget the past: the next sample begins a new stream."""
        self._held = np.zeros(max(0, self._taps - 1 - self.lookahead), np.float32)
        self._at = 0  # of the next output, in 1/up input samples from the start of ``_held``

    def process(self, samples: Samples) -> Samples:
        """Convert the next samples of the stream."""
        if self._same:
            return samples
        held = np.concatenate((self._held, samples), dtype=np.float32)
        windows = len(held) - self._taps + 1
        count = max(0, -((self._at - windows * self._up) // self._down))
        if count <= 0:
            self._held = held
            return np.zeros(0, np.int16)
        out = self._filtered(held, count)
        self._at += count * self._down
        spent = self._at // self._up
        self._held = held[spent:]
        self._at -= spent * self._up
        np.rint(out, out)
        np.maximum(out, -32768.0, out=out)
        np.minimum(out, 32767.0, out=out)
        return out.astype(np.int16)

    def _filtered(self, held: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        if self._up <= FEW_PHASES:
            return self._correlated(held, count)
        view = sliding_window_view(held, self._taps)
        out = np.empty(count, np.float32)
        for first in range(0, count, PIECE):
            piece = out[first : first + PIECE]
            at = self._at + (first + np.arange(len(piece))) * self._down
            np.einsum("ij,ij->i", view[at // self._up], self._phases[at % self._up], out=piece)
        return out

    def _correlated(self, held: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """With few phases: one correlation a phase over everything, of which every ``down``-th value is an output.

        It computes more than is used and is still several times faster: few calls, each in C.
        """
        up, down = self._up, self._down
        if up == 1:
            every = np.correlate(held, self._phases[0], "valid")
            picked: NDArray[np.float32] = every[self._at :: down][:count].copy()
            return picked
        out = np.empty(count, np.float32)
        for first in range(min(up, count)):
            at = self._at + first * down
            every = np.correlate(held, self._phases[at % up], "valid")
            mine = out[first::up]  # outputs of one phase are ``up`` apart, and ``down`` input samples
            mine[:] = every[at // up :: down][: len(mine)]
        return out

    def flush(self) -> Samples:
        """End the stream: returns what waited for lookahead."""
        if self._same:
            return np.zeros(0, np.int16)
        rest = self.process(np.zeros(self.lookahead, np.int16))
        self.reset()
        return rest


def _prototype(up: int, down: int, taps: int) -> NDArray[np.float32]:
    """Design a Kaiser-windowed sinc at ``up`` times the input rate, split into its ``up`` phases."""
    length = up * taps
    cutoff = 0.93 * min(1.0 / up, 1.0 / down) / 2  # of the raised rate
    centre = up * (taps // 2 - 1) + up - 1  # the newest-but-lookahead input sample of phase 0
    at = np.arange(length) - centre
    shape = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (at / (length / 2)) ** 2, 0, 1))) / np.i0(KAISER_BETA)
    kernel = 2 * cutoff * np.sinc(2 * cutoff * at) * shape
    phases = np.zeros((up, taps))
    for phase in range(up):
        # Output at input time k + phase/up: input sample j weighs kernel(phase - (j - k) * up).
        offsets = phase - (np.arange(taps) - (taps - 1 - taps // 2)) * up
        index = offsets + centre
        good = (index >= 0) & (index < length)
        phases[phase, good] = kernel[index[good]]
        phases[phase] /= phases[phase].sum()
    return phases.astype(np.float32)
