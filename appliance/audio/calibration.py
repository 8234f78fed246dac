"""The loop from loudspeaker to microphone, measured: delay, level, noise, clipping, and what AEC3 makes of it.

Two seconds of noise are played while the microphone records; the round trip is where the two correlate best.
Responsible for: the measurement and its words. Not for: storing or using it. Runs without the daemon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from appliance.audio.cards import Cards
from appliance.audio.format import DETECTOR_RATE, Samples, from_device, level_dbfs, mono_of
from appliance.audio.processing import BLOCK, Aec3
from appliance.audio.resample import Resampler
from appliance.audio.speaker import Speaker
from appliance.errors import DeviceError

PROBE_S = 2.0
BEFORE_S = 0.5  # of quiet, for the noise floor
AFTER_S = 0.7
CLIPPED = 32_700
AUDIBLE_DB = 6.0  # an echo less than this above the noise is not there


@dataclass(frozen=True, slots=True)
class Loop:
    """What was found. ``delay_ms``, ``return_loss_db`` and ``erle_db`` are ``None`` where no echo was heard."""

    noise_dbfs: float
    echo_dbfs: float
    delay_ms: float | None
    return_loss_db: float | None
    erle_db: float | None
    clipped_samples: int
    overruns: int
    underruns: int


def probe(rate: int, gain: float) -> Samples:
    """Make noise with soft ends, the same at every call: an echo canceller adapts to it as it does to speech."""
    count = int(PROBE_S * DETECTOR_RATE)
    noise = np.random.default_rng(7).normal(0.0, 0.12, count)
    t = np.arange(count) / DETECTOR_RATE
    ends = np.minimum(1.0, np.minimum(t, PROBE_S - t) / 0.02)
    at_16k = np.clip(noise * ends * gain * 32767, -32768, 32767).astype(np.int16)
    convert = Resampler(DETECTOR_RATE, rate)
    return np.concatenate((convert.process(at_16k), convert.flush()))


def measure(
    cards: Cards,
    microphones: Sequence[int],
    gain: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Loop:
    """Play the noise and record; blocks for about four seconds.

    Raises:
        DeviceError: a card cannot be opened, or the microphone delivers nothing.
    """
    capture = cards.open_capture()
    if max(microphones) >= capture.channels:
        capture.close()
        raise DeviceError(
            f"audio.microphones = {list(microphones)}: the card gives {capture.channels} channel(s)",
            hint=f"use channels 0 to {capture.channels - 1}",
        )
    try:
        speaker = Speaker(cards.open_playback())
    except DeviceError:
        capture.close()
        raise
    heard: list[Samples] = []
    overruns, started_at = 0, None
    sound = probe(speaker.rate, gain)
    begun = clock()
    try:
        while (elapsed := clock() - begun) < BEFORE_S + PROBE_S + AFTER_S:
            while (data := capture.read()) is None or data:
                if data is None:
                    overruns += 1
                    continue
                heard.append(mono_of(from_device(data, capture.format, capture.channels), microphones))
            if elapsed >= BEFORE_S and len(sound):
                taken = speaker.write(sound)
                if started_at is None:
                    started_at = sum(len(part) for part in heard) + capture.waiting()
                sound = sound[taken:]
            sleep(0.005)
        near = np.concatenate(heard) if heard else np.zeros(0, np.int16)
        if not len(near):
            raise DeviceError("the microphone delivers nothing", hint="is it muted in alsamixer, or frozen?")
        return _analyse(near, capture.rate, probe(DETECTOR_RATE, gain), started_at or 0, overruns, speaker.underruns)
    finally:
        speaker.close()
        capture.close()


def _analyse(near: Samples, rate: int, far: Samples, started_at: int, overruns: int, underruns: int) -> Loop:
    at_16k = Resampler(rate, DETECTOR_RATE).process(near)
    start = started_at * DETECTOR_RATE // rate
    noise = level_dbfs(at_16k[: int(BEFORE_S * 0.8 * DETECTOR_RATE)])
    window = at_16k[start:].astype(np.float64)
    size = 1 << int(np.ceil(np.log2(len(window) + len(far))))
    spectrum = np.fft.rfft(window, size) * np.conj(np.fft.rfft(far.astype(np.float64), size))
    correlation = np.fft.irfft(spectrum / np.maximum(np.abs(spectrum), 1e-9), size)[: int(AFTER_S * DETECTOR_RATE)]
    delay = int(np.argmax(np.abs(correlation)))
    echo = at_16k[start + delay : start + delay + len(far)]
    echo_dbfs = level_dbfs(echo)
    clipped = int(np.count_nonzero(np.abs(near.astype(np.int32)) >= CLIPPED))
    if echo_dbfs < noise + AUDIBLE_DB:
        return Loop(noise, echo_dbfs, None, None, None, clipped, overruns, underruns)
    loss = level_dbfs(far) - echo_dbfs
    erle = _erle_db(echo, far)
    return Loop(noise, echo_dbfs, delay * 1000 / DETECTOR_RATE, loss, erle, clipped, overruns, underruns)


def _erle_db(echo: Samples, far: Samples) -> float:
    """How much of the echo AEC3 takes away in the second half, when it has adapted."""
    cancel = Aec3()
    blocks = min(len(echo), len(far)) // BLOCK
    out = [cancel(echo[i * BLOCK : (i + 1) * BLOCK], far[i * BLOCK : (i + 1) * BLOCK]) for i in range(blocks)]
    half = blocks // 2 * BLOCK
    return level_dbfs(echo[half : blocks * BLOCK]) - level_dbfs(np.concatenate(out)[half:])


def report(loop: Loop) -> list[str]:
    """Put the finding into lines, each with what to do where something is wrong."""
    lines = [f"noise floor       {loop.noise_dbfs:6.1f} dBFS"]
    if loop.delay_ms is None:
        lines.append(
            "echo              not heard: the loudspeaker is silent, unplugged or far away, or the microphone muted"
        )
    else:
        lines += [
            f"round trip        {loop.delay_ms:6.1f} ms",
            f"echo              {loop.echo_dbfs:6.1f} dBFS, {loop.return_loss_db:.1f} dB below what was played",
            f"echo cancellation {loop.erle_db:6.1f} dB (AEC3)",
        ]
    clipping = "" if loop.clipped_samples == 0 else ": turn the volume or the microphone's gain down"
    lines.append(f"clipped samples   {loop.clipped_samples:6d}{clipping}")
    lines.append(f"overruns          {loop.overruns:6d}, underruns {loop.underruns}")
    return lines
