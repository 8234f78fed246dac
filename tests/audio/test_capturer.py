"""The capturer on a microphone in virtual time: what goes up is compared with what was said."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from appliance.audio.capturer import FROZEN_S, Capturer, check_microphones
from appliance.audio.facts import AudioFact, Captured, TurnTail, VoiceBegan, VoiceStopped
from appliance.audio.format import SESSION_RATE
from appliance.audio.gate import PRE_ROLL_MS, Gate
from appliance.errors import ConfigError, DeviceError
from tests.audio.recordings import RATE as SPEECH_RATE
from tests.audio.recordings import recording
from tests.audio.stage import listener, speechlike
from tests.fakes.sound_card import Microphone, Script, Time

Samples = NDArray[np.int16]
RATES = [8_000, 16_000, 44_100, 48_000]


class Ear:
    """A capturer, its microphone and time."""

    def __init__(self, sound: Samples, rate: int, microphones: tuple[int, ...] = (0,), **pcm: object) -> None:
        self.time = Time()
        self.begun = self.time.now
        self.pcm = Microphone(self.time, sound, rate, **pcm)  # type: ignore[arg-type]
        self.facts: list[AudioFact] = []
        self.far: Callable[[float], Samples | None] = lambda _: None
        self.gate = Gate()
        self.capturer = Capturer(self.pcm, microphones, None, self.gate, listener(self.facts.append), self.facts.append)

    def run(self, ms: float, late_s: Callable[[], float] = float) -> int:
        return Script(self.time).run(self.time.now + ms / 1000, self.pump, self.capturer.due_s, late_s)

    def pump(self) -> None:
        self.capturer.pump(self.time.now, self.far)

    def set_gate(self, is_open: bool, turn: int = 1) -> None:
        """As the thread does it: what is in the card belongs to the turn."""
        if not is_open:
            self.pump()
        self.capturer.set_gate(is_open=is_open, turn=turn)

    def chunks(self, turn: int = 1) -> list[Captured]:
        return [fact for fact in self.facts if isinstance(fact, Captured) and fact.turn == turn]

    def heard(self, turn: int = 1) -> Samples:
        return np.frombuffer(b"".join(fact.pcm for fact in self.chunks(turn)), "<i2")


def likeness(heard: Samples, said: Samples) -> float:
    count = min(len(heard), len(said))
    return float(np.corrcoef(heard[:count].astype(float), said[:count].astype(float))[0, 1])


@pytest.mark.parametrize("rate", RATES)
def test_a_turn_is_its_pre_roll_and_all_that_was_said_until_its_end(rate: int) -> None:
    ear = Ear(speechlike(4000, rate), rate)
    ear.run(1237)
    ear.set_gate(True)
    ear.run(903)
    ear.set_gate(False)
    ear.run(300)
    heard, chunks = ear.heard(), ear.chunks()
    assert abs(len(heard) / 24 - (PRE_ROLL_MS + 903)) < 20
    end = (1237 + 903) * 24
    said = speechlike(4000)[end - len(heard) : end]
    assert likeness(heard, said) > 0.99, "and it ends with the last sample before the gate closed"
    assert chunks[0].captured_at - ear.begun == pytest.approx((end - len(heard)) / SESSION_RATE, abs=0.004)
    assert ear.facts[-1] == TurnTail(1, None)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("late_ms", [0, 7, 60])
def test_a_turn_that_a_press_began_holds_nothing_from_before_the_press(rate: int, late_ms: int) -> None:
    """Neither of what is remembered nor of what the card holds; and all that was captured since."""
    ear = Ear(speechlike(3000, rate), rate)
    ear.run(1237)
    asked_at = ear.time.now
    ear.run(late_ms)  # the thread learns of it late
    ear.capturer.set_gate(is_open=True, turn=1, asked_at=asked_at)
    ear.run(500)
    ear.set_gate(False)
    first = ear.chunks()[0].captured_at
    assert asked_at - 1e-6 <= first <= asked_at + 0.001
    assert len(ear.heard()) / 24 == pytest.approx(late_ms + 500, abs=4), "the filters know the time to 3 ms"


@pytest.mark.parametrize("rate", RATES)
def test_every_chunk_knows_when_it_was_captured(rate: int) -> None:
    ear = Ear(speechlike(3000, rate), rate)
    ear.set_gate(True)
    chance = np.random.default_rng(1)
    ear.run(2500, lambda: float(chance.uniform(0, 0.05)))  # the thread is late by up to five blocks
    at = 0
    for chunk in ear.chunks():
        assert chunk.captured_at - ear.begun == pytest.approx(at / SESSION_RATE, abs=0.0031)
        at += len(chunk.pcm) // 2
    assert at > 2400 * 24


@pytest.mark.parametrize("sample_format", ["S16_LE", "S32_LE", "S24_LE", "S24_3LE", "FLOAT_LE"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_format_and_width_gives_the_same(sample_format: str, channels: int) -> None:
    said = speechlike(1000, 48_000)
    wide = np.zeros((len(said), channels), np.int16)
    wide[:, channels - 1] = said
    ear = Ear(wide, 48_000, (channels - 1,), sample_format=sample_format)
    ear.set_gate(True)
    ear.run(900)
    ear.set_gate(False)
    assert len(ear.heard()) == 900 * 24
    assert likeness(ear.heard()[50:], speechlike(1000)[50:]) > 0.999


def test_chosen_microphones_are_averaged_and_the_others_left_out() -> None:
    noise = np.random.default_rng(2).normal(0, 3000, (48_000, 6))
    sound = np.asarray(noise + speechlike(1000, 48_000)[:, None], np.int16)
    sound[:, 5] = 32_000  # a loop-back channel
    scores = []
    for microphones in ((0,), (0, 1, 2, 3)):
        ear = Ear(sound, 48_000, microphones)
        ear.set_gate(True)
        ear.run(900)
        scores.append(likeness(ear.heard()[50:], speechlike(1000)[50:]))
    assert scores[1] > scores[0]
    assert scores[1] > 0.98


def test_no_microphone_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[0\]"):
        check_microphones(())


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(RATES),
    st.lists(st.tuples(st.integers(20, 700), st.booleans()), min_size=1, max_size=8),
    st.floats(0, 0.1),
)
def test_turns_never_share_or_lose_a_sample(rate: int, story: list[tuple[int, bool]], late_s: float) -> None:
    """Each turn is one unbroken piece of the sound, up to the instant at which its gate closed."""
    ear = Ear(np.asarray(speechlike(6000, rate) // 2, np.int16), rate)
    ends: dict[int, float] = {}
    turn = 0
    for wait_ms, opens in story:
        ear.run(wait_ms, lambda: late_s)
        if opens and not ear.gate.open:
            turn += 1
        if not opens and ear.gate.open:
            ends[turn] = ear.time.now - ear.begun
        ear.set_gate(opens, turn)
    for ended, at_s in ends.items():
        heard = ear.heard(ended)
        first_at = ear.chunks(ended)[0].captured_at - ear.begun if len(heard) else 0.0
        assert len(heard) / SESSION_RATE == pytest.approx(at_s - first_at, abs=0.005)
    assert [fact.turn for fact in ear.facts if isinstance(fact, TurnTail)] == sorted(ends)


@pytest.mark.parametrize("period", [64, 240, 480, 1024])
def test_any_period_of_the_card_works(period: int) -> None:
    ear = Ear(speechlike(2000, 48_000), 48_000, period=period)
    ear.set_gate(True)
    turns = ear.run(1500)
    ear.set_gate(False)
    assert len(ear.heard()) == 1500 * 24
    assert likeness(ear.heard()[50:], speechlike(2000)[50:]) > 0.999
    assert turns < 1500 / 10 * (1 + 480 / period) + 30


def test_a_machine_slower_than_a_frame_does_not_stay_in_the_card() -> None:
    ear = Ear(speechlike(5000, 48_000), 48_000)
    ear.pcm.slow = 0.0002  # ten frames pass while one reading takes place
    before = ear.pcm.reads
    ear.run(1000)
    assert ear.pcm.reads - before < 400


def test_an_overrun_is_counted_and_the_clock_stays_right() -> None:
    ear = Ear(speechlike(5000, 48_000), 48_000)
    ear.set_gate(True)
    ear.run(500)
    ear.time.now += 1.0  # the thread was not let run
    ear.run(500)
    assert ear.capturer.overruns == ear.pcm.overruns == 1
    last = ear.chunks()[-1]
    assert last.captured_at == pytest.approx(ear.time.now - 0.010, abs=0.012)
    assert all(a.captured_at < b.captured_at for a, b in zip(ear.chunks(), ear.chunks()[1:], strict=False))


@pytest.mark.parametrize("buffer_frames", [512, 960, 2048])
def test_a_small_ring_loses_nothing_and_does_not_spin(buffer_frames: int) -> None:
    ear = Ear(speechlike(2000, 48_000), 48_000, buffer_frames=buffer_frames)
    ear.set_gate(True)
    turns = ear.run(1900, lambda: buffer_frames / 3 / 48_000)  # and each time the thread is late
    ear.set_gate(False)
    assert ear.capturer.overruns == 0
    assert len(ear.heard()) / 24 == pytest.approx(1900, abs=20)
    assert likeness(ear.heard()[50:], speechlike(2000)[50:]) > 0.99
    assert turns < 1900 / (buffer_frames / 48 / 2)


def test_a_card_that_only_overruns_is_an_error_and_not_a_loop() -> None:
    ear = Ear(speechlike(100, 48_000), 48_000)
    ear.pcm.read = lambda: None  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="delivers nothing"):
        ear.run(3000)


def test_a_frozen_microphone_is_an_error_after_two_seconds() -> None:
    ear = Ear(speechlike(5000, 48_000), 48_000)
    ear.run(100)
    ear.pcm.frozen = True
    ear.run(FROZEN_S * 1000 - 100)
    with pytest.raises(DeviceError, match="delivers nothing"):
        ear.run(300)


def test_a_talker_is_noticed_and_the_true_end_is_told_with_the_turn() -> None:
    speech = recording("cards/001.wav").astype(float)
    lead, rate = 1.0, 48_000
    quiet = np.zeros(int(lead * SPEECH_RATE))
    sound = np.concatenate((quiet, speech, np.zeros(2 * SPEECH_RATE)))
    at48k = np.interp(np.arange(len(sound) * 3) / 3, np.arange(len(sound)), sound)
    ear = Ear(np.asarray(at48k, np.int16), rate)
    ear.run(900)
    ear.set_gate(True)
    ear.run(len(at48k) / 48 - 1000)
    began = [fact.onset_at for fact in ear.facts if isinstance(fact, VoiceBegan)]
    ended = [fact.ended_at for fact in ear.facts if isinstance(fact, VoiceStopped)]
    assert len(began) >= 1
    ear.set_gate(False)
    (tail,) = (fact for fact in ear.facts if isinstance(fact, TurnTail))
    assert tail.voice_ended_at == ended[-1]
    loud = np.flatnonzero(np.abs(sound) > np.abs(sound).max() * 0.03)
    assert began[0] - ear.begun == pytest.approx(loud[0] / SPEECH_RATE, abs=0.3)
    assert ended[-1] - ear.begun == pytest.approx(loud[-1] / SPEECH_RATE, abs=0.3)
    ear.set_gate(True, 2)
    ear.run(100)
    ear.set_gate(False, 2)
    assert ear.facts[-1] == TurnTail(2, None), "an earlier end of speech is not this turn's"


def test_the_canceller_gets_the_far_end_of_the_same_time() -> None:
    asked: list[float] = []
    ear = Ear(speechlike(2000, 48_000), 48_000)

    def far(at: float) -> None:
        asked.append(at - ear.begun)

    ear.far = far
    chance = np.random.default_rng(1)
    ear.run(1000, lambda: float(chance.uniform(0, 0.03)))
    steps = np.diff(asked)[5:]  # the filters fill first
    assert len(asked) > 90
    assert np.abs(steps - 0.010).max() < 0.0005
