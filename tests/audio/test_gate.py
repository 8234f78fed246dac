"""The gate: closed it remembers, opened it gives what it remembers first."""

from __future__ import annotations

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
