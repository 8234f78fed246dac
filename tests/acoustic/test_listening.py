"""Who talks to a silent device is heard, and to his end, also by a soft microphone: the bench in small, in CI."""

from __future__ import annotations

import pytest

from tests.acoustic.__main__ import Job, played
from tests.acoustic.listening import Listened

ROOMS = range(2000, 2006)


@pytest.fixture(scope="module")
def listened() -> tuple[Listened, Listened]:
    """24 talkers in six rooms, by our chain and by the plain one."""
    found = played(Job("test", "listening", number, 1, "earshot") for number in ROOMS)
    return found.heard, found.plainly_heard


def test_they_are_heard_by_a_soft_microphone_too(listened: tuple[Listened, Listened]) -> None:
    ours, plain = listened
    assert sum(one.soft for one in ours.talkers) == len(ours.talkers) // 2 == 12
    assert sum(one.begun_s is None for one in ours.talkers) <= 1
    assert sum(one.begun_s is None for one in plain.talkers) > 6
    assert ours.false_turns <= 2


def test_their_turns_end_when_they_do(listened: tuple[Listened, Listened]) -> None:
    ends = [one.end_s for one in listened[0].talkers if one.end_s is not None]
    assert sum(end < 0 for end in ends) <= 1
    assert sum(end > 1.3 for end in ends) <= 1
