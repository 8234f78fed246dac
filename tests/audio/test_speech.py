"""The recorded words: all there, of one loudness, and (marked ``speech``) understood by a recogniser."""

from __future__ import annotations

import asyncio
import re
import wave
from collections.abc import Iterator

import numpy as np
import pytest

from appliance.audio.speech import WORDS, join
from appliance.conversation.events import ENROLMENT_PENDING
from appliance.conversation.lines import DIGITS, PAUSE, SAID, TEXTS, Line, text_of, words_of
from appliance.local.audio import Sound
from appliance.local.speech import Moonshine

SAID_OTHERWISE = {Line.APPROVE, Line.GIVES_UP, Line.JOIN, Line.HOLD}
NAMES = [*DIGITS, *(line.value for line in Line)]


def test_every_word_has_a_recording_and_every_recording_a_word() -> None:
    assert {path.stem for path in WORDS.iterdir()} == set(NAMES)
    assert set(TEXTS) == set(Line)
    assert {line for line in SAID.values() if line} | SAID_OTHERWISE == set(Line), "no line that is never said"


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_small_soft_at_its_ends_and_as_loud_as_the_others(name: str) -> None:
    with wave.open(str(WORDS / f"{name}.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float) / 32768
    assert len(samples) / 16_000 < (0.7 if name in DIGITS else 4.0)
    assert np.abs(samples).max() < 0.62
    voiced = samples[np.abs(samples) > 0.02]
    assert 0.06 < np.sqrt(np.mean(voiced**2)) < 0.13
    assert np.abs(samples[[0, -1]]).max() < 0.002, "no click"


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_words_are_joined_at_the_rate_of_the_card(rate: int) -> None:
    words = ("nine", PAUSE, "ready")
    sound = join(words, rate)
    assert sound.dtype == np.int16
    assert len(sound) / rate == pytest.approx(len(join(words, 16_000)) / 16_000, abs=0.01)
    power = np.convolve(np.square(sound.astype(float)), np.ones(rate // 100), "same")[:: rate // 100] > 1e6 * rate / 100
    silences = [len(run) for run in re.findall("0{30,}", "".join("01"[int(loud)] for loud in power))]
    assert silences, "the pause is heard"


def test_a_code_is_digits_in_groups_of_three() -> None:
    code = words_of(ENROLMENT_PENDING, "019-450-730")
    assert code == ("approve", "", "zero", "one", "nine", "", "four", "five", "zero", "", "seven", "three", "zero")
    assert words_of(ENROLMENT_PENDING, "019-450-730", again=True)[:2] == ("no-longer", "")
    assert words_of(ENROLMENT_PENDING) == ()


def test_what_is_said_can_be_read() -> None:
    words = words_of(ENROLMENT_PENDING, "019-450-730", again=True)
    assert text_of(words) == "I am no longer enrolled. Please approve this code. 0 1 9 4 5 0 7 3 0"


def test_what_needs_no_words_gets_none() -> None:
    assert words_of("unreachable") == ()
    assert words_of("a code of tomorrow") == ()
    assert words_of("quota_exceeded") == ("quota",)


@pytest.fixture(scope="module")
def ear() -> Iterator[Moonshine]:
    made = Moonshine()
    yield made
    made.close()


FIGURES = dict(zip(DIGITS, "0123456789", strict=True))


def understood(ear: Moonshine, words: tuple[str, ...], rate: int) -> str:
    heard = asyncio.run(ear.hear(Sound(join(words, rate), rate))).lower()
    for word, figure in FIGURES.items():
        heard = heard.replace(word, figure)
    return re.sub(r"\D", "", heard)


@pytest.mark.speech
@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize("code", ["019-450-730", "582-613-947", "777-000-111", "408-926-153", "365-584-239"])
def test_a_recogniser_understands_all_nine_digits(ear: Moonshine, code: str, rate: int) -> None:
    """Group by group, as a person writes them down: on nine bare digits this small model falls into repetitions."""
    _, *groups = "\n".join(words_of(ENROLMENT_PENDING, code)).split("\n\n")
    assert "-".join(understood(ear, tuple(group.split()), rate) for group in groups) == code


@pytest.mark.speech
@pytest.mark.parametrize("line", Line)
def test_a_recogniser_understands_the_lines(ear: Moonshine, line: Line) -> None:
    heard = set(re.findall("[a-z]+", asyncio.run(ear.hear(Sound(join([line.value], 48_000), 48_000))).lower()))
    expected = re.findall("[a-z]+", TEXTS[line].lower())
    assert sum(word in heard for word in expected) >= len(expected) - 1, heard
