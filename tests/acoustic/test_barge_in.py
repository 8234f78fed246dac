"""The bench in small, in CI: rooms and talkers that nothing was tuned on, our chain beside the plain one."""

from __future__ import annotations

import pytest

from tests.acoustic.__main__ import Job, played
from tests.acoustic.score import Score, percentile

pytestmark = pytest.mark.speech
ECHO_ROOMS, TALKER_ROOMS = range(5), range(1000, 1006)


@pytest.fixture(scope="module")
def scores() -> tuple[Score, Score]:
    """Five minutes of replies that nobody interrupts, and 24 that somebody does."""
    wanted = [Job("test", "echo", number, 1, "earshot") for number in ECHO_ROOMS]
    wanted += [Job("test", "barge-in", number, 1, "earshot") for number in TALKER_ROOMS]
    found = played(wanted)
    return found.ours, found.plain


def test_it_does_not_interrupt_itself(scores: tuple[Score, Score]) -> None:
    ours, _ = scores
    assert ours.echo_hours * 60 > 4.5
    assert ours.false_cuts == 0
    assert ours.ducks <= 6, "a dip now and then"
    assert percentile(ours.erles_db, 50) > 20


def test_it_hears_who_interrupts_it_and_the_plain_chain_does_not(scores: tuple[Score, Score]) -> None:
    ours, plain = scores
    assert len(ours.trials) == 4 * len(TALKER_ROOMS)
    assert ours.detected_pct() >= 80
    assert ours.detected_pct() > plain.detected_pct() + 20
    assert percentile(ours.cut_latencies_ms(), 50) < 400


def test_the_beginning_of_what_was_said_goes_up(scores: tuple[Score, Score]) -> None:
    ours, _ = scores
    lost = [trial.onset_lost_ms for trial in ours.trials if trial.detected and trial.onset_lost_ms is not None]
    assert len(lost) >= 18
    assert max(lost) == 0.0
