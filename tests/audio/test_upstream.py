"""One timeline out of captured and cleaned sound: nothing twice, nothing lost, whatever the order of things."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.audio.format import DETECTOR_RATE, SESSION_RATE, Samples, level_dbfs
from appliance.audio.processing import BLOCK
from appliance.audio.resample import Resampler
from appliance.audio.upstream import Upstream
from tests.audio.stage import speechlike

DELAY = 128
BEHIND = 30 + 40  # samples at 24 kHz which the two filters hold back
Step = Literal["raw", "clean"]


class Line:
    """Feeds an upstream as the capturer does: 24 kHz captured, 16 kHz heard in blocks, then something is given."""

    def __init__(self, sound: Samples, delay: int = DELAY) -> None:
        self.sound = sound
        self.upstream = Upstream(delay)
        self.given: list[Samples] = []
        self.ages: list[int] = []
        self.captured = 0
        self._down = Resampler(SESSION_RATE, DETECTOR_RATE)
        self._listened: Samples = np.zeros(0, np.int16)
        self._line = np.full(delay, 7000, np.int16)  # what the canceller still holds of earlier times
        self._cleaned = False

    def turn(self, count: int, blocks: Sequence[Step]) -> None:
        """Capture ``count`` samples; whole blocks are cleaned or not, as named, the last of them in turn."""
        new = self.sound[self.captured : self.captured + count]
        self.captured += count
        self.upstream.capture(new)
        self._listened = np.concatenate((self._listened, self._down.process(new)))
        k = 0
        while len(self._listened) >= BLOCK:
            near, self._listened = self._listened[:BLOCK], self._listened[BLOCK:]
            self._hear(near, blocks[k % len(blocks)])
            k += 1
        self.give()

    def _hear(self, near: Samples, step: Step) -> None:
        self._cleaned = step == "clean"
        if not self._cleaned:
            self.upstream.skip()
            return
        late = np.concatenate((self._line, near))
        self._line = late[BLOCK:]
        self.upstream.clean(late[:BLOCK], None)

    def give(self, *, cleaned: bool | None = None) -> None:
        sound, age = self.upstream.take(cleaned=self._cleaned if cleaned is None else cleaned)
        if len(sound):
            self.given.append(sound)
            self.ages.append(age)

    @property
    def all(self) -> Samples:
        return np.concatenate(self.given) if self.given else np.zeros(0, np.int16)


STEPS: st.SearchStrategy[Step] = st.sampled_from(["raw", "clean"])
STORIES = st.lists(st.tuples(st.integers(1, 6000), st.lists(STEPS, min_size=1, max_size=4)), min_size=1, max_size=25)


@settings(max_examples=80, deadline=None)
@given(STORIES)
@example([(480, ["raw", "clean"]), (480, ["clean"]), (480, ["clean", "raw"]), (480, ["raw", "clean", "raw"])])
@example([(480, ["raw"]), (5760, ["raw", "clean"]), (480, ["clean"]), (480, ["raw"])])
def test_through_every_change_the_sound_goes_on_as_it_was_captured(story: list[tuple[int, list[Step]]]) -> None:
    line = Line(speechlike(7000))
    for count, blocks in story:
        line.turn(count, blocks)
    line.give(cleaned=False)
    expected = line.sound[: line.captured]
    assert len(line.all) == len(expected), "nothing twice, nothing lost"
    difference = line.all[30:].astype(float) - expected[30:]  # the sound begins with a step, at which filters ring
    assert np.abs(difference).max(initial=0) < 60


@settings(max_examples=60, deadline=None)
@given(STORIES)
def test_the_age_is_how_far_the_first_sample_is_behind_the_newest(story: list[tuple[int, list[Step]]]) -> None:
    line = Line(speechlike(7000))
    position = 0
    for count, blocks in story:
        before = len(line.given)
        line.turn(count, blocks)
        for sound, age in zip(line.given[before:], line.ages[before:], strict=True):
            assert age == line.captured - position
            assert 0 < len(sound) <= age, "nothing is given before it was captured"
            position += len(sound)
        assert line.captured - position <= 240 + DELAY * 3 // 2 + BEHIND, "and it is at most a block and a delay late"


def test_what_the_canceller_held_of_an_earlier_time_is_never_given() -> None:
    line = Line(np.zeros(24_000, np.int16))
    for _ in range(10):
        line.turn(480, ["raw", "clean"])  # each time it begins with what was in its delay line
        line.turn(480, ["clean", "raw"])
        line._line = np.full(DELAY, 7000, np.int16)
    assert len(line.all) > 4000
    assert not line.all.any()


def test_cleaned_sound_is_the_cancellers_and_not_the_captured() -> None:
    line = Line(np.full(24_000, 5000, np.int16))
    line.turn(480, ["clean"])
    for _ in range(10):
        line.upstream.capture(np.full(240, 5000, np.int16))
        line.upstream.clean(np.zeros(BLOCK, np.int16), None)
    line.give(cleaned=True)
    assert not line.given[-1][-1200:].any()


@pytest.mark.parametrize("dbfs", [-70.0, -50.0, -30.0])
def test_what_is_only_echo_becomes_noise_as_loud_as_the_room(dbfs: float) -> None:
    upstream = Upstream(DELAY)
    for _ in range(60):
        upstream.capture(np.full(240, 9000, np.int16))
        upstream.clean(np.full(BLOCK, 9000, np.int16), dbfs)
    sound, _ = upstream.take(cleaned=True)
    noise = sound[480:]
    assert level_dbfs(noise) == pytest.approx(dbfs, abs=1.5)
    assert len(np.unique(noise)) > 5, "it is no hum"


def test_noise_in_a_very_loud_room_is_clipped_and_does_not_wrap() -> None:
    upstream = Upstream(DELAY)
    upstream.capture(np.zeros(480, np.int16))
    upstream.clean(np.zeros(BLOCK, np.int16), 0.0)
    noise = upstream._comfort(0.0)
    assert noise.max() == 32767
    assert noise.min() == -32768


def test_a_reset_begins_a_timeline_without_a_trace_of_the_old() -> None:
    line = Line(np.full(24_000, 9000, np.int16))
    line.turn(480, ["raw", "clean"])
    line.turn(480, ["clean"])
    line.upstream.reset()
    line.upstream.capture(np.zeros(480, np.int16))
    line.upstream.skip()
    sound, age = line.upstream.take(cleaned=False)
    assert (len(sound), age) == (480, 480)
    assert not sound.any()
    line.upstream.clean(np.zeros(BLOCK, np.int16), None)
    sound, _ = line.upstream.take(cleaned=True)
    assert not sound.any()
