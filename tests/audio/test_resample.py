"""Rate conversion: length, alignment, cleanness, and that chunks do not matter."""

from __future__ import annotations

import tracemalloc
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from appliance.audio.resample import Resampler

PAIRS = [
    (24_000, 48_000), (24_000, 44_100), (24_000, 16_000), (24_000, 8_000), (48_000, 24_000), (44_100, 24_000),
    (16_000, 24_000), (96_000, 24_000), (32_000, 24_000), (48_000, 16_000), (44_100, 16_000), (22_050, 24_000),
]  # fmt: skip


def tone(frequency: float, rate: int, seconds: float = 0.5, peak: float = 16_000) -> NDArray[np.float64]:
    return peak * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate + 0.3)


def converted(samples: NDArray[np.float64], rate_in: int, rate_out: int) -> NDArray[np.int16]:
    resampler = Resampler(rate_in, rate_out)
    return np.concatenate((resampler.process(np.rint(samples).astype(np.int16)), resampler.flush()))


def db(power_of: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    return float(10 * np.log10(np.mean(power_of**2) / np.mean(reference**2)))


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.75])
def test_a_tone_in_the_passband_comes_out_in_its_place(rate_in: int, rate_out: int, share: float) -> None:
    frequency = share * min(rate_in, rate_out) / 2
    out = converted(tone(frequency, rate_in), rate_in, rate_out).astype(float)
    expected = tone(frequency, rate_out)[: len(out)]
    middle = slice(len(out) // 5, -len(out) // 5)
    assert db(out[middle] - expected[middle], expected[middle]) < -55, "level, delay and noise at once"


@pytest.mark.parametrize(("rate_in", "rate_out"), [pair for pair in PAIRS if pair[1] < pair[0]])
def test_what_the_lower_rate_cannot_hold_is_removed(rate_in: int, rate_out: int) -> None:
    for share in (1.12, 1.4):
        frequency = share * rate_out / 2
        if frequency < rate_in / 2:
            out = converted(tone(frequency, rate_in), rate_in, rate_out).astype(float)
            middle = out[len(out) // 5 : -len(out) // 5]
            assert db(middle, tone(frequency, rate_in)) < -60, frequency


@pytest.mark.parametrize(("rate_in", "rate_out"), [pair for pair in PAIRS if pair[1] > pair[0]])
def test_raising_the_rate_makes_no_images(rate_in: int, rate_out: int) -> None:
    frequency = 0.7 * rate_in / 2
    out = converted(tone(frequency, rate_in, 1.0), rate_in, rate_out).astype(float)
    middle = out[len(out) // 5 : -len(out) // 5]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) ** 2
    above = np.fft.rfftfreq(len(middle), 1 / rate_out) > rate_in / 2
    assert 10 * np.log10(spectrum[above].max() / spectrum.max()) < -60


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_constant_and_full_scale_stay(rate_in: int, rate_out: int) -> None:
    for level in (-32_768, 32_767, 1000):
        out = converted(np.full(rate_in // 4, level, float), rate_in, rate_out)
        middle = out[len(out) // 4 : -len(out) // 4].astype(int)
        assert np.abs(middle - level).max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(PAIRS), st.lists(st.integers(0, 700), min_size=1, max_size=20), st.integers(0, 2**31))
def test_any_chunking_gives_the_same_stream_of_exact_length(pair: tuple[int, int], sizes: list[int], seed: int) -> None:
    rate_in, rate_out = pair
    noise = np.random.default_rng(seed).integers(-30_000, 30_000, sum(sizes)).astype(np.int16)
    whole, pieces = Resampler(*pair), Resampler(*pair)
    expected = np.concatenate((whole.process(noise), whole.flush()))
    at, parts = 0, []
    for size in sizes:
        parts.append(pieces.process(noise[at : at + size]))
        at += size
        # Output waits for the lookahead and for nothing else.
        assert sum(map(len, parts)) == max(0, ceil((at - pieces.lookahead) * rate_out / rate_in))
    parts.append(pieces.flush())
    got = np.concatenate(parts)
    assert len(got) == len(expected) == ceil(len(noise) * rate_out / rate_in)
    assert np.abs(got.astype(int) - expected).max(initial=0) <= 1, "float sums may be ordered otherwise"
    assert np.count_nonzero(got != expected) <= len(got) // 1000


@pytest.mark.parametrize("rate_out", [44_100, 48_000])
def test_a_long_piece_takes_little_memory_beside_itself(rate_out: int) -> None:
    samples = np.zeros(10 * 24_000, np.int16)
    resampler = Resampler(24_000, rate_out)
    tracemalloc.start()
    try:
        out = resampler.process(samples)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * out.nbytes  # the output as floats, the input, and one phase


def test_flush_begins_a_new_stream() -> None:
    resampler = Resampler(48_000, 24_000)
    noise = np.random.default_rng(1).integers(-9000, 9000, 960).astype(np.int16)
    first = np.concatenate((resampler.process(noise), resampler.flush()))
    again = np.concatenate((resampler.process(noise), resampler.flush()))
    assert np.array_equal(first, again)


def test_equal_rates_pass_untouched_and_at_once() -> None:
    resampler = Resampler(24_000, 24_000)
    noise = np.random.default_rng(1).integers(-9000, 9000, 960).astype(np.int16)
    assert resampler.process(noise) is noise
    assert len(resampler.flush()) == 0


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_lookahead_is_below_three_milliseconds(rate_in: int, rate_out: int) -> None:
    assert Resampler(rate_in, rate_out).lookahead / rate_in < 0.003


def test_an_hour_neither_drifts_nor_grows() -> None:
    resampler = Resampler(44_100, 24_000)
    block = np.zeros(44_100, np.int16)
    out = sum(len(resampler.process(block)) for _ in range(60))
    assert 60 * 24_000 - out == 24_000 * resampler.lookahead // 44_100
    assert len(resampler._held) < 200
