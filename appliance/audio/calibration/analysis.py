"""What a recording of the probe says of the loop. In small steps, so that the audio thread stays awake to a press.

Responsible for: delay, levels, distortion and what the canceller makes of the echo. Not for: recording
(``measurement``) or judging (``loop``). Samples are at 16 kHz, delays in samples, powers in squares of int16.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import fft
from numpy.typing import NDArray

from appliance.audio.calibration.probe import PERIOD, SETTLING, Form, lines, sound
from appliance.audio.format import DETECTOR_RATE, Samples, amplified, level_dbfs
from appliance.audio.loop import CLEAR_DB, LEAD_MS, Loop, Microphone
from appliance.audio.processing import BLOCK, PROCESSORS

SOONEST = DETECTOR_RATE * 20 // 1000  # a card that knows its position in steps may seem to be heard before it sounds
HEARD = 9.0  # how far the echo has to stand out of its correlation with noise, in standard deviations
DIRECT = 0.3  # of the strongest path: what comes before it and is so strong is the first one
EARLY = DETECTOR_RATE * 30 // 1000
SPREAD = DETECTOR_RATE // 1000  # a path is as wide as its band is narrow
TAIL = DETECTOR_RATE * 80 // 1000  # of a room's answer: nearly all of it, with the microphone near the loudspeaker
LEAD = int(DETECTOR_RATE * LEAD_MS) // 1000
PASSES = 3  # how often the canceller is given a recording: the short one has to teach it first
SLICE = 4  # blocks of 10 ms that it is given in a step
AS_LOUD_DBFS = -20.0  # as a reply: AEC3 does not learn from much softer ones
LEAST_DISTORTION_DB = -40.0
LAST = DETECTOR_RATE // 5  # the room is silent again
DROWNED = 10.0  # a room whose power is so many times the echo's hides how loud that is
SILENT_DBFS = -96.0
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Recording:
    """What the microphones heard. ``powers`` and ``clipped`` are (blocks of 10 ms, microphones)."""

    microphones: tuple[int, ...]
    near: Samples  # their mean
    powers: Floats
    clipped: NDArray[np.int64]
    start: int  # sample of ``near`` at which the first one that was played sounded
    overruns: int
    underruns: int
    whole: bool


@dataclass(frozen=True, slots=True)
class _Echo:
    delay: int
    dbfs: float | None  # unknown where the room is much louder
    loss_db: float | None

    def clear_of(self, noise: float) -> bool:
        """Say whether it is loud enough to be looked at closely."""
        return self.dbfs is not None and self.dbfs > _dbfs(noise) + CLEAR_DB


def analysed(recording: Recording, form: Form, gain: float, canceller: str) -> Generator[None, None, Loop]:
    """Compute what there is to know, a few milliseconds of work a step; the generator returns it."""
    far = sound(form, gain)
    begin = recording.start + form.before
    near = _cut(recording.near, begin - SOONEST, SOONEST + form.sounding + form.after)
    noise = _median_power(_cut(recording.near, recording.start, form.before))
    yield
    echo = (yield from _echo(near[form.repeating :], far[form.repeating :])) if recording.whole else None
    distortion_db = erle_db = None
    if echo is not None and echo.clear_of(noise) and canceller != "none":
        if form.periods:
            noise = max(noise, _median_power(near[-LAST:]))
            distortion_db = _distortion_db(near, SOONEST + echo.delay + form.repeating, noise, form)
            yield
        erle_db = yield from _erle_db(near[max(0, SOONEST + echo.delay - LEAD) :], far, canceller)
    return Loop(
        form=form.name,
        canceller=canceller,
        gain_db=_db(gain * gain),
        microphones=_microphones(recording, echo, form),
        noise_dbfs=_dbfs(noise),
        delay_ms=None if echo is None else echo.delay * 1000 / DETECTOR_RATE,
        echo_dbfs=None if echo is None else echo.dbfs,
        return_loss_db=None if echo is None else echo.loss_db,
        erle_db=erle_db,
        distortion_db=distortion_db,
        overruns=recording.overruns,
        underruns=recording.underruns,
        whole=recording.whole,
    )


def _cut(samples: Samples, start: int, count: int) -> Samples:
    """Return ``count`` samples from ``start`` on, silence where there are none."""
    out = np.zeros(count, np.int16)
    first, last = max(0, start), min(len(samples), start + count)
    if first < last:
        out[first - start : last - start] = samples[first:last]
    return out


def middle(values: Sequence[float] | Floats) -> float:
    """Return the upper median, 0 of nothing; numpy's own would load its masked arrays: 40 ms and a megabyte."""
    at = len(values) // 2
    return float(np.partition(values, at)[at]) if len(values) else 0.0


def _median_power(samples: Samples) -> float:
    """Return the power of the middle block: some cards begin with a bang."""
    blocks = samples[: len(samples) // BLOCK * BLOCK].reshape(-1, BLOCK)
    return middle(blocks.astype(np.float64).var(axis=1))


def _db(power: float) -> float:
    return 10 * float(np.log10(max(power, 1e-9)))


def _dbfs(power: float) -> float:
    return max(SILENT_DBFS, _db(power) - 90.3)


def _echo(near: Samples, far: Samples) -> Generator[None, None, _Echo | None]:
    """Find the probe in what was heard, and how much of that is its linear image."""
    size, longest = -(-len(near) // 512) * 512, len(near) - len(far)
    played = fft.rfft(far, size)
    yield
    heard = _cut(near, 0, size) - near.mean()
    cross = fft.rfft(heard) * np.conj(played)
    yield
    # GCC-PHAT: a voice in the room is loud at few frequencies, and would look like an echo without it.
    flat = cross / np.maximum(np.abs(cross), 1e-9) * np.abs(played)
    first = _first_path(fft.irfft(flat, size)[:longest])
    if first is None:
        return None
    yield
    answer = fft.irfft(cross, size)[:longest]
    image, certain = _image(answer, first, played, size)
    power = certain * float(image @ heard) ** 2 / max(1e-9, float(image @ image)) / len(far)
    here = heard[first : first + len(far)]
    if power * DROWNED < float(here @ here) / len(far):
        return _Echo(first - SOONEST, None, None)
    return _Echo(first - SOONEST, _dbfs(power), level_dbfs(far) - _dbfs(power))


def _image(answer: Floats, first: int, played: NDArray[np.complex128], size: int) -> tuple[Floats, float]:
    """Make what a room with the found answer makes of the probe; and the share of it that is not noise."""
    room = np.zeros(size)
    kept = slice(max(0, first - SPREAD), min(first + TAIL, len(answer)))
    room[kept] = answer[kept]
    noise = len(room[kept]) * _deviation(answer) ** 2
    image: Floats = fft.irfft(fft.rfft(room) * played, size)
    return image, max(0.0, 1 - noise / max(1e-9, float(room @ room)))


def _deviation(answer: Floats) -> float:
    """Return the standard deviation of what is noise in it."""
    return middle(np.abs(answer)) / 0.6745


def _first_path(answer: Floats) -> int | None:
    """Find where the first sound arrives that is no noise: not always the strongest."""
    strength, noise = np.abs(answer), _deviation(answer)
    peak = int(np.argmax(strength))
    if strength[peak] <= HEARD * noise:
        return None
    window = strength[max(0, peak - EARLY) : peak + 1]
    enough = max(DIRECT * strength[peak], HEARD / 2 * noise)
    return peak + 1 - len(window) + int(np.argmax(window >= enough))


def _distortion_db(near: Samples, end: int, noise: float, form: Form) -> float:
    """Measure the share of the echo at frequencies that were not played, where a linear loop leaves only noise."""
    repeats = form.periods - SETTLING
    steady = near[end - repeats * PERIOD : end].astype(np.float64)
    window = np.hanning(len(steady))
    bins = np.abs(fft.rfft((steady - steady.mean()) * window)) ** 2
    played, left_out = lines()
    even = np.arange(played[0] + 1, played[-1], 2)  # an asymmetric bend sounds on these
    odd = len(played) + len(left_out)

    def power(at: NDArray[np.int64]) -> float:
        of_line = sum(float(bins[at * repeats + side].sum()) for side in (-1, 0, 1))
        return max(0.0, of_line - 3 * len(at) * noise * float(window @ window))

    bent = power(even) + power(left_out) * odd / len(left_out)
    whole = power(even) + power(left_out) + power(played)
    return max(LEAST_DISTORTION_DB, _db(bent / max(whole, 1e-9)))


def _erle_db(near: Samples, far: Samples, canceller: str) -> Generator[None, None, float]:
    """Measure how much of the echo the canceller takes away once it has learnt; ``near`` is :data:`LEAD` late."""
    count = (len(far) // BLOCK + 20) * BLOCK  # with 0.2 s for the room to fall silent
    near, far = _cut(near, 0, count), _cut(far, 0, count)
    loudest = 32_000 / max(1, int(np.abs(near.astype(np.int32)).max()))
    factor = max(1.0, min(loudest, 10 ** ((AS_LOUD_DBFS - level_dbfs(far)) / 20)))
    near, far = amplified(near, factor), amplified(far, factor)
    process, out = PROCESSORS[canceller](), []
    for number, at in enumerate(np.tile(np.arange(0, count, BLOCK), PASSES)):
        out.append(process(near[at : at + BLOCK], far[at : at + BLOCK]))
        if number % SLICE == 0:
            yield
    half = slice(count // 2, count - 20 * BLOCK)
    return level_dbfs(near[half]) - level_dbfs(np.concatenate(out[-count // BLOCK :])[half])


def _microphones(recording: Recording, echo: _Echo | None, form: Form) -> tuple[Microphone, ...]:
    begin = recording.start + form.before
    half = begin + form.sounding // 2 + (0 if echo is None else echo.delay)
    quiet, loud, heard = (
        slice(max(0, first) // BLOCK, max(0, first + count) // BLOCK)
        for first, count in (
            (recording.start, form.before),
            (half, form.sounding // 2),
            (begin, form.sounding + form.after),
        )
    )
    found = []
    for at, channel in enumerate(recording.microphones):
        powers = recording.powers[:, at]
        noise = middle(powers[quiet])
        power = float(powers[loud].mean()) if len(powers[loud]) else 0.0
        found.append(
            Microphone(
                channel=channel,
                noise_dbfs=_dbfs(noise),
                echo_dbfs=_dbfs(power - noise) if echo is not None and power > 2 * noise else None,
                clipped_samples=int(recording.clipped[heard, at].sum()),
                dead=not powers.any(),
            )
        )
    return tuple(found)
