"""The gate: closed it remembers, opened it gives what it remembers first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.audio.gate import PRE_ROLL_MS, REMEMBERED_MS, Gate

CHUNK = 480  # 10 ms


def chunk(number: int) -> bytes:
    return number.to_bytes(4, "little") * (CHUNK // 4)


def test_opening_lets_the_pre_roll_out_first_in_order() -> None:
    gate = Gate()
    for k in range(100):
        assert gate.pass_(chunk(k), k / 100) == []
    out = gate.set(is_open=True, turn=7)
    assert out == [(chunk(k), k / 100) for k in range(100 - PRE_ROLL_MS // 10, 100)]
    assert gate.turn == 7
    assert gate.pass_(chunk(100), 1.0) == [(chunk(100), 1.0)]


def test_the_pre_roll_is_let_out_once() -> None:
    gate = Gate()
    gate.pass_(chunk(1), 0.0)
    assert len(gate.set(is_open=True, turn=1)) == 1
    assert gate.set(is_open=True, turn=2) == []
    assert gate.set(is_open=False, turn=2) == []
    assert gate.set(is_open=True, turn=3) == []


def test_a_closed_microphone_leaves_no_pre_roll() -> None:
    gate = Gate()
    gate.pass_(chunk(1), 0.0)
    gate.forget()
    assert gate.set(is_open=True, turn=1) == []


def remembering(chunks: int) -> Gate:
    gate = Gate()
    for k in range(chunks):
        gate.pass_(chunk(k), k / 100)
    return gate


def test_what_is_remembered_since_a_time_is_let_out_to_the_sample() -> None:
    out = remembering(200).set(is_open=True, turn=1, since=0.5)
    assert [at for _, at in out] == [k / 100 for k in range(50, 200)]
    out = remembering(200).set(is_open=True, turn=1, since=0.505)
    assert out[0] == (chunk(50)[240:], 0.505), "what of a chunk is older stays here"


def test_a_talker_who_began_long_ago_gets_all_that_is_remembered_and_one_in_the_future_nothing() -> None:
    assert len(remembering(500).set(is_open=True, turn=1, since=-7.0)) == REMEMBERED_MS // 10
    assert remembering(200).set(is_open=True, turn=1, since=float("inf")) == []
    assert remembering(200).set(is_open=True, turn=1, since=2.0) == [], "the last chunk ended just then"


def test_what_was_not_asked_for_is_forgotten_with_the_rest() -> None:
    gate = remembering(100)
    gate.set(is_open=True, turn=1, since=0.9)
    gate.set(is_open=False, turn=1)
    assert gate.set(is_open=True, turn=2, since=0.0) == []


def test_an_open_gate_lets_nothing_out_twice_whatever_is_asked_of_it() -> None:
    gate = remembering(100)
    gate.set(is_open=True, turn=1, since=0.9)
    assert gate.set(is_open=True, turn=2, since=0.0) == []
    assert gate.turn == 2


@given(st.lists(st.integers(1, 2000), max_size=60), st.floats(-1, 70), st.booleans())
def test_since_a_time_is_an_unbroken_end_of_what_is_remembered(sizes: list[int], since: float, usual: bool) -> None:
    gate = Gate()
    at = 0.0
    for size in sizes:
        gate.pass_(bytes(2 * size), at)
        at += size / 24_000
    remembered = list(gate._remembered)
    out = gate.set(is_open=True, turn=1, since=None if usual else since)
    everything = b"".join(pcm for pcm, _ in remembered)
    taken = b"".join(pcm for pcm, _ in out)
    assert everything.endswith(taken)
    if usual:
        assert out == remembered[len(remembered) - len(out) :]
        assert len(taken) <= PRE_ROLL_MS * 48
    elif remembered:
        held_from, end = remembered[0][1], remembered[-1][1] + len(remembered[-1][0]) / 48_000
        assert len(taken) / 48_000 == pytest.approx(max(0.0, end - max(since, held_from)), abs=1e-4)
        assert all(start >= since - 1e-6 for _, start in out)


def test_a_gate_that_was_opened_by_a_press_lets_nothing_out_that_was_captured_before() -> None:
    gate = remembering(100)
    out = gate.set(is_open=True, turn=1, since=0.985, asked_at=0.985)
    assert [at for _, at in out] == [0.985, 0.99]
    gate.set(is_open=False, turn=1)
    gate.set(is_open=True, turn=2, since=float("inf"), asked_at=1.005)
    assert gate.pass_(chunk(100), 1.0) == [(chunk(100)[240:], 1.005)], "it was in the card when the button went down"
    assert gate.pass_(chunk(101), 0.99) == []
    assert gate.pass_(chunk(102), 1.01) == [(chunk(102), 1.01)]


@given(st.lists(st.one_of(st.booleans(), st.integers(1, 2000)), max_size=80))
def test_nothing_passes_twice_or_out_of_order_and_memory_is_bounded(story: list[bool | int]) -> None:
    gate = Gate()
    sent: list[bytes] = []
    number = 0
    for step in story:
        if isinstance(step, bool):
            sent += [pcm for pcm, _ in gate.set(is_open=step, turn=1)]
        else:
            number += 1
            pcm = bytes(2 * (step - 1)) + number.to_bytes(2, "little")
            sent += [out for out, _ in gate.pass_(pcm, number)]
        assert gate._bytes == sum(len(pcm) for pcm, _ in gate._remembered) <= REMEMBERED_MS * 48
    numbers = [int.from_bytes(pcm[-2:], "little") for pcm in sent]
    assert numbers == sorted(set(numbers))
