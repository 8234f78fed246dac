"""The capturer with a loudspeaker that sounds: one timeline over all seams, and a far end of the right time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from appliance.audio.capturer import Capturer
from appliance.audio.facts import AudioFact, Captured
from appliance.audio.format import SESSION_RATE, Samples
from appliance.audio.gate import Gate
from appliance.audio.processing import BLOCK
from tests.audio.stage import listener, speechlike
from tests.fakes.sound_card import Microphone, Script, Time

RATES = [8_000, 16_000, 44_100, 48_000]
DELAY = 128


class Recorder:
    """A canceller that cancels nothing, is as late as AEC3, and keeps what it was given."""

    cancels, delay = True, DELAY

    def __init__(self) -> None:
        self.near: list[Samples] = []
        self.far: list[Samples] = []
        self._line = np.zeros(DELAY, np.int16)

    def __call__(self, near: Samples, far: Samples) -> Samples:
        self.near.append(near)
        self.far.append(far)
        late = np.concatenate((self._line, near))
        self._line = late[BLOCK:]
        return late[:BLOCK]


class Room:
    """A capturer, its microphone, a loudspeaker that sounds when told, and time."""

    def __init__(self, sound: Samples, rate: int, *, reference: int | None = None) -> None:
        self.time = Time()
        self.begun = self.time.now
        self.rate = rate
        self.canceller = Recorder()
        self.sounds = False
        self.asked: list[float] = []
        self.facts: list[AudioFact] = []
        self.gate = Gate()
        self.pcm = Microphone(self.time, sound, rate)
        ears = listener(self.facts.append, processor=self.canceller)
        self.capturer = Capturer(self.pcm, (0,), reference, self.gate, ears, self.facts.append)

    def far(self, at: float) -> Samples | None:
        self.asked.append(at - self.begun)
        return np.zeros(BLOCK, np.int16) if self.sounds else None

    def pump(self) -> None:
        self.capturer.pump(self.time.now, self.far)

    def run(self, ms: float, late_s: Callable[[], float] = float) -> None:
        Script(self.time).run(self.time.now + ms / 1000, self.pump, self.capturer.due_s, late_s)

    def set_gate(self, is_open: bool, turn: int = 1) -> None:
        if not is_open:
            self.pump()
        self.capturer.set_gate(is_open=is_open, turn=turn)

    def chunks(self, turn: int) -> list[Captured]:
        return [fact for fact in self.facts if isinstance(fact, Captured) and fact.turn == turn]

    def heard(self, turn: int) -> Samples:
        return np.frombuffer(b"".join(fact.pcm for fact in self.chunks(turn)), "<i2")


def likeness(heard: NDArray[np.float64], said: NDArray[np.float64], at: int) -> float:
    """The correlation with what was said at about position ``at``, the best within a millisecond and a half."""
    padded = np.concatenate((np.zeros(40), said[max(0, at - 40) : at + len(heard) + 40], np.zeros(80)))
    padded = padded[max(0, min(40, at)) :]
    sums = np.fft.irfft(np.fft.rfft(padded) * np.conj(np.fft.rfft(heard, len(padded))), len(padded))
    shift = int(np.argmax(sums[:81]))
    part = padded[shift : shift + len(heard)]
    return float(np.corrcoef(heard, part)[0, 1])


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(RATES),
    st.lists(st.tuples(st.integers(10, 400), st.sampled_from(["open", "close", "sounds", "silent"])), max_size=8),
    st.floats(0, 0.19),
)
def test_over_all_seams_each_turn_is_one_piece_of_the_sound(
    rate: int, story: list[tuple[int, str]], late_s: float
) -> None:
    """Turns open and close and the loudspeaker begins and ends: what goes up is what was said, at its time."""
    room = Room(speechlike(4000, rate), rate)
    said = speechlike(4000).astype(float)
    turn = 0
    for wait_ms, what in [*story, (200, "close")]:
        room.run(wait_ms, lambda: late_s)
        turn += what == "open" and not room.gate.open
        if what in {"open", "close"}:
            room.set_gate(what == "open", turn)
        else:
            room.sounds = what == "sounds"
    for number in range(1, turn + 1):
        heard = room.heard(number).astype(float)
        if len(heard) < 480:
            continue
        at = round((room.chunks(number)[0].captured_at - room.begun) * SESSION_RATE)
        # A filter that begins anew where a turn ended blurs a millisecond there and moves the rest by half a sample.
        assert likeness(heard, said, at) > 0.95, "nothing repeated, lost, or of another time"
        previous = 0.0
        for chunk in room.chunks(number):
            assert previous == 0.0 or chunk.captured_at == pytest.approx(previous, abs=0.002)
            previous = chunk.captured_at + len(chunk.pcm) / 2 / SESSION_RATE


@pytest.mark.parametrize("rate", RATES)
def test_the_pre_roll_of_the_next_turn_goes_on_where_the_last_turn_ended(rate: int) -> None:
    room = Room(speechlike(6000, rate), rate)
    ends = []
    for turn, wait_ms in enumerate((1003, 377, 251, 588), 1):
        room.sounds = turn % 2 == 0
        room.set_gate(True, turn)
        room.run(wait_ms)
        room.set_gate(False, turn)
        ends.append(room.time.now - room.begun)
        room.sounds = False
        room.run(300)
    said = speechlike(6000).astype(float)
    for turn in (1, 2, 3, 4):
        start = room.chunks(turn)[0].captured_at - room.begun
        heard = room.heard(turn).astype(float)
        assert start + len(heard) / SESSION_RATE == pytest.approx(ends[turn - 1], abs=0.002)
        if turn > 1:
            assert start == pytest.approx(ends[turn - 2], abs=0.002), "all since the last turn, nothing twice"
        at = round(start * SESSION_RATE)
        assert likeness(heard[100:], said, at + 100) > 0.999


@pytest.mark.parametrize("rate", RATES)
def test_the_far_end_is_asked_for_the_time_of_the_block(rate: int) -> None:
    """A click at a known time is in the block that began then, from the first block on and over closing gates."""
    sound = np.zeros(rate * 3, np.int16)
    clicks_s = [0.0123, 0.205, 0.8, 1.4, 2.222]
    for click in clicks_s:
        sound[round(click * rate)] = 30_000
    room = Room(sound, rate)
    room.sounds = True
    chance = np.random.default_rng(1)
    for turn in range(1, 10):
        room.set_gate(True, turn)
        room.run(151, lambda: float(chance.uniform(0, 0.02)))
        room.set_gate(False, turn)
        room.run(137)
    near = np.concatenate(room.canceller.near).astype(float)
    for click in clicks_s:
        found = max(
            (abs(near[k]), room.asked[k // BLOCK] + k % BLOCK / 16_000)
            for k in range(len(near))
            if abs(room.asked[k // BLOCK] - click) < 0.05
        )
        assert found[1] == pytest.approx(click, abs=0.0012)
    steps = np.diff(room.asked)
    assert np.abs(steps - 0.010).max() < 0.0012, "and no gap where a turn ended"


@pytest.mark.parametrize("rate", RATES)
def test_a_boards_own_reference_stays_in_step_over_turns(rate: int) -> None:
    sound = np.repeat(speechlike(9000, rate)[:, np.newaxis], 2, axis=1)
    room = Room(sound, rate, reference=1)
    room.sounds = True
    for turn in range(1, 20):
        room.set_gate(True, turn)
        room.run(97 + turn * 3)
        room.set_gate(False, turn)
        room.run(101)
    near, far = np.concatenate(room.canceller.near), np.concatenate(room.canceller.far)
    assert len(near) > 16_000 * 3
    assert np.array_equal(near, far), "the same sound on both channels is the same in both, sample by sample"


def test_a_reference_in_the_middle_of_a_silence_is_not_from_before_it() -> None:
    sound = np.repeat(speechlike(4000, 48_000)[:, np.newaxis], 2, axis=1)
    room = Room(sound, 48_000, reference=1)
    for k in range(20):
        room.sounds = k % 2 == 1
        room.run(133)
    assert np.array_equal(np.concatenate(room.canceller.near), np.concatenate(room.canceller.far))


@pytest.mark.parametrize("late_s", [0.05, 0.1, 0.15, 0.19])
@pytest.mark.parametrize("sounds", [False, True])
def test_a_thread_that_is_late_loses_nothing_that_the_card_kept(late_s: float, sounds: bool) -> None:
    room = Room(speechlike(4000, 48_000), 48_000)
    room.sounds = sounds
    room.set_gate(True)
    room.run(2000, lambda: late_s)
    room.set_gate(False)
    assert room.capturer.overruns == 0
    heard = room.heard(1).astype(float)
    assert len(heard) == 2000 * 24
    assert np.corrcoef(heard[50:], speechlike(4000)[50 : len(heard)].astype(float))[0, 1] > 0.999


def test_after_an_overrun_chunks_are_of_their_time_with_the_loudspeaker_sounding() -> None:
    room = Room(speechlike(6000, 48_000), 48_000)
    room.sounds = True
    room.set_gate(True)
    room.run(500)
    room.time.now += 1.0  # the thread was not let run
    room.run(1000)
    assert room.capturer.overruns == 1
    last = room.chunks(1)[-1]
    assert last.captured_at + len(last.pcm) / 48_000 == pytest.approx(room.time.now - 0.02, abs=0.02)
    times = [chunk.captured_at for chunk in room.chunks(1)]
    assert times == sorted(times)


class Mangler(Recorder):
    """A canceller that takes everything away."""

    def __call__(self, near: Samples, far: Samples) -> Samples:
        return np.zeros_like(super().__call__(near, far))


@pytest.mark.parametrize("reply", [False, True])
def test_under_an_ear_con_what_goes_up_is_what_was_said(reply: bool) -> None:
    """The canceller may do to it what it likes: the first word is said over the ear-con. Over a reply it is heard."""
    said = speechlike(1000, 48_000)
    room = Room(said, 48_000)
    ears = listener(room.facts.append, processor=Mangler())
    room.capturer = Capturer(room.pcm, (0,), None, room.gate, ears, room.facts.append, lambda: reply)
    room.sounds = True
    room.set_gate(True, 1)
    room.run(900)
    sent = np.frombuffer(b"".join(f.pcm for f in room.facts if isinstance(f, Captured)), "<i2")[2400:]
    assert bool(np.any(sent)) is not reply
