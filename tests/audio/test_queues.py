"""The playback queue: each sample once, in order, and none of a later item before its time."""

from __future__ import annotations

from itertools import groupby
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audio.queues import LONGEST_S, PlaybackQueue
from tests.audio.stage import Samples, speechlike

RATES = [16_000, 24_000, 44_100, 48_000]
Story = list[tuple[str, int, int]]
# push (which item, frames), pull (frames) or end (which item)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 3), st.integers(0, 3000)),
        st.tuples(st.just("pull"), st.just(0), st.integers(0, 5000)),
        st.tuples(st.just("end"), st.integers(0, 3), st.just(0)),
    ),
    max_size=40,
)


def numbered(item: int, start: int, frames: int) -> Samples:
    """Samples that tell their item and their place in it."""
    return (np.arange(start, start + frames) % 7919 + 1).astype(np.int16) + np.int16(item * 8000)


def everything(queue: PlaybackQueue) -> list[tuple[str, Samples]]:
    queue.end_all()
    return queue.pull(10**9)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_every_sample_comes_out_once_in_order_and_only_when_its_item_is_due(story: Story) -> None:
    """An item that has ended takes no more: its name begins a new one behind the others."""
    queue = PlaybackQueue(24_000)
    order: list[list[object]] = []  # [id, ended, pushed samples]
    out: list[tuple[str, Samples]] = []
    for what, which, frames in story:
        item = f"i{which}"
        alive = next((entry for entry in order if entry[0] == item and not entry[1]), None)
        if what == "push":
            if alive is None:
                order.append(alive := [item, False, []])
            pushed = alive[2]
            assert isinstance(pushed, list)
            samples = numbered(which, sum(map(len, pushed)), frames)
            pushed.append(samples)
            queue.push(item, samples.tobytes())
        elif what == "end":
            queue.end(item)
            if alive is not None:
                alive[1] = True
        else:
            there = queue.frames
            runs = queue.pull(frames)
            given_frames = sum(len(samples) for _, samples in runs)
            assert min(frames, there - len(order)) <= given_frames <= frames, "an ended item counts one for its tail"
            out += runs
    assert queue.complete == all(entry[1] for entry in order)
    out += everything(queue)
    wanted = [(str(entry[0]), np.concatenate([np.zeros(0, np.int16), *entry[2]])) for entry in order]  # type: ignore[misc]
    got = np.concatenate([np.zeros(0, np.int16), *(samples for _, samples in out)])
    assert np.array_equal(got, np.concatenate([np.zeros(0, np.int16), *(samples for _, samples in wanted)]))
    assert queue.empty
    assert queue.frames == 0
    names = [name for name, _ in groupby(name for name, samples in out if len(samples))]
    assert names == [name for name, _ in groupby(name for name, samples in wanted if len(samples))]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(RATES), st.lists(st.integers(0, 2000), min_size=1, max_size=10), st.integers(1, 999))
def test_at_any_rate_an_ended_item_gives_all_of_itself(rate: int, sizes: list[int], pull: int) -> None:
    queue = PlaybackQueue(rate)
    said = speechlike(sum(sizes) / 24 + 1)[: sum(sizes)]
    at, out = 0, 0
    for size in sizes:
        queue.push("a", said[at : at + size].tobytes())
        at += size
        out += sum(len(samples) for _, samples in queue.pull(pull))
    queue.end("a")
    while queue.frames:
        before = queue.frames
        got = sum(len(samples) for _, samples in queue.pull(pull))
        out += got
        assert got > 0 or queue.frames < before, "what says that it has frames must give some, or the thread would spin"
    assert out == ceil(sum(sizes) * rate / 24_000)
    assert queue.empty


def test_an_unfinished_item_holds_back_later_ones_and_hides_their_frames() -> None:
    queue = PlaybackQueue(24_000)
    queue.push("a", bytes(200))
    queue.push("b", bytes(400))
    assert queue.frames == 100
    assert [name for name, _ in queue.pull(1000)] == ["a"]
    assert queue.frames == 0
    assert queue.pull(1000) == []
    queue.end("a")
    assert 200 <= queue.frames <= 201
    assert [name for name, _ in queue.pull(1000)] == ["b"]


@pytest.mark.parametrize("rate", RATES)
def test_an_ended_item_is_not_over_before_its_tail_was_taken(rate: int) -> None:
    queue = PlaybackQueue(rate)
    queue.push("a", bytes(4800))
    queue.pull(10**6)
    queue.end("a")
    assert queue.frames > 0
    queue.pull(10**6)
    assert queue.frames == 0
    assert queue.empty


@pytest.mark.parametrize("rate", RATES)
def test_the_bound_of_five_minutes_counts_what_is_held_back_too(rate: int) -> None:
    queue = PlaybackQueue(rate)
    for k in range(LONGEST_S + 20):
        queue.push("a" if k % 2 else "b", bytes(48_000))
    assert queue.dropped_ms == 20_000
    assert sum(item.received_frames for item in queue._items) == LONGEST_S * 24_000
    queue.clear()
    assert queue.empty
    queue.push("c", bytes(480))
    assert queue.frames == rate // 100
