"""What ails a microphone is told once and healed at once; an echo out of control is told apart from a talker."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from appliance.audio.ears import Evidence
from appliance.audio.facts import EchoUncontrolled, MicrophoneAiled, MicrophoneHealed
from appliance.audio.format import Samples
from appliance.audio.health import (
    BAD_LOOKS,
    CLIPPING_BLOCKS,
    GHOST_BLOCKS,
    GHOSTS,
    GHOSTS_WITHIN_S,
    LOOK_BLOCKS,
    RECENT_BLOCKS,
    STUBBORN_SHARE,
    TALK_BLOCKS,
    ZERO_S,
    EchoHealth,
    MicrophoneHealth,
)
from appliance.conversation.events import Ailment

RATE = 16_000
Told = list[tuple[float, MicrophoneAiled | MicrophoneHealed]]


def chunks_of(sound: Samples, sizes: list[int]) -> Iterator[Samples]:
    at = k = 0
    while at < len(sound):
        yield sound[at : at + sizes[k % len(sizes)]]
        at += sizes[k % len(sizes)]
        k += 1


def told(sound: Samples, rate: int = RATE, sizes: list[int] | None = None) -> Told:
    """What was told, and after how many seconds."""
    health = MicrophoneHealth()
    out: Told = []
    heard = 0
    for chunk in chunks_of(sound, sizes or [rate // 100]):
        heard += len(chunk)
        change = health.hear(chunk, rate)
        if change is not None:
            out.append((heard / rate, change))
    return out


def noise(seconds: float, rate: int = RATE) -> Samples:
    return np.random.default_rng(1).normal(0, 40, int(seconds * rate)).astype(np.int16)


def flat(seconds: float, value: int, rate: int = RATE) -> Samples:
    return np.full(int(seconds * rate), value, np.int16)


def clipped(seconds: float, share: float, rate: int = RATE) -> Samples:
    sound = noise(seconds, rate)
    sound[:: int(1 / share)] = 32767
    sound[1 :: int(1 / share)] = -32768
    return sound


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("value", [0, -1, 523])
def test_one_and_the_same_value_for_three_seconds_is_a_dead_microphone(rate: int, value: int) -> None:
    sound = np.concatenate((noise(1, rate), flat(3.5, value, rate)))
    ((at, fact),) = told(sound, rate)
    assert fact == MicrophoneAiled(Ailment.ZERO)
    assert at == pytest.approx(4.0, abs=0.011)
    assert told(np.concatenate((noise(1, rate), flat(2.9, value, rate), noise(1, rate))), rate) == []


def test_zeros_from_the_very_first_sample_on_are_noticed() -> None:
    assert told(flat(5, 0)) == [(3.0, MicrophoneAiled(Ailment.ZERO))]


def test_the_first_sound_heals_at_once() -> None:
    sound = np.concatenate((flat(4, 0), noise(1)))
    assert told(sound) == [(3.0, MicrophoneAiled(Ailment.ZERO)), (4.01, MicrophoneHealed())]


def test_two_seconds_of_clipping_are_told_once_and_three_good_ones_heal() -> None:
    sound = np.concatenate((noise(1), clipped(6, 0.02), noise(5)))
    assert told(sound) == [(3.0, MicrophoneAiled(Ailment.CLIPPED)), (10.0, MicrophoneHealed())]


def test_a_second_of_clipping_or_a_little_of_it_all_the_time_is_no_ailment() -> None:
    assert told(np.concatenate((noise(1), clipped(1, 0.5), noise(1), clipped(1, 0.5), noise(1)))) == []
    assert told(clipped(6, 0.004)) == []


def test_a_clipped_microphone_that_dies_is_a_dead_one() -> None:
    told_kinds = [fact for _, fact in told(np.concatenate((clipped(3, 0.1), flat(4, 32767), noise(1))))]
    assert told_kinds == [MicrophoneAiled(Ailment.CLIPPED), MicrophoneAiled(Ailment.ZERO), MicrophoneHealed()]


def test_no_samples_are_no_news() -> None:
    assert MicrophoneHealth().hear(np.zeros(0, np.int16), RATE) is None


PIECES = st.lists(
    st.one_of(
        st.tuples(st.just("flat"), st.sampled_from([0.2, 2.5, 4.0]), st.sampled_from([0, 7, 32767])),
        st.tuples(st.just("noise"), st.sampled_from([0.5, 1.5, 4.0]), st.just(0)),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(PIECES, st.lists(st.integers(1, 1600), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 200))
def test_how_the_sound_is_cut_makes_no_difference(pieces: list[tuple[str, float, int]], sizes: list[int]) -> None:
    rate = 4000
    sound = np.concatenate([flat(s, v, rate) if kind == "flat" else noise(s, rate) for kind, s, v in pieces])
    edges = np.flatnonzero(np.diff(sound)) + 1
    runs = np.diff(np.concatenate(([0], edges, [len(sound)])))
    assume(not np.any((runs >= ZERO_S * rate) & (runs < ZERO_S * rate + max(sizes))))  # one piece late is in time
    zeros = [(at, fact) for at, fact in told(sound, rate, sizes) if fact != MicrophoneAiled(Ailment.CLIPPED)]
    exact = [(at, fact) for at, fact in told(sound, rate, [40]) if fact != MicrophoneAiled(Ailment.CLIPPED)]
    assert [fact for _, fact in zeros if isinstance(fact, MicrophoneAiled)] == [
        fact for _, fact in exact if isinstance(fact, MicrophoneAiled)
    ]
    ailed = [at for at, fact in zeros if isinstance(fact, MicrophoneAiled)]
    precisely = [at for at, fact in exact if isinstance(fact, MicrophoneAiled)]
    assert ailed == pytest.approx(precisely, abs=(max(sizes) + 40) / rate)


# --- the echo ---


def evidence(level_dbfs: float, *, far: bool) -> Evidence:
    return Evidence(0.0, level_dbfs, -60.0, 0.0, -2.0, misled=False, jumped=False, far_active=far)


class Room:
    """An echo watch, and the blocks it hears."""

    def __init__(self) -> None:
        self.health = EchoHealth()
        self.at = 0.0
        self.told: list[EchoUncontrolled] = []

    def hear(
        self,
        blocks: int,
        raw: float,
        left: float,
        *,
        far: bool = True,
        clips: bool = False,
        voiced: int = 0,
        talks: bool = False,
    ) -> None:
        for k in range(blocks):
            proof = evidence(left, far=far)
            lost = self.health.hear(self.at, proof, raw, clipped=clips, voiced=k < voiced, talks=talks)
            self.at += 0.01
            if lost is not None:
                self.told.append(lost)

    def cut(self, voiced: int) -> None:
        """Somebody interrupts, and what follows holds so many voiced blocks."""
        self.health.cut()
        self.hear(GHOST_BLOCKS, -50, -50, far=False, voiced=voiced)


def test_an_echo_that_is_not_cancelled_is_told_with_the_remedy() -> None:
    room = Room()
    room.hear(300, -60, -60, far=False)
    room.hear(LOOK_BLOCKS * BAD_LOOKS + RECENT_BLOCKS - 1, -20, -22)
    assert room.told == []
    room.hear(1, -20, -22)
    (lost,) = room.told
    assert "2 dB" in lost.reason
    assert "calibrate" in lost.hint


def test_an_echo_that_is_made_louder_is_zero_and_not_less() -> None:
    room = Room()
    room.hear(LOOK_BLOCKS * BAD_LOOKS + RECENT_BLOCKS, -20, -14)
    assert "only 0 dB" in room.told[0].reason


def test_a_cancelled_echo_is_no_trouble() -> None:
    room = Room()
    room.hear(300, -60, -60, far=False)
    room.hear(LOOK_BLOCKS * 10, -20, -35)
    assert room.told == []


def test_an_echo_hardly_louder_than_the_room_says_nothing_about_the_canceller() -> None:
    room = Room()
    room.hear(300, -40, -40, far=False)
    room.hear(LOOK_BLOCKS * 10, -30, -30)
    assert room.told == []


def test_one_bad_look_between_good_ones_is_forgiven() -> None:
    room = Room()
    for _ in range(5):
        room.hear(LOOK_BLOCKS, -20, -20)
        room.hear(LOOK_BLOCKS, -20, -40)
    assert room.told == []


def test_talkers_over_a_loudspeaker_that_is_hardly_heard_are_no_echo() -> None:
    """A headset, or a board that cancels well: whatever is loud while the reply sounds is a person."""
    room = Room()
    room.hear(300, -60, -60, far=False)
    for _ in range(30):
        room.hear(100, -58, -62)
        room.hear(40, -20, -21)  # until it is sure of a talker
        room.cut(TALK_BLOCKS)
        room.hear(30, -20, -21, talks=True)
    assert room.told == []


def test_short_words_that_interrupt_nothing_are_no_echo() -> None:
    room = Room()
    room.hear(300, -60, -60, far=False)
    few = int(STUBBORN_SHARE * LOOK_BLOCKS) - 5
    for _ in range(10):
        room.hear(few, -20, -21)
        room.hear(LOOK_BLOCKS - few, -58, -62)
    assert room.told == []


@pytest.mark.parametrize(("clipping", "complains"), [(CLIPPING_BLOCKS, True), (CLIPPING_BLOCKS - 1, False)])
def test_a_loudspeaker_that_drives_the_microphone_into_clipping_is_told(clipping: int, complains: bool) -> None:
    room = Room()
    room.hear(clipping, -3, -40, clips=True)
    room.hear(LOOK_BLOCKS + RECENT_BLOCKS - clipping, -20, -40)
    assert bool(room.told) is complains
    assert all("clipping" in lost.reason for lost in room.told)


def test_clipping_while_the_loudspeaker_is_silent_is_not_its_fault() -> None:
    room = Room()
    room.hear(LOOK_BLOCKS * 3, -3, -3, far=False, clips=True)
    assert room.told == []


def test_three_interruptions_by_nobody_within_five_minutes_are_told_once() -> None:
    room = Room()
    for _ in range(GHOSTS):
        assert room.told == []
        room.cut(TALK_BLOCKS - 1)
        room.hear(6000, -60, -60, far=False)
    assert len(room.told) == 1
    room.cut(0)
    room.cut(0)
    assert len(room.told) == 1, "and it begins to count anew"


def test_a_real_talker_is_no_ghost() -> None:
    room = Room()
    for _ in range(3 * GHOSTS):
        room.cut(TALK_BLOCKS)
    room.cut(0)
    room.cut(0)
    assert room.told == []


def test_ghosts_far_apart_are_forgiven() -> None:
    room = Room()
    for _ in range(2 * GHOSTS):
        room.cut(0)
        room.at += GHOSTS_WITHIN_S / 2
    assert room.told == []
