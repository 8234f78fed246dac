"""The meter itself: it must find what is there and must not overlook what is missing."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from tests.bench.report import percentile
from tests.bench.signals import SESSION_RATE, Noise, Samples, hear, locate, tone

RATE = 48_000


def sounded(seconds: float, level: float = 0.64, lead: int = 5000) -> Samples:
    """A reply as a card at 48 kHz has it, after ``lead`` frames of silence."""
    reply = soxr.resample(np.frombuffer(tone(seconds), "<i2"), SESSION_RATE, RATE, quality="VHQ")
    rest = np.zeros(RATE // 2, np.int16)
    return np.concatenate((np.zeros(lead, np.int16), (reply * level).astype(np.int16), rest))


def test_a_whole_reply_is_heard_where_it_is_and_has_no_gap() -> None:
    heard = hear(sounded(1.0), RATE)
    assert heard is not None
    assert heard.first == pytest.approx(5000, abs=15)
    assert heard.stop == pytest.approx(5000 + RATE, abs=30)
    assert heard.sounded == pytest.approx(RATE, abs=30)
    assert heard.gaps == 0


def test_an_ear_con_over_the_beginning_moves_nothing() -> None:
    record = sounded(1.0)
    t = np.arange(RATE // 5) / RATE
    record[4000 : 4000 + len(t)] += (3000 * np.sin(2 * np.pi * 880 * t)).astype(np.int16)
    heard = hear(record, RATE)
    assert heard is not None
    assert heard.first == pytest.approx(5000, abs=15)
    assert heard.gaps == 0


@pytest.mark.parametrize("missing", [48, 480, 1440])
def test_silence_inside_a_reply_is_a_gap_and_was_not_heard(missing: int) -> None:
    record = sounded(1.0)
    record[20_000 : 20_000 + missing] = 0
    heard = hear(record, RATE)
    assert heard is not None
    assert heard.gaps >= 1
    assert heard.sounded == pytest.approx(RATE - missing, abs=40)


@pytest.mark.parametrize("skipped", [2, 240, 480, 960, 1024, 4800])
def test_a_skipped_piece_is_a_gap(skipped: int) -> None:
    record = sounded(1.0)
    heard = hear(np.concatenate((record[:20_000], record[20_000 + skipped :])), RATE)
    assert heard is not None
    assert heard.gaps >= 1


def test_a_fade_is_an_end_and_no_gap() -> None:
    record = sounded(1.0)
    record[30_000:30_240] = (record[30_000:30_240] * np.linspace(1, 0, 240)).astype(np.int16)
    record[30_240:] = 0
    heard = hear(record, RATE)
    assert heard is not None
    assert heard.stop == pytest.approx(30_240, abs=40)
    assert heard.gaps == 0


def test_silence_and_ear_cons_are_no_reply() -> None:
    t = np.arange(RATE) / RATE
    assert hear(np.zeros(RATE, np.int16), RATE) is None
    assert hear((5000 * np.sin(2 * np.pi * 990 * t)).astype(np.int16), RATE) is None


@pytest.mark.parametrize("start", [0, 1, 4801, 20_000])
def test_noise_is_found_at_its_frame(start: int) -> None:
    noise = Noise(1.0, RATE)
    got = soxr.resample(noise.card[start : start + RATE // 4], RATE, SESSION_RATE, quality="HQ")
    at, alike = locate(got, noise.card, RATE)
    assert at == pytest.approx(start, abs=1)
    assert alike > 0.99


def test_noise_that_began_earlier_is_found_before_the_beginning() -> None:
    noise = Noise(1.0, RATE)
    got = np.concatenate((np.zeros(240, np.int16), noise.session[:6000]))
    at, alike = locate(got, noise.card[: RATE // 2], RATE)
    assert at == pytest.approx(-480, abs=1)
    assert alike > 0.99


def test_other_noise_is_not_alike() -> None:
    _, alike = locate(Noise(0.3, RATE, seed=2).session, Noise(1.0, RATE).card, RATE)
    assert alike < 0.3


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(k) for k in range(1, 27)]
    assert percentile(values, 50) == 13
    assert percentile(values, 95) == 25
    assert percentile(values, 100) == 26
