"""The linear canceller on real speech in a small room, and on everything that is no speech."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audio.linear import HOP, LOST_HOPS, LinearCanceller, Sound
from appliance.audio.unexplained import LEAST_DB, MOST_DB, Unexplained
from tests.audio.recordings import recording
from tests.audio.room import Signal, as_loud_as, echo_of, noise, path, power, reply


def run(cancel: LinearCanceller, near: Signal, far: Signal) -> tuple[Signal, list[float]]:
    """The residue, and the unexplained dB of each hop."""
    unexplained = Unexplained()
    residues, told = [], []
    for at in range(0, len(near) - HOP + 1, HOP):
        hop = slice(at, at + HOP)
        residue, understood = cancel((near[hop] / 32768).astype(np.float32), (far[hop] / 32768).astype(np.float32))
        told.append(unexplained(residue, understood))
        residues.append(residue)
    return np.concatenate(residues).astype(float) * 32768, told


def erle_db(near: Signal, residue: Signal, from_s: float) -> float:
    start = int(from_s * 16_000)
    return 10 * float(np.log10(power(near[start : len(residue)]) / power(residue[start:])))


@pytest.mark.parametrize("gain", [0.05, 0.5, 2.0])
def test_within_two_seconds_the_echo_of_speech_is_explained(gain: float) -> None:
    far = reply(8)
    near = echo_of(far // 4, path(gain)) + noise(len(far), 2.0)
    residue, _ = run(LinearCanceller(), near, far / 4)
    assert erle_db(near, residue, 2.0) > 15


def test_the_talker_is_left_as_he_is() -> None:
    far = reply(10)
    echo = echo_of(far, path()) + noise(len(far))
    talker = np.zeros(len(far))
    said = recording("cards/001.wav").astype(float)
    talker[80_000 : 80_000 + len(said)] = said
    talker *= np.sqrt(power(echo) / power(said)) * 10 ** (-10 / 20)
    residue, _ = run(LinearCanceller(), echo + talker, far.astype(float))
    part = slice(80_000, 80_000 + len(said))
    assert np.corrcoef(residue[part], talker[part])[0, 1] > 0.8


def test_a_talker_far_below_the_echo_shows_and_the_echo_alone_does_not() -> None:
    far = reply(14)
    echo = echo_of(far, path()) + noise(len(far))
    said = recording("cards/001.wav").astype(float)
    start = 6 * 16_000
    near = echo.copy()
    near[start : start + len(said)] += as_loud_as(said, echo, -15)
    _, alone = run(LinearCanceller(), echo, far.astype(float))
    _, over = run(LinearCanceller(), near, far.astype(float))
    hops = slice(start // HOP, (start + len(said)) // HOP)
    loud = [power(said[k * HOP : (k + 1) * HOP]) > 0.3 * power(said) for k in range(len(said) // HOP)]
    spoken = np.array(over[hops])[: len(loud)][loud]
    silent = np.array(alone[hops])[: len(loud)][loud]
    assert np.median(spoken) > np.median(silent) + 3
    assert np.mean(spoken > 2) > 0.6
    assert np.mean(np.array(alone[150:]) > 2) < 0.05, "echo alone is explained"


def test_after_the_path_has_changed_it_begins_anew_and_explains_again() -> None:
    far = reply(16)
    half = len(far) // 2
    moved = np.concatenate((echo_of(far, path(seed=1))[:half], echo_of(far, -path(seed=2, delay=200))[half:]))
    near = moved + noise(len(far), 2.0)
    cancel = LinearCanceller()
    run(cancel, near[:half], far[:half].astype(float))
    before = cancel.restarts
    residue, _ = run(cancel, near[half:], far[half:].astype(float))
    assert before == 0
    assert cancel.restarts >= 1
    assert erle_db(near[half:], residue, 3.0) > 12


def test_a_path_that_does_not_change_never_starts_it_anew() -> None:
    far = reply(12)
    cancel = LinearCanceller()
    run(cancel, echo_of(far, path()) + noise(len(far), 2.0), far.astype(float))
    assert cancel.restarts == 0


def test_what_sounds_while_the_loudspeaker_is_silent_is_nobodys_echo() -> None:
    said = recording("cards/001.wav").astype(float)
    cancel = LinearCanceller()
    residue, _ = run(cancel, said, np.zeros(len(said)))
    assert np.abs(residue - said[: len(residue)]).max() < 1e-3
    assert cancel.restarts == 0


def test_a_loudspeaker_that_no_microphone_hears_costs_nothing_but_tries() -> None:
    far = reply(6).astype(float)
    near = noise(len(far), 50.0)
    residue, _ = run(LinearCanceller(), near, far)
    assert power(residue[32_000:]) < 2 * power(near[32_000:])


KINDS = ["zeros", "silence", "noise", "full noise", "square", "constant", "click", "speech-like", "tiny"]


def signal(kind: str, seed: int) -> Sound:
    chance = np.random.default_rng(seed)
    match kind:
        case "zeros":
            sound = np.zeros(HOP)
        case "silence":
            sound = chance.integers(-1, 2, HOP) / 32768
        case "noise":
            sound = chance.normal(0, 0.01, HOP)
        case "full noise":
            sound = chance.uniform(-1, 1, HOP)
        case "square":
            sound = np.where(np.arange(HOP) // (1 + seed % 40) % 2, 32767 / 32768, -1.0)
        case "constant":
            sound = np.full(HOP, -1.0)
        case "click":
            sound = np.eye(1, HOP, seed % HOP)[0]
        case "tiny":
            sound = np.full(HOP, 1e-30)
        case _:
            sound = np.sin(np.arange(HOP) * (0.01 + seed % 50 / 20)) * 0.3
    return sound.astype(np.float32)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS), st.integers(1, 3 * LOST_HOPS), st.booleans()),
        min_size=1,
        max_size=10,
    )
)
def test_nothing_that_a_card_can_deliver_makes_a_number_that_is_none(
    story: list[tuple[str, str, int, bool]],
) -> None:
    """Warnings are errors here: neither a division by zero nor an overflow goes unnoticed."""
    cancel, unexplained = LinearCanceller(), Unexplained()
    for near_kind, far_kind, hops, same in story:
        for seed in range(hops):
            far = signal(far_kind, seed)
            near = far if same else signal(near_kind, seed + 1)
            residue, understood = cancel(near, far)
            assert residue.dtype == understood.dtype == np.float32
            assert np.isfinite(residue).all()
            assert np.isfinite(understood).all()
            assert np.abs(residue).max() < 100
            assert LEAST_DB <= unexplained(residue, understood) <= MOST_DB
    assert np.isfinite(cancel._doubt).all()
    assert (cancel._doubt >= 0).all()


@pytest.mark.parametrize("before", ["zeros in both", "a dead microphone", "a deaf room"])
def test_long_nothings_leave_it_ready_to_learn(before: str) -> None:
    """Its doubt has gone meanwhile: it was sure that there is no echo."""
    cancel = LinearCanceller()
    far = reply(8)
    if before == "zeros in both":
        for _ in range(5000):
            cancel(np.zeros(HOP, np.float32), np.zeros(HOP, np.float32))
    else:
        run(cancel, noise(len(far), 50.0 * (before == "a deaf room")), far.astype(float))
    near = echo_of(far, path()) + noise(len(far), 2.0)
    residue, _ = run(cancel, near, far.astype(float))
    assert erle_db(near, residue, 1.5) > 15
